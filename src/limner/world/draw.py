"""Pictures of scenes: one display list, drawn to pixels with Skia or written out as SVG."""

from __future__ import annotations

from functools import cache, lru_cache
from xml.sax.saxutils import quoteattr

import numpy as np
import skia
from PIL import Image

from limner.world.backgrounds import BANDS, RGB, background_drawing
from limner.world.objects import drawing
from limner.world.objects.pen import LINE, Path, Shape
from limner.world.scene import CANVAS, COLOURS, KINDS, Scene, Thing

palette: dict[str, RGB] = {
    "red": (226, 48, 56),
    "orange": (250, 138, 28),
    "yellow": (255, 216, 48),
    "green": (48, 168, 76),
    "blue": (44, 116, 226),
    "purple": (140, 70, 200),
    "pink": (255, 146, 194),
    "brown": (134, 84, 48),
    "black": (60, 58, 68),
    "white": (252, 252, 254),
}

ACCENTS: dict[str, RGB] = {
    "ink": (24, 20, 32),
    "eye": (255, 255, 255),
    "blush": (244, 176, 176),
    "tongue": (240, 110, 130),
    "beak": (244, 170, 60),
    "glass": (186, 226, 240),
    "leaf": (98, 190, 96),
    "wood": (168, 122, 84),
    "seed": (104, 72, 56),
    "cream": (255, 240, 208),
    "metal": (176, 182, 194),
    "tyre": (46, 44, 58),
    "lamp": (255, 240, 160),
    "flame": (252, 176, 60),
    "inside": (230, 214, 182),
}

THINNEST = 1.0  # an outline is never thinner than this many canvas units
INSET = 0.95  # share of the half side that is drawn on, so that neighbours do not touch


def _mix(a: RGB, b: RGB, share: float) -> RGB:
    red, green, blue = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return red, green, blue


@cache
def shades(colour: str) -> dict[str, RGB]:
    """Role to RGB for a thing of ``colour``: its body, darker and lighter shades, and all fixed accents."""
    if colour not in palette:
        raise ValueError(f"no colour called {colour!r}; there are: {', '.join(palette)}")
    body = palette[colour]
    dark = (206, 208, 224) if colour == "white" else _mix(body, ACCENTS["ink"], 0.26)
    light = (232, 234, 244) if colour == "white" else _mix(body, (255, 255, 255), 0.28 if colour == "black" else 0.42)
    return {**ACCENTS, "body": body, "dark": dark, "light": light}


def _checked(size: int) -> int:
    if not 16 <= size <= 2048:
        raise ValueError(f"a picture's side must be 16 to 2048 pixels, got {size}")
    return size


# ---- pixels -------------------------------------------------------------------------------------------------------


def _skia_path(source: Path) -> skia.Path:
    result = skia.Path()
    for letter, n in source:
        if letter == "M":
            result.moveTo(*n)
        elif letter == "L":
            result.lineTo(*n)
        elif letter == "C":
            result.cubicTo(*n)
        else:
            result.close()
    return result


@cache
def _paint(rgb: RGB, width: float) -> skia.Paint:
    paint = skia.Paint(Color=skia.ColorSetRGB(*rgb), AntiAlias=True)
    if width:
        paint.setStyle(skia.Paint.kStroke_Style)
        paint.setStrokeWidth(width)
        paint.setStrokeJoin(skia.Paint.kRound_Join)
        paint.setStrokeCap(skia.Paint.kRound_Cap)
    return paint


@cache
def _paths(kind: str) -> tuple[tuple[skia.Path, Shape], ...]:
    return tuple((_skia_path(shape.path), shape) for shape in drawing(kind))


@lru_cache(maxsize=8192)
def _picture(kind: str, colour: str, half: int) -> skia.Picture:
    roles, widen = shades(colour), _widen(half)
    recorder = skia.PictureRecorder()
    canvas = recorder.beginRecording(skia.Rect.MakeLTRB(-120, -120, 120, 120))
    for outline, shape in _paths(kind):
        if shape.fill:
            canvas.drawPath(outline, _paint(roles[shape.fill], 0))
        if shape.stroke:
            canvas.drawPath(outline, _paint(roles[shape.stroke], _width(shape, widen)))
    return recorder.finishRecordingAsPicture()


def _widen(half: int) -> float:
    return max(1.0, THINNEST / (LINE / 100 * half * INSET))


def _canvas(pixels: np.ndarray) -> skia.Canvas:
    return skia.Canvas(pixels, colorType=skia.kRGBA_8888_ColorType, alphaType=skia.kPremul_AlphaType)


