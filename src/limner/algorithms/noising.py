"""Which values are hidden when answers are scored in reinforcement learning (UniGRPO, 2505.15809 section 3.3).

The question is never hidden; of the answer a share is, and shares are spaced over the updates that use one set of
answers. A draw made here is a value: the new, the old and the reference policy all score the same hidden values.
Letters: B rows, N values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from limner.process.base import Draw, Process
from limner.process.masked import MaskedBlocks, MaskedCanvas

Spacing = Literal["even", "to_end", "grid"]

SMOOTH = 0.9  # of the quarter turn, in the cosine curve


@dataclass(frozen=True)
class Noising:
    """How shares in [low, high] are chosen for update n of mu.

    ``spacing``: "even" starts anywhere and goes on by 1/mu of the range, round and round (the paper's worked example);
    "to_end" goes from the start to the end of the range evenly (the paper's formula; the last update hides everything);
    "grid" gives the members of a group evenly spaced shares, always the same ones. ``curve`` "cosine" turns a share r
    into cos(0.9 pi r / 2). ``later`` hides later values more often than earlier ones, in proportion to their place.
    ``masks`` is how many draws one update averages over; their shares are spaced, too.
    """

    spacing: Spacing = "even"
    low: float = 0.0
    high: float = 1.0
    curve: Literal["plain", "cosine"] = "plain"
    later: bool = False
    masks: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 1:
            raise ValueError(f"low={self.low} and high={self.high} must be shares with 0 <= low < high <= 1")
        if self.masks < 1:
            raise ValueError(f"masks={self.masks} must be at least 1")
        for name, value, known in (
            ("spacing", self.spacing, ("even", "to_end", "grid")),
            ("curve", self.curve, ("plain", "cosine")),
        ):
            if value not in known:
                raise ValueError(f"{name} is one of {', '.join(known)}, not {value!r}")

    def shares(self, start: Tensor, update: int, updates: int, group: int) -> Tensor:
        """(B,) shares of ``update`` in 0 .. updates - 1. start (B,) in [0, 1); rows stand in runs of ``group``."""
        if not 0 <= update < updates:
            raise ValueError(f"update {update} is not among the {updates} updates 0 to {updates - 1}")
        if self.spacing == "grid":
            place = torch.linspace(0, 1, group, dtype=torch.float64).repeat(-(-len(start) // group))[: len(start)]
        elif self.spacing == "to_end":
            place = start.double() + (update / max(1, updates - 1)) * (1 - start.double())
        else:
            place = (start.double() + update / updates) % 1.0
        return self.low + (self.high - self.low) * place

    def counts(self, share: Tensor, lengths: Tensor) -> Tensor:
        """(B,) how many values to hide, between 1 and the row's length (0 for an empty row)."""
        most = lengths.double()
        count = (share.double() * most).round()
        if self.curve == "cosine":
            count = count.clamp(min=1)
            count = (most * (math.pi / 2 * SMOOTH * count / most.clamp(min=1)).cos()).round()
        return torch.minimum(count.clamp(min=1), most).long()


def hide(process: Process[Any], values: Tensor, noise: Any, share: Tensor, how: Noising) -> tuple[Draw, Tensor]:
    """(draw, counted (B, N) bool): a share (B,) of every row's answer hidden, exactly as many as ``how`` counts.

    What stands behind an answer's end is hidden as well, for it would tell how long the answer is, and is not counted.
    A process that has nothing to hide draws as it always does.
    """
    told = process.meant(values)
    if not isinstance(process, MaskedBlocks | MaskedCanvas):
        drawn = process.draw(values, noise, share.float())
        return drawn, drawn.hidden & told
    count = how.counts(share, told.sum(dim=1).cpu())
    key = noise.uniform("mask", 0, values.shape[1]).double()
    if how.later:
        # a weighted choice without putting back: u^(1/weight), the largest first
        weight = torch.arange(1, values.shape[1] + 1, dtype=torch.float64) / values.shape[1]
        key = 1 - key.clamp(min=1e-12) ** (1 / weight)
    key = torch.where(told.cpu(), key, torch.inf)
    place = key.argsort(dim=1, stable=True).argsort(dim=1)
    counted = (place < count[:, None]).to(values.device) & told
    weight_of_rows = torch.ones(len(values), device=values.device)
    return Draw(counted | ~told, weight_of_rows), counted
