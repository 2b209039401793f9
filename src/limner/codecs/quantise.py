"""Quantisers without a code table: each channel of a latent is rounded by itself, and the channels spell the code.

``lfq`` (look-up-free quantisation, arXiv 2310.05737) keeps the sign of every channel: two values, -1 and +1.
``fsq`` (finite scalar quantisation, arXiv 2309.15505) squashes every channel and rounds it to ``levels[c]`` evenly
spaced values; ours have bins of equal width with the value at the bin's centre. In both, channel 0 is the most
significant digit of the code. Gradients pass straight through the rounding.

Shapes: latents (B, C, h, w), codes (B, h, w).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

COMMITMENT_WEIGHT = 0.1  # of the released codec's training, as are the two below
COMMITMENT_BETA = 0.25
ENTROPY_WEIGHT = 0.1
FSQ_SLOPE = 1.6  # sigmoid(1.6 z) is close to the normal distribution function: unit-variance latents fill all bins


class Quantised(NamedTuple):
    """What the quantiser made of one batch of latents.

    ``values`` (B, C, h, w) in [-1, 1], with straight-through gradients; ``codes`` (B, h, w) int64;
    ``commitment`` and ``entropy`` are scalar losses with their weights applied, zero where the kind has none.
    """

    values: Tensor
    codes: Tensor
    commitment: Tensor
    entropy: Tensor

    @property
    def loss(self) -> Tensor:
        """The sum to add to a reconstruction loss."""
        return self.commitment + self.entropy


@dataclass(frozen=True)
class Quantiser:
    """Which values each channel may take. ``levels`` has one entry a channel; ``lfq`` has two levels throughout."""

    kind: Literal["lfq", "fsq"]
    levels: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.kind not in ("lfq", "fsq"):
            raise ValueError(f"no quantiser called {self.kind!r}; there are: lfq, fsq")
        if not self.levels or min(self.levels) < 2:
            raise ValueError(f"levels={self.levels} must name at least two levels for each of one or more channels")
        if self.kind == "lfq" and set(self.levels) != {2}:
            raise ValueError(f"lfq has two levels a channel, got levels={self.levels}; choose fsq for other numbers")

    @property
    def num_codes(self) -> int:
        """Size of the code book."""
        return math.prod(self.levels)

    @property
    def strides(self) -> tuple[int, ...]:
        """What one step of each channel adds to the code; channel 0 counts most."""
        return tuple(math.prod(self.levels[c + 1 :]) for c in range(len(self.levels)))

    def digits(self, latents: Tensor) -> Tensor:
        """Latents (B, C, h, w) to the level of each channel, int64 (B, C, h, w). Zero is negative under lfq."""
        if self.kind == "lfq":
            return (latents > 0).long()
        levels = self._column(self.levels, latents)
        return (torch.sigmoid(FSQ_SLOPE * latents.float()) * levels).long().minimum(levels - 1)

    def codes(self, latents: Tensor) -> Tensor:
        """Latents (B, C, h, w) to codes (B, h, w) int64."""
        return self._spell(self.digits(latents))

    def values(self, codes: Tensor) -> Tensor:
        """Codes (B, h, w) to channel values (B, C, h, w) float32 in [-1, 1]. Codes outside the book are clamped."""
        codes = codes.clamp(0, self.num_codes - 1).unsqueeze(1)
        levels, strides = self._column(self.levels, codes), self._column(self.strides, codes)
        return self._centre(codes // strides % levels)

    def __call__(self, latents: Tensor) -> Quantised:
        """Quantise latents (B, C, h, w) for training."""
        digits = self.digits(latents)
        centres = self._centre(digits).to(latents.dtype)
        none = latents.new_zeros(())
        if self.kind == "fsq":
            soft = 2 * torch.sigmoid(FSQ_SLOPE * latents) - 1
            return Quantised(soft + (centres - soft).detach(), self._spell(digits), none, none)
        values = latents + (centres - latents).detach()
        return Quantised(values, self._spell(digits), _commitment(latents, centres), _entropy(latents))

    def _spell(self, digits: Tensor) -> Tensor:
        return (digits * self._column(self.strides, digits)).sum(1)

    def _centre(self, digits: Tensor) -> Tensor:
        levels = self._column(self.levels, digits)
        return 2 * digits - 1.0 if self.kind == "lfq" else (2 * digits + 1) / levels - 1

    @staticmethod
    def _column(numbers: tuple[int, ...], like: Tensor) -> Tensor:
        return torch.tensor(numbers, device=like.device).view(1, -1, 1, 1)


def _commitment(latents: Tensor, centres: Tensor) -> Tensor:
    """Squared distance to the chosen signs. The second term has a value but, the signs being fixed, no gradient."""
    pull = F.mse_loss(latents, centres.detach())
    return COMMITMENT_WEIGHT * (pull + COMMITMENT_BETA * pull.detach())


def _entropy(latents: Tensor) -> Tensor:
    """Sure of each sign, yet using both signs equally often: mean entropy less entropy of the mean, per channel."""
    logits = torch.stack([-((latents - 1) ** 2), -((latents + 1) ** 2)], dim=-1).float()
    sure = -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1).mean()
    share = logits.softmax(-1).mean(dim=(0, 2, 3))
    return ENTROPY_WEIGHT * (sure - torch.special.entr(share).sum(-1).mean())
