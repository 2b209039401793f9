"""Contact sheets: many small pictures with labels in one picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Picture = np.ndarray | Image.Image


def draw_sheet(
    pictures: Sequence[Picture],
    labels: Sequence[str] = (),
    columns: int = 8,
    *,
    cell: int = 128,
    gap: int = 6,
    text_size: int = 11,
    ground: tuple[int, int, int] = (255, 255, 255),
    title: str = "",
) -> Image.Image:
    """A labelled grid of ``pictures`` (PIL images or uint8 arrays (h, w, 3 or 4) or (h, w)) in an RGB image.

    Each picture is scaled to fit a ``cell`` of pixels (whole pixels stay sharp when enlarged). Labels are wrapped under
    their picture; there may be none, or one for each picture. An empty list gives an empty sheet; ValueError otherwise.
    """
    if labels and len(labels) != len(pictures):
        raise ValueError(f"{len(pictures)} pictures want as many labels or none, got {len(labels)}")
    if columns < 1 or cell < 8:
        raise ValueError(f"a sheet wants at least 1 column and cells of 8 pixels, got {columns} and {cell}")
    font = ImageFont.load_default(text_size)
    wrapped = [_wrap(label, font, cell) for label in labels]
    line_height = round(text_size * 1.3)
    columns = max(1, min(columns, len(pictures)))
    rows = [range(i, min(i + columns, len(pictures))) for i in range(0, len(pictures), columns)]
    heights = [cell + (max(len(wrapped[i]) for i in row) * line_height + 2 if labels else 0) + gap for row in rows]
    head = line_height + gap if title else 0
    sheet = Image.new("RGB", (columns * (cell + gap) + gap, head + gap + sum(heights)), ground)
    pen = ImageDraw.Draw(sheet)
    ink = (20, 20, 20) if sum(ground) > 380 else (240, 240, 240)
    if title:
        pen.text((gap, gap), title, fill=ink, font=font)
    top = head + gap
    for row, height in zip(rows, heights, strict=True):
        for column, i in enumerate(row):
            left = gap + column * (cell + gap)
            small = _fit(pictures[i], cell, ground)
            sheet.paste(small, (left + (cell - small.width) // 2, top + (cell - small.height) // 2))
            for n, text in enumerate(wrapped[i] if labels else []):
                pen.text((left, top + cell + 1 + n * line_height), text, fill=ink, font=font)
        top += height
    return sheet


def _fit(picture: Picture, cell: int, ground: tuple[int, int, int]) -> Image.Image:
    image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    if image.mode == "RGBA":
        back = Image.new("RGBA", image.size, (*ground, 255))
        image = Image.alpha_composite(back, image)
    image = image.convert("RGB")
    scale = cell / max(image.size)
    if scale == 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)


def _wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    lines: list[str] = []
    for paragraph in text.split("\n"):
        current = ""
        for word in paragraph.split():
            longer = f"{current} {word}".strip()
            if current and font.getlength(longer) > width:
                lines.append(current)
                current = word
            else:
                current = longer
        lines.append(current)
    return lines
