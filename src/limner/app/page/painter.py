"""A picture to paint a mask on, by pointer, finger or keyboard. What is painted is made anew."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from urllib.parse import quote

import gradio as gr

HERE = Path(__file__).parent


def painter() -> gr.HTML:
    """The component. Its value is what `source` gives of the picture, "" for none."""
    html, css, js = ((HERE / f"painter.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    return gr.HTML("", html_template=html, css_template=css, js_on_load=js, elem_id="painter")


def source(path: str | None) -> str:
    """The address of a picture that the visitor gave, as the page's own; "" for none."""
    return "" if path is None else f"gradio_api/file={quote(path)}"


def mask_file(url: str, path: Path) -> Path:
    """Write what `limnerMask` gave to a file. ValueError for anything else, and where nothing was given."""
    head, _, data = url.partition(",")
    if head != "data:image/png;base64":
        raise ValueError("there is no mask yet; give a picture and paint on it")
    try:
        path.write_bytes(base64.b64decode(data, validate=True))
    except binascii.Error:
        raise ValueError("the mask is no PNG; paint it again") from None
    return path
