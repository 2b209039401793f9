"""Vehicles; the wheels that can be seen are the wheels that the lessons count on one side."""

from __future__ import annotations

from limner.world.objects.pen import (
    FINE,
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
    return [ink(circle(x, y, r), "tyre", FINE), flat(circle(x, y, r * 0.5), "metal")]


def car() -> list[Shape]:
    """A small round car, two wheels visible, facing right."""
    return [
        ink(path("M-72 -4 C-62 -58 -50 -72 -8 -72 C36 -72 48 -52 66 -4 Z")),
        ink(path("M-46 -8 C-40 -42 -32 -50 -14 -50 L-14 -8 Z"), "glass", FINE),
        ink(path("M6 -50 C24 -50 32 -38 42 -8 L6 -8 Z"), "glass", FINE),
        ink(path("M-97 46 L-97 16 Q-92 -8 -68 -10 L62 -10 Q94 -6 97 28 L97 46 Q96 54 88 54 L-88 54 Q-96 54 -97 46 Z")),
        flat(path("M-92 36 L92 36 L92 49 L-92 49 Z"), "dark"),
        flat(path("M-72 2 L52 2 L60 12 L-80 12 Z"), "light"),
        flat(circle(84, 22, 10), "lamp"),
        *_wheel(-52, 52, 25),
        *_wheel(52, 52, 25),
    ]


def scooter() -> list[Shape]:
    """A motor scooter: leg shield, seat, two small wheels far apart, facing right."""
    return [
        *_wheel(-60, 68, 26),
        *_wheel(68, 68, 26),
        ink(
            path(
                "M-97 56 C-99 -6 -66 -20 -12 -16 Q6 -6 8 28 L18 28 Q28 28 26 16 L12 -56 Q10 -78 34 -78 "
                "Q54 -78 58 -56 L68 18 Q98 30 96 60 L-20 66 C-26 36 -86 32 -97 56 Z"
            )
        ),
        flat(path("M-86 26 C-76 -2 -50 -8 -22 -6 L-14 6 C-46 2 -68 8 -86 26 Z"), "light"),
        flat(path("M-14 60 L90 56 Q88 46 82 40 Q66 46 -18 46 Z"), "dark"),
        flat(path("M22 -56 Q22 -68 32 -70 L48 20 L38 26 Z"), "light"),
        ink(path("M-88 -20 C-92 -44 -80 -44 -64 -42 L-12 -38 Q2 -34 -4 -14 L-76 -12 Q-86 -12 -88 -20 Z"), "dark"),
        line(path("M6 -90 L32 -88 L38 -72"), "ink", 13),
        ink(circle(58, -62, 14), "lamp", FINE),
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
        ink(
            path(
                "M-97 -46 L62 -46 Q68 -46 66 -38 L46 34 Q42 44 32 44 L-40 44 Q-52 44 -56 34 L-99 -38 "
                "Q-100 -46 -97 -46 Z"
            )
        ),
        flat(path("M-88 -38 L58 -38 L54 -22 L-80 -22 Z"), "light"),
        flat(path("M-56 22 L46 22 L42 34 Q40 38 32 38 L-40 38 Q-48 38 -52 30 Z"), "dark"),
        *_wheel(-54, 62, 30),
    ]


def boat() -> list[Shape]:
    """A hull, a mast, and two sails."""
    return [
        line(path("M-6 -90 L-6 40"), "ink", 12),
        ink(path("M-16 -84 L-16 26 L-90 26 Q-32 -20 -16 -84 Z"), "light"),
        ink(path("M6 -94 Q72 -44 88 26 L6 26 Z")),
        flat(path("M12 4 L76 4 L80 19 L12 19 Z"), "dark"),
        ink(path("M-98 40 L98 40 Q92 90 54 90 L-50 90 Q-86 90 -98 40 Z")),
        flat(path("M-78 70 L82 70 Q72 84 52 84 L-50 84 Q-68 84 -78 70 Z"), "dark"),
        flat(path("M-86 46 L88 46 L86 54 L-84 54 Z"), "light"),
    ]


def rocket() -> list[Shape]:
    """Upright, with a porthole, fins, and a flame."""
    fin = path("M34 10 Q82 26 82 80 Q56 60 30 62 Z")
    return [
        ink(path("M-18 58 Q-24 82 0 97 Q24 82 18 58 Z"), "flame"),
        ink(fin, "dark"),
        ink(mirror(fin), "dark"),
        ink(path("M0 -97 C50 -66 58 -10 38 62 L-38 62 C-58 -10 -50 -66 0 -97 Z")),
        flat(path("M-36 -30 C-42 0 -38 30 -33 57 L-18 57 C-24 20 -24 -10 -20 -40 Z"), "light"),
        ink(path("M0 -97 C20 -84 32 -68 38 -48 Q0 -38 -38 -48 C-32 -68 -20 -84 0 -97 Z"), "dark"),
        ink(circle(0, -8, 19), "glass"),
    ]


VEHICLES: dict[str, Maker] = {maker.__name__: maker for maker in (car, scooter, truck, wheelbarrow, boat, rocket)}
