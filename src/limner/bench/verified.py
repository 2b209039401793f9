"""The picture world's benchmark with verification: how often the chosen picture is right, and what choosing cost.

Success is strict and judged by exact reading, as in ``bench.world``. Output e of a prompt is chosen among candidates of
which the first is the picture that the seed e makes without verification, so all methods can be compared in pairs.
A run that was stopped goes on: finished outputs stand in ``results.jsonl``, every look in ``trace.jsonl``.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from limner.algorithms.verify.calibration import by_step
from limner.algorithms.verify.run import Method, verify
from limner.algorithms.verify.search import SPREAD, Event, Job, Ledger, jobs_of
from limner.algorithms.verify.trace import Remembering, Trace, read_trace
from limner.bench.stats import share
from limner.bench.world import tasks
from limner.judges.scenes import scene_judge
from limner.judges.verifier import Verifier, coincidence
from limner.models.base import Model
from limner.parts import Plan
from limner.world import lessons

METRIC, PROMPTS_OF = "scenes", "world"


@dataclass(frozen=True)
class Trial:
    """What is measured: ``groups`` of ``prompts`` fresh prompts each, ``outputs`` pictures a prompt. ``label`` names
    generator and verifier, whatever they are, so that a folder is not continued with others."""

    label: str
    groups: tuple[str, ...] = lessons.EXPLICIT
    split: str = "new_compositions"
    prompts: int = 100
    outputs: int = 4
    test_seed: int = 0

    def __post_init__(self) -> None:
        unknown = [group for group in self.groups if group not in lessons.GROUPS]
        if unknown or not self.groups:
            raise ValueError(f"no group called {(unknown or [''])[0]!r}; there are: {', '.join(lessons.GROUPS)}")
        if self.prompts < 1 or self.outputs < 1:
            raise ValueError(f"prompts={self.prompts} and outputs={self.outputs} must be at least 1")


def evaluate(
    model: Model,
    plan: Plan,
    verifier: Verifier | None,
    how: Method,
    trial: Trial,
    *,
    out: Path | None = None,
    rows: int = 64,
    views: bool = True,
    progress: Callable[[str, float], None] | None = None,
    on_event: Callable[[Event], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Run the trial; a JSON-able report, also written to ``out/report.json``. ``views`` keeps the codes of what was
    looked at in the trace. Raises ValueError for a folder with another trial."""
    wanted = jobs(trial, how.n)
    about = json.loads(json.dumps({**asdict(trial), "verify": how.policy.name, "n": how.n, "rounds": how.rounds,
                                   "budget": how.budget}))  # fmt: skip
    done: dict[tuple[str, int], dict[str, Any]] = {}
    recorded: list[Event] = []
    trace: Trace | None = None
    if out is not None:
        done = _begun(Path(out), about)
        trace = Trace(Path(out) / "trace.jsonl")
        recorded = read_trace(trace.path) if trace.path.exists() else []
    if verifier is not None and recorded:
        verifier = Remembering(verifier, recorded)
    judge, events = scene_judge(), list(recorded)

    def watch(event: Event) -> None:
        events.append(event)
        for each in (trace, on_event):
            if each is not None:
                each(event)

    rest = [job for job in wanted if (job.name, job.output) not in done]
    size = max(1, rows // how.n)
    for begin in range(0, len(rest), size):
        some = rest[begin : begin + size]
        if progress is not None:
            progress(some[0].task.tags[0], (len(wanted) - len(rest) + begin) / len(wanted))
        ledger, begun = Ledger(), clock()
        found = verify(
            model, some, plan, verifier, how, rows=rows, on_event=watch, ledger=ledger, views=views, clock=clock
        )
        seconds = (clock() - begun) / len(some)
        for job, each, verdict in zip(some, found, judge([f.sample for f in found]), strict=True):
            row = {
                "group": job.task.tags[0],
                "job": job.name,
                "output": job.output,
                "path": each.choice.path,
                "seed": each.sample.seed,
                "rounds": each.rounds,
                "score": verdict.score,
                "said": None if each.opinion is None else each.opinion.yes,
                "why": verdict.why,
                "seconds": round(seconds, 4),
                "cost": {name: value / len(some) for name, value in asdict(ledger).items()},
            }
            done[job.name, job.output] = row
            if out is not None:
                with (Path(out) / "results.jsonl").open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
    report = _report(trial, about, wanted, done, events, verifier)
    if out is not None:
        beside = Path(out) / "report.json.partial"
        beside.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        os.replace(beside, Path(out) / "report.json")
    return report


def jobs(trial: Trial, n: int) -> list[Job]:
    """All pictures of a trial, each to be chosen among ``n`` candidates."""
    return [job for group in trial.groups for job in _jobs(group, trial, n)]


def _jobs(group: str, trial: Trial, n: int) -> list[Job]:
    made = tasks(group, trial.split, trial.prompts, trial.test_seed)
    named = [replace(task, id=f"{group}/{i}/{task.id}") for i, task in enumerate(made)]
    return jobs_of(named, n, range(trial.outputs), SPREAD)


def _begun(out: Path, about: dict[str, Any]) -> dict[tuple[str, int], dict[str, Any]]:
    """The finished outputs in a folder, which is claimed for this trial."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "trial.json"
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        different = [f"{k} was {before.get(k)!r} and is now {about[k]!r}" for k in about if before.get(k) != about[k]]
        if different:
            raise ValueError(f"{out} holds another trial: {'; '.join(different)}; give another folder")
    else:
        path.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    results = out / "results.jsonl"
    lines = results.read_text(encoding="utf-8").splitlines(keepends=True) if results.exists() else []
    whole = [line for line in lines if line.endswith("\n")]
    if len(whole) < len(lines):
        results.write_text("".join(whole), encoding="utf-8")
    rows = [json.loads(line) for line in whole]
    return {(row["job"], row["output"]): row for row in rows}


def _report(
    trial: Trial,
    about: dict[str, Any],
    wanted: Sequence[Job],
    done: dict[tuple[str, int], dict[str, Any]],
    events: Sequence[Event],
    verifier: Verifier | None,
) -> dict[str, Any]:
    rows = [done[job.name, job.output] for job in wanted]
    table = []
    for group in trial.groups:
        mine = [row for row in rows if row["group"] == group]
        table.append({"group": group, "success": share(_by_prompt(mine)).to_json()})
    means = [share(_by_prompt([row for row in rows if row["group"] == group])).mean for group in trial.groups]
    names = [item.name for item in fields(Ledger)]
    cost = {name: round(sum(row["cost"][name] for row in rows) / len(rows), 4) for name in names}
    fates = {(row["job"], row["output"], row["path"]): bool(row["score"]) for row in rows if row["rounds"] == 0}
    looks = [event for event in events if event.kind == "look"]
    unjudged = [event for event in looks if event.opinion is not None and not event.opinion.judged]
    warning = "" if verifier is None else coincidence(verifier.about, METRIC, PROMPTS_OF)
    return {
        "benchmark": "world, verified",
        **about,
        "rows": table,
        "overall": {"mean": round(sum(means) / len(means), 4), **_interval(rows)},
        "cost_per_picture": {**cost, "wall_seconds": round(sum(row["seconds"] for row in rows) / len(rows), 4)},
        "looks": len(looks),
        "unjudged": len(unjudged),
        "unjudged_why": unjudged[0].opinion.text if unjudged and unjudged[0].opinion is not None else "",
        "calibration": {q: by_step(events, fates, q) for q in ("clarity", "potential", "outcome", "step")},
        "warning": warning,
    }


def _by_prompt(rows: Sequence[dict[str, Any]]) -> list[list[float | None]]:
    prompts: dict[str, list[float | None]] = {}
    for row in rows:
        prompts.setdefault(row["job"], []).append(row["score"])
    return list(prompts.values())


def _interval(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    whole = share(_by_prompt(rows))
    return {"low": round(whole.low, 4), "high": round(whole.high, 4)}
