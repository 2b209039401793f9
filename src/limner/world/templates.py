"""Banks of drawn things, and how far a picture is from each of them.

Things stand on whole canvas units, so at 64 px a thing looks the same wherever it stands, and every legal thing of one
size is one small patch: ``kinds x mirrored x colours`` rows, made from ``draw`` when first needed. With P the picture,
B the background, S a patch's colours times its coverage A, P is this far from "this patch on the background", squared:

    |P - B - (S - A B)|^2  =  |D|^2 - 2 D.S + 2 (D B).A + |S|^2 - 2 (S A).B + (A A).(B B),      D = P - B

so one matrix product scores all patches in all windows, and the terms without P are kept per background. Pictures and
patches are smoothed once before they are matched: a model's soft edges then cost little, and a clean picture nothing.

Pictures here are (3, height, width) float32, 0 to 255: numpy is fast along the last axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from limner.world import draw
from limner.world.scene import BACKGROUNDS, CANVAS, COLOURS, CONTAINER, KINDS, SLOTS, Thing

Floats = NDArray[np.float32]

MARGIN = 8  # windows may reach over the edge of the canvas by this much
WIDE = CANVAS + 2 * MARGIN
COARSE = 19  # things of this half size or more are matched at a quarter of the resolution, smaller ones at half
SHAPES: tuple[tuple[str, bool], ...] = tuple(
    (kind, flip) for kind, entry in KINDS.items() for flip in ((False,) if entry.symmetric else (False, True))
)
_SCALE = np.array([1, 1, 1, 1 / 255], dtype=np.float32)[:, None, None]


@dataclass(frozen=True, eq=False)
class Bank:
    """All things of one size. ``T = shapes x colours`` rows, colour fastest. ``patches`` (T, 4, reach, reach) uint8
    hold all of a thing: colours times coverage, and coverage, 0 to 255. Matching looks at the ``side x side`` pixels in
    their middle (the thing's square and one pixel more), averaged over ``pool x pool``: ``n = (side / pool)^2``.

    ``ink`` (T, 3n): pooled S. ``coverage`` (shapes, n): pooled A. ``ink_coverage`` (T, 3n): pooled S A. ``constant``
    (T): |S|^2 of the pooled S.
    """

    half: int
    reach: int
    side: int
    pool: int
    shapes: tuple[tuple[str, bool], ...]
    patches: NDArray[np.uint8]
    ink: Floats
    coverage: Floats
    ink_coverage: Floats
    constant: Floats

    def thing(self, row: int, x: int, y: int) -> Thing:
        """The thing of a row at a centre."""
        shape, colour = divmod(int(row), len(COLOURS))
        kind, flip = self.shapes[shape]
        return Thing(y, x, self.half, kind, COLOURS[colour], flip)

    def row(self, thing: Thing) -> int:
        """The row of a thing of this size."""
        return self.shapes.index((thing.kind, thing.flip)) * len(COLOURS) + COLOURS.index(thing.colour)

    def patch(self, thing: Thing) -> Floats:
        """The patch of a thing of this size, (4, reach, reach)."""
        return patch_values(self.patches[self.row(thing)])


def premultiplied(thing: Thing) -> NDArray[np.uint8]:
    """A thing alone on the canvas (4, 64, 64): colours times coverage, and coverage, 0 to 255."""
    rgba = draw.render_thing(thing, CANVAS).transpose(2, 0, 1).copy()
    rgba[:3] = (rgba[:3].astype(np.uint16) * rgba[3] + 127) // 255
    return rgba


def smooth(surface: Floats, times: int = 1) -> Floats:
    """Weights 1, 2, 1 along the last two axes, ``times`` times (a blur of 0.7 sqrt(times) pixels); edges repeated."""
    quarter = np.float32(0.25)
    for _ in range(times):
        side = surface * quarter
        rows = surface * np.float32(0.5)
        rows[..., 1:, :] += side[..., :-1, :]
        rows[..., :-1, :] += side[..., 1:, :]
        rows[..., 0, :] += side[..., 0, :]
        rows[..., -1, :] += side[..., -1, :]
        side = rows * quarter
        surface = rows * np.float32(0.5)
        surface[..., 1:] += side[..., :-1]
        surface[..., :-1] += side[..., 1:]
        surface[..., 0] += side[..., 0]
        surface[..., -1] += side[..., -1]
    return surface


def patch_values(patches: NDArray[np.uint8], times: int = 0) -> Floats:
    """Patches (..., 4, h, w) as numbers, colours 0 to 255 and coverage 0 to 1, smoothed ``times`` times."""
    return smooth(patches * _SCALE, times)


def pooled(surface: Floats, pool: int) -> Floats:
    """Means over ``pool x pool`` cells of the last two axes: (..., h, w) to (..., h/pool, w/pool)."""
    *lead, height, width = surface.shape
    cells = surface.reshape(*lead, height // pool, pool, width // pool, pool)
    return cells.mean(axis=(-3, -1), dtype=np.float32)


def bank_of(thing: Thing) -> Bank:
    """The bank that a thing is in."""
    return bank(thing.half, thing.kind == CONTAINER and thing.half == SLOTS["inside"][1][0])


@cache
def bank(half: int, container: bool = False) -> Bank:
    """The bank of a size; ``container`` makes the one that holds only containers."""
    shapes = tuple(shape for shape in SHAPES if shape[0] == CONTAINER) if container else SHAPES
    side, middle = 2 * (half + 1), CANVAS // 2
    pool = 4 if half >= COARSE and side % 4 == 0 else 2
    patches = np.stack(
        [premultiplied(Thing(middle, middle, half, kind, colour, flip)) for kind, flip in shapes for colour in COLOURS]
    )
    covered = patches[:, 3].any(axis=0)
    reach = max(int(np.abs(np.argwhere(covered) + 0.5 - middle).max() + 0.5), side // 2)
    patches = patches[..., middle - reach : middle + reach, middle - reach : middle + reach].copy()
    low, high = reach - side // 2, reach + side // 2
    portions = np.array_split(patches, max(len(patches) // 50, 1))  # numbers need much more memory than bytes
    small = np.concatenate([pooled(patch_values(part, 1)[..., low:high, low:high], pool) for part in portions])
    rows, cells = len(small), (side // pool) ** 2
    ink, coverage = small[:, :3].reshape(rows, 3, cells), small[:, 3].reshape(rows, 1, cells)
    return Bank(
        half=half,
        reach=2 * reach,
        side=side,
        pool=pool,
        shapes=shapes,
        patches=patches,
        ink=np.ascontiguousarray(ink.reshape(rows, -1)),
        coverage=np.ascontiguousarray(coverage[:: len(COLOURS), 0]),
        ink_coverage=(ink * coverage).reshape(rows, -1),
        constant=np.square(ink).sum(axis=(1, 2)),
    )


def padded(picture: Floats) -> Floats:
    """(3, 64, 64) to (3, 80, 80), edges repeated, so that windows may reach over the edge."""
    return np.pad(picture, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)), mode="edge")


def window(surface: Floats, x: int, y: int, side: int) -> Floats:
    """The square of ``side`` pixels around (x, y) of a padded picture; a view."""
    top, left = y - side // 2 + MARGIN, x - side // 2 + MARGIN
    return surface[..., top : top + side, left : left + side]


def behind(sizes: Bank, ground: Floats) -> Floats:
    """The terms that only the background decides: (windows, 3n) to (windows, T)."""
    energy = np.square(ground).reshape(len(ground), 3, -1).sum(axis=1)
    squares = np.repeat(energy @ np.square(sizes.coverage).T, len(COLOURS), axis=1)
    return sizes.constant - 2 * ground @ sizes.ink_coverage.T + squares


def distances(sizes: Bank, difference: Floats, ground: Floats, ground_terms: Floats) -> Floats:
    """Squared distances minus |D|^2, per cell of ``pool x pool`` pixels: (windows, 3n) twice to (windows, T).

    A negative value means that the thing explains the window better than the bare background does.
    """
    mixed = (difference * ground).reshape(len(ground), 3, -1).sum(axis=1) @ (2 * sizes.coverage.T)
    apart = (-2 * difference) @ sizes.ink.T
    apart += ground_terms
    apart.reshape(len(ground), -1, len(COLOURS))[...] += mixed[:, :, None]
    return apart


@cache
def background(name: str) -> Floats:
    """A background at 64 px, (3, 64, 64)."""
    return np.ascontiguousarray(draw.background(name, CANVAS).transpose(2, 0, 1), dtype=np.float32)


@cache
def backgrounds() -> Floats:
    """All backgrounds in the order of ``BACKGROUNDS``: (10, 3, 64, 64)."""
    return np.stack([background(name) for name in BACKGROUNDS])


@cache
def wide_background(name: str) -> Floats:
    """A background padded, (3, 80, 80)."""
    return padded(background(name))


def composed(name: str, things: tuple[Thing, ...]) -> Floats:
    """The clean picture of things on a background, (3, 64, 64), put together from patches (to about one level)."""
    canvas = wide_background(name).copy()
    for thing in things:
        sizes = bank_of(thing)
        patch, place = sizes.patch(thing), window(canvas, thing.x, thing.y, sizes.reach)
        place *= 1 - patch[3]
        place += patch[:3]
    return canvas[:, MARGIN:-MARGIN, MARGIN:-MARGIN]


def silhouette(thing: Thing) -> NDArray[np.bool_]:
    """Where a thing covers at least half of a pixel: (64, 64)."""
    sizes = bank_of(thing)
    mask = np.zeros((WIDE, WIDE), dtype=np.float32)
    window(mask, thing.x, thing.y, sizes.reach)[...] = sizes.patch(thing)[3]
    return mask[MARGIN:-MARGIN, MARGIN:-MARGIN] >= 0.5
