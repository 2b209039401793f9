"""The waist: replies are made, and scored, in one way for all families.

``stream`` makes the parts of a plan one after another and yields every step, so that a caller can show, judge, drop or
stop. ``rollout`` is "drain the stream". ``draws`` and ``log_prob`` score the parts of samples; policy, old policy and
reference are compared on the same draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from limner.models.base import Model, Reply
from limner.parts import Ask, Conversation, Part, Plan, Sample, Task
from limner.process.base import Draw, Process, Scored, State
from limner.process.noise import Noise


@dataclass(frozen=True)
class Step:
    """One step of a reply in the making. ``replies`` are the finished parts so far; ``state`` is the part in work.

    ``finished`` is True once the part is complete; ``replies`` then already end with it.
    """

    part: int
    ask: Ask
    state: State
    process: Process[Any]
    replies: tuple[Reply, ...]
    finished: bool
    progress: float


@torch.no_grad()
def stream(
    model: Model,
    conversations: Sequence[Conversation],
    plan: Plan,
    seeds: Sequence[int],
    *,
    replies: Sequence[Reply] | None = None,
    noise: Any | None = None,
    known: Sequence[Part] | None = None,
) -> Iterator[Step]:
    """Make the parts of ``plan`` for every conversation, step by step.

    ``seeds`` has one number a row: a row's reply depends on its own conversation and seed alone. ``replies`` are parts
    that stand already; going on from them equals a reply that was never interrupted. ``noise`` replaces the numbers
    drawn from the seeds (parity runs feed recorded ones). ``known`` is what each row keeps, in place of the one part
    that an ask knows for all.
    """
    if len(seeds) != len(conversations):
        raise ValueError(f"{len(conversations)} conversations need as many seeds, got {len(seeds)}")
    if not plan:
        raise ValueError("the plan is empty: ask for at least one part, such as Ask('image')")
    made: list[Reply] = [tuple(reply) for reply in replies] if replies is not None else [() for _ in conversations]
    root = Noise.of(seeds)
    for index, ask in enumerate(plan):
        process, state = begin(model, conversations, ask, made, root, noise, known)
        settings = state.settings
        while True:
            finished = bool(state.done.all())
            if finished:
                parts = model.finished(ask, process.view(state), conversations, made, state.noise)
                made = [(*reply, part) for reply, part in zip(made, parts, strict=True)]
            share = 1.0 if finished else min(1.0, state.step / settings.steps)
            yield Step(index, ask, state, process, tuple(made), finished, (index + share) / len(plan))
            if finished:
                break
            state = process.step(state)


def begin(
    model: Model,
    conversations: Sequence[Conversation],
    ask: Ask,
    replies: Sequence[Reply],
    root: Noise,
    noise: Any | None = None,
    known: Sequence[Part] | None = None,
) -> tuple[Process[Any], State]:
    """The process of an ask and its state before the first step, behind replies; ``root`` is the rows' own noise."""
    source = noise if noise is not None else noise_of(root, ask, replies)
    if ask.shape is not None and not model.shapes:
        raise ValueError(f"shape={ask.shape}, but the family {model.family} draws squares alone; give a size")
    process = model.process(ask.kind)
    settings = model.settings(ask, len(conversations))
    if known is not None and settings.known is not None:
        settings = replace(settings, known=model.encode(known))
    return process, process.start(model.context(conversations, replies, ask), settings, source)


def noise_of(root: Noise, ask: Ask, replies: Sequence[Reply]) -> Noise:
    """The noise of an ask's part behind replies; ``root`` is the rows' own."""
    return root.fork(ask.kind, [len(reply) for reply in replies])


