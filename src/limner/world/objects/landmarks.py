"""Landmarks of the world."""

from __future__ import annotations

from limner.world.objects.pen import FINE, Maker, Shape, both, flat, ink, line, path, poly, rect


def opera_house() -> list[Shape]:
    """White-sail roofs on a wide base, as at Sydney; the sails lean to the left."""
    return [
        ink(path("M44 50 C54 10 60 -4 98 -8 C88 20 92 36 92 50 Z"), "dark"),
        ink(path("M8 50 C14 -20 34 -44 74 -52 C56 -10 60 26 60 50 Z")),
        ink(path("M-34 50 C-34 -40 -10 -76 36 -88 C12 -34 22 14 22 50 Z"), "light"),
        ink(path("M-66 50 C-70 -20 -52 -46 -14 -58 C-30 -14 -22 22 -22 50 Z")),
        ink(path("M-90 50 C-98 14 -84 -14 -58 -26 C-66 6 -56 30 -56 50 Z"), "dark"),
        ink(rect(-98, 50, 98, 76, 3)),
        flat(rect(-90, 62, 90, 71), "dark"),
    ]


def tower() -> list[Shape]:
    """A lattice tower on four spread legs, as in Paris."""
    return [
        ink(path("M-11 -98 L11 -98 L15 -34 L-15 -34 Z")),
        ink(path("M-17 -26 L17 -26 L32 28 L-32 28 Z")),
        ink(path("M-34 36 L34 36 Q46 72 74 94 L34 94 Q26 62 0 60 Q-26 62 -34 94 L-74 94 Q-46 72 -34 36 Z")),
        flat(both(path("M14 -22 L26 22 L16 22 L8 -22 Z")), "dark"),
        line(path("M-10 -18 L12 18 M10 -18 L-12 18"), "ink", FINE),
        flat(both(path("M44 66 Q54 82 62 89 L42 89 Q38 74 30 64 Z")), "dark"),
        ink(rect(-26, -40, 26, -26, 2), "light"),
        ink(rect(-46, 26, 46, 42, 2), "light"),
    ]


def pyramid() -> list[Shape]:
    """A wide stepped stone pyramid; the right face lies in shadow."""
    rows = [(20, -84, -52), (40, -52, -20), (60, -20, 12), (80, 12, 44), (98, 44, 80)]
    left = [n for half, top, bottom in rows for n in (-half, top, -half, bottom)]
    right = [n for half, top, bottom in reversed(rows) for n in (half, bottom, half, top)]
    shadow = [n for half, top, bottom in reversed(rows) for n in (half - 4, bottom - 4, half - 4, top + 4)]
    return [
        ink(poly(*left, *right)),
        flat(poly(30, 76, *shadow, 4, -80), "dark"),
        line(path("M-40 -20 L40 -20 M-60 12 L60 12 M-80 44 L80 44 M-20 -52 L20 -52"), "ink", FINE),
        line(path("M-34 -8 L-34 0 M-50 28 L-50 32 M-20 28 L-20 32 M-70 60 L-70 64 M-34 60 L-34 64"), "light", 9),
    ]


def pagoda() -> list[Shape]:
    """Three curved roofs, each wider than the one above."""
    return [
        line(path("M0 -97 L0 -70"), "ink", 14),
        ink(rect(-24, -52, 24, -20), "light"),
        ink(path("M0 -82 Q-22 -60 -56 -54 Q-58 -40 -46 -38 L46 -38 Q58 -40 56 -54 Q22 -60 0 -82 Z")),
        ink(rect(-36, -10, 36, 30), "light"),
        ink(path("M-28 -26 Q-44 -4 -76 0 Q-80 16 -66 18 L66 18 Q80 16 76 0 Q44 -4 28 -26 Z")),
        ink(rect(-50, 40, 50, 92), "light"),
        ink(path("M-40 30 Q-58 50 -95 54 Q-100 70 -86 74 L86 74 Q100 70 95 54 Q58 50 40 30 Z")),
        flat(both(poly(0, -44, 46, -44, 40, -50, 0, -50)), "dark"),
        flat(both(poly(0, 12, 66, 12, 60, 5, 0, 5)), "dark"),
        ink(rect(-14, 62, 14, 92), "ink", 2),
    ]


LANDMARKS: dict[str, Maker] = {
    "opera house": opera_house,
    "tower": tower,
    "pyramid": pyramid,
    "pagoda": pagoda,
}
