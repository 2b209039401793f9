"""The picture world's nouns: kinds, colours, backgrounds, and scenes as exact, hashable values.

A scene is a background and a few things on a square canvas of 64 x 64 units (the picture may be drawn at any
size). All numbers are integers in those units, so a scene can be compared, hashed, and written to JSON without
loss. ``arrange`` is the one place that knows where things may stand: it turns a list of (kind, colour) and a
layout name into a scene, with the small discrete variation (shift, size, mirror) that group methods need.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

CANVAS = 64

COLOURS: tuple[str, ...] = (
    "red",
    "orange",
    "yellow",
    "green",
    "blue",
    "purple",
    "pink",
    "brown",
    "black",
    "white",
)

BACKGROUNDS: tuple[str, ...] = (
    "plain",
    "day",
    "night",
    "sunrise",
    "snow",
    "sea",
    "desert",
    "room",
    "forest",
    "rain",
)

Layout = Literal["copies", "row", "column", "inside", "trio"]


@dataclass(frozen=True)
class Kind:
    """One sort of thing. ``symmetric`` things look the same mirrored, so they are never flipped."""

    name: str
    plural: str
    family: str
    symmetric: bool


def _kinds() -> dict[str, Kind]:
    table = {
        "animal": "cat- dog- rabbit mouse:mice- bird- fish:fish- snake- turtle- bee- "
        "butterfly:butterflies octopus:octopuses",
        "plant": "apple- banana- flower mushroom tree",
        "shape": "triangle square hexagon heart star",
        "vehicle": "car- scooter- truck- wheelbarrow- boat- rocket",
        "instrument": "guitar- violin-",
        "toy": "kite- balloon",
        "thing": "clock umbrella cup- hat house- box:boxes",
        "sky": "moon- cloud",
        "landmark": "opera_house- tower pyramid pagoda",
    }
    kinds = {}
    for family, words in table.items():
        for word in words.split():
            symmetric = not word.endswith("-")  # a trailing dash marks kinds that look different mirrored
            name, _, plural = word.rstrip("-").replace("_", " ").partition(":")
            kinds[name] = Kind(name, plural or f"{name}s", family, symmetric)
    return kinds


KINDS: dict[str, Kind] = _kinds()
CONTAINER = "box"  # the only kind that another thing can stand inside of


@dataclass(frozen=True, order=True)
class Thing:
    """One drawn thing: centre (x, y), half its side, and whether it is mirrored left to right; all in canvas units."""

    y: int
    x: int
    half: int
    kind: str
    colour: str
    flip: bool = False


@dataclass(frozen=True)
class Scene:
    """A background and things, sorted from top to bottom and left to right. Containers come before their content."""

    background: str
    things: tuple[Thing, ...]

    def __post_init__(self) -> None:
        if self.background not in BACKGROUNDS:
            raise ValueError(f"no background called {self.background!r}; there are: {', '.join(BACKGROUNDS)}")
        for thing in self.things:
            if thing.kind not in KINDS:
                raise ValueError(f"no kind called {thing.kind!r}; there are: {', '.join(KINDS)}")
            if thing.colour not in COLOURS:
                raise ValueError(f"no colour called {thing.colour!r}; there are: {', '.join(COLOURS)}")
        canonical = tuple(replace(thing, flip=False) if KINDS[thing.kind].symmetric else thing for thing in self.things)
        order = sorted(canonical, key=lambda thing: (thing.kind != CONTAINER, thing))
        object.__setattr__(self, "things", tuple(order))

    def to_json(self) -> dict[str, Any]:
        """The scene as plain JSON values."""
        things = [
            {"kind": t.kind, "colour": t.colour, "x": t.x, "y": t.y, "half": t.half, "flip": t.flip}
            for t in self.things
        ]
        return {"background": self.background, "things": things}

    @staticmethod
    def from_json(value: dict[str, Any]) -> Scene:
        """The scene that ``to_json`` wrote."""
        return Scene(value["background"], tuple(Thing(**thing) for thing in value["things"]))


# Centres of the slots of each layout, and the two sizes (half sides) that things may have there. A thing that stands
# equally on a grid of 8 x 8 units is written by a codec of such patches in equal codes: centres therefore share their
# remainders by 8 (0 for large and middling things, 4 for small ones, and 0 across for those in the middle).
SLOTS: dict[str, tuple[tuple[tuple[int, int], ...], tuple[int, int]]] = {
    "copies1": (((32, 32),), (23, 19)),
    "copies2": (((16, 32), (48, 32)), (13, 12)),
    "copies3": (((16, 16), (48, 16), (32, 48)), (13, 12)),
    "copies4": (((16, 16), (48, 16), (16, 48), (48, 48)), (13, 12)),
    "copies5": (((12, 20), (32, 20), (52, 20), (20, 44), (44, 44)), (10, 9)),
    "copies6": (((12, 20), (32, 20), (52, 20), (12, 44), (32, 44), (52, 44)), (10, 9)),
    "row": (((16, 32), (48, 32)), (13, 12)),
    "column": (((32, 16), (32, 48)), (13, 12)),
    "inside": (((32, 32), (32, 34)), (25, 11)),  # the container's half, then the content's
    "trio": (((12, 36), (32, 36), (52, 36)), (10, 9)),
}
SHIFTS: tuple[int, ...] = (-1, 0, 1)  # small enough to leave the layout readable, enough for groups to differ


def arrange(
    layout: Layout,
    things: list[tuple[str, str]],
    background: str,
    *,
    shift: tuple[int, int] = (0, 0),
    small: bool = False,
    flips: tuple[bool, ...] = (),
) -> Scene:
    """Put (kind, colour) pairs on the canvas.

    ``layout`` is ``copies`` (1-6 equal things), ``row`` (left to right), ``column`` (top to bottom), ``inside`` (the
    container first, then its content) or ``trio`` (three in a row). ``shift`` moves everything by whole units of
    ``SHIFTS``; ``small`` takes the second size; ``flips`` mirrors single things (missing ones are not mirrored).
    """
    name = f"copies{len(things)}" if layout == "copies" else layout
    if name not in SLOTS or len(SLOTS[name][0]) != len(things):
        raise ValueError(f"layout {layout!r} cannot hold {len(things)} things")
    if layout == "inside" and (things[0][0] != CONTAINER or things[1][0] == CONTAINER):
        raise ValueError(f"inside wants a {CONTAINER} first and another kind second, got {things}")
    slots, sizes = SLOTS[name]
    placed = []
    for i, ((kind, colour), (x, y)) in enumerate(zip(things, slots, strict=True)):
        half = sizes[i] if layout == "inside" else sizes[small]
        flip = flips[i] if i < len(flips) else False
        placed.append(Thing(y + shift[1], x + shift[0], half, kind, colour, flip))
    return Scene(background, tuple(placed))


def random_scene(rng: Any) -> Scene:
    """A scene of any layout with random contents; ``rng`` is a ``random.Random``. Used for codecs and readers.

    Layouts with many small things are over-represented on purpose: they are what a codec finds hardest.
    """
    kinds = [kind for kind in KINDS]
    background = rng.choice(BACKGROUNDS)

    def one(*exclude: str) -> tuple[str, str]:
        return rng.choice([kind for kind in kinds if kind not in exclude]), rng.choice(COLOURS)

    choice = rng.random()
    layout: Layout
    if choice < 0.60:
        layout, things = "copies", [one()] * rng.choice((1, 2, 3, 4, 4, 5, 5, 6, 6))
    elif choice < 0.75:
        layout, things = "row", [one(), one()]
    elif choice < 0.87:
        layout, things = "column", [one(), one()]
    elif choice < 0.92:
        layout, things = "inside", [(CONTAINER, rng.choice(COLOURS)), one(CONTAINER)]
    else:
        layout, things = "trio", [one(), one(), one()]
    shift = (rng.choice(SHIFTS), rng.choice(SHIFTS))
    small = False if layout == "inside" else rng.random() < 0.3
    flip = rng.random() < 0.5
    flips = tuple(flip if layout == "copies" else rng.random() < 0.5 for _ in things)
    return arrange(layout, things, background, shift=shift, small=small, flips=flips)
