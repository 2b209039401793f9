"""Reading pictures back: pixels to a scene, by drawing every legal scene that could be meant and comparing.

Placement is legal only on the slots of a layout, shifted by whole units, in two sizes, so the renderer knows every
picture that can be right. The reader (1) finds the background, (2) keeps the layouts whose free areas are free,
(3) scores every thing in every slot of those (``templates``), (4) draws the best few hypotheses and keeps the nearest,
(5) looks at what the winner leaves unexplained. On clean renders the answer is exact. On a model's output it is the best
explanation, and a thing that is drawn badly or a blob that is nothing becomes ``unknown``, never a guess.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from limner.world import draw, templates
from limner.world.reading import Box, Found, Reading
from limner.world.scene import BACKGROUNDS, CANVAS, CONTAINER, SHIFTS, SLOTS, Scene, Thing
from limner.world.templates import Bank, Floats

FOREIGN = 40.0  # a pixel this far (0 to 255, worst channel) from the background belongs to a thing
WRONG = 48.0  # a pixel this far from everything that the drawing has within one pixel of it is unexplained
BLOB = 10  # unexplained pixels that touch and count at least this many are something
THING_WRONG = 0.14  # a thing with a larger unexplained share is not that thing
GROUND_WRONG = 24.0  # mean distance of the free area to the background from which the background is unknown
NEAR = 1.0  # mean squared difference below which a hypothesis is right and the search ends
LEAST_INSIDE = 0.3  # the least share of foreign pixels from which a container is looked for
TRIED, SHIFTS_TRIED, KEPT = 4, 4, 6  # frames, shifts, and things of a slot that are compared at full resolution

_OFFSETS = tuple((x, y) for y in SHIFTS for x in SHIFTS)


@dataclass(frozen=True, eq=False)
class _Frame:
    """A layout in one of its sizes: the pooled pixels of the window of every slot (major) and shift (minor)."""

    layout: str
    half: int
    slots: tuple[tuple[int, int], ...]
    index: NDArray[np.intp]  # (slots * shifts, n): into the flat padded picture


@dataclass(frozen=True, eq=False)
class _View:
    """A picture before a background; all padded by ``templates.MARGIN``. ``means`` are flat, by pool size."""

    name: str
    surface: Floats
    ground: Floats
    difference: Floats
    means: dict[int, Floats]
    energy: float  # the squared difference of the whole picture


@dataclass(frozen=True, eq=False)
class _Guess:
    """A hypothesis with the (estimated) squared distance of its drawing to the picture.

    ``apart`` (slots, shifts, T): the pooled distances behind a guess of a frame; ``things`` are its best.
    """

    layout: str | None
    things: tuple[Thing, ...]
    cost: float
    frame: _Frame | None = None
    apart: Floats | None = None


def as_canvas(picture: Any) -> Floats:
    """A picture (H, W, 3) uint8, or a PIL image, as (64, 64, 3) float32, 0 to 255; larger ones are area-averaged."""
    if isinstance(picture, Image.Image):
        picture = picture.convert("RGB")
    array = np.asarray(picture)
    if array.ndim != 3 or array.shape[2] != 3 or array.shape[0] != array.shape[1] or array.dtype != np.uint8:
        raise ValueError(f"wanted a square picture (H, W, 3) of uint8, got {array.shape} of {array.dtype}")
    side = array.shape[0]
    if side < CANVAS:
        raise ValueError(f"wanted a picture of at least {CANVAS} pixels a side, got {side}; enlarge it first")
    if side % CANVAS:
        array = np.asarray(Image.fromarray(array).resize((CANVAS, CANVAS), Image.Resampling.BOX))
    return templates.pooled(array.astype(np.float32), array.shape[0] // CANVAS)


def read(picture: NDArray[np.uint8] | Image.Image, *, strict: bool = True) -> Reading:
    """Read a square picture of 64 pixels a side or more.

    ``strict`` turns things that explain their place badly into ``unknown``; without it every best guess is kept (useful
    to see what a picture is nearest to; never for scores). Raises ``ValueError`` for anything but a square RGB picture.
    """
    surface = as_canvas(picture)
    best: tuple[float, str, _Guess] | None = None
    for name in _likely_backgrounds(surface):
        for guess in _hypotheses(_view(surface, name)):
            cost = float(np.square(surface - _drawn(name, guess.things)).mean())
            if best is None or cost < best[0]:
                best = (cost, name, guess)
            if cost < NEAR:
                return _judged(surface, name, guess, strict)
    assert best is not None  # the empty canvas is always a hypothesis
    return _judged(surface, best[1], best[2], strict)


def _likely_backgrounds(surface: Floats) -> list[str]:
    """The backgrounds that the picture may have, likeliest first. Things cost every background about the same."""
    apart = np.abs(templates.backgrounds()[:, ::2, ::2] - surface[::2, ::2]).mean(axis=-1)
    costs = np.minimum(apart, FOREIGN).mean(axis=(1, 2))
    order = np.argsort(costs)
    return [BACKGROUNDS[i] for i in order[:3] if costs[i] < costs[order[0]] + 2.0]


def _view(surface: Floats, name: str) -> _View:
    wide, ground = templates.padded(surface), _wide_background(name)
    difference = wide - ground
    inner = surface - templates.background(name)
    means = {pool: _pooled_everywhere(difference, pool) for pool in (2, 4)}
    return _View(name, wide, ground, difference, means, float(np.square(inner).sum()))


def _hypotheses(view: _View) -> Iterator[_Guess]:
    """Guesses on this background: first the best of every layout that may be, then the likeliest of them refined."""
    edge = templates.MARGIN
    foreign = np.abs(view.difference[edge:-edge, edge:-edge]).max(axis=-1) > FOREIGN
    yield _Guess(None, (), view.energy)
    guesses: list[_Guess] = []
    for layout in _possible(foreign):
        if layout == "inside":
            tried = [_inside(view)]
        else:
            tried = [_placed(view, frame) for frame in _frames(layout)]
        yield min(tried, key=_cost)
        guesses.extend(tried)
    for guess in sorted(guesses, key=_cost)[:TRIED]:
        yield _refined(view, guess)


def _possible(foreign: NDArray[np.bool_]) -> list[str]:
    """The layouts that leave (about) the fewest foreign pixels outside, the least roomy of them first."""
    if not foreign.any():
        return []
    outside = {layout: int((foreign & _free(layout)).sum()) for layout in SLOTS}
    least = min(outside.values())
    kept = [
        layout
        for layout, strange in outside.items()
        if strange <= least + BLOB and (layout != "inside" or foreign.mean() > LEAST_INSIDE)
    ]
    return sorted(kept, key=lambda layout: -int(_free(layout).sum()))


def _cost(guess: _Guess) -> float:
    return guess.cost


def _placed(view: _View, frame: _Frame) -> _Guess:
    """The best things in the slots of a layout of one size, all shifted alike; slots may stay empty."""
    sizes = templates.bank(frame.half)
    ground, terms = _ground(view.name, frame.layout, frame.half)
    apart = templates.distances(sizes, view.means[sizes.pool][frame.index], ground, terms)
    apart = apart.reshape(len(frame.slots), len(_OFFSETS), -1) * sizes.pool**2
    least = np.minimum(apart.min(axis=2), 0)
    shift = int(least.sum(axis=0).argmin())
    dx, dy = _OFFSETS[shift]
    things = tuple(
        sizes.thing(apart[slot, shift].argmin(), x + dx, y + dy)
        for slot, (x, y) in enumerate(frame.slots)
        if least[slot, shift] < 0
    )
    return _Guess(frame.layout, things, view.energy + float(least[:, shift].sum()), frame, apart)


def _refined(view: _View, guess: _Guess) -> _Guess:
    """A guess of a frame again, its few best shifts and things compared at full resolution."""
    frame, apart = guess.frame, guess.apart
    if frame is None or apart is None:
        return guess
    sizes = templates.bank(frame.half)
    order = np.minimum(apart.min(axis=2), 0).sum(axis=0).argsort()
    rows = [np.argpartition(near.min(axis=0), KEPT)[:KEPT] for near in apart]
    patches = [sizes.patches[kept] for kept in rows]
    best: tuple[float, list[Thing]] | None = None
    for shift in order[:SHIFTS_TRIED]:
        dx, dy = _OFFSETS[shift]
        total, things = 0.0, []
        for slot, (x, y) in enumerate(frame.slots):
            if apart[slot, shift].min() < 0:
                gain, row = _nearest(view, patches[slot], x + dx, y + dy)
                total += gain
                things.append(sizes.thing(rows[slot][row], x + dx, y + dy))
        if best is None or total < best[0]:
            best = (total, things)
    assert best is not None
    return _Guess(frame.layout, tuple(best[1]), view.energy + best[0])


def _nearest(view: _View, patches: Floats, x: int, y: int) -> tuple[float, int]:
    """The patch that is nearest to the picture around (x, y), and what it gains over the bare background."""
    side = patches.shape[1]
    ground, seen, bare = (
        templates.window(part, x, y, side) for part in (view.ground, view.surface, view.difference)
    )
    drawn = patches[..., :3] + (1 - patches[..., 3:]) * ground - seen
    costs = np.einsum("tijc,tijc->t", drawn, drawn)
    row = int(costs.argmin())
    return float(costs[row] - np.einsum("ijc,ijc->", bare, bare)), row


def _inside(view: _View) -> _Guess:
    """A container, by what shows of it around the content, and then the content on it."""
    (centre, within), (outer, inner) = SLOTS["inside"]
    boxes, things = templates.bank(outer, container=True), templates.bank(inner)
    ring, patches = _ring(boxes, _frames("inside")[0].half), boxes.patches.reshape(len(boxes.patches), -1, 4)
    patches = patches[:, ring]
    best: tuple[float, int, int, int] | None = None
    for dx, dy in _OFFSETS:
        seen, ground = (
            templates.window(part, centre[0] + dx, centre[1] + dy, boxes.reach).reshape(-1, 3)[ring]
            for part in (view.surface, view.ground)
        )
        drawn = patches[..., :3] + (1 - patches[..., 3:]) * ground - seen
        costs = np.einsum("tnc,tnc->t", drawn, drawn)
        row = int(costs.argmin())
        if best is None or costs[row] < best[0]:
            best = (float(costs[row]), row, dx, dy)
    assert best is not None
    _, row, dx, dy = best
    box = boxes.thing(row, centre[0] + dx, centre[1] + dy)
    x, y = within[0] + dx, within[1] + dy
    filled = templates.padded(_drawn(view.name, (box,)))
    difference = view.surface - filled
    bare = _View(view.name, view.surface, filled, difference, {}, 0.0)
    cut, behind = (
        templates.pooled(templates.window(part, x, y, things.side), things.pool).reshape(1, -1, 3)
        for part in (difference, filled)
    )
    apart = templates.distances(things, cut, behind, templates.behind(things, behind))[0]
    rows = np.argpartition(apart, KEPT)[:KEPT]
    gain, nearest = _nearest(bare, things.patches[rows], x, y)
    found = (box, things.thing(rows[nearest], x, y)) if gain < 0 else (box,)
    edge = templates.MARGIN
    cost = float(np.square(difference[edge:-edge, edge:-edge]).sum()) + min(gain, 0.0)
    return _Guess("inside", found, cost)


def _judged(surface: Floats, name: str, guess: _Guess, strict: bool) -> Reading:
    """Look at what the drawing of a guess does not explain."""
    drawn = _drawn(name, guess.things)
    residual = float(np.abs(surface - drawn).mean())
    wrong = unexplained(surface, drawn) > WRONG
    found, unknown = [], []
    taken = np.zeros_like(wrong)
    for thing in guess.things:
        shape = _silhouette(thing)
        share = float(wrong[shape].mean())
        box = _tight(shape)
        taken |= shape
        if strict and share > THING_WRONG:
            unknown.append(box)
        else:
            found.append(Found(thing, box, round(1 - share, 4)))
    if strict:
        unknown.extend(_blobs(wrong & ~_spread(taken)))
    free = ~_spread(taken | wrong)
    apart = np.abs(surface - drawn).mean(axis=-1)
    known = not free.any() or float(apart[free].mean()) < GROUND_WRONG
    return Reading(name if known or not strict else None, tuple(found), tuple(unknown), residual, guess.layout)


def unexplained(surface: Floats, drawn: Floats) -> Floats:
    """How far every pixel is from the range of the drawing's pixels within one pixel, worst channel: (64, 64).

    A blurred or slightly moved edge lies between its two sides and so counts as explained.
    """
    near = _neighbours(drawn)
    over = np.maximum(surface - near.max(axis=0), near.min(axis=0) - surface)
    return np.maximum(over.max(axis=-1), 0)


def _neighbours(surface: Floats) -> Floats:
    """A picture and its eight moves by one pixel, edges repeated: (9, 64, 64, c)."""
    wide = np.pad(surface, ((1, 1), (1, 1), (0, 0)), mode="edge")
    return np.stack([wide[y : y + CANVAS, x : x + CANVAS] for y in range(3) for x in range(3)])


def _spread(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask grown by one pixel in the four directions."""
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown


