"""Masks that come from the page."""

import base64
import io

import pytest
from PIL import Image

from limner.app.page.painter import mask_file, source


def test_a_painted_mask_becomes_a_file(tmp_path):
    file = io.BytesIO()
    Image.new("L", (3, 2), 255).save(file, "PNG")
    url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    assert mask_file(url, tmp_path / "mask.png").read_bytes() == file.getvalue()


@pytest.mark.parametrize("url", ["", "data:text/html;base64,AAAA", "file:///etc/passwd", "data:image/png;base64,@@@"])
def test_anything_else_is_refused_and_nothing_is_written(url, tmp_path):
    with pytest.raises(ValueError, match="mask"):
        mask_file(url, tmp_path / "mask.png")
    assert list(tmp_path.iterdir()) == []


def test_the_painter_is_given_the_pages_own_address():
    assert source(None) == ""
    assert source("/tmp/a b/é.png") == "gradio_api/file=/tmp/a%20b/%C3%A9.png"
