"""Instructions that change a picture, with the exact scenes before and after, and stories of several such steps."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from limner.world import say, splits
from limner.world.content import Content, in_order
from limner.world.scene import BACKGROUNDS, COLOURS, CONTAINER, KINDS, SLOTS, Layout, Scene, arrange


@dataclass(frozen=True)
class Edit:
    """One instruction; ``kind`` is one of ``EDITS``. What the instruction does not name stays as it was."""

    kind: str
    instruction: str
    before: Scene
    after: Scene

    @property
    def plan(self) -> str:
        """The plan of the picture after the edit."""
        return say.plan(self.after)

    def to_json(self) -> dict[str, Any]:
        """The edit as plain JSON values."""
        return {
            "kind": self.kind,
            "instruction": self.instruction,
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "plan": self.plan,
        }


@dataclass(frozen=True)
class _Change:
    """A changed content; ``kept[i]`` is the old index of the thing that is now at ``i``, or None for a new thing."""

    instruction: str
    content: Content
    kept: tuple[int | None, ...]


def edit(scene: Scene, rng: random.Random, kind: str | None = None, split: str = "train") -> Edit:
    """An edit of the scene; ``kind`` (one of ``EDITS``) is chosen freely among those that fit where it is None.

    In the ``train`` split the scene after the edit is one that training may show; in ``new_compositions`` it never
    is. Raises ValueError for an unknown kind or one that cannot be done to this scene.
    """
    if kind is not None and kind not in EDITS:
        raise ValueError(f"no edit called {kind!r}; there are: {', '.join(EDITS)}")
    layout, _ = in_order(scene)
    if layout == "other":
        raise ValueError("this arrangement has no layout, so no edit can be described; give a scene from arrange()")
    content = Content.of(scene)
    for _ in range(2000):
        name = kind or rng.choice(tuple(EDITS))
        change = EDITS[name](content, rng)
        if change is None or change.content == content:
            continue
        if split in ("train", "new_compositions") and splits.may_train(change.content) != (split == "train"):
            continue
        return Edit(name, change.instruction, scene, _apply(scene, change))
    raise ValueError(f"found no edit {kind or 'at all'} of {say.plan(scene)!r} in split {split!r}; try another scene")


def story(rng: random.Random, steps: int, split: str = "train") -> list[Edit]:
    """``steps`` edits in a row, each starting from the scene that the one before it left; it begins with one thing."""
    if steps < 1:
        raise ValueError(f"a story wants at least one step, got {steps}")
    content = Content("copies", ((rng.choice(tuple(KINDS)), rng.choice(COLOURS)),), "plain")
    while not splits.may_train(content):
        content = Content("copies", ((rng.choice(tuple(KINDS)), rng.choice(COLOURS)),), "plain")
    scene, edits = content.scene(rng), []
    for step in range(steps):
        edits.append(edit(scene, rng, split=split if step == steps - 1 else "train"))
        scene = edits[-1].after
    return edits


def _apply(scene: Scene, change: _Change) -> Scene:
    """The changed content with the scene's own shift and size, and the mirroring of the things that stay."""
    layout, things = in_order(scene)
    slots, sizes = SLOTS[f"copies{len(things)}" if layout == "copies" else layout]
    shift = (things[0].x - slots[0][0], things[0].y - slots[0][1])
    small = layout != "inside" and things[0].half == sizes[1] and change.content.layout != "inside"
    flips = tuple(things[i].flip if i is not None else False for i in change.kept)
    new = change.content
    return arrange(cast(Layout, new.layout), list(new.things), new.background, shift=shift, small=small, flips=flips)


def _add(content: Content, rng: random.Random) -> _Change | None:
    if content.layout != "copies":
        return None
    kind, colour = content.things[0]
    count = len(content.things)
    if count > 1 or rng.random() < 0.4:
        more = rng.randint(1, say.MOST - count) if count < say.MOST else 0
        if not more:
            return None
        instruction = f"add {say.NUMBERS[more]} more {say.noun(kind, more)}"
        new = Content("copies", ((kind, colour),) * (count + more), content.background)
        return _Change(instruction, new, tuple(i if i < count else 0 for i in range(count + more)))
    other = (rng.choice([name for name in KINDS if name != kind]), rng.choice(COLOURS))
    relation = rng.choice(("left of", "right of", "above", "below", "inside"))
    if relation == "inside":
        if kind != CONTAINER:
            return None
        things: tuple[tuple[str, str], ...] = ((kind, colour), other)
        kept: tuple[int | None, ...] = (0, None)
        new = Content("inside", things, content.background)
    else:
        first = relation in ("left of", "above")
        things = (other, (kind, colour)) if first else ((kind, colour), other)
        new = Content("row" if relation in ("left of", "right of") else "column", things, content.background)
        kept = (None, 0) if first else (0, None)
    return _Change(f"{rng.choice(('add', 'put'))} {say.single(*other)} {relation} the {kind}", new, kept)


