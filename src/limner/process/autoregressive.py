"""One value after another, from left to right. The likelihood is exact: the sum of the values' log-probabilities.

A row ends with the first ``stop`` value; what stands behind it is filler and is not scored. The plain form runs the
network over the whole sequence at every step; a network that remembers what it has read makes the same in less time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from limner.process.base import Context, Draw, Process, Scored, Settings, State, Tokens


class CausalNet(Protocol):
    """A network that reads from left to right."""

    def __call__(self, ids: Tensor, kept: Tensor, given: Tokens) -> Tensor:
        """ids (B, T), kept (B, T) bool, the context that they begin with -> logits (B, t, V) of the last t places, at
        least from the context's last one on; the logits at a place are for the value that follows it."""
        ...


@dataclass(frozen=True)
class ArState(State):
    """values (B, N) with the first ``step`` written; over (B,) bool: complete."""

    values: Tensor
    over: Tensor

    @property
    def done(self) -> Tensor:
        return self.over


@dataclass(frozen=True)
class Autoregressive(Process[ArState]):
    """Words from a causal network. ``making`` is the same network where it may remember what it was asked before: with
    it parts are made, with ``net`` they are scored. A part may begin with known values."""

    net: CausalNet
    stop: int
    filler: int
    making: CausalNet | None = None

    def start(self, context: Context, settings: Settings, noise: Any) -> ArState:
        settings.check()
        B, N, device = context.num_rows, settings.length, context.given.before.device
        values = torch.full((B, N), self.filler, dtype=torch.int64, device=device)
        begin = 0
        if settings.known is not None and settings.free is not None:
            begin = int((~settings.free[0]).sum())
            if bool(settings.free[:, :begin].any() | (~settings.free[:, begin:]).any()):
                raise ValueError("words made from left to right begin with the known ones, and cannot be filled in")
            values[:, :begin] = settings.known[:, :begin]
        settings = replace(settings, known=None, free=None)
        over = torch.full((B,), begin == N, device=device)
        return ArState(context, settings, noise, values, over, step=begin)

    def step(self, state: ArState) -> ArState:
        s, n = state.settings, state.step
        if n >= s.length:
            return state
        tokens = state.context.given
        ids = torch.cat([tokens.before, state.values[:, :n]], dim=1)
        kept = torch.cat([tokens.kept, torch.ones_like(state.values[:, :n], dtype=torch.bool)], dim=1)
        logits = (self.making or self.net)(ids, kept, tokens)[:, -1:]
        choice = state.noise.choose("word", n, logits.float(), s.temperature)[:, 0]
        choice = torch.where(state.over, self.filler, choice)
        values = state.values.clone()
        values[:, n] = choice
        over = state.over | (choice == self.stop)
        if n + 1 >= s.length:
            over = torch.ones_like(over)
        return replace(state, values=values, over=over, step=n + 1)

    def view(self, state: ArState) -> Tensor:
        return state.values

    def settled(self, state: ArState) -> Tensor:
        return torch.where(state.over, state.values.shape[1], state.step)

    def opening(self, context: Context, length: int) -> Tensor:
        return self.net(context.given.before, context.given.kept, context.given)[:, -1].float()

    def draw(self, values: Tensor, noise: Any, level: Tensor | None = None) -> Draw:
        """What is meant; nothing is random."""
        return Draw(self.meant(values), torch.ones(values.shape[0], device=values.device))

    def meant(self, values: Tensor) -> Tensor:
        stops = (values == self.stop).long()
        return stops.cumsum(dim=1) - stops == 0

    def log_prob(self, context: Context, values: Tensor, draw: Draw) -> Scored:
        ids, kept, _ = replace(context.given, after=context.given.after[:, :0]).around(values)
        logits = self.net(ids, kept, context.given)[:, -values.shape[1] - 1 : -1].float()
        picked = logits.log_softmax(dim=-1).gather(2, values[..., None])[..., 0]
        return Scored(torch.where(draw.hidden, picked, torch.zeros_like(picked)), draw.hidden, draw.weight)
