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
    ear = oval(-28, -56, 24, 42, -8)
    return [
        ink(circle(56, 66, 19), "light"),
        ink(oval(0, 64, 54, 32)),
        flat(oval(0, 78, 26, 16), "light"),
        ink(ear),
        ink(mirror(ear)),
        flat(both(oval(-28, -56, 9, 26, -8)), "blush"),
        ink(oval(0, 10, 64, 44)),
        *eye(-28, 0, 17),
        *eye(28, 0, 17),
        flat(oval(0, 17, 10, 7), "blush"),
        flat(path("M-9 27 L9 27 L9 42 L-9 42 Z"), "eye"),
        line(path("M0 24 L0 42"), "ink", 4),
    ]


def mouse() -> list[Shape]:
    """From the side: a low pointed body, one huge round ear, a long tail."""
    return [
        *tube(path("M58 56 C96 60 100 10 82 0 C66 -10 68 -36 88 -44"), "body", 9),
        ink(path("M-94 34 C-70 -14 -40 -40 6 -36 C60 -32 78 20 66 66 Q62 74 52 74 L-60 74 C-84 70 -92 52 -94 34 Z")),
        flat(path("M-70 50 Q-20 60 40 66 L-56 68 Q-66 62 -70 50 Z"), "light"),
        ink(circle(0, -44, 46)),
        flat(circle(0, -44, 22), "blush"),
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
    """From the side: a tall spindle with a forked tail and two fins."""
    return [
        ink(path("M-30 -34 Q0 -96 48 -44 Z"), "dark"),
        ink(path("M-16 40 Q-12 86 30 76 L30 40 Z"), "dark"),
        ink(path("M-46 0 L-96 -58 Q-76 0 -96 58 Z"), "dark"),
        ink(path("M97 6 C76 -70 -14 -76 -64 0 C-14 76 76 72 97 6 Z")),
        flat(path("M76 34 C30 62 -10 50 -38 18 Q20 38 76 34 Z"), "light"),
        line(path("M22 -30 Q6 0 22 30 M-14 -16 Q-24 0 -14 16"), "dark", 9),
        *eye(56, -12, 19, 3),
    ]


def snake() -> list[Shape]:
    """A thick winding body, the head up, a forked tongue."""
    body = path("M-78 76 C-40 84 74 86 74 54 C74 20 -62 46 -62 6 C-62 -24 0 -20 14 -36")
    return [
        *tube(body, "body", 32),
        line(path("M-40 79 L-36 79 M14 78 L18 77 M60 56 L60 54 M8 33 L4 33 M-42 20 L-44 16"), "light", 15),
        line(path("M62 -50 L84 -46 L96 -58 M84 -46 L94 -34"), "ink", 9),
        ink(path("M-8 -36 C-24 -78 10 -92 38 -84 C70 -76 84 -52 66 -38 C44 -22 8 -18 -8 -36 Z")),
        *eye(24, -62, 17, 3),
    ]


def turtle() -> list[Shape]:
    """From the side: a domed shell with plates, a head, and feet."""
    return [
        ink(poly(-70, 36, -98, 56, -66, 56), "light"),
        ink(path("M-60 44 L-24 44 L-24 78 Q-42 90 -60 78 Z"), "light"),
        ink(path("M12 44 L48 44 L48 78 Q30 90 12 78 Z"), "light"),
        ink(path("M40 46 Q54 10 50 -14 C50 -50 98 -50 97 -12 C96 14 80 18 72 52 Z"), "light"),
        ink(path("M-84 46 C-84 -100 54 -100 60 46 Z")),
        ink(path("M-90 42 Q-10 58 68 42 L64 60 Q-10 70 -86 60 Z"), "dark", FINE),
        flat(path("M-34 -26 L-12 -46 L10 -26 L4 10 L-28 10 Z"), "dark"),
        line(path("M-34 -26 L-64 -22 M10 -26 L38 -22 M-28 10 L-38 38 M4 10 L14 38 M-12 -46 L-12 -60"), "dark", 8),
        *eye(74, -14, 15, 3),
    ]


def bee() -> list[Shape]:
    """From the side: stripes, a sting, and two pale wings."""
    body = path("M-80 24 C-76 -34 -20 -46 16 -44 C66 -42 96 -10 96 20 C96 56 62 86 12 84 C-28 82 -74 72 -80 24 Z")
    return [
        line(path("M58 -38 Q62 -70 82 -72"), "ink", 9),
        ink(poly(-70, 12, -98, 26, -70, 40), "ink"),
        ink(oval(-28, -58, 22, 36, -26), "glass"),
        ink(oval(14, -62, 20, 34, 12), "glass"),
        ink(body),
        flat(path("M-62 70 C-30 82 40 86 76 60 C50 70 -20 68 -70 44 Z"), "dark"),
        flat(path("M-50 -22 L-30 -35 C-40 14 -40 50 -28 78 L-48 70 C-58 34 -60 10 -50 -22 Z"), "ink"),
        flat(path("M-2 -44 L18 -44 C8 10 8 48 20 84 L0 84 C-10 44 -12 0 -2 -44 Z"), "ink"),
        *eye(60, 8, 18, 3),
        line(path("M48 46 Q64 56 76 42"), "ink", FINE),
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
    outer = path("M-40 30 C-60 48 -78 48 -84 28")
    middle = path("M-26 40 C-36 76 -60 84 -78 70")
    inner = path("M-10 44 C-12 66 -18 80 -34 84")
    arms: list[Shape] = []
    for arm in (outer, middle, inner):
        arms += tube(arm, "body", 17) + tube(mirror(arm), "body", 17)
    return [
        *arms,
        ink(
            path(
                "M0 -96 C58 -96 76 -48 62 -10 C52 16 56 34 40 46 Q0 62 -40 46 C-56 34 -52 16 -62 -10 "
                "C-76 -48 -58 -96 0 -96 Z"
            )
        ),
        flat(path("M-46 -50 Q-40 -78 -14 -82 Q-30 -66 -34 -46 Z"), "light"),
        *eye(-25, -14, 19),
        *eye(25, -14, 19),
        line(path("M-18 20 Q0 36 18 20"), "ink", FINE),
    ]


ANIMALS: dict[str, Maker] = {
    maker.__name__: maker for maker in (cat, dog, rabbit, mouse, bird, fish, snake, turtle, bee, butterfly, octopus)
}