def _remove(content: Content, rng: random.Random) -> _Change | None:
    count = len(content.things)
    if count == 1:
        return None
    if content.layout == "copies":
        less = rng.randint(1, count - 1)
        kind = content.things[0][0]
        new = Content("copies", content.things[less:], content.background)
        return _Change(f"remove {say.NUMBERS[less]} {say.noun(kind, less)}", new, tuple(range(less, count)))
    gone = rng.randrange(count)
    left = tuple(i for i in range(count) if i != gone)
    layout = "copies" if count == 2 else "row"
    new = Content(layout, tuple(content.things[i] for i in left), content.background)
    return _Change(f"remove {_the(content, gone)}", new, left)


def _recolour(content: Content, rng: random.Random) -> _Change | None:
    colour = rng.choice(COLOURS)
    every = tuple(range(len(content.things)))
    if content.layout == "copies":
        kind = content.things[0][0]
        things = tuple((kind, colour) for kind, _ in content.things)
        said = f"the {say.noun(kind, len(things))}"
    else:
        i = rng.choice(every)
        said = _the(content, i)
        things = tuple((kind, colour if i == j else hue) for j, (kind, hue) in enumerate(content.things))
    instruction = rng.choice((f"make {said} {colour}", f"change the colour of {said} to {colour}"))
    return _Change(instruction, Content(content.layout, things, content.background), every)


def _move(content: Content, rng: random.Random) -> _Change | None:
    if content.layout not in ("row", "column"):
        return None
    relation = rng.choice(("left of", "right of", "above", "below"))
    i = rng.randrange(2)
    order = (i, 1 - i) if relation in ("left of", "above") else (1 - i, i)
    layout = "row" if relation in ("left of", "right of") else "column"
    new = Content(layout, tuple(content.things[j] for j in order), content.background)
    return _Change(f"move {_the(content, i)} {relation} {_the(content, 1 - i)}", new, order)


def _replace(content: Content, rng: random.Random) -> _Change | None:
    count = len(content.things)
    colour = rng.choice(COLOURS)
    name = rng.choice([kind for kind in KINDS if all(kind != other for other, _ in content.things)])
    if content.layout == "copies":
        old = content.things[0][0]
        new_name = say.single(name, colour) if count == 1 else f"{colour} {say.noun(name, 2)}"
        instruction = f"change the {say.noun(old, count)} to {new_name}"
        new = Content("copies", ((name, colour),) * count, content.background)
        return _Change(instruction, new, (None,) * count)
    i = 1 if content.layout == "inside" else rng.randrange(count)
    things = tuple((name, colour) if i == j else thing for j, thing in enumerate(content.things))
    kept = tuple(None if i == j else j for j in range(count))
    new = Content(content.layout, things, content.background)
    return _Change(f"change {_the(content, i)} to {say.single(name, colour)}", new, kept)


def _count(content: Content, rng: random.Random) -> _Change | None:
    if content.layout != "copies":
        return None
    count = rng.randint(1, say.MOST)
    kind = content.things[0][0]
    kept = tuple(min(i, len(content.things) - 1) for i in range(count))
    new = Content("copies", content.things[:1] * count, content.background)
    return _Change(f"make it {say.counted(count, kind)}", new, kept)


def _background(content: Content, rng: random.Random) -> _Change | None:
    background = rng.choice(BACKGROUNDS)
    new = Content(content.layout, content.things, background)
    it = "it" if len(content.things) == 1 else "them"
    said = rng.choice((f"change the background to {background}", f"put {it} {say.place(background, rng)}"))
    return _Change(said, new, tuple(range(len(content.things))))


EDITS: dict[str, Callable[[Content, random.Random], _Change | None]] = {
    "add": _add,
    "remove": _remove,
    "recolour": _recolour,
    "move": _move,
    "replace": _replace,
    "count": _count,
    "background": _background,
}


def _the(content: Content, i: int) -> str:
    kind, colour = content.things[i]
    twins = sum(name == kind for name, _ in content.things) > 1
    return f"the {colour} {kind}" if twins else f"the {kind}"
