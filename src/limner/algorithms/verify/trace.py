"""Traces: what was asked, answered and decided, as JSON lines; and other policies tried on them without a model.

A trace of the policy ``survey`` holds every answer that a policy without branches can ask for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limner.algorithms.verify.policies import Choice, Go, Look, Policy
from limner.algorithms.verify.search import Event
from limner.judges.verifier import About, Opinion, Question, Verifier
from limner.parts import Sample


class Trace:
    """Appends every event to a file, at once. An ``on_event``."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def __call__(self, event: Event) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event.to_json()) + "\n")


def read_trace(path: Path) -> list[Event]:
    """The events in a file; a last line that was cut short is left out. ValueError for any other broken one."""
    lines = Path(path).read_text(encoding="utf-8").splitlines(keepends=True)
    events = []
    for number, line in enumerate(lines, start=1):
        try:
            events.append(Event.from_json(json.loads(line)))
        except (ValueError, TypeError, AttributeError) as error:
            if number == len(lines) and not line.endswith("\n"):
                break
            raise ValueError(f"line {number} of {path} is no event of a trace: {error}") from error
    return events


@dataclass(frozen=True)
class Replayed:
    """What a policy does on recorded looks, and what it would cost."""

    choice: Choice
    row_steps: int
    looks: int


class Gap(ValueError):
    """A policy asked for what the trace does not hold."""


Where = tuple[str, int]  # job, output


def replay(events: Sequence[Event], policy: Policy, n: int | None = None) -> dict[Where, Replayed]:
    """What ``policy`` chooses for every job and output among its first ``n`` candidates (None: all of them).

    Raises Gap where it asks for a look that was not recorded, ValueError for policies that copy paths.
    """
    if policy.branches:
        raise ValueError(f"the policy {policy.name} goes on from copies of paths; that cannot be replayed")
    looks = [e for e in events if e.kind == "look" and e.round == 0 and e.question != "reflection"]
    tables: dict[Where, dict[tuple[int, int, str], Opinion]] = {}
    steps: dict[Where, int] = {}
    for e in looks:
        assert e.path is not None and e.step is not None and e.steps is not None and e.opinion is not None
        tables.setdefault((e.job, e.output), {})[e.path, e.step, str(e.question)] = e.opinion
        steps[e.job, e.output] = e.steps
    found = {}
    for where, table in tables.items():
        paths = 1 + max(path for path, _, _ in table)
        if n is not None and n > paths:
            raise Gap(f"the trace has {paths} candidates of {where[0]!r}, {n} are asked for")
        found[where] = _play(policy, table, n or paths, steps[where], where)
    return found


def _play(policy: Policy, table: Mapping[tuple[int, int, str], Opinion], n: int, steps: int, where: Where) -> Replayed:
    search, at, rows, looks = policy.search(n, steps, 0), dict.fromkeys(range(n), 0), 0, 0
    try:
        wish = next(search)
        while True:
            answer: list[Opinion] = []
            if isinstance(wish, Go):
                rows += len(wish.paths)
                for path in wish.paths:
                    at[path] += 1
            elif isinstance(wish, Look):
                looks += len(wish.paths)
                for path in wish.paths:
                    opinion = table.get((path, at[path], wish.question))
                    if opinion is None:
                        raise Gap(
                            f"nobody asked for the {wish.question} of candidate {path} of {where[0]!r} at step "
                            f"{at[path]}; record the trace with --verify survey"
                        )
                    answer.append(opinion)
            wish = search.send(answer)
    except StopIteration as end:
        return Replayed(end.value, rows, looks)


class Remembering:
    """A verifier that answers what a trace already holds, and asks only for the rest: how a run that was stopped, or
    whose judge failed, goes on. Looks without a view and those that were not judged are asked again."""

    def __init__(self, verifier: Verifier, events: Sequence[Event]) -> None:
        self.verifier = verifier
        self.known = {(e.question, e.job, e.view): e.opinion for e in _judged(events)}

    @property
    def about(self) -> About:
        """The verifier's."""
        return self.verifier.about

    def reads_codes(self, model: Any) -> bool:
        """Whether the verifier needs nothing of this generator's pictures but their codes."""
        reads = getattr(self.verifier, "reads_codes", None)
        return reads is not None and bool(reads(model))

    def __call__(self, question: Question, samples: Sequence[Sample]) -> list[Opinion]:
        found = [self.known.get((question, s.task.id, s.reply[-1].raw)) for s in samples]
        missing = [sample for sample, opinion in zip(samples, found, strict=True) if opinion is None]
        asked = iter(self.verifier(question, missing) if missing else [])
        return [opinion if opinion is not None else next(asked) for opinion in found]


def _judged(events: Sequence[Event]) -> Iterator[Event]:
    for event in events:
        if event.kind == "look" and event.view is not None and event.opinion is not None and event.opinion.judged:
            yield event


class Recorder:
    """What watches one verified request: it counts looks, tells ``on_event``, and keeps a trace if there is a ``path``.

    A trace begins with what it is ``about``; one of another request is written anew, one of the same is gone on with.
    An ``on_event``.
    """

    def __init__(
        self, path: Path | None, about: Mapping[str, object], on_event: Callable[[Event], None] | None
    ) -> None:
        self.on_event, self.looks, self.unjudged, self.unjudged_why = on_event, 0, 0, ""
        self.known: list[Event] = []
        self.trace: Trace | None = None
        if path is None:
            return
        begin = Event("begin", str(about.get("prompt", "")), why=json.dumps(dict(about)))
        if path.exists():
            self.known = read_trace(path)
            if self.known[:1] != [begin]:
                self.known = []
        self.trace = Trace(path)
        beside = path.with_name(f".{path.name}.partial")
        beside.write_text("".join(json.dumps(event.to_json()) + "\n" for event in self.known or [begin]))
        os.replace(beside, path)

    def around(self, verifier: Verifier | None) -> Verifier | None:
        """The verifier, with what the trace holds already."""
        return Remembering(verifier, self.known) if verifier is not None and self.known else verifier

    def __call__(self, event: Event) -> None:
        if event.kind == "look" and event.opinion is not None:
            self.looks += 1
            if not event.opinion.judged:
                self.unjudged += 1
                self.unjudged_why = self.unjudged_why or event.opinion.text
        if self.trace is not None:
            self.trace(event)
        if self.on_event is not None:
            self.on_event(event)
