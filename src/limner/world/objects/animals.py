"""Animals."""

from __future__ import annotations

from limner.world.objects.pen import (
    FINE,
    Maker,
    Shape,
    both,
    circle,
    eye,
    flat,
    ink,
    line,
    merged,
    mirror,
    oval,
    path,
    poly,
    tube,
)


def cat() -> list[Shape]:
    """Sits and looks at you: pointed ears, whiskers, a raised tail."""
    ear = path("M-60 -36 L-62 -92 Q-60 -98 -52 -93 L-10 -62 Z")
    return [
        *tube(path("M30 76 C66 84 86 66 80 34 Q78 22 84 10"), "body", 17),
        ink(path("M-44 92 Q-54 30 0 20 Q54 30 44 92 Z")),
        flat(oval(0, 74, 18, 20), "light"),
        *merged([oval(0, -24, 66, 46), ear, mirror(ear)]),
        flat(both(path("M-50 -58 L-51 -78 L-30 -64 Z")), "blush"),
        line(both(path("M-52 -8 L-92 -16 M-52 4 L-90 10")), "ink", FINE),
        *eye(-28, -28, 17),
        *eye(28, -28, 17),
        flat(poly(-9, -8, 9, -8, 0, 2), "ink"),
        line(path("M-16 6 Q-8 14 0 4 Q8 14 16 6"), "ink", FINE),
        line(path("M0 66 L0 90"), "ink", FINE),
    ]


def dog() -> list[Shape]:
    """Sits with long hanging ears, a pale muzzle, and its tongue out."""
    ear = path("M-40 -84 C-92 -92 -100 -40 -92 2 C-88 22 -60 20 -54 -4 Z")
    return [
        *tube(path("M40 74 Q74 66 80 36"), "body", 17),
        ink(path("M-46 94 Q-56 26 0 10 Q56 26 46 94 Z")),
        flat(oval(0, 62, 22, 26), "light"),
        ink(path("M0 -92 C46 -92 62 -60 58 -26 C54 14 30 24 0 24 C-30 24 -54 14 -58 -26 C-62 -60 -46 -92 0 -92 Z")),
        ink(ear, "dark"),
        ink(mirror(ear), "dark"),
        flat(oval(0, -4, 32, 22), "light"),
        ink(path("M-11 6 L11 6 L11 24 Q0 36 -11 24 Z"), "tongue", FINE),
        *eye(-26, -42, 16),
        *eye(26, -42, 16),
        flat(oval(0, -14, 16, 11), "ink"),
        line(path("M-22 2 Q-10 12 0 2 Q10 12 22 2"), "ink", FINE),
        line(path("M0 74 L0 92"), "ink", FINE),
    ]


def rabbit() -> list[Shape]:
    """Two tall ears above a round head."""
    ear = oval(-24, -58, 19, 40, -8)
    return [
        ink(circle(48, 70, 17), "light"),
        ink(oval(0, 62, 46, 34)),
        flat(oval(0, 72, 24, 20), "light"),
        ink(ear),
        ink(mirror(ear)),
        flat(both(oval(-24, -58, 8, 26, -8)), "blush"),
        ink(oval(0, 8, 50, 38)),
        *eye(-22, 0, 15),
        *eye(22, 0, 15),
        flat(oval(0, 14, 8, 6), "blush"),
        ink(path("M-9 24 L9 24 L9 38 L-9 38 Z"), "eye", 5),
        ink(both(oval(-24, 90, 20, 8)), "body", FINE),
    ]


def mouse() -> list[Shape]:
    """From the side: a low pointed body, one huge round ear, a long tail."""
    return [
        *tube(path("M58 50 C100 60 98 0 78 -4 C60 -8 58 -40 84 -44"), "blush", 8),
        ink(path("M-94 34 C-70 -14 -40 -40 6 -36 C60 -32 78 20 66 66 Q62 74 52 74 L-60 74 C-84 70 -92 52 -94 34 Z")),
        flat(path("M-70 50 Q-20 60 40 66 L-56 68 Q-66 62 -70 50 Z"), "light"),
        ink(circle(0, -44, 46)),
        flat(circle(0, -44, 27), "blush"),
        *eye(-46, 18, 15, -3),
        ink(circle(-88, 36, 11), "blush", FINE),
        ink(both(oval(-32, 78, 18, 9)), "body", FINE),
    ]


def bird() -> list[Shape]:
    """From the side: round, with a beak, a wing, and two legs."""
    return [
        line(path("M-8 66 L-8 94 M20 64 L20 94"), "ink", 15),
        line(path("M-8 66 L-8 90 M20 64 L20 90"), "beak", 6),
        ink(poly(-40, 10, -96, -20, -92, 34), "dark"),
        ink(poly(62, -50, 98, -30, 62, -14), "beak"),
        *merged([circle(34, -38, 44), oval(0, 24, 60, 48, -16)]),
        flat(oval(24, 44, 26, 20, -30), "light"),
        ink(path("M18 2 C6 60 -44 64 -72 30 C-44 30 -30 -2 18 2 Z"), "dark"),
        *eye(44, -44, 18, 3),
    ]


def fish() -> list[Shape]:
    """From the side: a spindle with a forked tail and two fins."""
    return [
        ink(path("M-30 -32 Q0 -86 40 -40 Z"), "dark"),
        ink(path("M-16 36 Q-12 74 22 68 L26 36 Z"), "dark"),
        ink(path("M-46 0 L-96 -52 Q-80 0 -96 52 Z"), "dark"),
        ink(path("M96 4 C70 -56 -10 -62 -60 0 C-10 62 70 60 96 4 Z")),
        flat(path("M74 28 C30 52 -10 40 -36 16 Q20 30 74 28 Z"), "light"),
        line(path("M26 -30 Q10 0 26 30"), "ink", FINE),
        line(path("M-14 -14 Q-22 0 -14 14"), "dark", 8),
        *eye(56, -12, 17, 3),
    ]