def _tight(mask: NDArray[np.bool_]) -> Box:
    """The tight box of a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _blobs(mask: NDArray[np.bool_]) -> list[Box]:
    """The boxes of the connected parts (eight neighbours) of at least ``BLOB`` pixels."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    boxes = []
    while left:
        part, front = [], [left.pop()]
        while front:
            y, x = front.pop()
            part.append((y, x))
            near = {(y + v, x + u) for v in (-1, 0, 1) for u in (-1, 0, 1)} & left
            left -= near
            front.extend(near)
        if len(part) >= BLOB:
            ys, xs = zip(*part, strict=True)
            boxes.append((min(xs), min(ys), max(xs) + 1, max(ys) + 1))
    return boxes


def _drawn(name: str, things: tuple[Thing, ...]) -> Floats:
    """The clean picture (64, 64, 3) of things on a background."""
    return np.asarray(draw.render(Scene(name, things), CANVAS), dtype=np.float32)


def _silhouette(thing: Thing) -> NDArray[np.bool_]:
    """Where a thing covers at least half of a pixel: (64, 64)."""
    sizes = templates.bank(thing.half, container=thing.kind == CONTAINER and thing.half == SLOTS["inside"][1][0])
    mask = np.zeros((CANVAS + 2 * templates.MARGIN, CANVAS + 2 * templates.MARGIN), dtype=bool)
    templates.window(mask, thing.x, thing.y, sizes.reach)[...] = sizes.patches[sizes.row(thing), ..., 3] >= 0.5
    return mask[templates.MARGIN : -templates.MARGIN, templates.MARGIN : -templates.MARGIN]


