"""Jobs that are more than rows of a plan: altered pictures, blanks, and searches with a verifier.

They run as they do in Python, in a thread of their own that lets the other rows step before each of its steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from limner.app.serve.events import Done, Looked, Preview, Words
from limner.app.serve.jobs import Gone, Job, Row, shown_steps
from limner.app.serve.meter import Meter
from limner.app.serve.turns import Turns
from limner.parts import Image, Part, Text, Thinking
from limner.request import ALTERS

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

    from limner.algorithms.verify.search import Event as Search
    from limner.answer import Answer, Limner
    from limner.turn import Step


def carry_out(limner: Limner, turns: Turns, job: Job, rows: Sequence[Row], meter: Meter) -> None:
    """Make all answers of a job, and tell them. Raises Gone where nobody waits any more."""
    turns.take()
    try:
        _Apart(limner, turns, job, rows, meter).make()
    finally:
        turns.give()


class _Apart:
    def __init__(self, limner: Limner, turns: Turns, job: Job, rows: Sequence[Row], meter: Meter) -> None:
        self.limner, self.turns, self.job, self.rows, self.meter = limner, turns, job, rows, meter
        self.row, self.pictures = rows[0], Counter[int]()
        self.steps = self.windows = 1

    def make(self) -> None:
        """All answers, told one after another."""
        request, plan = self.job.request, self.rows[0].plan
        if self.job.gone:
            raise Gone
        if request.command in ALTERS:
            self.steps = self.limner.model.settings(plan[-1], 1).steps
            canvas = request.canvas(self.limner.model, plan[-1])
            self.windows = sum(any(canvas.free(window)) for window in canvas.windows)
        if self.job.choosing is not None:
            self._tell(self.rows[0], self._chosen())
            return
        on_picture = None if self.job.previews == 0 else self._on_picture
        for row in self.rows:
            self.row = row
            (answer,) = self.limner.answer(request, [row.seed], self._on_step, on_picture)
            self._tell(row, answer)

    def _chosen(self) -> Answer:
        request, choosing = self.job.request, self.job.choosing
        assert choosing is not None
        return self.limner.verified(
            request.prompt,
            choosing.method,
            choosing.n,
            judge=choosing.judge,
            budget=choosing.budget,
            think=request.think,
            seed=self.job.seeds[0],
            steps=request.steps,
            guidance=request.guidance,
            size=request.size,
            fast=request.fast,
            on_event=self._on_event,
            on_pass=self._pause,
        )

    def _pause(self) -> None:
        """Let the others have their turn."""
        self.turns.give()
        self.turns.take()
        if self.job.gone:
            raise Gone

    def _on_event(self, event: Search) -> None:
        self.job.tell(Looked(event))

    def _on_step(self, step: Step) -> None:
        self.meter.stepped(1, 0.0)
        part = step.replies[0][-1] if step.finished else None
        if self.job.words and part is not None and not isinstance(part, Image):
            self.job.tell(Words(self.row.number, part.kind, part.text, True))
        self._pause()

    def _on_picture(self, seed: int, picture: Picture) -> None:
        number = self.pictures[seed]
        self.pictures[seed] += 1
        total = (self.steps + 1) * self.windows  # a window is shown before its first step too
        if number in shown_steps(self.job.previews, total):
            self.job.tell(Preview(self.row.number, picture, number, total))

    def _tell(self, row: Row, answer: Answer) -> None:
        model, reply = self.limner.model, _parts(answer)
        context = model.context([row.conversation], [()], row.plan[0])
        tokens = [
            (part.kind, model.settings(ask, 1).length if part.kind == "image" else model.encode([part]).shape[1])
            for part, ask in zip(reply, row.plan, strict=False)
        ]
        self.job.tell(Done(row.number, answer, reply, int(context.given.kept.sum()), tuple(tokens)))


def _parts(answer: Answer) -> tuple[Part, ...]:
    """What an answer consists of."""
    found: list[Part] = []
    if answer.thinking is not None:
        found.append(Thinking(answer.thinking))
    if answer.image is not None:
        found.append(Image(answer.image))
    if answer.text is not None:
        found.append(Text(answer.text))
    return tuple(found)
