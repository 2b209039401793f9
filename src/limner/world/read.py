"""Reading pictures back: pixels to a scene, by drawing every legal scene that could be meant and comparing.

Placement is legal only on the slots of a layout, shifted by whole units, in two sizes, so the renderer knows every
picture that can be right. The reader (1) finds the background, (2) keeps the layouts whose free areas are free,
(3) scores every thing in every slot of those (``templates``), (4) draws the best few hypotheses and keeps the nearest,
(5) looks at what the winner leaves unexplained. On clean renders the answer is exact. On a model's output it is the
best explanation, and a thing that is drawn badly or a blob that is nothing becomes ``unknown``, never a guess.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from limner.world import templates
from limner.world.reading import Box, Found, Reading, as_square
from limner.world.scene import BACKGROUNDS, CANVAS, SHIFTS, SLOTS, Thing
from limner.world.templates import MARGIN, WIDE, Bank, Floats

FOREIGN = 40.0  # a pixel this far (0 to 255, worst channel) from the background belongs to a thing
WRONG = 48.0  # a pixel this far from everything that the drawing has within one pixel of it is unexplained
BLOB = 10  # unexplained pixels that touch and count at least this many are something
THING_WRONG = 0.12  # a thing with a larger share of unexplained pixels is not that thing
THING_MISSING = 0.5  # nor one whose squared distance to the picture is this large beside that to the background
RIVAL = 0.85  # nor one that is not clearly nearer than any other thing in its place (in a sharp picture),
RIVAL_BLUR = 0.03  # and this much less clearly for every time that the drawing is smoothed (measured on the codec)
RIVALS = 16  # candidates among which rivals are sought
QUIET = 100.0  # squared differences (three channels) of this mean are nothing: between like colours they say nothing
GROUND_WRONG = 24.0  # root mean square distance of the free area to the background from which the background is unknown
NEAR = 1.0  # mean squared difference below which a hypothesis is right and the search ends
GOOD = 0.06  # the share of the squared difference to the background from which no other layout is tried
LEAST_INSIDE = 0.3  # the least share of foreign pixels from which a container is looked for
TRIED, SHIFTS_TRIED, KEPT = 3, 3, 6  # frames, shifts, and things of a slot that are compared at full resolution
SOFTER = 2  # times that a single thing may be smoothed beside that
BLURS = 5  # a drawing is smoothed at most one time less than this to compare it with a picture

_OFFSETS = tuple((x, y) for y in SHIFTS for x in SHIFTS)


@dataclass(frozen=True, eq=False)
class _Frame:
    """A layout in one of its sizes: the pooled pixels of the window of every slot (major) and shift (minor)."""

    layout: str
    half: int
    slots: tuple[tuple[int, int], ...]
    index: NDArray[np.intp]  # (slots * shifts, 3n): into the flat padded picture


@dataclass(frozen=True, eq=False)
class _View:
    """A picture before a background; all padded. ``means``: the smoothed difference by pool size, flat."""

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


@dataclass(frozen=True, eq=False)
class _Best:
    """The nearest guess so far, its mean squared distance, and how often its drawing was smoothed for that."""

    cost: float
    name: str
    guess: _Guess
    blur: int


def read(picture: NDArray[np.uint8] | Image.Image, *, strict: bool = True) -> Reading:
    """Read a square picture of 64 pixels a side or more.

    ``strict`` turns things that explain their place badly into ``unknown``; without it every best guess is kept (useful
    to see what a picture is nearest to; never for scores). Raises ``ValueError`` for anything but a square RGB picture.
    """
    surface = np.ascontiguousarray(as_square(picture).transpose(2, 0, 1), dtype=np.float32)
    best = _Best(np.inf, BACKGROUNDS[0], _Guess(None, (), np.inf), 0)
    for name in _likely_backgrounds(surface):
        view = _view(surface, name)
        guesses = [_Guess(None, (), view.energy)]
        best = min(best, _compared(surface, name, guesses[0]), key=_cost)
        for layout in _possible(surface, name):
            tried = [_inside(view)] if layout == "inside" else [_placed(view, frame) for frame in _frames(layout)]
            guesses.extend(tried)
            best = min(best, _compared(surface, name, min(tried, key=_cost)), key=_cost)
            if best.cost < NEAR:
                return _judged(surface, best, strict)
            if best.cost * surface.size < GOOD * view.energy:
                break
        least = min(guess.cost for guess in guesses)
        for guess in sorted(guesses, key=_cost)[:TRIED]:
            if guess.cost <= least * 1.5:
                best = min(best, _compared(surface, name, _refined(view, guess, best.blur)), key=_cost)
        if best.cost < NEAR:
            break
    return _judged(surface, best if best.cost < NEAR else _aside(surface, best), strict)


def _cost(guess: _Guess | _Best) -> float:
    return guess.cost


def _compared(surface: Floats, name: str, guess: _Guess) -> _Best:
    """The mean squared distance of a guess's drawing to the picture, for the blur that suits the picture best."""
    drawn, costs = templates.composed(name, guess.things), [np.inf]
    for times in range(BLURS):
        drawn = templates.smooth(drawn) if times else drawn
        costs.append(_squared(surface - drawn) / surface.size)
        if costs[-1] < NEAR or costs[-1] > costs[-2]:
            break
    blur = int(np.argmin(costs))
    return _Best(costs[blur], name, guess, blur - 1)