def _pooled_everywhere(surface: Floats, pool: int) -> Floats:
    """Means over the ``pool x pool`` pixels that start at each pixel, flat: (80, 80, c) to (6400, c)."""
    height, width, channels = surface.shape
    across = sum(surface[:, x : width - pool + 1 + x] for x in range(pool))
    total = sum(across[y : height - pool + 1 + y] for y in range(pool))
    means = np.zeros_like(surface)
    means[: height - pool + 1, : width - pool + 1] = total / np.float32(pool**2)
    return means.reshape(-1, channels)


@cache
def _frames(layout: str) -> tuple[_Frame, ...]:
    """A layout in each of its sizes (for ``inside``: the size of the content, in the content's slot)."""
    slots, halves = SLOTS[layout]
    if layout == "inside":
        slots, halves = slots[1:], halves[1:]
    return tuple(_frame(layout, half, slots) for half in halves)


def _frame(layout: str, half: int, slots: tuple[tuple[int, int], ...]) -> _Frame:
    sizes = templates.bank(half)
    width = CANVAS + 2 * templates.MARGIN
    steps = np.arange(0, sizes.side, sizes.pool)
    index = []
    for x, y in slots:
        for dx, dy in _OFFSETS:
            left, top = x + dx - sizes.side // 2, y + dy - sizes.side // 2
            index.append(
                ((steps + top + templates.MARGIN)[:, None] * width + steps + left + templates.MARGIN).ravel()
            )
    return _Frame(layout, half, slots, np.stack(index))


