"""Pictures as the vision tower sees them: one padded square, or tiles of the best-fitting grid beside the whole.

Released reward models were tuned on the second form and are asked in the first.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as pil
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

Form = Literal["pad", "anyres"]
SIDE = 384  # pixels of a tile
MEAN = (127, 127, 127)  # what a picture is padded with
MOST_TILES = 9  # features of a larger grid are scaled down to so many
GRIDS = tuple((w, h) for w in range(1, 7) for h in range(1, 7))


def pixels(picture: Picture, form: Form) -> Tensor:
    """(tiles, 3, 384, 384) in -1..1: one tile, or the whole picture and then the tiles of its grid."""
    picture = picture.convert("RGB")
    if form == "pad":
        return _normal(_resized(_square(picture), SIDE, SIDE))[None]
    wide, high = grid(picture.size)
    canvas = _fitted(picture, wide * SIDE, high * SIDE)
    boxes = [
        (x * SIDE, y * SIDE, (x + 1) * SIDE, (y + 1) * SIDE)
        for y in range(high)
        for x in range(wide)
    ]  # fmt: skip
    tiles = [_resized(picture, SIDE, SIDE), *(canvas.crop(box) for box in boxes)]
    return torch.stack([_normal(tile) for tile in tiles])


def grid(size: tuple[int, int]) -> tuple[int, int]:
    """(columns, rows) that keep most of a picture of this size, with the least waste among equals."""

    def worth(shape: tuple[int, int]) -> tuple[int, int]:
        wide, high = shape[0] * SIDE, shape[1] * SIDE
        scale = min(wide / size[0], high / size[1])
        kept = min(int(size[0] * scale) * int(size[1] * scale), size[0] * size[1])
        return kept, -(wide * high - kept)

    return max(GRIDS, key=worth)


def arranged(features: Tensor, newline: Tensor, size: tuple[int, int], form: Form) -> Tensor:
    """Features (tiles, patches, C) as a row of the words (n, C), with the learned newline (C,) at the end of lines."""
    if form == "pad":
        return torch.cat([features[0], newline[None]])
    whole, tiles = features[0], features[1:]
    wide, high = grid(size)
    side = math.isqrt(whole.shape[0])
    map_ = tiles.view(high, wide, side, side, -1).permute(4, 0, 2, 1, 3).flatten(3, 4).flatten(1, 2)
    map_ = _unpadded(map_, size)
    times = math.sqrt(map_.shape[1] * map_.shape[2] / (MOST_TILES * side**2))
    if times > 1.1:
        smaller = (int(map_.shape[1] // times), int(map_.shape[2] // times))
        map_ = F.interpolate(map_[None], smaller, mode="bilinear")[0]
    ends = newline[:, None, None].expand(-1, map_.shape[1], 1)
    lines = torch.cat([map_, ends], dim=2).flatten(1).T
    return torch.cat([whole, lines])


def _unpadded(map_: Tensor, size: tuple[int, int]) -> Tensor:
    """A map (C, h, w) without the lines that show padding alone."""
    (width, height), (high, wide) = size, map_.shape[1:]
    if width / height > wide / high:
        pad = (high - int(height * wide / width)) // 2
        return map_[:, pad : high - pad]
    pad = (wide - int(width * high / height)) // 2
    return map_[:, :, pad : wide - pad]


def _square(picture: Picture) -> Picture:
    width, height = picture.size
    if width == height:
        return picture
    side = max(width, height)
    canvas = pil.new("RGB", (side, side), MEAN)
    canvas.paste(picture, ((side - width) // 2, (side - height) // 2))
    return canvas


def _fitted(picture: Picture, wide: int, high: int) -> Picture:
    """As large as fits, in the middle of black."""
    width, height = picture.size
    if wide / width < high / height:
        size = (wide, min(math.ceil(height * wide / width), high))
    else:
        size = (min(math.ceil(width * high / height), wide), high)
    canvas = pil.new("RGB", (wide, high))
    canvas.paste(picture.resize(size, pil.Resampling.BICUBIC), ((wide - size[0]) // 2, (high - size[1]) // 2))
    return canvas


def _resized(picture: Picture, wide: int, high: int) -> Picture:
    return picture.resize((wide, high), pil.Resampling.BICUBIC)


def _normal(picture: Picture) -> Tensor:
    values = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1).float()
    return values / 255 * 2 - 1
