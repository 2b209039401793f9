"""Instruments, toys, and household things."""

from __future__ import annotations

from limner.world.objects.pen import (
    FINE,
    LINE,
    Maker,
    Shape,
    both,
    circle,
    flat,
    ink,
    line,
    merged,
    mirror,
    moved,
    oval,
    path,
    poly,
    rect,
    tube,
)


def _tilted(shapes: list[Shape], degrees: float, by: tuple[float, float]) -> list[Shape]:
    return [Shape(moved(s.path, (0.93, 0.93), degrees, by), s.fill, s.stroke, s.width) for s in shapes]


def guitar() -> list[Shape]:
    """A wide round body with a hole, the neck leaning to the right."""
    body = path(
        "M0 -32 C42 -42 60 -6 44 18 C42 26 48 30 58 38 C88 64 72 112 0 112 "
        "C-72 112 -88 64 -58 38 C-48 30 -42 26 -44 18 C-60 -6 -42 -42 0 -32 Z"
    )
    return _tilted(
        [
            ink(rect(-10, -84, 10, 0), "wood"),
            ink(path("M-20 -114 L20 -114 L15 -80 L-15 -80 Z"), "dark"),
            ink(body),
            flat(path("M-56 56 C-68 72 -58 98 -18 102 C-42 86 -48 70 -42 50 Z"), "light"),
            flat(circle(0, 30, 21), "ink"),
            line(path("M-28 78 L28 78"), "ink", 12),
        ],
        36,
        (9, -3),
    )


def violin() -> list[Shape]:
    """A pinched waist, sound holes, a dark neck, and the bow crossed behind it."""
    half = path("M0 -34 C46 -48 58 -8 40 4 C28 14 28 34 40 42 C74 58 58 97 0 96 Z")
    return [
        *tube(path("M-76 88 L76 -78"), "wood", 9),
        ink(rect(-9, -84, 9, -20), "wood"),
        *merged([half, mirror(half)]),
        flat(
            path("M-46 64 C-50 82 -30 90 -10 90 C-28 80 -32 70 -30 56 Z M-38 -22 C-42 -12 -38 -2 -30 2 L-24 -30 Z"),
            "light",
        ),
        flat(path("M36 -24 C42 -14 38 -4 28 0 L24 -32 Z M44 58 C54 76 36 90 14 90 C30 80 34 68 32 50 Z"), "dark"),
        line(both(path("M22 12 Q16 24 24 38")), "ink", 7),
        flat(poly(-7, -70, 7, -70, 10, 30, -10, 30), "ink"),
        flat(poly(-8, 56, 8, 56, 13, 84, -13, 84), "ink"),
        ink(circle(0, -84, 12), "dark"),
        line(path("M-20 -64 L20 -64"), "ink", 10),
    ]


def kite() -> list[Shape]:
    """A diamond of four panels with a tail of bows."""
    return [
        line(path("M0 40 C22 56 -20 68 2 98"), "ink", LINE),
        ink(both(path("M2 68 L30 56 L30 82 Z")), "light", FINE),
        ink(path("M0 -97 L72 -28 L0 54 L-72 -28 Z")),
        flat(path("M0 -86 L0 -28 L-60 -28 Z"), "light"),
        flat(path("M0 40 L0 -28 L60 -28 Z"), "dark"),
        line(path("M0 -94 L0 48 M-66 -28 L66 -28"), "ink", 5),
    ]


def balloon() -> list[Shape]:
    """An egg shape with a knot and a wavy string."""
    return [
        line(path("M0 46 C26 60 -22 74 4 98"), "ink", LINE),
        ink(path("M-13 54 L13 54 L0 34 Z"), "dark"),
        ink(path("M0 40 C-34 40 -64 2 -64 -36 C-64 -76 -36 -97 0 -97 C36 -97 64 -76 64 -36 C64 2 34 40 0 40 Z")),
        flat(path("M52 -40 C52 -6 26 26 -6 30 C48 28 62 -30 44 -68 Q52 -56 52 -40 Z"), "dark"),
        flat(oval(-30, -58, 13, 22, 28), "light"),
    ]


def clock() -> list[Shape]:
    """An alarm clock: two bells, two feet, a pale face."""
    return [
        *tube(both(path("M44 66 L62 86")), "dark", 10),
        ink(both(moved(path("M-28 0 C-28 -34 28 -34 28 0 Z"), degrees=42, by=(50, -62))), "dark"),
        line(path("M0 -60 L0 -84 M-14 -88 L14 -88"), "ink", 13),
        ink(circle(0, 10, 78)),
        flat(path("M-68 16 C-70 -28 -34 -56 0 -56 C-32 -48 -52 -20 -54 14 Z"), "light"),
        ink(circle(0, 10, 40), "cream", FINE),
        line(path("M0 -16 L0 12 L19 20"), "ink", 10),
    ]


