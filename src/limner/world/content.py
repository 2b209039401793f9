"""What a scene says, free of where exactly its things stand: the meaning that plans, captions and judges share."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any, cast

from limner.world.scene import BACKGROUNDS, COLOURS, CONTAINER, KINDS, SHIFTS, Layout, Scene, Thing, arrange

LAYOUTS: tuple[str, ...] = ("copies", "row", "column", "inside", "trio")


@dataclass(frozen=True)
class Content:
    """A layout, its (kind, colour) pairs in layout order, and a background.

    ``layout`` is one of ``LAYOUTS``, or ``other`` for an arrangement that no layout describes (only readings of
    pictures have it). Equal contents have equal plans; two equal things in a row are two copies.
    """

    layout: str
    things: tuple[tuple[str, str], ...]
    background: str

    def __post_init__(self) -> None:
        if self.layout == "row" and self.things[0] == self.things[1]:
            object.__setattr__(self, "layout", "copies")

    @staticmethod
    def of(scene: Scene) -> Content:
        """The content of a scene; placement decides the layout, small shifts and sizes do not matter."""
        layout, things = in_order(scene)
        return Content(layout, tuple((thing.kind, thing.colour) for thing in things), scene.background)

    def scene(self, rng: random.Random, *, vary: bool = True) -> Scene:
        """Draw up the content as a scene; with ``vary`` its shift, size and mirroring are random, else fixed."""
        if self.layout not in LAYOUTS:
            raise ValueError(f"a content with layout {self.layout!r} cannot be arranged; layouts: {', '.join(LAYOUTS)}")
        layout = cast(Layout, self.layout)
        if not vary:
            return arrange(layout, list(self.things), self.background)
        flip = rng.random() < 0.5
        flips = tuple(flip if layout == "copies" else rng.random() < 0.5 for _ in self.things)
        shift = (rng.choice(SHIFTS), rng.choice(SHIFTS))
        small = layout != "inside" and rng.random() < 0.3
        return arrange(layout, list(self.things), self.background, shift=shift, small=small, flips=flips)

    def to_json(self) -> dict[str, Any]:
        """The content as plain JSON values."""
        return {"layout": self.layout, "things": [list(pair) for pair in self.things], "background": self.background}

    @staticmethod
    def from_json(value: dict[str, Any]) -> Content:
        """The content that ``to_json`` wrote."""
        return Content(value["layout"], tuple((kind, colour) for kind, colour in value["things"]), value["background"])


def in_order(scene: Scene) -> tuple[str, tuple[Thing, ...]]:
    """The layout that a scene's placement shows (or ``other``), and its things in that layout's order."""
    things = scene.things
    layout = _layout(things, tuple((thing.kind, thing.colour) for thing in things))
    if layout in ("row", "trio"):
        return layout, tuple(sorted(things, key=lambda thing: thing.x))
    if layout == "column":
        return layout, tuple(sorted(things, key=lambda thing: thing.y))
    return layout, things


def copies(count: int, kind: str, colour: str, background: str = "plain") -> Content:
    """``count`` (1-6) equal things."""
    return Content("copies", ((kind, colour),) * count, background)


def random_content(rng: random.Random) -> Content:
    """Any content, all layouts and counts; used for captions, questions and edits."""
    kinds = tuple(KINDS)
    roll = rng.random()
    background = rng.choice(BACKGROUNDS)
    pair = (rng.choice(kinds), rng.choice(COLOURS))
    if roll < 0.55:
        return Content("copies", (pair,) * rng.choice((1, 1, 2, 3, 4, 5, 6)), background)
    other = (rng.choice(kinds), rng.choice(COLOURS))
    while other[0] == pair[0]:
        other = (rng.choice(kinds), rng.choice(COLOURS))
    if roll < 0.75:
        return Content("row", (pair, other), background)
    if roll < 0.90:
        return Content("column", (pair, other), background)
    if roll < 0.95:
        inner = pair if pair[0] != CONTAINER else other
        return Content("inside", ((CONTAINER, rng.choice(COLOURS)), inner), background)
    third = (rng.choice(kinds), rng.choice(COLOURS))
    while third[0] in (pair[0], other[0]):
        third = (rng.choice(kinds), rng.choice(COLOURS))
    return Content("trio", (pair, other, third), background)


def altered(content: Content, rng: random.Random) -> Content:
    """A content that differs in one respect: a kind, a colour, how many there are, who stands where, or what is
    behind. Where that makes the same content or none that can be arranged, another respect is tried."""
    while True:
        changed = _ALTERATIONS[rng.randrange(len(_ALTERATIONS))](content, rng)
        if changed is not None and changed != content:
            return changed


def _other_thing(content: Content, rng: random.Random) -> Content | None:
    i, kinds = rng.randrange(len(content.things)), {kind for kind, _ in content.things}
    if content.layout == "inside" and i == 0:
        return None
    kind = rng.choice([name for name in KINDS if name not in kinds and name != CONTAINER])
    return _with(content, i, (kind, content.things[i][1]))


def _other_colour(content: Content, rng: random.Random) -> Content | None:
    i = rng.randrange(len(content.things))
    kind, colour = content.things[i]
    return _with(content, i, (kind, rng.choice([name for name in COLOURS if name != colour])))


def _other_number(content: Content, rng: random.Random) -> Content | None:
    count = len(content.things) + rng.choice((-1, 1))
    return replace(content, things=content.things[:1] * count) if content.layout == "copies" and 0 < count < 7 else None


def _other_places(content: Content, rng: random.Random) -> Content | None:
    if content.layout in ("copies", "inside"):
        return None
    turned = {"row": "column", "column": "row"}.get(content.layout)
    if turned is not None and rng.random() < 0.5:
        return replace(content, layout=turned)
    return replace(content, things=content.things[::-1])


def _other_background(content: Content, rng: random.Random) -> Content | None:
    return replace(content, background=rng.choice(BACKGROUNDS))


def _with(content: Content, i: int, thing: tuple[str, str]) -> Content:
    """All copies change together."""
    if content.layout == "copies":
        return replace(content, things=(thing,) * len(content.things))
    return replace(content, things=(*content.things[:i], thing, *content.things[i + 1 :]))


_ALTERATIONS = (_other_thing, _other_colour, _other_number, _other_places, _other_background)


def _layout(things: tuple[Thing, ...], pairs: tuple[tuple[str, str], ...]) -> str:
    same = len(set(pairs)) == 1
    if not things:
        return "other"
    if len(things) == 1:
        return "copies"
    xs, ys = [thing.x for thing in things], [thing.y for thing in things]
    if len(things) == 2:
        wide, high = max(xs) - min(xs), max(ys) - min(ys)
        if max(wide, high) <= 6:
            holds = things[0].kind == CONTAINER != things[1].kind
            return "inside" if holds else "other"
        return "row" if wide > high else "column"
    if len(things) == 3 and max(ys) - min(ys) <= 6:
        return "trio"
    return "copies" if same and len(things) <= 6 else "other"
