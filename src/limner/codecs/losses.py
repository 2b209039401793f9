"""The reconstruction loss of the small codecs: absolute and squared differences, and the same edges.

Drawn pictures are flat areas with hard outlines. Absolute and squared pixel differences get the areas right; the
difference of neighbouring pixels, compared in both directions, rewards outlines that are as sharp as the target's.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

SQUARE_WEIGHT = 1.0
EDGE_WEIGHT = 1.0


def reconstruction_loss(pred: Tensor, target: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Compare pixels (B, 3, H, W) in [-1, 1] with their target; a mean over everything.

    Returns the scalar loss and its parts as plain numbers: ``absolute``, ``square``, ``edge`` and ``psnr`` in dB
    (peak 2, before any clamping or rounding).
    """
    if pred.shape != target.shape:
        raise ValueError(f"prediction {tuple(pred.shape)} and target {tuple(target.shape)} must have the same shape")
    difference = pred - target
    absolute = difference.abs().mean()
    square = F.mse_loss(pred, target)
    across = (difference[..., :, 1:] - difference[..., :, :-1]).abs().mean()
    along = (difference[..., 1:, :] - difference[..., :-1, :]).abs().mean()
    edge = (across + along) / 2
    loss = absolute + SQUARE_WEIGHT * square + EDGE_WEIGHT * edge
    return loss, {
        "absolute": absolute.item(),
        "square": square.item(),
        "edge": edge.item(),
        "psnr": psnr(square.item()),
    }


def psnr(square: float) -> float:
    """Peak signal-to-noise ratio in dB for a mean squared difference of pixels in [-1, 1]."""
    return 10 * math.log10(4 / max(square, 1e-12))
