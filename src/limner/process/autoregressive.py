"""One value after another, from left to right. The likelihood is exact: the sum of the values' log-probabilities.

A row ends with the first ``stop`` value; what stands behind it is filler and is not scored. This plain form runs
the network over the whole sequence at every step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from limner.process.base import Context, Draw, Process, Scored, Settings, State

# ids (B, T), kept (B, T) bool -> logits (B, T, V); the logits at a place are for the value that follows it
CausalNet = Callable[[Tensor, Tensor], Tensor]


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
    """Words from a causal network."""

    net: CausalNet
    stop: int
    filler: int

    def start(self, context: Context, settings: Settings, noise: Any) -> ArState:
        settings.check()
        if settings.known is not None:
            raise ValueError("words made from left to right cannot be filled in between known ones")
        B, device = context.num_rows, context.given.before.device
        values = torch.full((B, settings.length), self.filler, dtype=torch.int64, device=device)
        return ArState(context, settings, noise, values, torch.zeros(B, dtype=torch.bool, device=device))

    def step(self, state: ArState) -> ArState:
        s, n = state.settings, state.step
        if n >= s.length:
            return state
        tokens = state.context.given
        ids = torch.cat([tokens.before, state.values[:, :n]], dim=1)
        kept = torch.cat([tokens.kept, torch.ones_like(state.values[:, :n], dtype=torch.bool)], dim=1)
        logits = self.net(ids, kept)[:, -1:]
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

    def draw(self, values: Tensor, noise: Any, level: Tensor | None = None) -> Draw:
        """Everything up to and including the first stop value; nothing is random."""
        stops = (values == self.stop).long()
        after = stops.cumsum(dim=1) - stops
        return Draw(after == 0, torch.ones(values.shape[0], device=values.device))

    def log_prob(self, context: Context, values: Tensor, draw: Draw) -> Scored:
        ids, kept, where = replace(context.given, after=context.given.after[:, :0]).around(values)
        logits = self.net(ids, kept)[:, where.start - 1 : where.stop - 1].float()
        picked = logits.log_softmax(dim=-1).gather(2, values[..., None])[..., 0]
        return Scored(torch.where(draw.hidden, picked, torch.zeros_like(picked)), draw.hidden, draw.weight)
