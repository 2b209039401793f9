"""Plants, plain shapes, and the sky."""

from __future__ import annotations

import math

from limner.world.objects.pen import (
    FINE,
    LINE,
    Maker,
    Shape,
    both,
    circle,
    face,
    flat,
    ink,
    line,
    merged,
    moved,
    oval,
    path,
    poly,
    tube,
)


def apple() -> list[Shape]:
    """Two lobes, a stem, and a leaf."""
    return [
        ink(
            path(
                "M0 -40 C24 -66 86 -60 86 2 C86 54 50 94 24 92 Q10 92 0 86 Q-10 92 -24 92 "
                "C-50 94 -86 54 -86 2 C-86 -60 -24 -66 0 -40 Z"
            )
        ),
        flat(path("M-64 4 C-66 -24 -50 -36 -36 -36 C-50 -16 -50 -4 -50 14 Q-62 18 -64 4 Z"), "light"),
        flat(path("M70 10 C66 50 42 76 22 78 C48 62 58 40 58 6 Z"), "dark"),
        *tube(path("M0 -42 Q-2 -66 -14 -80"), "wood", 8),
        ink(path("M4 -62 C8 -96 42 -98 62 -92 C58 -66 32 -50 4 -62 Z"), "leaf"),
    ]


def banana() -> list[Shape]:
    """A wide curved fruit, its ends up."""
    return [
        ink(path("M-88 -62 C-64 -10 -10 16 70 4 L92 10 C96 22 96 32 90 40 C30 106 -96 70 -98 -56 Z")),
        flat(path("M-86 -26 C-60 44 10 68 82 36 C24 92 -70 66 -86 -26 Z"), "dark"),
        line(path("M-72 -16 C-50 18 0 38 56 26"), "light", 10),
        ink(poly(-97, -82, -78, -84, -76, -52, -96, -46), "seed"),
        ink(poly(80, 8, 97, 10, 98, 34, 82, 38), "seed", FINE),
    ]


def flower() -> list[Shape]:
    """Six petals about a cream centre, on a stem with a leaf on each side."""
    petals = [moved(oval(0, -42, 29, 30), degrees=60 * i, by=(0, -22)) for i in range(6)]
    return [
        *tube(path("M0 30 L0 90"), "leaf", 8),
        ink(both(path("M4 88 C12 58 36 56 54 62 C48 84 28 94 4 88 Z")), "leaf", FINE),
        *[Shape(petal, "ink", "ink", 1.6 * LINE) for petal in petals],
        *[ink(petal, width=5) for petal in petals],
        *[flat(moved(oval(0, -52, 11, 13), degrees=60 * i, by=(0, -22)), "light") for i in range(6)],
        ink(circle(0, -22, 21), "cream", FINE),
        flat(both(circle(7, -26, 4)), "ink"),
        line(path("M-7 -16 Q0 -10 7 -16"), "ink", 5),
    ]


def mushroom() -> list[Shape]:
    """A half-round spotted cap on a thick stem."""
    return [
        ink(path("M-36 8 C-30 40 -42 66 -46 80 Q-46 94 -28 94 L28 94 Q46 94 46 80 C42 66 30 40 36 8 Z"), "cream"),
        ink(path("M-94 14 C-96 -60 -44 -92 0 -92 C44 -92 96 -60 94 14 Q94 28 80 28 L-80 28 Q-94 28 -94 14 Z")),
        flat(path("M-86 12 Q0 26 86 12 L84 22 L-84 22 Z"), "dark"),
        flat(oval(4, -52, 25, 21), "light"),
        flat(both(oval(-58, -12, 17, 19)), "light"),
        flat(oval(8, -4, 13, 9), "light"),
        flat(both(oval(12, 54, 6, 8)), "ink"),
        line(path("M-10 68 Q0 77 10 68"), "ink", FINE),
    ]


def tree() -> list[Shape]:
    """A lobed crown on a brown trunk."""
    return [
        ink(path("M-14 20 L-14 72 Q-18 88 -32 94 L32 94 Q18 88 14 72 L14 20 Z"), "wood"),
        *merged([circle(-48, -4, 44), circle(48, -4, 44), circle(0, -48, 46), oval(0, 8, 44, 34)]),
        flat(
            path(
                "M-82 8 C-60 36 -36 30 -24 16 C-6 42 22 42 32 16 C48 34 72 24 84 8 C78 44 46 44 34 30 "
                "C14 50 -18 48 -30 30 C-50 44 -76 40 -82 8 Z"
            ),
            "dark",
        ),
        flat(oval(-14, -66, 17, 11, -20), "light"),
        flat(oval(-56, -22, 13, 9, -30), "light"),
        flat(oval(46, -24, 13, 9, 20), "light"),
    ]


