"""Words of a Qwen2.5-VL, one after another, with keys and values kept between steps. The likelihood is exact.

A row ends with the first of several ``stops``. The repetition penalty of the checkpoint's generation config changes
what is chosen and never what is scored.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from limner.models.qwen25vl import Prompt, Qwen25VL
from limner.parts import Ask
from limner.process.autoregressive import ArState, Autoregressive
from limner.process.base import Context, Draw, Process, Scored, Settings, Tokens


@dataclass(frozen=True)
class WordsState(ArState):
    """past (B, layers, 2, Hkv, T, head) of everything that was fed so far, following (B,) the next rotary place."""

    past: Tensor | None = None
    following: Tensor | None = None


@dataclass(frozen=True)
class Words(Process[WordsState]):
    """Words from left to right. ``penalty`` above 1 makes ids that stand already less likely to be chosen. Places of
    pictures are no words: they have no probability."""

    model: Qwen25VL
    stops: frozenset[int]
    filler: int
    penalty: float = 1.0

    def start(self, context: Context, settings: Settings, noise: Any) -> WordsState:
        begun = Autoregressive(_never, self.filler, self.filler).start(context, settings, noise)
        return WordsState(context, begun.settings, noise, begun.values, begun.over, step=begun.step)

    def step(self, state: WordsState) -> WordsState:
        s, n = state.settings, state.step
        if n >= s.length:
            return state
        prompt = _prompt(state.context)
        if state.past is None or state.following is None:
            x, places, kept = self.model.laid_out(prompt, state.values[:, :n], True)
            following = places.amax(dim=(0, 2)) + 1
        else:
            x = self.model.embed(state.values[:, n - 1 : n], prompt.patches[:, :0], prompt.grids[:, :0])
            places = state.following[None, :, None].expand(3, -1, -1)
            kept = torch.cat([prompt.kept, torch.ones_like(state.values[:, :n], dtype=torch.bool)], dim=1)
            following = state.following + 1
        states, past = self.model.run(x, places, kept, state.past, remember=True, last=1)
        logits = self._logits(states[:, -1])
        if self.penalty != 1.0:
            logits = self._penalised(logits, prompt, state.values[:, :n])
        choice = state.noise.choose("word", n, logits[:, None], s.temperature)[:, 0]
        choice = torch.where(state.over, self.filler, choice)
        values = state.values.clone()
        values[:, n] = choice
        over = state.over | torch.isin(choice, torch.tensor(sorted(self.stops), device=choice.device))
        if n + 1 >= s.length:
            over = torch.ones_like(over)
        return replace(state, values=values, over=over, past=past, following=following, step=n + 1)

    def _logits(self, states: Tensor) -> Tensor:
        logits = self.model.logits(states).float()
        no_words = torch.tensor(self.model.no_words, device=logits.device)
        return logits.index_fill(-1, no_words, -torch.inf)

    def _penalised(self, logits: Tensor, prompt: Prompt, said: Tensor) -> Tensor:
        here = torch.zeros_like(logits, dtype=torch.bool)
        for ids, kept in ((prompt.before, prompt.kept), (said, torch.ones_like(said, dtype=torch.bool))):
            # padding is sent to a place of the row's own, the last id, which stands in every row
            here.scatter_(1, torch.where(kept, ids, prompt.before[:, -1:]), True)
        weaker = torch.where(logits < 0, logits * self.penalty, logits / self.penalty)
        return torch.where(here, weaker, logits)

    def view(self, state: WordsState) -> Tensor:
        return state.values

    def settled(self, state: WordsState) -> Tensor:
        return torch.where(state.over, state.values.shape[1], state.step)

    def opening(self, context: Context, length: int) -> Tensor:
        return self._logits(self.model.states(_prompt(context))[:, -1])

    def draw(self, values: Tensor, noise: Any, level: Tensor | None = None) -> Draw:
        """Everything up to and including the first stop value; nothing is random."""
        stops = torch.isin(values, torch.tensor(sorted(self.stops), device=values.device)).long()
        return Draw(stops.cumsum(dim=1) - stops == 0, torch.ones(values.shape[0], device=values.device))

    def log_prob(self, context: Context, values: Tensor, draw: Draw) -> Scored:
        prompt = _prompt(context)
        P, N = prompt.before.shape[1], values.shape[1]
        logits = self._logits(self.model.states(prompt, values[:, :-1])[:, P - 1 : P - 1 + N])
        picked = logits.log_softmax(dim=-1).gather(2, values[..., None])[..., 0]
        return Scored(torch.where(draw.hidden, picked, torch.zeros_like(picked)), draw.hidden, draw.weight)


def _never(ids: Tensor, kept: Tensor, given: Tokens) -> Tensor:
    raise AssertionError("a start asks no network")


def _prompt(context: Context) -> Prompt:
    if not isinstance(context.given, Prompt):
        raise ValueError("words of a Qwen2.5-VL need a Prompt as their context")
    return context.given


def word_settings(
    ask: Ask, rows: int, limit: int, temperature: float, written: list[int] | None, filler: int, device: torch.device
) -> Settings:
    """Settings of a part in words of ``limit`` values. ``written``: the ids of what is known of it, kept where
    ``ask.mask`` is false; ValueError for a mask of another length."""
    known = free = None
    if written is not None and ask.mask is not None:
        if len(ask.mask) != limit:
            raise ValueError(f"the mask has {len(ask.mask)} places, but the {ask.kind} has {limit} values")
        known = torch.tensor([(written + [filler] * limit)[:limit]], device=device).expand(rows, -1)
        free = torch.tensor([ask.mask], device=device).expand(rows, -1)
    return Settings(limit, limit, 0.0, temperature, 1, known, free)
