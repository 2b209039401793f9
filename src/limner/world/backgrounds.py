"""Backgrounds: flat bands that say where and when, with ornaments only at the edges. Canvas units, 0 to 64."""

from __future__ import annotations

from limner.world.objects.pen import Drawing, Shape, circle, flat, line, path, rect

RGB = tuple[int, int, int]

# The colours of each background, by role; the first is the ground that everything else is painted on.
BANDS: dict[str, dict[str, RGB]] = {
    "plain": {"ground": (216, 184, 222)},
    "day": {"ground": (140, 205, 250), "grass": (178, 216, 112), "sun": (255, 240, 165)},
    "night": {"ground": (32, 38, 110), "hill": (52, 62, 144)},
    "sunrise": {"ground": (240, 140, 140), "glow": (255, 184, 138), "core": (255, 224, 150), "field": (126, 84, 128)},
    "snow": {"ground": (150, 172, 206), "drift": (176, 202, 236), "flake": (236, 244, 255)},
    "sea": {"ground": (150, 228, 230), "water": (32, 144, 176), "wave": (96, 196, 208)},
    "desert": {"ground": (255, 226, 164), "dune": (238, 192, 116), "near": (222, 170, 96)},
    "room": {"ground": (190, 196, 148), "stripe": (176, 184, 132), "board": (142, 150, 104), "floor": (200, 152, 118)},
    "forest": {"ground": (44, 104, 74), "trunk": (66, 128, 88), "floor": (98, 122, 62)},
    "rain": {"ground": (126, 138, 156), "drop": (168, 186, 208), "wet": (106, 120, 142)},
}


def background_drawing(name: str) -> Drawing:
    """The display list of a background in canvas units; fills are the names in ``BANDS[name]``."""
    if name not in BANDS:
        raise ValueError(f"no background called {name!r}; there are: {', '.join(BANDS)}")
    whole = flat(rect(-1, -1, 65, 65), "ground")
    extras: dict[str, list[Shape]] = {
        "plain": [],
        "day": [flat(circle(64, 0, 10), "sun"), flat(path("M-1 46 Q32 42 65 46 L65 65 L-1 65 Z"), "grass")],
        "night": [flat(path("M-1 50 Q14 40 34 48 Q50 54 65 46 L65 65 L-1 65 Z"), "hill")],
        "sunrise": [
            flat(circle(32, 52, 38), "glow"),
            flat(circle(32, 52, 24), "core"),
            flat(rect(-1, 50, 65, 65), "field"),
        ],
        "snow": [
            flat(path("M-1 40 Q18 34 38 40 Q52 44 65 38 L65 65 L-1 65 Z"), "drift"),
            *[
                flat(circle(x, y, 1.5), "flake")
                for x, y in ((4, 4), (22, 3), (42, 4), (60, 3), (3, 32), (32, 31), (61, 32))
            ],
        ],
        "sea": [
            flat(rect(-1, 20, 65, 65), "water"),
            *[
                line(
                    path(f"M-2 {y} Q6 {y - 4} 14 {y} Q22 {y + 4} 30 {y} Q38 {y - 4} 46 {y} Q54 {y + 4} 66 {y}"),
                    "wave",
                    2.2,
                )
                for y in (32, 60)
            ],
        ],
        "desert": [
            flat(path("M-1 36 Q16 22 36 34 Q52 42 65 30 L65 65 L-1 65 Z"), "dune"),
            flat(path("M-1 56 Q24 44 65 58 L65 65 L-1 65 Z"), "near"),
        ],
        "room": [
            *[flat(rect(x, -1, x + 8, 46), "stripe") for x in (0, 16, 32, 48)],
            flat(rect(-1, 46, 65, 49), "board"),
            flat(rect(-1, 49, 65, 65), "floor"),
        ],
        "forest": [
            *[flat(rect(x, -1, x + 5, 54), "trunk") for x in (3, 18, 30, 45, 57)],
            flat(rect(-1, 53, 65, 65), "floor"),
        ],
        "rain": [
            flat(rect(-1, 54, 65, 65), "wet"),
            *[
                line(path(f"M{x} {y} L{x - 3} {y + 7}"), "drop", 1.6)
                for x, y in (
                    (6, 1),
                    (22, 1),
                    (38, 1),
                    (54, 1),
                    (3, 28),
                    (20, 29),
                    (42, 28),
                    (63, 29),
                    (14, 56),
                    (32, 56),
                    (50, 56),
                )
            ],
        ],
    }
    return (whole, *extras[name])
