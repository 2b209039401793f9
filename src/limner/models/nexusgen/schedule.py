"""Noise levels, those of diffusers' ``FlowMatchEulerDiscreteScheduler(shift=3.0)``, and how training weighs its times.

They are computed here by the published formula: a level that is one rounding error off is 6e-5 off in the phase of the
transformer's sines, which gradients show.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from limner.models.nexusgen.decoders import Grid
from limner.process.base import Context, Draw, Scored
from limner.process.flow import Flow, FlowDraw, FlowNet, FlowState

SHIFT = 3.0
LEAST = 1e-6  # the published weight of a picture that is all noise is 0, which a likelihood cannot have


@cache
def sigmas(steps: int, shift: float = SHIFT) -> Tensor:
    """(steps,) noise levels from 1 down; 0 follows them."""
    even = torch.linspace(1.0, 0.001 * shift / (1 + 0.001 * (shift - 1)), steps)
    return shift * even / (1 + (shift - 1) * even)


def times(steps: int) -> Tensor:
    """(steps + 1,) float64 times 1 - sigma from 0 to 1, as a ``Flow`` counts them."""
    return 1 - torch.cat([sigmas(steps), torch.zeros(1)]).double()


@cache
def _shape() -> tuple[float, float]:
    """(Least value, 1000 / sum above it) of the bell over the 1000 times of training."""
    bell = _bell(sigmas(1000))
    return float(bell.min()), float(1000 / (bell - bell.min()).sum())


def _bell(sigma: Tensor) -> Tensor:
    return torch.exp(-2 * ((1000 * sigma - 500) / 1000) ** 2)


def weights(sigma: Tensor) -> Tensor:
    """How much a noise level counts in training: a bell around 1/2, 0 at 1."""
    least, scale = _shape()
    return ((_bell(sigma) - least) * scale).clamp(min=0)


@dataclass(frozen=True)
class Painting(Flow):
    """A flow along the published levels, scored as the published training weighs them.

    The values of a picture that is not square tell its shape: two numbers, its height and width in latents, before the
    latents. ``shaped`` gives the network for a shape.
    """

    shaped: Callable[[Grid], FlowNet] | None = None

    def view(self, state: FlowState) -> Tensor:
        found, shape = super().view(state), getattr(state.context.given, "shape", None)
        return found if shape is None else torch.cat([found.new_tensor([shape]).expand(len(found), -1), found], dim=1)

    def draw(self, values: Tensor, noise: Any, level: Tensor | None = None) -> FlowDraw:
        """The time is one of the 1000 of training, each as likely, or 1 - ``level``."""
        drawn = super().draw(untold(values)[0], noise, level)
        time = drawn.time
        if level is None:
            one = noise.uniform("time", 0, 1)[:, 0]
            time = (1 - sigmas(1000)[(one * 1000).long().clamp(max=999)]).to(time.device)
        weight = weights(1 - time.cpu()).clamp(min=LEAST).to(drawn.weight.device)
        return FlowDraw(drawn.hidden, weight, time, drawn.noise)

    def log_prob(self, context: Context, values: Tensor, draw: Draw) -> Scored:
        latents, shape = untold(values)
        if shape is None:
            return super().log_prob(context, values, draw)
        if self.shaped is None:
            raise ValueError(f"a picture of {shape[0]} x {shape[1]} latents needs a network for shapes")
        return replace(self, net=self.shaped(shape), shaped=None).log_prob(context, latents, draw)


def untold(values: Tensor) -> tuple[Tensor, Grid | None]:
    """(The latents' values (B, N), the shape that stands before them; None for a square picture's).

    Numbers of a square picture are a multiple of four, and with a shape before them they are not.
    """
    if values.shape[1] % 4 != 2 or not len(values):
        return values, None
    high, wide = values[0, :2].tolist()
    if not bool((values[:, :2] == values[:1, :2]).all()):
        raise ValueError("pictures of several shapes cannot be in one batch; give those of one shape at a time")
    return values[:, 2:], (high, wide)
