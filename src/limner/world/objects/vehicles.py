"""Vehicles; the wheels that can be seen are the wheels that the lessons count on one side."""

from __future__ import annotations

from limner.world.objects.pen import (
    FINE,
    LINE,
    Maker,
    Shape,
    circle,
    flat,
    ink,
    line,
    mirror,
    path,
    rect,
    tube,
)


def _wheel(x: float, y: float, r: float) -> list[Shape]:
    return [ink(circle(x, y, r), "tyre"), flat(circle(x, y, r * 0.46), "metal")]


def car() -> list[Shape]:
    """A small round car, two wheels visible, facing right."""
    return [
        ink(path("M-62 -2 C-52 -50 -40 -62 -4 -62 C34 -62 44 -44 60 -2 Z"), "body"),
        ink(path("M-42 -6 C-36 -36 -28 -44 -8 -44 L-8 -6 Z"), "glass", FINE),
        ink(path("M8 -44 C26 -44 32 -32 42 -6 L8 -6 Z"), "glass", FINE),
        ink(path("M-96 42 L-96 16 Q-92 -4 -68 -6 L62 -6 Q94 -2 97 28 L97 42 Q96 50 88 50 L-88 50 Q-96 50 -96 42 Z")),
        flat(path("M-91 30 L92 30 L92 45 L-91 45 Z"), "dark"),
        flat(path("M-70 4 L50 4 L56 12 L-76 12 Z"), "light"),
        flat(circle(84, 20, 9), "lamp"),
        *_wheel(-52, 46, 27),
        *_wheel(52, 46, 27),
    ]


def scooter() -> list[Shape]:
    """A motor scooter: leg shield, seat, two small wheels far apart, facing right."""
    return [
        *_wheel(-60, 64, 28),
        *_wheel(68, 64, 28),
        *tube(path("M64 60 L40 -56"), "metal", 9),
        ink(path("M-96 48 C-98 -4 -66 -16 -6 -12 Q4 6 6 32 L26 32 Q34 32 32 20 L20 -58 Q20 -74 36 -74 Q50 -74 54 -58 L66 24 Q72 58 44 62 L-20 62 C-26 28 -90 24 -96 48 Z")),
        flat(path("M-84 26 C-76 2 -50 -4 -22 -4 L-14 6 C-46 4 -68 10 -84 26 Z"), "light"),
        flat(path("M-14 56 L44 56 Q62 52 60 32 L54 44 L-16 46 Z"), "dark"),
        ink(path("M-88 -16 C-90 -36 -80 -36 -64 -34 L-12 -30 Q0 -26 -4 -10 L-76 -8 Q-86 -8 -88 -16 Z"), "seed"),
        line(path("M12 -88 L36 -84 L40 -66"), "ink", 13),
        ink(circle(56, -62, 13), "lamp"),
    ]


def truck() -> list[Shape]:
    """A box truck with three wheels on its side, facing right."""
    return [
        ink(path("M34 46 L34 -34 L66 -34 Q76 -34 82 -22 L97 6 L97 46 Z")),
        ink(path("M50 -18 L66 -18 L78 6 L50 6 Z"), "glass", FINE),
        ink(rect(-97, -70, 34, 46, 4)),
        flat(rect(-88, -60, 24, -46), "light"),
        flat(rect(-91, 22, 29, 41), "dark"),
        flat(rect(39, 22, 92, 41), "dark"),
        line(path("M-54 -38 L-54 14 M-10 -38 L-10 14"), "dark", 8),
        flat(circle(88, 20, 8), "lamp"),
        *_wheel(-72, 50, 24),
        *_wheel(-18, 50, 24),
        *_wheel(66, 50, 24),
    ]


def wheelbarrow() -> list[Shape]:
    """A tray on one wheel in front, two handles behind, a leg; facing left."""
    return [
        *tube(path("M-44 60 L20 40 L94 -16"), "wood", 9),
        *tube(path("M34 28 L44 84"), "metal", 9),
        ink(path("M-97 -46 L62 -46 Q68 -46 66 -38 L46 34 Q42 44 32 44 L-40 44 Q-52 44 -56 34 L-99 -38 Q-100 -46 -97 -46 Z")),
        flat(path("M-88 -38 L58 -38 L54 -22 L-80 -22 Z"), "light"),
        flat(path("M-56 22 L46 22 L42 34 Q40 38 32 38 L-40 38 Q-48 38 -52 30 Z"), "dark"),
        *_wheel(-54, 62, 30),
    ]


def boat() -> list[Shape]:
    """A hull, a mast, and two sails."""
    return [
        line(path("M-6 -92 L-6 40"), "ink", 2 * LINE),
        ink(path("M-20 -84 L-20 24 L-88 24 Q-34 -20 -20 -84 Z"), "light"),
        ink(path("M6 -94 Q70 -40 84 24 L6 24 Z")),
        flat(path("M12 4 L76 4 L80 19 L12 19 Z"), "dark"),
        ink(path("M-98 40 L98 40 Q92 90 54 90 L-50 90 Q-86 90 -98 40 Z")),
        flat(path("M-78 70 L82 70 Q72 84 52 84 L-50 84 Q-68 84 -78 70 Z"), "dark"),
        flat(path("M-86 46 L88 46 L86 54 L-84 54 Z"), "light"),
    ]


def rocket() -> list[Shape]:
    """Upright, with a porthole, fins, and a flame."""
    fin = path("M28 14 Q72 26 72 74 Q50 58 26 60 Z")
    return [
        ink(path("M-18 58 Q-24 82 0 99 Q24 82 18 58 Z"), "flame"),
        ink(fin, "dark"),
        ink(mirror(fin), "dark"),
        ink(path("M0 -98 C40 -70 48 -14 32 62 L-32 62 C-48 -14 -40 -70 0 -98 Z")),
        flat(path("M-26 -36 C-34 0 -32 30 -28 56 L-16 56 C-20 20 -20 -10 -14 -50 Z"), "light"),
        ink(path("M0 -98 C18 -86 28 -70 33 -50 L-33 -50 C-28 -70 -18 -86 0 -98 Z"), "dark"),
        ink(circle(0, -14, 20), "glass"),
        line(path("M-32 40 L32 40"), "ink", FINE),
    ]


VEHICLES: dict[str, Maker] = {maker.__name__: maker for maker in (car, scooter, truck, wheelbarrow, boat, rocket)}