def triangle() -> list[Shape]:
    """Equal sides, with a face."""
    return [
        ink(path("M-8 -86 Q0 -98 8 -86 L94 66 Q100 80 86 80 L-86 80 Q-100 80 -94 66 Z")),
        flat(path("M-4 -72 L-44 24 L-58 24 Z"), "light"),
        flat(path("M-84 72 L84 72 L76 58 L-76 58 Z"), "dark"),
        *face(12, 22, 11),
    ]


def square() -> list[Shape]:
    """A plain square with a face."""
    return [
        ink(poly(-84, -84, 84, -84, 84, 84, -84, 84)),
        flat(poly(-70, -70, -30, -70, -30, -58, -58, -58, -58, -30, -70, -30), "light"),
        flat(poly(-78, 60, 78, 60, 78, 78, -78, 78), "dark"),
        *face(-8, 30, 13),
    ]


def hexagon() -> list[Shape]:
    """Six equal sides, points to the left and right, with a face."""
    corners = [(96 * math.cos(math.radians(60 * i)), 96 * math.sin(math.radians(60 * i))) for i in range(6)]
    return [
        ink(poly(*[n for corner in corners for n in corner])),
        flat(poly(-44, 74, 44, 74, 54, 56, -54, 56), "dark"),
        flat(poly(-42, -72, -82, -2, -68, -2, -34, -60, 0, -60, 0, -72), "light"),
        *face(-8, 28, 13),
    ]


def heart() -> list[Shape]:
    """A plump heart."""
    return [
        ink(path("M0 90 C-50 52 -94 18 -94 -30 C-94 -84 -24 -98 0 -46 C24 -98 94 -84 94 -30 C94 18 50 52 0 90 Z")),
        flat(path("M6 76 C48 42 82 14 84 -26 C68 14 36 40 -2 68 Z"), "dark"),
        flat(oval(-50, -46, 22, 15, -38), "light"),
    ]


def star() -> list[Shape]:
    """Five points, with a face."""
    numbers: list[float] = []
    for i in range(10):
        radius = 98 if i % 2 == 0 else 50
        angle = math.radians(36 * i - 90)
        numbers += [radius * math.cos(angle), radius * math.sin(angle) + 6]
    return [
        ink(poly(*numbers)),
        flat(path("M-4 -70 L-22 -26 L-66 -22 L-24 -14 L-8 -28 Z"), "light"),
        flat(poly(-48, 74, 0, 44, 48, 74, 40, 50, 0, 30, -40, 50), "dark"),
        *face(-4, 19, 11),
    ]


def moon() -> list[Shape]:
    """A fat crescent open to the right."""
    return [
        ink(
            path(
                "M46 -84 C-20 -110 -92 -62 -92 2 C-92 70 -16 114 54 80 C66 74 66 64 54 62 "
                "C-16 48 -20 -44 44 -64 C56 -68 58 -78 46 -84 Z"
            )
        ),
        flat(
            path("M-82 4 C-80 58 -20 96 36 78 C-24 84 -62 50 -60 -8 C-60 -40 -50 -56 -36 -74 C-68 -56 -82 -30 -82 4 Z"),
            "dark",
        ),
        flat(circle(-28, -40, 11), "light"),
        flat(circle(-36, 22, 14), "light"),
        flat(circle(0, 62, 9), "light"),
    ]


def cloud() -> list[Shape]:
    """Round heaps on a flat base, with a face."""
    return [
        *merged(
            [
                circle(-54, 14, 38),
                circle(58, 18, 34),
                circle(-14, -20, 46),
                circle(34, -8, 36),
                path("M-54 14 L58 14 L58 52 L-54 52 Z"),
            ]
        ),
        flat(path("M-88 26 Q-60 44 -34 32 Q-4 50 22 34 Q56 48 90 24 Q88 52 58 52 L-54 52 Q-84 52 -88 26 Z"), "dark"),
        flat(oval(-30, -44, 18, 11, -25), "light"),
        *face(-2, 22, 11),
    ]


NATURE: dict[str, Maker] = {
    maker.__name__: maker
    for maker in (apple, banana, flower, mushroom, tree, triangle, square, hexagon, heart, star, moon, cloud)
}