@cache
def _free(layout: str) -> NDArray[np.bool_]:
    """Where no thing of a layout can ever be, whatever its shift and size: (64, 64)."""
    slots, halves = SLOTS[layout]
    free = np.ones((CANVAS, CANVAS), dtype=bool)
    reach = max(SHIFTS) + max(templates.bank(half, layout == "inside" and half == halves[0]).reach for half in halves) // 2
    for x, y in slots:
        free[max(y - reach, 0) : y + reach, max(x - reach, 0) : x + reach] = False
    return free


@cache
def _ground(name: str, layout: str, half: int) -> tuple[Floats, Floats]:
    """The background in every window of a frame, (windows, n, 3), and its terms, (windows, T)."""
    (frame,) = (frame for frame in _frames(layout) if frame.half == half)
    sizes = templates.bank(half)
    ground = _pooled_everywhere(_wide_background(name), sizes.pool)[frame.index]
    return ground, templates.behind(sizes, ground)


@cache
def _wide_background(name: str) -> Floats:
    return templates.padded(templates.background(name))


@cache
def _ring(boxes: Bank, half: int) -> NDArray[np.intp]:
    """Every fourth pixel of a container's window that its content, of this size, leaves free; flat indices."""
    (x0, y0), (x1, y1) = SLOTS["inside"][0]
    free = np.zeros((boxes.reach, boxes.reach), dtype=bool)
    free[::2, ::2] = True
    left, top = x1 - x0 + boxes.reach // 2 - half - 1, y1 - y0 + boxes.reach // 2 - half - 1
    free[top : top + 2 * half + 2, left : left + 2 * half + 2] = False
    return np.flatnonzero(free)