def _width(shape: Shape, widen: float) -> float:
    return shape.width * widen if shape.fill and shape.width >= LINE else shape.width


def _draw_thing(canvas: skia.Canvas, thing: Thing, size: int) -> None:
    unit = size / CANVAS
    scale = INSET * thing.half * unit / 100
    canvas.save()
    canvas.translate(thing.x * unit, thing.y * unit)
    canvas.scale(-scale if thing.flip else scale, scale)
    canvas.drawPicture(_picture(thing.kind, thing.colour, thing.half))
    canvas.restore()


@lru_cache(maxsize=64)
def _background(name: str, size: int) -> np.ndarray:
    pixels = np.zeros((size, size, 4), np.uint8)
    canvas = _canvas(pixels)
    canvas.scale(size / CANVAS, size / CANVAS)
    for shape in background_drawing(name):
        outline = _skia_path(shape.path)
        if shape.fill:
            canvas.drawPath(outline, _paint(BANDS[name][shape.fill], 0))
        if shape.stroke:
            canvas.drawPath(outline, _paint(BANDS[name][shape.stroke], shape.width))
    pixels.setflags(write=False)
    return pixels


def background(name: str, size: int = 64) -> np.ndarray:
    """A background alone, (size, size, 3) uint8 RGB."""
    return _background(name, _checked(size))[..., :3].copy()


def render(scene: Scene, size: int = 64) -> np.ndarray:
    """The scene as (size, size, 3) uint8 RGB; the same scene and size always give the same bytes. size: 16 to 2048."""
    pixels = _background(scene.background, _checked(size)).copy()
    canvas = _canvas(pixels)
    for thing in scene.things:
        _draw_thing(canvas, thing, size)
    return np.ascontiguousarray(pixels[..., :3])


def render_thing(thing: Thing, size: int = 64) -> np.ndarray:
    """One thing alone, in its place on a transparent canvas, (size, size, 4) uint8 RGBA with straight alpha."""
    _known(thing)
    pixels = np.zeros((_checked(size), size, 4), np.uint8)
    _draw_thing(_canvas(pixels), thing, size)
    alpha = pixels[..., 3:].astype(np.int32)
    straight = (pixels[..., :3].astype(np.int32) * 255 + alpha // 2) // np.maximum(alpha, 1)
    pixels[..., :3] = np.minimum(straight, 255)
    return pixels


def to_image(scene: Scene, size: int = 128) -> Image.Image:
    """The scene as a PIL image in RGB."""
    return Image.fromarray(render(scene, size))


def _known(thing: Thing) -> None:
    if thing.kind not in KINDS or thing.colour not in COLOURS:
        raise ValueError(f"no such thing: a {thing.colour!r} {thing.kind!r}")


# ---- SVG ----------------------------------------------------------------------------------------------------------


def _svg_shape(shape: Shape, roles: dict[str, RGB], widen: float) -> str:
    def paint(role: str | None) -> str:
        return "none" if role is None else "#{:02x}{:02x}{:02x}".format(*roles[role])

    data = " ".join(letter + " ".join(f"{n:.4g}" for n in numbers) for letter, numbers in shape.path)
    stroke = f' stroke="{paint(shape.stroke)}" stroke-width="{_width(shape, widen):.4g}"' if shape.stroke else ""
    return f'<path d="{data}" fill="{paint(shape.fill)}"{stroke}/>'


def to_svg(scene: Scene, size: int = 128) -> str:
    """The same scene as SVG text; every thing is one group with the label ``colour kind``."""
    _checked(size)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size}" height="{size}" viewBox="0 0 {CANVAS} {CANVAS}"'
        ' stroke-linejoin="round" stroke-linecap="round">',
        f"<g aria-label={quoteattr(scene.background)}>",
        *[_svg_shape(shape, BANDS[scene.background], 1) for shape in background_drawing(scene.background)],
        "</g>",
    ]
    for thing in scene.things:
        scale = INSET * thing.half / 100
        across = -scale if thing.flip else scale
        place = f"translate({thing.x} {thing.y}) scale({across:g} {scale:g})"
        lines.append(f'<g aria-label={quoteattr(f"{thing.colour} {thing.kind}")} transform="{place}">')
        lines += [_svg_shape(shape, shades(thing.colour), _widen(thing.half)) for shape in drawing(thing.kind)]
        lines.append("</g>")
    return "\n".join([*lines, "</svg>\n"])
