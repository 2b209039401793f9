"""Pictures that are made anew in part: which codes are free, what a model is shown, what is put together again.

A model draws one square grid of codes. A picture of any size is worked on through square windows, one after another.
In each window every code that a missing pixel touches is free and the others are known; what was drawn is pasted into
the missing pixels alone, so all others keep their bytes. Codes that were drawn are remembered and handed to later
windows as they are; only what no model drew is encoded.

Extension slides the window over the edge as Show-o (2408.12528) and MMaDA (2505.15809) do: at most half a window is
new at a time and the rest is context, so the model always sees the one grid that it was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image as pil

Margins = tuple[int, int, int, int]  # left, right, up, down, in pixels


@dataclass(frozen=True)
class Window:
    """A square of the canvas, in pixels."""

    left: int
    top: int
    side: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(left, top, right, bottom), the last two exclusive."""
        return self.left, self.top, self.left + self.side, self.top + self.side


class Canvas:
    """A picture with a hole, in the making. ``grid`` is the number of codes along a window's side.

    ``picture`` (RGB) is what stands there so far, ``hole`` (H, W) bool what is still to be made, ``windows`` the order
    in which it is made; every window has the same side.
    """

    def __init__(self, picture: pil.Image, hole: np.ndarray, grid: int, windows: Sequence[Window]) -> None:
        self.picture, self.hole = picture.convert("RGB"), hole.copy()
        self.grid, self.windows = grid, tuple(windows)
        self._drawn: dict[tuple[int, int], int] = {}

    @classmethod
    def inpaint(cls, picture: pil.Image, mask: pil.Image, grid: int) -> Canvas:
        """A canvas on which the pixels that are not black in ``mask`` (of the picture's size) are made anew."""
        hole = np.asarray(mask.convert("L")) > 0
        side = _side(picture, grid)
        rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
        tops = _over(int(rows[0]), int(rows[-1]) + 1, picture.height, side)
        lefts = _over(int(columns[0]), int(columns[-1]) + 1, picture.width, side)
        return cls(picture, hole, grid, [Window(left, top, side) for top in tops for left in lefts])

    @classmethod
    def extend(cls, picture: pil.Image, margins: Margins, grid: int) -> Canvas:
        """A larger canvas with ``picture`` on it; the margins are to be made, left and right before up and down.

        Raises ValueError for a margin that is no multiple of a code's side in pixels.
        """
        cell = _side(picture, grid) // grid
        side, step = cell * grid, cell * max(1, grid // 2)
        for name, margin in zip(("left", "right", "up", "down"), margins, strict=True):
            if margin % cell:
                low = margin // cell * cell
                tries = f"{low} or {low + cell}" if low else str(cell)
                raise ValueError(
                    f"{name}={margin} is no multiple of {cell} pixels, which is one code of this model on a picture "
                    f"of {picture.width} x {picture.height}; try {tries}"
                )
        left, right, up, down = margins
        before = np.asarray(picture.convert("RGB"))
        # the encoder sees the edge go on, not a black border
        pixels = np.pad(before, ((up, down), (left, right), (0, 0)), mode="edge")
        height, width = picture.height + up + down, picture.width + left + right
        hole = np.ones((height, width), dtype=bool)
        hole[up : up + picture.height, left : left + picture.width] = False
        x0, x1, y0, y1 = left, left + picture.width, up, up + picture.height
        windows = []
        while x0 > 0:
            x0 = max(0, x0 - step)
            windows += [Window(x0, top, side) for top in _cover(y0, y1, side, step)]
        while x1 < width:
            x1 = min(width, x1 + step)
            windows += [Window(x1 - side, top, side) for top in _cover(y0, y1, side, step)]
        while y0 > 0:
            y0 = max(0, y0 - step)
            windows += [Window(at, y0, side) for at in _cover(0, width, side, step)]
        while y1 < height:
            y1 = min(height, y1 + step)
            windows += [Window(at, y1 - side, side) for at in _cover(0, width, side, step)]
        return cls(pil.fromarray(pixels), hole, grid, windows)

    def free(self, window: Window) -> tuple[bool, ...]:
        """Row by row, the codes of a window that a missing pixel touches."""
        return tuple(self._touched(self._part(window), window.side).flatten().tolist())

    def crop(self, window: Window) -> pil.Image:
        """What stands in a window."""
        return self.picture.crop(window.box)

    def codes(self, window: Window, encoded: Sequence[int]) -> tuple[int, ...]:
        """The codes of a window: those that were drawn, else those of the encoded picture."""
        return tuple(self._drawn.get(place, code) for place, code in zip(self._places(window), encoded, strict=True))

    def shown(self, window: Window, drawn: pil.Image) -> pil.Image:
        """The picture with a drawn window (of any size) in the missing pixels."""
        size = (window.side, window.side)
        fitting = drawn.convert("RGB")
        if fitting.size != size:
            fitting = fitting.resize(size, pil.Resampling.BICUBIC)
        picture = self.picture.copy()
        picture.paste(fitting, (window.left, window.top), pil.fromarray(self._part(window)))
        return picture

    def put(self, window: Window, drawn: pil.Image, codes: Sequence[int]) -> None:
        """Keep a drawn window; its missing pixels are made then."""
        self.picture = self.shown(window, drawn)
        mixed = self._touched(~self._part(window), window.side).flatten().tolist()  # with pixels that no model drew
        for place, code, kept in zip(self._places(window), codes, mixed, strict=True):
            if not kept:
                self._drawn[place] = code
        self._part(window)[:] = False

    def _part(self, window: Window) -> np.ndarray:
        left, top, right, bottom = window.box
        return self.hole[top:bottom, left:right]

    def _touched(self, pixels: np.ndarray, side: int) -> np.ndarray:
        """(grid, grid) bool: the codes that these pixels (side, side) bool lie in; a pixel may lie in two."""
        rows, columns = np.nonzero(pixels)
        touched = np.zeros((self.grid, self.grid), dtype=bool)
        for y in (rows * self.grid // side, ((rows + 1) * self.grid - 1) // side):
            for x in (columns * self.grid // side, ((columns + 1) * self.grid - 1) // side):
                touched[y, x] = True
        return touched

    def _places(self, window: Window) -> list[tuple[int, int]]:
        """Where each code of a window begins, in pixels times ``grid``: whole numbers for any side."""
        return [
            (window.top * self.grid + i * window.side, window.left * self.grid + j * window.side)
            for i in range(self.grid)
            for j in range(self.grid)
        ]


def _side(picture: pil.Image, grid: int) -> int:
    side = min(picture.size)
    if side < grid:
        raise ValueError(
            f"the picture has {picture.width} x {picture.height} pixels; this model needs at least {grid} a side"
        )
    return side


def _cover(begin: int, end: int, side: int, step: int) -> list[int]:
    """Where windows begin that cover begin to end (at least ``side`` apart), each ``step`` on or less."""
    last = end - side
    return [*range(begin, last, step), last]


def _over(begin: int, end: int, total: int, side: int) -> list[int]:
    """Where windows begin that cover a hole: one in its middle, or several from its beginning to its end."""
    if end - begin > side:
        return _cover(begin, end, side, max(1, side // 2))
    return [min(max((begin + end - side) // 2, 0), total - side)]
