"""The neutral display list: paths, fill roles, and stroke widths, with a few helpers to write them down.

Objects are drawn in a box from -100 to 100 in both directions, y pointing down. A path is a tuple of commands
(``M``, ``L``, ``C``, ``Z`` with absolute numbers). Fills and strokes are *roles* (``body``, ``dark``, ``light``,
``ink`` or a fixed accent); a back end turns a role into a colour.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

Command = tuple[str, tuple[float, ...]]
Path = tuple[Command, ...]

LINE = 8.5  # the outline's width, in percent of half the side
FINE = 6.5  # lines inside a shape
_ARC = 0.5522847498  # control distance of a quarter circle


@dataclass(frozen=True)
class Shape:
    """One filled and/or stroked path. ``width`` is in percent of half the object's side."""

    path: Path
    fill: str | None = None
    stroke: str | None = None
    width: float = 0.0


Drawing = tuple[Shape, ...]
Maker = Callable[[], list[Shape]]


def path(text: str) -> Path:
    """Commands from a string such as ``M0 0 L10 0 Q10 5 0 5 C1 2 3 4 5 6 Z`` (absolute; Q becomes C)."""
    commands: list[Command] = []
    x = y = 0.0
    for letter, rest in re.findall(r"([MLQCZ])([^MLQCZ]*)", text):
        numbers = [float(n) for n in re.findall(r"-?\d+\.?\d*|-?\.\d+", rest)]
        step = {"M": 2, "L": 2, "Q": 4, "C": 6, "Z": 1}[letter]
        if letter == "Z":
            commands.append(("Z", ()))
            continue
        if not numbers or len(numbers) % step:
            raise ValueError(f"{letter} wants a multiple of {step} numbers, got {rest!r} in {text!r}")
        for i in range(0, len(numbers), step):
            n = numbers[i : i + step]
            if letter == "Q":
                qx, qy, ex, ey = n
                n = [x + (qx - x) * 2 / 3, y + (qy - y) * 2 / 3, ex + (qx - ex) * 2 / 3, ey + (qy - ey) * 2 / 3, ex, ey]
            commands.append(("C" if letter == "Q" else letter, tuple(n)))
            x, y = n[-2:]
    return tuple(commands)


def moved(
    source: Path, scale: tuple[float, float] = (1, 1), degrees: float = 0, by: tuple[float, float] = (0, 0)
) -> Path:
    """``source`` scaled, then turned clockwise about the origin, then shifted."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    result: list[Command] = []
    for letter, n in source:
        points: list[float] = []
        for i in range(0, len(n), 2):
            x, y = n[i] * scale[0], n[i + 1] * scale[1]
            points += [x * cos - y * sin + by[0], x * sin + y * cos + by[1]]
        result.append((letter, tuple(points)))
    return tuple(result)


def mirror(source: Path) -> Path:
    """``source`` mirrored left to right."""
    return moved(source, (-1, 1))


def both(source: Path) -> Path:
    """``source`` and its mirror image as one path."""
    return source + mirror(source)


def oval(x: float, y: float, rx: float, ry: float, degrees: float = 0) -> Path:
    """An ellipse about (x, y), turned clockwise."""
    k = _ARC
    unit = path(f"M1 0 C1 {k} {k} 1 0 1 C-{k} 1 -1 {k} -1 0 C-1 -{k} -{k} -1 0 -1 C{k} -1 1 -{k} 1 0 Z")
    return moved(unit, (rx, ry), degrees, (x, y))


def circle(x: float, y: float, r: float) -> Path:
    """A circle about (x, y)."""
    return oval(x, y, r, r)


def poly(*numbers: float) -> Path:
    """A closed polygon through x, y, x, y, ..."""
    points = [(numbers[i], numbers[i + 1]) for i in range(0, len(numbers), 2)]
    return (("M", points[0]), *(("L", p) for p in points[1:]), ("Z", ()))


def rect(left: float, top: float, right: float, bottom: float, r: float = 0) -> Path:
    """A rectangle with corners of radius ``r``."""
    if r == 0:
        return poly(left, top, right, top, right, bottom, left, bottom)
    return path(
        f"M{left + r} {top} L{right - r} {top} Q{right} {top} {right} {top + r} L{right} {bottom - r} "
        f"Q{right} {bottom} {right - r} {bottom} L{left + r} {bottom} Q{left} {bottom} {left} {bottom - r} "
        f"L{left} {top + r} Q{left} {top} {left + r} {top} Z"
    )


def ink(source: Path, fill: str = "body", width: float = LINE) -> Shape:
    """A filled path with the thick dark outline."""
    return Shape(source, fill, "ink", width)


def flat(source: Path, fill: str) -> Shape:
    """A filled path without an outline."""
    return Shape(source, fill)


def line(source: Path, role: str = "ink", width: float = FINE) -> Shape:
    """An open stroke."""
    return Shape(source, None, role, width)


def tube(source: Path, fill: str = "body", width: float = 16) -> list[Shape]:
    """A stroke of ``width`` in a fill role, with an outline around it."""
    return [line(source, "ink", width + 1.7 * LINE), line(source, fill, width)]


def merged(parts: Iterable[Path], fill: str = "body") -> list[Shape]:
    """Several paths as one shape with one outline around all of them."""
    parts = list(parts)
    return [Shape(p, "ink", "ink", 1.6 * LINE) for p in parts] + [flat(p, fill) for p in parts]


def eye(x: float, y: float, r: float = 15, look: float = 0) -> list[Shape]:
    """A round eye; ``look`` moves the pupil sideways."""
    return [
        ink(circle(x, y, r), "eye", 5.5),
        flat(circle(x + look, y, r * 0.58), "ink"),
        flat(circle(x + look - r * 0.2, y - r * 0.25, r * 0.24), "eye"),
    ]


def face(y: float, apart: float = 24, r: float = 10) -> list[Shape]:
    """Two dots and a smile about the height ``y``, for things that are not animals."""
    return [
        flat(both(oval(apart, y, r * 0.8, r)), "ink"),
        flat(both(circle(apart - r * 0.25, y - r * 0.35, r * 0.3)), "eye"),
        line(path(f"M-{apart * 0.5} {y + r} Q0 {y + r * 2.6} {apart * 0.5} {y + r}"), "ink", FINE),
    ]