def umbrella() -> list[Shape]:
    """An open canopy of three panels and a hooked handle."""
    return [
        line(path("M0 -96 L0 -70"), "ink", 15),
        *tube(path("M0 0 L0 72 C0 96 36 96 36 74"), "metal", 8),
        ink(
            path(
                "M-97 16 C-94 -48 -50 -82 0 -82 C50 -82 94 -48 97 16 Q80 -6 64 14 Q48 -6 32 14 "
                "Q16 -6 0 14 Q-16 -6 -32 14 Q-48 -6 -64 14 Q-80 -6 -97 16 Z"
            )
        ),
        flat(path("M0 -76 C-22 -54 -30 -30 -31 2 Q-16 -8 0 4 Q16 -8 31 2 C30 -30 22 -54 0 -76 Z"), "light"),
        flat(path("M20 -74 C54 -62 84 -36 90 2 Q76 -6 66 4 C62 -34 46 -58 20 -74 Z"), "dark"),
        line(path("M-32 10 C-30 -34 -20 -60 0 -78 C20 -60 30 -34 32 10"), "ink", FINE),
    ]


def cup() -> list[Shape]:
    """A mug with a handle on the right."""
    return [
        *tube(path("M48 -22 C96 -36 102 46 42 40"), "body", 17),
        ink(path("M-84 -58 L-70 66 Q-66 88 -44 88 L22 88 Q44 88 48 66 L60 -58 Z")),
        flat(path("M-76 -46 L-63 64 Q-60 80 -44 81 L-30 81 Q-44 70 -48 50 L-56 -46 Z"), "light"),
        flat(path("M52 -46 L42 64 Q38 80 20 81 L6 81 Q22 74 26 50 L32 -46 Z"), "dark"),
        ink(oval(-12, -62, 73, 22), "light"),
        flat(oval(-12, -60, 55, 11), "seed"),
    ]


def hat() -> list[Shape]:
    """A top hat with a band and a wide brim."""
    return [
        ink(path("M-97 52 C-97 32 -60 30 -44 32 L44 32 C60 30 97 32 97 52 C97 74 40 80 0 80 C-40 80 -97 74 -97 52 Z")),
        flat(path("M-86 58 Q0 84 86 58 Q70 72 0 73 Q-70 72 -86 58 Z"), "dark"),
        ink(path("M-62 -66 C-54 -30 -50 10 -52 44 Q0 62 52 44 C50 10 54 -30 62 -66 Q0 -88 -62 -66 Z")),
        flat(path("M-50 -60 C-42 -20 -42 0 -44 16 L-26 20 C-24 -10 -26 -40 -32 -64 Z"), "light"),
        ink(path("M-51 12 Q0 30 51 12 L52 44 Q0 62 -52 44 Z"), "cream"),
    ]


def house() -> list[Shape]:
    """A pitched roof, a door, a window, a chimney."""
    return [
        ink(rect(34, -84, 62, -20), "dark"),
        ink(rect(-70, -10, 70, 92)),
        flat(rect(-64, -2, 64, 14), "dark"),
        ink(path("M-97 4 L-4 -88 Q0 -92 4 -88 L97 4 Q97 10 90 10 L-90 10 Q-97 10 -97 4 Z"), "light"),
        ink(rect(-50, 32, -6, 92), "wood"),
        flat(circle(-17, 64, 5), "cream"),
        ink(rect(14, 32, 52, 66), "glass"),
        line(path("M33 32 L33 66"), "ink", FINE),
    ]


def box() -> list[Shape]:
    """An open carton seen from the front: a thick frame about a pale inside, where another thing can stand."""
    flap = path("M-95 -72 L-84 -97 L-14 -97 L-24 -72 Z")
    return [
        ink(flap, "dark"),
        ink(mirror(flap), "dark"),
        ink(rect(-96, -74, 96, 96, 3)),
        flat(path("M-91 78 L91 78 L91 91 L-91 91 Z"), "dark"),
        flat(path("M-91 -69 L91 -69 L91 -60 L-91 -60 Z"), "light"),
        ink(rect(-53, -46, 53, 62), "inside"),
    ]


THINGS: dict[str, Maker] = {
    maker.__name__: maker for maker in (guitar, violin, kite, balloon, clock, umbrella, cup, hat, house, box)
}
