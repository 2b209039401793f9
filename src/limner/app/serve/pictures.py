"""Pictures that come from outside, and pictures on their way there.

What is sent is opened only after its size in pixels is known to be allowed, and only as PNG, JPEG, WebP, GIF or BMP.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
from typing import TYPE_CHECKING, Literal

from PIL import Image as pil

from limner.app.serve.errors import Refused
from limner.request import read_content, what_is_free

if TYPE_CHECKING:
    from limner.answer import Answer

Format = Literal["png", "jpeg", "webp"]
DATA_URL = re.compile(r"data:(?P<type>[\w.+-]*/?[\w.+-]*)(?:;[\w-]+=[\w-]+)*;base64,", re.ASCII)


def from_bytes(content: bytes, most: int, param: str) -> pil.Image:
    """The picture in a file's content, upright, RGB, at most ``most`` pixels. Raises Refused."""
    try:
        return read_content(content, most)
    except ValueError as error:
        raise Refused(str(error), param=param, code="invalid_image") from None


def from_url(url: str, most: int, param: str) -> pil.Image:
    """The picture in a data URL. Raises Refused for an address elsewhere, and as `from_bytes`."""
    head = DATA_URL.match(url)
    if head is None:
        raise Refused(
            "pictures at other addresses are not fetched; send the picture itself, as data:image/png;base64,...",
            param=param,
            code="invalid_image_url",
        )
    try:
        content = base64.b64decode(url[head.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise Refused("the picture's base64 cannot be read", param=param, code="invalid_base64_image") from None
    return from_bytes(content, most, param)


def mask_from_bytes(content: bytes, most: int) -> pil.Image:
    """A mask (mode "L"): 255 where something is to be made anew. OpenAI's masks are transparent there; one without
    transparency is white there."""
    holes = transparent(content, most, "mask")
    return holes if holes is not None else what_is_free(from_bytes(content, most, "mask"))


def transparent(content: bytes, most: int, param: str) -> pil.Image | None:
    """Where the picture in a file's content is more than half transparent (mode "L", 255 there); None where it has no
    transparency at all."""
    from_bytes(content, most, param)  # refuses what cannot be read
    with pil.open(io.BytesIO(content)) as opened:
        if not opened.has_transparency_data:
            return None
        alpha = opened.convert("RGBA").getchannel("A")
    holes = alpha.point([255] * 128 + [0] * 128)
    return holes if holes.getbbox() is not None else None


def encoded(picture: pil.Image, form: Format = "png", quality: int = 100) -> str:
    """A picture as base64 of a file."""
    file = io.BytesIO()
    if form == "png":
        picture.save(file, "PNG")
    else:
        picture.save(file, form.upper(), quality=quality)
    return base64.b64encode(file.getvalue()).decode("ascii")


def answered(answer: Answer, form: Format = "png", quality: int = 100) -> str:
    """An answer's picture as base64 of a file; a PNG has its request embedded, as `Answer.save` writes it."""
    assert answer.image is not None
    if form == "png":
        return base64.b64encode(answer.png()).decode("ascii")
    return encoded(answer.image, form, quality)
