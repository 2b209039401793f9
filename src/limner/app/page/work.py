"""A job as the page follows it: what happened since it last looked, until the end or until somebody stops it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from limner.app.serve.events import Done, Event, Failed, Looked, Preview, Words
from limner.app.serve.jobs import Choosing, Job

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

    from limner.algorithms.verify.search import Event as Search
    from limner.answer import Answer
    from limner.app.serve.engine import Engine
    from limner.request import Request


class Work:
    """A request that is carried out by an engine, and all that was seen of it so far. Rows are answers, one a seed;
    paths are the candidates of a choice."""

    def __init__(
        self, engine: Engine, request: Request, seeds: tuple[int, ...], choosing: Choosing | None = None
    ) -> None:
        self.engine, self.request = engine, request
        self._events: SimpleQueue[Event | None] = SimpleQueue()
        self.job = Job(request, seeds, self._events.put, previews=None, words=True, choosing=choosing)
        self.open = len(seeds) if choosing is None else 1
        self.count = len(seeds) if choosing is None else choosing.n  # pictures or answers that are made
        self.stopped = False
        self.words: dict[tuple[int, str], str] = {}  # by row and kind
        self.pictures: dict[int, Picture] = {}  # by row
        self.step = self.steps = 0
        self.looks: list[Search] = []
        self.answers: dict[int, Answer] = {}

    def __iter__(self) -> Iterator[Work]:
        """Itself, each time that more is to be seen. Raises what the engine raises: ValueError for what cannot be
        made, Busy, Closing."""
        self.engine.submit(self.job)
        try:
            while self.open:
                self._take(self._events.get())
                while self.open:  # all that has happened meanwhile is shown at once
                    try:
                        self._take(self._events.get_nowait())
                    except Empty:
                        break
                yield self
        finally:
            if self.open:
                self.job.cancel()

    def stop(self) -> None:
        """End it before the next step."""
        self.job.cancel()
        self._events.put(None)

    def _take(self, event: Event | None) -> None:
        if event is None:
            self.stopped, self.open = True, 0
        elif isinstance(event, Failed):
            raise event.error
        elif isinstance(event, Words):
            self.words[event.row, event.kind] = event.text
        elif isinstance(event, Preview):
            self.pictures[event.row], self.step, self.steps = event.image, event.step, event.steps
        elif isinstance(event, Looked):
            self.looks.append(event.event)
        elif isinstance(event, Done):
            self.answers[event.row] = replace(event.answer, reply=event.reply)
            self.open -= 1
