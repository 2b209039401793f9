"""Banks of drawn things, and how far a picture is from each of them.

Things stand on whole canvas units, so at 64 px a thing looks the same wherever it stands, and every legal thing of one
size is one small patch: ``kinds x mirrored x colours`` rows, made from ``draw`` when first needed. With P the picture,
B the background, S a patch's colours times its coverage A, the squared distance of P to "this patch on the background" is

    |P - B - (S - A B)|^2  =  |D|^2 - 2 D.S + 2 (D B).A + |S|^2 - 2 (S A).B + (A A).(B B),      D = P - B

so one matrix product scores all patches in all windows, and the terms without P are kept per background.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from limner.world import draw
from limner.world.scene import BACKGROUNDS, CANVAS, COLOURS, CONTAINER, KINDS, Thing

Floats = NDArray[np.float32]

MARGIN = 8  # windows may reach over the edge of the canvas by this much
SHAPES: tuple[tuple[str, bool], ...] = tuple(
    (kind, flip) for kind, entry in KINDS.items() for flip in ((False,) if entry.symmetric else (False, True))
)


@dataclass(frozen=True, eq=False)
class Bank:
    """All things of one size. ``T = shapes x colours`` rows, colour fastest. ``patches`` (T, reach, reach, 4) hold all
    of a thing: premultiplied colours 0 to 255 and coverage 0 to 1. Matching looks at the ``side x side`` pixels in
    their middle (the thing's square and one pixel more), averaged over ``pool x pool``: ``n = (side / pool)^2``.

    ``ink`` (T, 3n): pooled S. ``coverage`` (shapes, n): pooled A. ``ink_coverage`` (T, 3n): pooled S A. ``constant``
    (T): |S|^2 of the pooled S.
    """

    half: int
    reach: int
    side: int
    pool: int
    shapes: tuple[tuple[str, bool], ...]
    patches: Floats
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


def premultiplied(thing: Thing) -> Floats:
    """A thing alone on the canvas (64, 64, 4): colours 0 to 255 times coverage, and coverage 0 to 1."""
    rgba = np.asarray(draw.render_thing(thing, CANVAS), dtype=np.float32)
    coverage = rgba[..., 3:] / 255
    return np.concatenate([rgba[..., :3] * coverage, coverage], axis=-1)


def pooled(window: Floats, pool: int) -> Floats:
    """Means over ``pool x pool`` cells of the two axes before the last: (..., h, w, c) to (..., h/pool, w/pool, c)."""
    *lead, height, width, channels = window.shape
    cells = window.reshape(*lead, height // pool, pool, width // pool, pool, channels)
    return cells.mean(axis=(-4, -2), dtype=np.float32)


@cache
def bank(half: int, container: bool = False) -> Bank:
    """The bank of a size; ``container`` makes the one that holds only containers."""
    shapes = tuple(shape for shape in SHAPES if shape[0] == CONTAINER) if container else SHAPES
    side = 2 * (half + 1)
    pool = 4 if half >= 19 and side % 4 == 0 else 2
    middle = CANVAS // 2
    patches = np.stack(
        [
            premultiplied(Thing(middle, middle, half, kind, colour, flip))
            for kind, flip in shapes
            for colour in COLOURS
        ]
    )
    covered = patches[..., 3].max(axis=0) > 0
    distant = np.abs(np.argwhere(covered) + 0.5 - middle).max() + 0.5
    reach = max(int(distant), side // 2)
    small = pooled(patches[:, middle - side // 2 : middle + side // 2, middle - side // 2 : middle + side // 2], pool)
    ink, coverage = small[..., :3], small[..., 3:]
    rows = len(small)
    return Bank(
        half=half,
        reach=2 * reach,
        side=side,
        pool=pool,
        shapes=shapes,
        patches=patches[:, middle - reach : middle + reach, middle - reach : middle + reach].copy(),
        ink=np.ascontiguousarray(ink.reshape(rows, -1)),
        coverage=np.ascontiguousarray(coverage[:: len(COLOURS)].reshape(len(shapes), -1)),
        ink_coverage=np.ascontiguousarray((ink * coverage).reshape(rows, -1)),
        constant=np.square(ink).sum(axis=(1, 2, 3)),
    )


def padded(picture: Floats) -> Floats:
    """(64, 64, c) to (80, 80, c), edges repeated, so that windows may reach over the edge."""
    return np.pad(picture, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), mode="edge")


def window(surface: Floats, x: int, y: int, side: int) -> Floats:
    """The square of ``side`` pixels around (x, y) of a padded picture."""
    top, left = y - side // 2 + MARGIN, x - side // 2 + MARGIN
    return surface[top : top + side, left : left + side]


def behind(sizes: Bank, ground: Floats) -> Floats:
    """The terms that only the background decides: (windows, n, 3) to (windows, T)."""
    count, cells, _ = ground.shape
    energy = np.square(ground).sum(axis=2)
    squares = np.repeat(energy @ np.square(sizes.coverage).T, len(COLOURS), axis=1)
    return sizes.constant - 2 * ground.reshape(count, 3 * cells) @ sizes.ink_coverage.T + squares


def distances(sizes: Bank, difference: Floats, ground: Floats, ground_terms: Floats) -> Floats:
    """Squared distances minus |D|^2, per cell of ``pool x pool`` pixels: (windows, n, 3) twice to (windows, T).

    A negative value means that the thing explains the window better than the bare background does.
    """
    count, cells, _ = difference.shape
    mixed = np.repeat((difference * ground).sum(axis=2) @ sizes.coverage.T, len(COLOURS), axis=1)
    return ground_terms + 2 * (mixed - difference.reshape(count, 3 * cells) @ sizes.ink.T)


@cache
def background(name: str) -> Floats:
    """A background at 64 px, (64, 64, 3), 0 to 255."""
    return np.asarray(draw.background(name, CANVAS), dtype=np.float32)[..., :3]


@cache
def backgrounds() -> Floats:
    """All backgrounds in the order of ``BACKGROUNDS``: (10, 64, 64, 3)."""
    return np.stack([background(name) for name in BACKGROUNDS])
