"""One clipped-ratio objective for every method that learns from groups (GRPO 2402.03300 section 4; UniGRPO 2505.15809
section 3.3; RGPO 2505.13031). What differs between them are the settings, and where log-probabilities come from.

    loss = - average over counted values of min(rho A, clip(rho, 1 - low, 1 + high) A) + beta KL(new || reference)

rho = exp(new - old). Everything is float32, and log-ratios are clamped before ``exp``. Letters: B rows, N values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from limner.process.base import Scored, k3_divergence

Ratio = Literal["token", "sequence"]
Average = Literal["rows", "tokens", "length"]
Spread = Literal["sample", "population", "none"]

LARGEST = 20.0  # of |log rho| before exp


@dataclass(frozen=True)
class Clipped:
    """Settings of the objective.

    ``ratio``: "token" has one ratio for each value, "sequence" one for each row, from mean log-probabilities.
    ``average``: "rows" is the mean of row means (GRPO), "tokens" the mean over all counted values of the batch (BNPO),
    "length" the sum by rows times N (Dr. GRPO). ``divergence``: "k3" is e^d - d - 1 with d = reference - new, never
    negative; "k1" is -d. ``summed`` sums the divergence over a row's values instead of averaging it like the gain.
    """

    low: float = 0.2
    high: float = 0.2
    beta: float = 0.04
    ratio: Ratio = "token"
    average: Average = "rows"
    divergence: Literal["k3", "k1"] = "k3"
    summed: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.low < 1 or not self.high > 0:
            raise ValueError(f"low={self.low} must be between 0 and 1, high={self.high} above 0; 0.2 is usual for both")
        if not self.beta >= 0:
            raise ValueError(f"beta={self.beta} must be at least 0; 0 leaves the reference out")
        for name, value, known in (
            ("ratio", self.ratio, ("token", "sequence")),
            ("average", self.average, ("rows", "tokens", "length")),
            ("divergence", self.divergence, ("k3", "k1")),
        ):
            if value not in known:
                raise ValueError(f"{name} is one of {', '.join(known)}, not {value!r}")


@dataclass(frozen=True)
class Parts:
    """The objective's pieces, each a scalar: ``gain`` and ``divergence`` carry gradients; the others are reports.

    ``clipped`` is the share of counted values whose ratio the clip holds back, ``ratio`` the mean ratio.
    """

    gain: Tensor
    divergence: Tensor
    clipped: Tensor
    ratio: Tensor

    def loss(self, beta: float) -> Tensor:
        """- gain + beta divergence."""
        return beta * self.divergence - self.gain if beta else -self.gain


def averaging(counted: Tensor, average: Average) -> Tensor:
    """Weights (B, N) with which values enter the loss. counted (B, N) bool; rows without any weigh nothing."""
    count = counted.float()
    if average == "tokens":
        return count / count.sum().clamp(min=1)
    if average == "length":
        return count / max(1, counted.numel())
    return count / count.sum(dim=1, keepdim=True).clamp(min=1) / max(1, len(counted))


def row_means(tokens: Tensor, counted: Tensor) -> Tensor:
    """(B, 1) mean over the counted values of tokens (B, N)."""
    return (tokens * counted).sum(dim=1, keepdim=True) / counted.sum(dim=1, keepdim=True).clamp(min=1)


def clipped_gain(new: Tensor, old: Tensor, advantages: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """(gain, ratio) like new: min(rho A, clip(rho) A). new, old (B, N) or (B, 1); advantages (B,)."""
    ratio = (new - old).clamp(-LARGEST, LARGEST).exp()
    each = advantages[:, None].to(ratio)
    return torch.minimum(ratio * each, ratio.clamp(1 - low, 1 + high) * each), ratio


def held_back(ratio: Tensor, advantages: Tensor, low: float, high: float) -> Tensor:
    """Bool like ratio: the clip took the gradient away."""
    each = advantages[:, None]
    return ((ratio > 1 + high) & (each > 0)) | ((ratio < 1 - low) & (each < 0))


def clipped_objective(
    new: Tensor,
    old: Tensor,
    reference: Tensor | None,
    advantages: Tensor,
    counted: Tensor,
    settings: Clipped,
    weights: Tensor | None = None,
) -> Parts:
    """The pieces of the objective for log-probabilities (B, N), or (B, 1) where a row has one number already.

    advantages (B,), counted (B, N) bool. ``weights`` (B, N) replaces ``averaging(counted)``: rows that are scored in
    small batches take their rows of the whole batch's weights, and the sums of their pieces are the whole's.
    """
    if new.shape != old.shape or len(advantages) != len(new) or counted.shape[0] != new.shape[0]:
        raise ValueError(
            f"new {tuple(new.shape)}, old {tuple(old.shape)}, counted {tuple(counted.shape)} and {len(advantages)} "
            "advantages do not belong together"
        )
    weights = averaging(counted, settings.average) if weights is None else weights
    if settings.ratio == "sequence" and new.shape[1] > 1:
        new, old = row_means(new, counted), row_means(old, counted)
        reference = None if reference is None else row_means(reference, counted)
    gain, ratio = clipped_gain(new, old.detach(), advantages, settings.low, settings.high)
    divergence = torch.zeros((), device=new.device)
    if reference is not None:
        over = counted.float() / len(counted) if settings.summed else weights
        divergence = (_divergence(new, reference.detach(), settings.divergence) * over).sum()
    held = held_back(ratio.detach(), advantages.to(ratio), settings.low, settings.high)
    return Parts((gain * weights).sum(), divergence, (held * weights).sum(), (ratio.detach() * weights).sum())


def _divergence(new: Tensor, reference: Tensor, how: str) -> Tensor:
    """Like new."""
    if how == "k1":
        return new - reference
    everything = torch.ones_like(new, dtype=torch.bool)
    one = torch.ones(len(new), device=new.device)
    return k3_divergence(Scored(new, everything, one), Scored(reference, everything, one))


def group_advantages(
    rewards: Sequence[float | None],
    group: int,
    *,
    spread: Spread = "sample",
    delta: float = 1e-4,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """(B,) (reward - mean) / (deviation + delta) within each run of ``group`` rewards.

    ``spread``: the deviation is that of a sample (by G - 1; GRPO as in trl), of the population, or none (Dr. GRPO).
    Rewards that could not be judged (None) take no part and get 0, as does a group whose rewards are all equal.
    """
    if group < 2 or len(rewards) % group:
        raise ValueError(
            f"{len(rewards)} rewards are no groups of {group}; give at least 2 to a group, and whole groups"
        )
    found: list[float] = []
    for begin in range(0, len(rewards), group):
        some = rewards[begin : begin + group]
        known = [reward for reward in some if reward is not None]
        if len(known) < 2 or min(known) == max(known):
            found += [0.0] * group
            continue
        mean = sum(known) / len(known)
        squares = sum((reward - mean) ** 2 for reward in known)
        deviation = (squares / (len(known) - (spread == "sample"))) ** 0.5 + delta
        scale = 1.0 if spread == "none" else deviation
        found += [0.0 if reward is None else (reward - mean) / scale for reward in some]
    return torch.tensor(found, dtype=dtype)