def snake() -> list[Shape]:
    """A thick winding body, the head up, a forked tongue."""
    body = path("M-88 82 C-40 96 76 98 76 62 C76 26 -62 50 -62 8 C-62 -24 0 -20 14 -36")
    return [
        *tube(body, "body", 32),
        line(path("M-40 86 L-36 86 M14 86 L18 85 M60 62 L60 60 M8 38 L4 38 M-40 24 L-42 20"), "light", 15),
        line(path("M62 -50 L84 -46 L96 -58 M84 -46 L94 -34"), "ink", 9),
        ink(path("M-8 -36 C-24 -78 10 -92 38 -84 C70 -76 84 -52 66 -38 C44 -22 8 -18 -8 -36 Z")),
        *eye(24, -62, 17, 3),
    ]


def turtle() -> list[Shape]:
    """From the side: a domed shell with plates, a head, and feet."""
    return [
        ink(poly(-70, 26, -98, 44, -66, 46), "light"),
        ink(path("M-56 34 L-24 34 L-24 66 Q-40 76 -56 66 Z"), "light"),
        ink(path("M16 34 L48 34 L48 66 Q32 76 16 66 Z"), "light"),
        ink(path("M40 34 Q56 6 54 -14 C54 -44 98 -44 96 -12 C96 10 80 12 70 42 Z"), "light"),
        ink(path("M-80 34 C-78 -76 56 -76 60 34 Z")),
        ink(path("M-86 32 Q-10 48 66 32 L62 50 Q-10 58 -82 50 Z"), "dark", FINE),
        flat(path("M-30 -18 L-10 -34 L10 -18 L4 10 L-24 10 Z"), "dark"),
        line(path("M-30 -18 L-58 -20 M10 -18 L38 -20 M-24 10 L-34 32 M4 10 L14 32 M-10 -34 L-10 -46"), "dark", 7),
        *eye(76, -16, 13, 3),
    ]


def bee() -> list[Shape]:
    """From the side: stripes, a sting, and two pale wings."""
    body = path("M-78 24 C-74 -26 -20 -36 16 -34 C64 -32 92 -6 92 22 C92 54 60 76 12 74 C-28 72 -72 62 -78 24 Z")
    return [
        line(path("M54 -30 Q56 -64 76 -66 M76 -20 Q84 -44 98 -42"), "ink", 9),
        ink(poly(-68, 14, -98, 26, -68, 38), "ink"),
        ink(oval(-26, -52, 24, 42, -26), "glass"),
        ink(oval(18, -56, 22, 40, 12), "glass"),
        ink(body),
        flat(path("M-50 -13 C-36 -26 -32 -24 -26 -28 C-38 14 -38 44 -26 70 L-50 60 C-58 30 -58 10 -50 -13 Z"), "ink"),
        flat(path("M-2 -34 L24 -33 C14 10 14 44 26 74 L0 74 C-10 40 -10 4 -2 -34 Z"), "ink"),
        *eye(62, 12, 17, 3),
        line(path("M50 46 Q64 54 74 42"), "ink", FINE),
    ]


def butterfly() -> list[Shape]:
    """Four wide wings seen from above."""
    upper = path("M-6 -6 C-20 -60 -70 -96 -92 -72 C-104 -50 -92 0 -60 10 Q-30 18 -6 4 Z")
    lower = path("M-6 4 C-50 4 -84 20 -76 56 C-70 92 -30 92 -14 54 Z")
    return [
        line(both(path("M-4 -46 Q-12 -78 -30 -86")), "ink", 9),
        ink(lower, "dark"),
        ink(mirror(lower), "dark"),
        ink(upper),
        ink(mirror(upper)),
        flat(both(circle(-62, -38, 17)), "light"),
        flat(both(circle(-48, 52, 12)), "light"),
        ink(oval(0, 10, 11, 52), "ink", 4),
        flat(circle(0, -44, 17), "ink"),
        flat(both(circle(6, -46, 5)), "eye"),
    ]


def octopus() -> list[Shape]:
    """A big round head over a fan of curling arms."""
    outer = path("M-40 30 C-60 50 -82 50 -88 26")
    middle = path("M-26 40 C-36 80 -64 92 -82 74")
    inner = path("M-10 44 C-12 70 -18 84 -36 88")
    arms: list[Shape] = []
    for arm in (outer, middle, inner):
        arms += tube(arm, "body", 17) + tube(mirror(arm), "body", 17)
    return [
        *arms,
        ink(path("M0 -96 C58 -96 76 -48 62 -10 C52 16 56 34 40 46 Q0 62 -40 46 C-56 34 -52 16 -62 -10 C-76 -48 -58 -96 0 -96 Z")),
        flat(path("M-46 -50 Q-40 -78 -14 -82 Q-30 -66 -34 -46 Z"), "light"),
        *eye(-25, -14, 19),
        *eye(25, -14, 19),
        line(path("M-18 20 Q0 36 18 20"), "ink", FINE),
    ]


ANIMALS: dict[str, Maker] = {
    maker.__name__: maker
    for maker in (cat, dog, rabbit, mouse, bird, fish, snake, turtle, bee, butterfly, octopus)
}