def _squared(values: Floats) -> float:
    flat = np.ravel(values)
    return float(flat @ flat)


def _likely_backgrounds(surface: Floats) -> list[str]:
    """The backgrounds that the picture may have, likeliest first. Things cost every background about the same."""
    apart = np.abs(templates.backgrounds()[..., ::2, ::2] - surface[..., ::2, ::2]).sum(axis=1)
    costs = np.minimum(apart, 3 * FOREIGN).mean(axis=(1, 2)) / 3
    order = np.argsort(costs)
    return [BACKGROUNDS[i] for i in order[:3] if costs[i] < costs[order[0]] + 2.0]


def _view(surface: Floats, name: str) -> _View:
    wide, ground = templates.padded(surface), templates.wide_background(name)
    difference = wide - ground
    soft = templates.smooth(difference)
    means = {pool: _pooled_everywhere(soft, pool) for pool in (2, 4)}
    return _View(name, wide, ground, difference, means, _squared(difference[:, MARGIN:-MARGIN, MARGIN:-MARGIN]))


def _possible(surface: Floats, name: str) -> list[str]:
    """The layouts that leave (about) the fewest foreign pixels outside, the least roomy of them first."""
    foreign = unexplained(surface, name, ()) > FOREIGN
    total = int(foreign.sum())
    if not total:
        return []
    outside = {layout: int(np.count_nonzero(foreign & _free(layout))) for layout in SLOTS}
    most = min(outside.values()) + max(BLOB, total // 12)
    kept = [
        layout
        for layout, strange in outside.items()
        if strange <= most and (layout != "inside" or total > LEAST_INSIDE * foreign.size)
    ]
    return sorted(kept, key=lambda layout: (outside[layout] > BLOB, -_room(layout)))


def _placed(view: _View, frame: _Frame) -> _Guess:
    """The best things in the slots of a layout of one size, all shifted alike; slots may stay empty."""
    sizes = templates.bank(frame.half)
    ground, terms = _ground(view.name, frame.layout, frame.half)
    apart = templates.distances(sizes, view.means[sizes.pool][frame.index], ground, terms)
    apart = apart.reshape(len(frame.slots), len(_OFFSETS), -1)
    least = np.minimum(apart.min(axis=2), 0)
    shift = int(least.sum(axis=0).argmin())
    dx, dy = _OFFSETS[shift]
    things = tuple(
        sizes.thing(apart[slot, shift].argmin(), x + dx, y + dy)
        for slot, (x, y) in enumerate(frame.slots)
        if least[slot, shift] < 0
    )
    gain = float(least[:, shift].sum()) * sizes.pool**2
    return _Guess(frame.layout, things, view.energy + gain, frame, apart)


def _refined(view: _View, guess: _Guess, blur: int) -> _Guess:
    """A guess of a frame again, its few best shifts and things compared at full resolution, as blurred as asked."""
    frame, apart = guess.frame, guess.apart
    if frame is None or apart is None:
        return _inside(view, blur) if guess.layout == "inside" else guess
    sizes = templates.bank(frame.half)
    order = np.minimum(apart.min(axis=2), 0).sum(axis=0).argsort()
    rows = [np.argpartition(near.min(axis=0), KEPT)[:KEPT] for near in apart]
    patches = [_soft_patches(sizes.patches[kept], blur) for kept in rows]
    best: tuple[float, list[Thing]] | None = None
    for shift in order[:SHIFTS_TRIED]:
        dx, dy = _OFFSETS[shift]
        total, things = 0.0, []
        for slot, (x, y) in enumerate(frame.slots):
            gain, row = _nearest(view, patches[slot], x + dx, y + dy)
            if gain < 0:
                total += gain
                things.append(sizes.thing(rows[slot][row], x + dx, y + dy))
        if best is None or total < best[0]:
            best = (total, things)
    assert best is not None
    return _Guess(frame.layout, tuple(best[1]), view.energy + best[0])


def _aside(surface: Floats, best: _Best) -> _Best:
    """The best guess a pixel aside, where that is the picture exactly: a wrong shift looks like blur, and among blurred
    drawings the right shift is not always the nearest."""
    for dx, dy in product((-1, 0, 1), repeat=2):
        things = tuple(replace(thing, x=thing.x + dx, y=thing.y + dy) for thing in best.guess.things)
        cost = _squared(surface - templates.composed(best.name, things)) / surface.size
        if cost < NEAR:
            return _Best(cost, best.name, replace(best.guess, things=things), 0)
    return best


def _soft_patches(patches: NDArray[np.uint8], blur: int) -> Floats:
    """Patches (T, 4, h, w) smoothed as often as the picture is, and more: (2T, 4, h, w). Small things are softer."""
    soft = templates.patch_values(patches, blur)
    return np.concatenate([soft, templates.smooth(soft, SOFTER)])


def _costs(patches: Floats, ground: Floats, seen: Floats) -> Floats:
    """The squared distance of a window to every patch on a ground, for the better of its two softnesses: (T,)."""
    apart = (1 - patches[:, 3:]) * ground
    apart += patches[:, :3]
    apart -= seen
    flat = apart.reshape(len(patches), -1)
    return np.einsum("tn,tn->t", flat, flat).reshape(2, -1).min(axis=0)


def _nearest(view: _View, patches: Floats, x: int, y: int) -> tuple[float, int]:
    """What the patch nearest to the picture around (x, y) gains over the bare background, and which one it is."""
    side = patches.shape[-1]
    ground, seen, bare = (templates.window(part, x, y, side) for part in (view.ground, view.surface, view.difference))
    costs = _costs(patches, ground, seen)
    row = int(costs.argmin())
    return float(costs[row]) - _squared(bare), row


def _inside(view: _View, blur: int = 0) -> _Guess:
    """A container, by what shows of it around the content, and then the content on it."""
    (centre, within), (outer, inner) = SLOTS["inside"]
    boxes, things = templates.bank(outer, container=True), templates.bank(inner)
    ring = _ring(boxes, inner)
    patches = templates.patch_values(boxes.patches, blur + 1).reshape(len(boxes.patches), 4, -1)[..., ring]
    seen, ground = templates.smooth(view.surface), templates.smooth(view.ground)
    best: tuple[float, int, int, int] | None = None
    for dx, dy in _OFFSETS:
        x, y = centre[0] + dx, centre[1] + dy
        here, back = (templates.window(part, x, y, boxes.reach).reshape(3, -1)[:, ring] for part in (seen, ground))
        apart = patches[:, :3] + (1 - patches[:, 3:]) * back - here
        costs = np.einsum("tcn,tcn->t", apart, apart)
        row = int(costs.argmin())
        if best is None or costs[row] < best[0]:
            best = (float(costs[row]), row, dx, dy)
    assert best is not None
    _, row, dx, dy = best
    box = boxes.thing(row, centre[0] + dx, centre[1] + dy)
    x, y = within[0] + dx, within[1] + dy
    filled = templates.smooth(templates.padded(templates.composed(view.name, (box,))), blur)
    difference = view.surface - filled
    cut, behind = (
        templates.pooled(templates.window(templates.smooth(part), x, y, things.side), things.pool).reshape(1, -1)
        for part in (difference, filled)
    )
    apart = templates.distances(things, cut, behind, templates.behind(things, behind))[0]
    rows = np.argpartition(apart, KEPT)[:KEPT]
    bare = _View(view.name, view.surface, filled, difference, {}, 0.0)
    gain, nearest = _nearest(bare, _soft_patches(things.patches[rows], blur), x, y)
    found = (box, things.thing(rows[nearest], x, y)) if apart.min() < 0 else (box,)
    return _Guess("inside", found, _squared(difference[:, MARGIN:-MARGIN, MARGIN:-MARGIN]) + min(gain, 0.0))


def _judged(surface: Floats, best: _Best, strict: bool) -> Reading:
    """Look at what the drawing of the best guess does not explain."""
    name, things = best.name, best.guess.things
    drawn = templates.composed(name, things)
    soft = templates.smooth(drawn, best.blur)
    apart = np.square(surface - soft).sum(axis=0)
    weight = np.square(soft - templates.background(name)).sum(axis=0)
    wrong = unexplained(surface, name, things) > WRONG
    lead = RIVAL + RIVAL_BLUR * best.blur
    found, unknown = [], []
    taken = np.zeros_like(wrong)
    for thing in things:
        shape = templates.silhouette(thing)
        taken |= shape
        share = float(wrong[shape].mean())
        missing = float(apart[shape].sum() / (weight[shape].sum() + QUIET * shape.sum()))
        good = share <= THING_WRONG and missing <= THING_MISSING
        if strict and not (good and (best.cost < NEAR or _rival(surface, best, thing) <= lead)):
            unknown.append(_tight(shape))
        else:
            found.append(Found(thing, _tight(shape), round(max(0.0, 1 - max(share, missing)), 4)))
    if strict:
        unknown.extend(_blobs(wrong & ~_spread(taken)))
    free = ~_spread(taken | wrong)
    known = not strict or not free.any() or float(apart[free].mean()) < 3 * GROUND_WRONG**2
    residual = round(float(np.abs(surface - drawn).mean()), 3)
    return Reading(name if known else None, tuple(found), tuple(unknown), residual, best.guess.layout)


def _rival(surface: Floats, best: _Best, thing: Thing) -> float:
    """The squared distance of a thing to its place over that of the nearest thing of another kind or colour there.

    Near 0 the picture shows clearly what it is; near 1 it might as well be something else.
    """
    sizes = templates.bank_of(thing)
    if best.guess.layout == "inside" and thing == best.guess.things[0]:
        alone = templates.composed(best.name, (thing,))  # what its content hides of it is taken as right
        hidden = [_spread(_spread(templates.silhouette(other))) for other in best.guess.things[1:]]
        surface = np.where(np.any(hidden, axis=0), templates.smooth(alone, best.blur), surface)
        around: tuple[Thing, ...] = ()
    else:
        around = tuple(other for other in best.guess.things if other != thing)
    ground = templates.smooth(templates.padded(templates.composed(best.name, around)), best.blur)
    seen = templates.padded(surface if best.blur else templates.smooth(surface))
    there, back = (
        templates.pooled(templates.window(part, thing.x, thing.y, sizes.side), sizes.pool).reshape(1, -1)
        for part in (seen - ground, ground)
    )
    apart = templates.distances(sizes, there, back, templates.behind(sizes, back))[0]
    rivals = [row for row in apart.argsort()[:RIVALS] if not _same(sizes.thing(row, 0, 0), thing)]
    patches = _soft_patches(sizes.patches[[sizes.row(thing), *rivals]], best.blur)
    back, here = (templates.window(part, thing.x, thing.y, sizes.reach) for part in (ground, templates.padded(surface)))
    costs = _costs(patches, back, here) + QUIET * sizes.reach**2
    return float(costs[0] / costs[1:].min())


def _same(a: Thing, b: Thing) -> bool:
    return (a.kind, a.colour) == (b.kind, b.colour)


def unexplained(surface: Floats, name: str, things: tuple[Thing, ...]) -> Floats:
    """How far every pixel is from the range of the drawing's pixels within one pixel, worst channel: (64, 64).

    A blurred or slightly moved edge lies between its two sides and so counts as explained.
    """
    low, high = _range(templates.composed(name, things)) if things else _background_range(name)
    return np.maximum(np.maximum(surface - high, low - surface).max(axis=0), 0)


def _range(surface: Floats) -> tuple[Floats, Floats]:
    """The least and the greatest value within one pixel, each (3, 64, 64)."""
    wide = np.pad(surface, ((0, 0), (1, 1), (1, 1)), mode="edge")
    low = np.minimum(np.minimum(wide[:, :-2], wide[:, 1:-1]), wide[:, 2:])
    high = np.maximum(np.maximum(wide[:, :-2], wide[:, 1:-1]), wide[:, 2:])
    low = np.minimum(np.minimum(low[..., :-2], low[..., 1:-1]), low[..., 2:])
    high = np.maximum(np.maximum(high[..., :-2], high[..., 1:-1]), high[..., 2:])
    return low, high


@cache
def _background_range(name: str) -> tuple[Floats, Floats]:
    return _range(templates.background(name))


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
    return sorted(boxes)


def _pooled_everywhere(surface: Floats, pool: int) -> Floats:
    """Means over the ``pool x pool`` pixels that start at each pixel, flat: (3, 80, 80) to (3 * 6400)."""
    width = WIDE - pool + 1
    rows = surface[:, :width].copy()
    for y in range(1, pool):
        rows += surface[:, y : y + width]
    cells = rows[..., :width].copy()
    for x in range(1, pool):
        cells += rows[..., x : x + width]
    means = np.zeros_like(surface)
    means[:, :width, :width] = cells / np.float32(pool**2)
    return means.ravel()


@cache
def _frames(layout: str) -> tuple[_Frame, ...]:
    """A layout in each of its sizes."""
    slots, halves = SLOTS[layout]
    return tuple(_frame(layout, half, slots) for half in halves)


def _frame(layout: str, half: int, slots: tuple[tuple[int, int], ...]) -> _Frame:
    sizes = templates.bank(half)
    steps = np.arange(0, sizes.side, sizes.pool) + MARGIN - sizes.side // 2
    planes = np.arange(3)[:, None, None] * WIDE**2
    index = [
        (planes + (steps + y + dy)[:, None] * WIDE + steps + x + dx).ravel() for x, y in slots for dx, dy in _OFFSETS
    ]
    return _Frame(layout, half, slots, np.stack(index))


@cache
def _free(layout: str) -> NDArray[np.bool_]:
    """Where no thing of a layout can ever be, whatever its shift and size: (64, 64)."""
    slots, halves = SLOTS[layout]
    sizes = [templates.bank(halves[0], container=True)] if layout == "inside" else map(templates.bank, halves)
    reach = max(SHIFTS) + max(bank.reach for bank in sizes) // 2
    free = np.ones((CANVAS, CANVAS), dtype=bool)
    for x, y in slots:
        free[max(y - reach, 0) : y + reach, max(x - reach, 0) : x + reach] = False
    return free


@cache
def _room(layout: str) -> int:
    """How many pixels of the canvas no thing of a layout can ever touch."""
    return int(np.count_nonzero(_free(layout)))


@cache
def _ground(name: str, layout: str, half: int) -> tuple[Floats, Floats]:
    """The background in every window of a frame, (windows, 3n), and its terms, (windows, T)."""
    (frame,) = (frame for frame in _frames(layout) if frame.half == half)
    sizes = templates.bank(half)
    ground = _pooled_everywhere(templates.wide_background(name), sizes.pool)[frame.index]
    return ground, templates.behind(sizes, ground)


@cache
def _ring(boxes: Bank, half: int) -> NDArray[np.intp]:
    """Every fourth pixel of a container's window that its content, of this size, leaves free; flat indices."""
    (x0, y0), (x1, y1) = SLOTS["inside"][0]
    free = np.zeros((boxes.reach, boxes.reach), dtype=bool)
    free[::2, ::2] = True
    left, top = x1 - x0 + boxes.reach // 2 - half - 2, y1 - y0 + boxes.reach // 2 - half - 2
    free[top : top + 2 * half + 4, left : left + 2 * half + 4] = False
    return np.flatnonzero(free)
