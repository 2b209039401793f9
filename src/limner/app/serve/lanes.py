"""Rows that step together: one state, made of rows of different users, that shrinks as rows end or are given up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from limner.app.serve.jobs import Row
from limner.parts import Ask
from limner.process.base import Process, State
from limner.process.noise import Noise
from limner.turn import begin

if TYPE_CHECKING:
    from limner.models.base import Model


@dataclass(eq=False)
class Lane:
    """Rows whose next part is made by the same ask."""

    ask: Ask
    process: Process[Any]
    state: State
    rows: list[Row]
    patience: int = 0  # how many more steps it waits for younger lanes
    joins: bool = True  # until it turned out that it does not go together with others

    @staticmethod
    @torch.no_grad()
    def of(model: Model, ask: Ask, rows: Sequence[Row]) -> Lane:
        """A lane before its first step. Raises ValueError where a row cannot be made."""
        replies = [row.reply for row in rows]
        root = Noise.of([row.seed for row in rows])
        process, state = begin(model, [row.conversation for row in rows], ask, replies, root)
        for row, read in zip(rows, state.context.given.kept.sum(dim=1).tolist(), strict=True):
            row.prompt_tokens = row.prompt_tokens or int(read)
        return Lane(ask, process, state, list(rows), state.settings.steps)

    @torch.no_grad()
    def step(self) -> None:
        """One step further."""
        self.state = self.process.step(self.state)

    def waits_for(self, other: Lane) -> bool:
        """Whether it is worth waiting until a younger lane has caught up: if it has fewer steps to go until then than
        both have left to make together."""
        lag, left = self.state.step - other.state.step, self.state.settings.steps - self.state.step
        alike = self.joins and other.joins and other.ask == self.ask
        return alike and 0 < lag <= left and self.patience > 0

    @torch.no_grad()
    def join(self, other: Lane) -> bool:
        """Take the rows of another lane at the same step in, where they go together."""
        if not (self.joins and other.joins) or other.ask != self.ask or other.state.step != self.state.step:
            return False
        try:
            self.state = self.state.joined([self.state, other.state])
        except ValueError:  # such as words behind prompts of other lengths, whose keys and values differ in shape
            self.joins = other.joins = False
            return False
        self.rows, other.rows = [*self.rows, *other.rows], []
        self.patience = min(self.patience, other.patience)
        return True

    def drop_gone(self) -> list[Row]:
        """The rows for which nobody waits any more; they are no longer in the lane."""
        gone = [row for row in self.rows if row.job.gone]
        if gone:
            self._keep([i for i, row in enumerate(self.rows) if not row.job.gone])
        return gone

    @torch.no_grad()
    def take_done(self) -> tuple[list[Row], Tensor]:
        """The rows whose part is complete, and its values (b, N); they are no longer in the lane."""
        done = self.state.done
        if not bool(done.any()):
            return [], torch.empty(0)
        at = [i for i, over in enumerate(done.tolist()) if over]
        values = self.process.view(self.state if len(at) == len(self.rows) else self.state[at])
        rows = [self.rows[i] for i in at]
        self._keep([i for i in range(len(self.rows)) if i not in at])
        for row, ended, count in zip(rows, *self._lengths(values), strict=True):
            row.tokens.append((self.ask.kind, count))
            row.ended = ended
        return rows, values

    def _lengths(self, values: Tensor) -> tuple[list[bool], list[int]]:
        """(Whether each row of values ends before its last place, how many of its values are meant)."""
        meant = self.process.meant(values)
        counts = meant.sum(dim=1).tolist()
        return [self.ask.kind == "image" or count < values.shape[1] for count in counts], counts

    def _keep(self, at: Sequence[int]) -> None:
        if len(at) < len(self.rows):
            self.rows = [self.rows[i] for i in at]
            if at:
                self.state = self.state[list(at)]
