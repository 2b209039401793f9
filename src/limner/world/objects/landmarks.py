"""Landmarks of the world."""

from __future__ import annotations

from limner.world.objects.pen import FINE, Maker, Shape, both, flat, ink, line, path, poly, rect


def opera_house() -> list[Shape]:
    """Four sail roofs on a wide base, as at Sydney; the sails lean to the right."""
    return [
        ink(path("M16 52 C24 -10 46 -34 97 -38 C82 -6 90 26 90 52 Z"), "dark"),
        ink(path("M-26 52 C-26 -40 2 -78 58 -88 C32 -36 42 12 44 52 Z")),
        ink(path("M-62 52 C-66 -20 -42 -56 6 -68 C-14 -20 -6 22 -4 52 Z"), "light"),
        ink(path("M-92 52 C-98 4 -80 -24 -44 -34 C-56 2 -42 30 -40 52 Z")),
        ink(rect(-97, 50, 97, 78, 3)),
        flat(rect(-90, 64, 90, 73), "dark"),
    ]


def tower() -> list[Shape]:
    """A tapering tower on four spread legs, as in Paris."""
    return [
        ink(path("M-14 -97 L14 -97 L20 -34 L-20 -34 Z")),
        ink(path("M-24 -26 L24 -26 L42 28 L-42 28 Z")),
        ink(path("M-44 36 L44 36 Q56 72 88 94 L36 94 Q30 64 0 62 Q-30 64 -36 94 L-88 94 Q-56 72 -44 36 Z")),
        flat(both(path("M12 -22 L20 -22 L36 24 L22 24 Z M6 -92 L10 -92 L15 -40 L8 -40 Z")), "dark"),
        flat(both(path("M42 62 Q56 82 70 89 L42 89 Q38 74 30 64 Z")), "dark"),
        ink(path("M-12 18 Q0 -18 12 18 Z"), "ink", 3),
        ink(rect(-34, -42, 34, -24, 2), "light"),
        ink(rect(-58, 24, 58, 44, 2), "light"),
    ]


def pyramid() -> list[Shape]:
    """A wide four-sided stone pyramid seen from a corner; the right face lies in shadow."""
    return [
        ink(path("M-18 -70 L97 40 L24 78 L-97 48 Z")),
        flat(path("M-15 -60 L89 40 L26 72 Z"), "dark"),
        line(path("M-40 -28 L-2 -20 L12 -36 M-66 6 L10 22 L46 0"), "ink", FINE),
        line(path("M-30 -4 L-30 -2 M-62 34 L-60 34 M-18 44 L-16 44 M-20 -48 L-20 -46"), "light", 11),
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
