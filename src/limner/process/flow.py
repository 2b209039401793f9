"""Pictures from noise along a learned velocity: t = 0 is noise, t = 1 is the picture (rectified flow 2209.03003;
OmniGen 2409.11340; MindOmni 2505.13031 section 3).

    x_t = t x_1 + (1 - t) x_0,   the network is asked for x_1 - x_0

A picture's values are its latents. They are handed around as the bits of float32 numbers in int64 (``to_values``), so
that they go through JSON, buffers and comparisons as exactly as codes do. The plain sampler is deterministic and has no
likelihood; ``log_prob`` is minus the squared error of the velocity at a drawn time and noise, a bound as masked parts
have. With ``chance`` above 0 every step adds Gaussian noise and keeps the marginals (Flow-GRPO 2505.05470 section 3.2),
and ``step_log_prob`` is exact.

Guidance w follows this package: velocity = (1 + w) conditional - w unconditional. Where the context also tells what the
pictures alone condition, words and pictures are guided apart (OmniGen 2409.11340's three branches, after 2211.09800):
velocity = none + s (pictures - none) + (1 + w) (all - pictures). Letters: B rows, N latent numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from limner.process.base import Context, Draw, Process, Scored, Settings, State, Tokens
from limner.process.noise import Noise


class FlowNet(Protocol):
    """A network that looks at a condition and at noisy latents."""

    def __call__(self, sides: Sequence[Tokens], latents: Tensor, time: Tensor, first: bool) -> list[Tensor]:
        """The velocity (B, N) of latents (B, N) at time (B,) under each of the conditions; ``first`` is true in a
        sampler's first step alone."""
        ...


# condition, latents (B, N), time (B,) -> velocity (B, N), states of the picture's tokens after every level (B, L, n, D)
LevelsNet = Callable[[Tokens, Tensor, Tensor], tuple[Tensor, Tensor]]


def to_values(latents: Tensor) -> Tensor:
    """Latents (B, N) as values (B, N) int64: the bits of float32 numbers."""
    return latents.detach().float().contiguous().view(torch.int32).long()


def to_latents(values: Tensor) -> Tensor:
    """The float32 latents (B, N) that ``to_values`` wrote."""
    return values.to(torch.int32).contiguous().view(torch.float32)


def time_grid(steps: int, shift: float = 1.0) -> Tensor:
    """(steps + 1,) float32 times from 0 to 1; ``shift`` above 1 spends more steps near the noise."""
    u = torch.linspace(0, 1, steps + 1, dtype=torch.float32)
    return u / (u + shift - shift * u)


@dataclass(frozen=True)
class FlowDraw(Draw):
    """Randomness of a score: time (B,) in [0, 1] and noise (B, N), float32. Every value is scored."""

    time: Tensor
    noise: Tensor


@dataclass(frozen=True)
class FlowState(State):
    """latents (B, N) float32 so far, guess (B, N) what they are expected to become."""

    latents: Tensor
    guess: Tensor

    @property
    def done(self) -> Tensor:
        over = self.step >= self.settings.steps
        return torch.full((self.latents.shape[0],), over, dtype=torch.bool, device=self.latents.device)


