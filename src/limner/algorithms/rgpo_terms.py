"""The terms of RGPO's loss (2505.13031) as functions of tensors, and their settings; ``rgpo`` makes the tensors.

Letters: B rollouts, N tokens of a chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from limner.algorithms.policy_gradient import Spread, clipped_gain, held_back
from limner.process.base import Process, Scored, k3_divergence
from limner.process.flow import level_divergence, velocity_divergence
from limner.process.noise import Noise


@dataclass(frozen=True)
class RewardSettings:
    """Settings of RGPO; the defaults are published or, where nothing is, those of its code base.

    ``ratio``: "token" has one ratio for each token, "sequence" one for each chain, of summed log-probabilities.
    ``text_beta`` and ``picture_beta`` weigh both divergences; ``picture`` is "levels" (softmax over channels at
    ``temperature``, all levels) or "velocity", taken of one in ``trace_every`` rollouts. ``truncated`` "mask" leaves
    chains that were cut off at the limit out of J. ``drop_equal`` leaves groups with equal rewards out of everything,
    after ``resample`` further tries to find others. ``decoder`` above 0 weighs the clipped objective of
    ``decoder_steps`` steps of each picture, drawn with ``chance``; its ratio is of mean log-densities, so its clip is
    narrow. ``rows`` scores so many rollouts at a time and runs backward after each (0: all in one graph).
    """

    group: int = 4
    updates: int = 1
    low: float = 0.2
    high: float = 0.2
    ratio: Literal["token", "sequence"] = "token"
    spread: Spread = "sample"
    delta: float = 1e-4
    text_beta: float = 0.01
    picture_beta: float = 0.06
    picture: Literal["levels", "velocity"] = "levels"
    temperature: float = 1.0
    trace_every: int = 1
    truncated: Literal["count", "mask"] = "count"
    drop_equal: bool = False
    resample: int = 0
    decoder: float = 0.0
    decoder_steps: int = 2
    decoder_clip: float = 1e-3
    decoder_beta: float = 0.0
    chance: float = 0.7
    rows: int = 0
    rollout_rows: int = 64

    def __post_init__(self) -> None:
        least = {"group": 2} | dict.fromkeys(("updates", "trace_every", "decoder_steps", "rollout_rows"), 1)
        least |= dict.fromkeys(("rows", "resample", "text_beta", "picture_beta", "decoder", "decoder_beta", "delta"), 0)
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name}={getattr(self, name)} must be at least {low}")
        if not 0 < self.low < 1 or not self.high > 0 or not self.temperature > 0:
            raise ValueError(f"low={self.low} must be between 0 and 1, high={self.high} and temperature above 0")
        kinds = {"ratio": ("token", "sequence"), "picture": ("levels", "velocity"), "truncated": ("count", "mask")}
        for name, known in kinds.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is one of {', '.join(known)}, not {getattr(self, name)!r}")
        if self.decoder and not self.chance > 0:
            raise ValueError("steps of a picture have a density only with chance above 0")

    @property
    def compares(self) -> bool:
        """A reference is needed."""
        return self.text_beta > 0 or self.picture_beta > 0 or (self.decoder > 0 and self.decoder_beta > 0)


@dataclass(frozen=True)
class Terms:
    """Terms of the loss, scalars with gradients, and reports: ``clipped`` is the share of ratios held back."""

    policy: Tensor
    text: Tensor
    picture: Tensor
    clipped: Tensor
    ratio: Tensor

    def loss(self, settings: RewardSettings) -> Tensor:
        """- policy + beta_T text + beta_I picture."""
        return settings.text_beta * self.text + settings.picture_beta * self.picture - self.policy


def reward_terms(
    new: Tensor,
    old: Tensor,
    reference: Tensor | None,
    advantages: Tensor,
    counted: Tensor,
    apart: Tensor | None,
    settings: RewardSettings,
    share: Tensor | None = None,
) -> Terms:
    """The terms for log-probabilities (B, N), in their own type; counted (B, N) bool, advantages (B,).

    ``apart`` (B,) are the pictures' divergences. ``share`` (B,) is what each row counts in a mean (default 1 / B), so
    that the terms of small batches add up to those of the whole.
    """
    share = torch.full_like(new[:, 0], 1 / max(1, len(new))) if share is None else share.to(new)
    count = counted.to(new)
    weights = share[:, None] * count / count.sum(dim=1, keepdim=True).clamp(min=1)
    each = advantages.to(new)
    if settings.ratio == "sequence":
        ratios = ((new * count).sum(dim=1, keepdim=True), (old.detach() * count).sum(dim=1, keepdim=True))
        weighed, told = share[:, None], torch.ones_like(counted[:, :1])
    else:
        ratios, weighed, told = (new, old.detach()), weights, counted
    gain, ratio = clipped_gain(*ratios, each, settings.low, settings.high)
    held = held_back(ratio.detach(), each, settings.low, settings.high) & told
    nothing = new.new_zeros(())
    text = nothing
    if reference is not None and settings.text_beta:
        one = torch.ones(len(new), device=new.device)
        apart_text = k3_divergence(Scored(new, counted, one), Scored(reference.detach(), counted, one))
        text = (apart_text * weights).sum()
    return Terms(
        (gain * weighed).sum(),
        text,
        nothing if apart is None else (apart * share.to(apart)).sum(),
        held.sum().to(new) / told.sum().clamp(min=1),
        (ratio.detach() * weighed).sum(),
    )


def picture_apart(policy: tuple[Tensor, Tensor], reference: tuple[Tensor, Tensor], settings: RewardSettings) -> Tensor:
    """(B,) how far apart two traces (velocity (B, N), levels (B, L, n, D)) of the same noisy picture are."""
    if settings.picture == "velocity":
        return velocity_divergence(policy[0].float(), reference[0].detach().float())
    return level_divergence(policy[1], reference[1].detach(), settings.temperature)


def cut_off(process: Process[Any], values: Tensor) -> Tensor:
    """(B,) bool: values (B, N) of words fill all places, and the last of them ends nothing."""
    told = process.draw(values, Noise.of([0] * len(values)), torch.ones(len(values))).hidden
    stop = getattr(process, "stops", None) or getattr(process, "stop", -1)
    stops = stop if isinstance(stop, frozenset) else {-1 if stop is None else stop}
    ended = torch.isin(values[:, -1], torch.tensor(sorted(stops), device=values.device))
    return told.all(dim=1) & ~ended
