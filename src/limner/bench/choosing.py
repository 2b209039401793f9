"""What each way of choosing is worth on the picture world, from one recording of all candidates.

All candidates of a trial are made once, looked at after every step (``survey``), and the exact reader says which of
them are right. Then every way of choosing that copies no candidate is replayed among the first N of them: all are
compared on the same pictures, at equal N. What a way would have cost is counted, and its seconds follow from what the
recording took a row-step, a look and a decoded picture. Letters: N candidates.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch

from limner.algorithms.verify.run import method
from limner.algorithms.verify.search import Event
from limner.algorithms.verify.trace import read_trace, replay
from limner.bench.stats import Share, share
from limner.bench.verified import Trial, evaluate, jobs
from limner.judges.scenes import scene_judge
from limner.judges.verifier import Question, Verifier
from limner.models.base import Model
from limner.parts import Image, Plan, Sample

WAYS = ("none", "random", "orm", "parm", "oracle")
Fates = Mapping[tuple[str, int], Sequence[bool]]  # by job and output: is each candidate right?


class Prices(NamedTuple):
    """Seconds of one row going a step further, of one look, and of one decoded picture."""

    row_step: float
    look: float
    decode: float


@dataclass(frozen=True)
class Recorded:
    """A trial's looks and the truth about its candidates."""

    trial: Trial
    n: int
    events: Sequence[Event]
    fates: Fates
    prices: Prices
    begin: float = 0.0


@dataclass(frozen=True)
class Worth:
    """What a way of choosing among ``n`` is worth. ``removed`` is the share of the failures without verification that
    are gone; ``value`` is (it - random) / (oracle - random), nan where both are equal; ``seconds`` a picture."""

    way: str
    n: int
    success: Share
    removed: float
    value: float
    row_steps: float
    looks: float
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain values; None for what is undefined."""
        plain = {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(self).items()}
        return plain | {"success": self.success.to_json()}


def record(
    model: Model,
    plan: Plan,
    verifier: Verifier,
    trial: Trial,
    n: int,
    out: Path,
    *,
    begin: float = 0.0,
    until: float = 1.0,
    rows: int = 64,
    batch: int = 64,
) -> Recorded:
    """Make and look at all candidates, and find out which are right. Goes on where it was stopped; what was recorded
    stands in ``out``. ``verifier`` answers clarity and potential between the shares ``begin`` and ``until`` of the
    steps, and outcome."""
    report = evaluate(model, plan, verifier, method("survey", n, begin=begin, until=until), trial, out=out, rows=rows)
    events = read_trace(Path(out) / "trace.jsonl")
    path = Path(out) / "fates.json"
    if path.exists():
        known = json.loads(path.read_text(encoding="utf-8"))
    else:
        known = _judged(model, trial, n, events, batch)
        beside = path.with_name("fates.json.partial")
        beside.write_text(json.dumps(known) + "\n", encoding="utf-8")
        os.replace(beside, path)
    fates = {(job, output): [bool(each) for each in row] for job, output, row in known}
    cost = report["cost_per_picture"]
    prices = Prices(
        cost["generator_seconds"] / max(1.0, cost["row_steps"]),
        cost["verifier_seconds"] / max(1.0, cost["looks"]),
        cost["decoder_seconds"] / max(1.0, cost["decodes"]),
    )
    return Recorded(trial, n, events, fates, prices, begin)


def looked_again(recorded: Recorded, model: Model, verifier: Verifier, *, batch: int = 64) -> Recorded:
    """The same candidates as another judge sees them: every recorded look is asked again of the views that were kept,
    decoded by the generator ``model``, and the price of a look is this judge's. Nothing is generated anew."""
    tasks = {job.name: job.task for job in jobs(recorded.trial, recorded.n)}
    looks = [i for i, e in enumerate(recorded.events) if e.kind == "look" and e.view is not None]
    events, seconds = list(recorded.events), 0.0
    for question in dict.fromkeys(events[i].question for i in looks):
        mine = [i for i in looks if events[i].question == question]
        for begin in range(0, len(mine), batch):
            some = mine[begin : begin + batch]
            views = [events[i].view for i in some]
            parts = model.decode("image", torch.tensor(views, device=model.device))
            samples = []
            for i, view, part in zip(some, views, parts, strict=True):
                assert isinstance(part, Image) and view is not None
                e = events[i]
                progress = 1.0 if question == "outcome" else (e.step or 0) / (e.steps or 1)
                samples.append(Sample(tasks[e.job], (replace(part, raw=view),), e.seed or 0, progress))
            begun = time.perf_counter()
            opinions = verifier(cast(Question, question), samples)
            seconds += time.perf_counter() - begun
            for i, opinion in zip(some, opinions, strict=True):
                events[i] = replace(events[i], opinion=opinion)
    return replace(recorded, events=events, prices=recorded.prices._replace(look=seconds / max(1, len(looks))))