@dataclass(frozen=True)
class Flow(Process[FlowState]):
    """Pictures in ``settings.steps`` Euler steps.

    ``shift`` bends the time grid. ``chance`` is the scale a of the noise that steps add, a sqrt((1 - t) / t); 0 adds
    none. ``temperature`` of the settings scales all noise; 0 takes the same noise for every seed and adds none.
    ``rounding`` keeps latents and times in a smaller type between steps, as published; None keeps float32.
    ``making`` is the same network where it may remember conditions: with it pictures are made, with ``net`` scored.
    ``levels`` also tells what the picture's tokens were after every level, for objectives that compare them.
    ``times`` gives another grid (steps + 1,) from 0 to 1 for a number of steps, in place of ``shift``.
    ``picture_guidance`` is s of the three branches; it counts where the context has ``shown`` and w is above 0.
    """

    net: FlowNet
    shift: float = 1.0
    chance: float = 0.0
    rounding: torch.dtype | None = None
    levels: LevelsNet | None = None
    making: FlowNet | None = None
    times: Callable[[int], Tensor] | None = None
    picture_guidance: float = 1.0

    def grid(self, steps: int) -> Tensor:
        """(steps + 1,) times from 0 to 1."""
        return time_grid(steps, self.shift) if self.times is None else self.times(steps)

    def start(self, context: Context, settings: Settings, noise: Any) -> FlowState:
        settings.check()
        if settings.known is not None:
            raise ValueError("a picture made by a flow cannot be completed from known values; give the whole picture")
        if not self.shift > 0 or self.chance < 0:
            raise ValueError(f"shift={self.shift} must be above 0 and chance={self.chance} at least 0")
        B, device = context.num_rows, context.given.before.device
        source = noise if settings.temperature > 0 else Noise.of([0] * B)
        latents = source.normal("flow", 0, settings.length).to(device)
        if settings.temperature > 0:
            latents = latents * settings.temperature
        latents = self._rounded(latents)
        return FlowState(context, settings, noise, latents, latents)

    def step(self, state: FlowState) -> FlowState:
        s, n = state.settings, state.step
        if n >= s.steps:
            return state
        mean, deviation, guess = self._transition(state.context, s, state.latents, n)
        if deviation and s.temperature > 0:
            push = state.noise.normal("push", n, s.length).to(mean.device)
            mean = self._rounded(mean + s.temperature * deviation * push)
        return replace(state, latents=mean, guess=guess, step=n + 1)

    def view(self, state: FlowState) -> Tensor:
        return to_values(state.latents if bool(state.done.all()) else state.guess)

    def draw(self, values: Tensor, noise: Any, level: Tensor | None = None) -> FlowDraw:
        """Time is the logistic function of a normal number (2409.11340), or 1 - ``level``."""
        B, N = values.shape
        time = noise.normal("time", 0, 1)[:, 0].sigmoid() if level is None else 1.0 - level.float().cpu()
        everything = torch.ones(B, N, dtype=torch.bool)
        drawn = FlowDraw(everything, torch.ones(B), time, noise.normal("noise", 0, N))
        return drawn.to(values.device)

    def noisy(self, values: Tensor, draw: Draw) -> tuple[Tensor, Tensor, Tensor]:
        """(x_t (B, N), t (B,), the wanted velocity (B, N)) of values at a draw's time and noise."""
        if not isinstance(draw, FlowDraw) or draw.noise.shape != values.shape:
            raise ValueError(f"values {tuple(values.shape)} need a draw of this process and of their shape")
        clean, time = to_latents(values), draw.time[:, None]
        return time * clean + (1 - time) * draw.noise, draw.time, clean - draw.noise

    def log_prob(self, context: Context, values: Tensor, draw: Draw) -> Scored:
        mixed, time, wanted = self.noisy(values, draw)
        (velocity,) = self.net([context.given], mixed, time, False)
        return Scored(-((velocity.float() - wanted) ** 2), draw.hidden, draw.weight)

    def traced(self, context: Context, values: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """(velocity (B, N), levels (B, L, n, D)) of noisy values under the condition, with gradients."""
        if self.levels is None:
            raise ValueError("this network does not tell its levels; compare velocities alone")
        mixed, time, _ = self.noisy(values, draw)
        return self.levels(context.given, mixed, time)

    # the stochastic sampler

    def transition(self, context: Context, settings: Settings, latents: Tensor, step: int) -> tuple[Tensor, float]:
        """(mean (B, N), standard deviation) of the latents after step ``step`` of a sampler that stands at latents."""
        mean, deviation, _ = self._transition(context, settings, latents, step)
        return mean, settings.temperature * deviation

    def step_log_prob(
        self, context: Context, settings: Settings, before: Tensor, after: Tensor, step: int
    ) -> tuple[Tensor, Tensor]:
        """(exact log-density (B,) of latents after a step given those before, mean (B, N)), with gradients."""
        mean, deviation = replace(self, making=None).transition(context, settings, before, step)
        if not deviation > 0:
            raise ValueError("a step without chance has no density; set chance and temperature above 0")
        return gaussian_log_prob(after, mean, deviation), mean

    def _transition(
        self, context: Context, settings: Settings, latents: Tensor, step: int
    ) -> tuple[Tensor, float, Tensor]:
        """(mean, standard deviation at temperature 1, guess of the end) of one step."""
        grid = self.grid(settings.steps)
        now, width = float(grid[step]), float(grid[step + 1] - grid[step])
        time = torch.full((latents.shape[0],), now, device=latents.device)
        velocity = self._guided(context, settings.guidance, latents, time, step == 0)
        mean = self._rounded(latents.to(velocity.dtype) + width * velocity)
        guess = latents + (1 - now) * velocity.float()
        deviation = self._deviation(settings.steps, step)
        if not deviation:
            return mean, 0.0, guess
        noise = latents - now * velocity.float()
        mean = mean - deviation**2 / (2 * (1 - now)) * noise
        return mean, deviation, guess

    def _deviation(self, steps: int, step: int) -> float:
        """Of the noise that a step adds at temperature 1."""
        if not self.chance:
            return 0.0
        grid = self.grid(steps)
        # at the noise itself the scale is that of the first step's end
        at = float(grid[step]) or float(grid[1])
        width = float(grid[step + 1] - grid[step])
        return self.chance * math.sqrt((1 - at) / at * width) if at < 1 else 0.0

    def deviation(self, settings: Settings, step: int) -> float:
        """Of the noise that a step adds."""
        return settings.temperature * self._deviation(settings.steps, step)

    def _guided(self, context: Context, w: float, latents: Tensor, time: Tensor, first: bool) -> Tensor:
        sides = [context.given, context.dropped] if w > 0 else [context.given]
        if w > 0 and context.shown is not None:
            sides.append(context.shown)
        if self.rounding is not None:
            time = time.to(self.rounding).float()
        found = (self.making or self.net)(sides, latents, time, first)
        found = [side.to(self.rounding or torch.float32) for side in found]
        if len(found) == 1:
            return found[0]
        if len(found) == 2:
            return found[1] + (1 + w) * (found[0] - found[1])
        everything, nothing, pictures = found
        return nothing + self.picture_guidance * (pictures - nothing) + (1 + w) * (everything - pictures)

    def _rounded(self, latents: Tensor) -> Tensor:
        return latents.float() if self.rounding is None else latents.to(self.rounding).float()


def gaussian_log_prob(value: Tensor, mean: Tensor, deviation: float) -> Tensor:
    """(B,) log-density of value (B, N) under independent normal numbers of that mean and deviation."""
    constant = math.log(deviation) + 0.5 * math.log(2 * math.pi)
    return (-((value - mean) ** 2) / (2 * deviation**2) - constant).sum(dim=1)


def gaussian_divergence(mean: Tensor, reference: Tensor, deviation: float) -> Tensor:
    """(B,) KL divergence of normal numbers of the same deviation."""
    return ((mean - reference) ** 2).sum(dim=1) / (2 * deviation**2)


def level_divergence(policy: Tensor, reference: Tensor, temperature: float = 1.0) -> Tensor:
    """(B,) mean over levels and tokens of KL(softmax(reference) || softmax(policy)) over the channels, for states
    (B, L, n, D): the distillation of 2505.13031's first stage, and its picture term in the third."""
    wide = torch.promote_types(policy.dtype, torch.float32)
    new = (policy.to(wide) / temperature).log_softmax(dim=-1)
    old = (reference.to(wide) / temperature).log_softmax(dim=-1)
    return (old.exp() * (old - new)).sum(dim=-1).flatten(1).mean(dim=1)


def velocity_divergence(policy: Tensor, reference: Tensor) -> Tensor:
    """(B,) mean squared difference of velocities (B, ...)."""
    return ((policy - reference) ** 2).flatten(1).mean(dim=1)
