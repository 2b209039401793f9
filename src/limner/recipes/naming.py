"""What stands where in a picture of the world, as a target of training beside the picture itself.

A head on a network's inner states names, at each of 8 x 8 places, the kind and the colour that stand there and the
background. Squared differences care for areas and learn slowly which thing is meant; names say it outright. The head is
thrown away after training.
"""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from limner.world.scene import BACKGROUNDS, CANVAS, COLOURS, KINDS, Scene

NAMED = len(KINDS) + 1 + len(COLOURS) + 1 + len(BACKGROUNDS)


def names(scene: Scene, side: int = 8) -> np.ndarray:
    """(3, side, side) int64: the kind and the colour that cover most of every place (0: none), and the background."""
    cell = CANVAS / side
    out = np.zeros((3, side, side), np.int64)
    out[2] = BACKGROUNDS.index(scene.background)
    most = np.full((side, side), 0.25 * cell * cell)  # less than a quarter of a place is no thing's
    low, high = np.arange(side) * cell, (np.arange(side) + 1) * cell
    for thing in scene.things:
        across = (np.minimum(high, thing.x + thing.half) - np.maximum(low, thing.x - thing.half)).clip(0)
        along = (np.minimum(high, thing.y + thing.half) - np.maximum(low, thing.y - thing.half)).clip(0)
        area = along[:, None] * across[None, :]
        # a container comes first, and what stands inside it takes its places
        wins = area >= most
        most = np.where(wins, area, most)
        out[0][wins] = 1 + list(KINDS).index(thing.kind)
        out[1][wins] = 1 + COLOURS.index(thing.colour)
    return out


def naming_loss(said: Tensor, wanted: Tensor) -> tuple[Tensor, float]:
    """(loss, share of things whose kind is right) of a head's ``said`` (B, NAMED, ...) against names (B, 3, ...)."""
    kind, colour, background = said.split((len(KINDS) + 1, len(COLOURS) + 1, len(BACKGROUNDS)), dim=1)
    kinds, colours, backgrounds = wanted.unbind(dim=1)
    loss = F.cross_entropy(kind, kinds) + 0.5 * F.cross_entropy(colour, colours)
    loss = loss + 0.2 * F.cross_entropy(background, backgrounds)
    return loss, float((kind.argmax(dim=1) == kinds)[kinds > 0].float().mean())