def _judged(model: Model, trial: Trial, n: int, events: Sequence[Event], batch: int) -> list[Any]:
    tasks = {job.name: job.task for job in jobs(trial, n)}
    ends = [e for e in events if e.kind == "look" and e.question == "outcome" and e.round == 0 and e.view is not None]
    judge, right = scene_judge(), dict[tuple[str, int], list[bool]]()
    for begin in range(0, len(ends), batch):
        some = ends[begin : begin + batch]
        parts = model.decode("image", torch.tensor([e.view for e in some], device=model.device))
        verdicts = judge([Sample(tasks[e.job], (part,)) for e, part in zip(some, parts, strict=True)])
        for e, verdict in zip(some, verdicts, strict=True):
            assert e.path is not None
            row = right.setdefault((e.job, e.output), [False] * n)
            row[e.path] = bool(verdict.score)
    return [[job, output, row] for (job, output), row in right.items()]


def worth(recorded: Recorded, ways: Sequence[str] = WAYS, numbers: Sequence[int] = (4, 8, 20)) -> list[Worth]:
    """Every way at every number of candidates. Raises ValueError for a number above the recorded one."""
    too_many = [n for n in numbers if n > recorded.n]
    if too_many:
        raise ValueError(f"{recorded.n} candidates were recorded, {too_many[0]} are asked for")
    base = _mean(recorded, {where: float(row[0]) for where, row in recorded.fates.items()})
    found = []
    for n in numbers:
        chance = {where: sum(row[:n]) / n for where, row in recorded.fates.items()}
        best = {where: float(any(row[:n])) for where, row in recorded.fates.items()}
        low, high = _mean(recorded, chance).mean, _mean(recorded, best).mean
        for way in ways:
            scores, rows, looks = _chosen(recorded, way, n, chance, best)
            success = _mean(recorded, scores)
            prices = recorded.prices
            seconds = rows * prices.row_step + looks * prices.look + prices.decode
            removed = (success.mean - base.mean) / (1 - base.mean) if base.mean < 1 else math.nan
            value = (success.mean - low) / (high - low) if high > low else math.nan
            found.append(Worth(way, n, success, removed, value, rows, looks, seconds))
    return found


def _chosen(
    recorded: Recorded, way: str, n: int, chance: Mapping[Any, float], best: Mapping[Any, float]
) -> tuple[Mapping[Any, float], float, float]:
    """(Success by job and output, row-steps a picture, looks a picture)."""
    steps = next(float(e.steps) for e in recorded.events if e.steps)
    if way in ("none", "random"):
        first = {where: float(row[0]) for where, row in recorded.fates.items()}
        return (first if way == "none" else chance), steps, 0.0
    if way == "oracle":
        return best, n * steps, float(n)
    played = replay(recorded.events, method(way, n, begin=recorded.begin).policy, n)
    scores = {where: float(recorded.fates[where][each.choice.path]) for where, each in played.items()}
    count = len(played)
    return scores, sum(p.row_steps for p in played.values()) / count, sum(p.looks for p in played.values()) / count


def _mean(recorded: Recorded, scores: Mapping[tuple[str, int], float]) -> Share:
    """The mean over prompts, of which every group has as many."""
    prompts: dict[str, list[float | None]] = {}
    for (job, _), score in scores.items():
        prompts.setdefault(job, []).append(score)
    return share(list(prompts.values()))