def rollout(
    model: Model,
    tasks: Sequence[Task],
    plan: Plan,
    seeds: Sequence[int],
    *,
    replies: Sequence[Reply] | None = None,
    batch: int = 64,
    noise: Any | None = None,
    on_step: Callable[[Step], None] | None = None,
) -> list[Sample]:
    """Answer every task; rows are made ``batch`` at a time. ``replies`` are parts that stand already; ``on_step`` sees
    every step."""
    if len(seeds) != len(tasks):
        raise ValueError(f"{len(tasks)} tasks need as many seeds, got {len(seeds)}")
    if replies is not None and len(replies) != len(tasks):
        raise ValueError(f"{len(tasks)} tasks need as many replies to go on from, got {len(replies)}")
    samples: list[Sample] = []
    for begin in range(0, len(tasks), batch):
        some, some_seeds = tasks[begin : begin + batch], seeds[begin : begin + batch]
        before = None if replies is None else replies[begin : begin + batch]
        made: Sequence[Reply] = ()
        for step in stream(model, [task.prompt for task in some], plan, some_seeds, replies=before, noise=noise):
            made = step.replies
            if on_step is not None:
                on_step(step)
        samples += [Sample(t, r, int(s)) for t, r, s in zip(some, made, some_seeds, strict=True)]
    return samples


def _columns(samples: Sequence[Sample]) -> list[list[Part]]:
    """The samples' replies part by part; all replies must have the same kinds in the same order."""
    kinds = {tuple(part.kind for part in sample.reply) for sample in samples}
    if len(kinds) != 1:
        raise ValueError(f"samples that are scored together must have the same parts, got {sorted(kinds)}")
    return [list(column) for column in zip(*(sample.reply for sample in samples), strict=True)]


def draws(model: Model, samples: Sequence[Sample], seeds: Sequence[int], level: float | None = None) -> list[Draw]:
    """One draw for each part of the replies; ``level`` in (0, 1] fixes the noise level of all rows."""
    noise = Noise.of(seeds)
    levels = None if level is None else torch.full((len(samples),), level)
    return [
        model.process(column[0].kind).draw(model.encode(column), noise.fork("draw", index), levels)
        for index, column in enumerate(_columns(samples))
    ]


def log_prob(model: Model, samples: Sequence[Sample], drawn: Sequence[Draw]) -> tuple[Scored, ...]:
    """How likely each part of the replies is under the model, given what came before it; with gradients."""
    columns = _columns(samples)
    if len(columns) != len(drawn):
        raise ValueError(f"{len(columns)} parts need as many draws, got {len(drawn)}")
    scored = []
    conversations = [sample.task.prompt for sample in samples]
    for index, (column, draw) in enumerate(zip(columns, drawn, strict=True)):
        replies = [sample.reply[:index] for sample in samples]
        values = model.encode(column)
        context = model.context(conversations, replies, Ask(column[0].kind, limit=values.shape[1]))
        scored.append(model.process(column[0].kind).log_prob(context, values, draw.to(values.device)))
    return tuple(scored)


def choose(
    model: Model, conversation: Conversation, options: Sequence[Part], seed: int = 0, repeats: int = 1
) -> list[float]:
    """The probability of each option as the model's answer, normalised over the options."""
    if not options:
        raise ValueError("there is nothing to choose from: give at least one option")
    totals = torch.zeros(len(options), dtype=torch.float64)
    with torch.no_grad():
        for repeat in range(repeats):
            for i, option in enumerate(options):
                sample = [Sample(Task(conversation), (option,))]
                drawn = draws(model, sample, [seed * 100_003 + repeat])
                totals[i] += log_prob(model, sample, drawn)[0].total[0].double().cpu()
    return (totals / repeats).softmax(dim=0).tolist()


@torch.no_grad()
def opening(
    model: Model, conversations: Sequence[Conversation], length: int = 2, replies: Sequence[Reply] | None = None
) -> Tensor:
    """(B, V) log-probabilities of the first value of a text of ``length`` values, everything in it still unknown.
    ``replies`` are parts that stand before it, such as a thought."""
    before = [()] * len(conversations) if replies is None else replies
    context = model.context(conversations, before, Ask("text", limit=length))
    return model.process("text").opening(context, length).log_softmax(dim=-1)
