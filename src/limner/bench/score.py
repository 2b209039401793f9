"""The second half of an evaluation: a run folder judged, without the model, and compared with another run.

Scoring writes ``scores.jsonl`` (a line a wanted sample) and ``report.json``; scoring twice gives the same bytes. What
is missing, could not be read or was not answered by a judge scores 0 and is counted. The unit is the prompt: intervals
resample prompts, all samples of one together, and comparisons are paired on the prompts and seeds that both runs have.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from limner.bench import alarms, figures, suites
from limner.bench.judging import OWN, Bench, Judged, Judging, Pairs, bench
from limner.bench.run import cost_of, items_of, manifest_of, rows_of, write_whole
from limner.bench.stats import paired, share
from limner.judges.named import SCENES
from limner.judges.verifier import Verifier

Missing = Literal["zero", "skip", "error"]
STATES = ("judged", "missing", "unparsed", "unanswered")


def score(
    folder: Path,
    *,
    judge: suites.Judge | None = None,
    missing: Missing = "zero",
    judging: Judging = OWN,
    held_out: Verifier | None = None,
) -> dict[str, Any]:
    """Judge the samples of a run folder; returns the report.

    ``judge`` replaces everything that ``judging`` names. ``missing`` says what a wanted sample that is not there is
    worth. ``held_out`` looks at the same pictures, for the alarms (``bench.alarms``). Besides the report there are the
    costs and how many of a judge's replies were remembered, asked for and not given.
    """
    manifest = manifest_of(folder)
    suite = suites.find_suite(manifest["benchmark"])
    items = items_of(folder)
    rows = {(row["id"], row["seed"]): row for row in rows_of(folder)}
    own = suite.drawn and judge is None and not judging.judge
    if own and held_out is not None and held_out.about.metric == SCENES:
        raise ValueError(f"{held_out.about.name} judges this run already; hold out another one, such as detector")
    by = _callers(judge, folder) if judge is not None else bench(suite, folder, judging, manifest["model"])
    wanted = [(item, seed) for item in items for seed in range(manifest["seeds"])]
    there = [(i, rows[i.id, s]) for i, s in wanted if (i.id, s) in rows and rows[i.id, s][suite.kind] is not None]
    if missing == "error" and len(there) < len(wanted):
        have = {(item.id, row["seed"]) for item, row in there}
        lost = next((item.id, seed) for item, seed in wanted if (item.id, seed) not in have)
        raise ValueError(f"{folder}: the sample of {lost[0]!r}, seed {lost[1]}, is missing; go on with the run")
    found = {(item.id, row["seed"]): each for (item, row), each in zip(there, by.decide(there), strict=True)}
    scores = []
    for item, seed in wanted:
        line: dict[str, Any] = {"id": item.id, "tag": item.tag, "seed": seed, "why": "", "parts": {}, "passes": None}
        judged = found.get((item.id, seed))
        if judged is None:
            if missing == "skip":
                continue
            line |= {"score": 0.0, "state": "missing"}
        else:
            verdict = judged.verdict
            line |= {"score": verdict.score or 0.0, "why": verdict.why, "state": judged.state}
            line |= {"parts": dict(verdict.parts), "passes": rows[item.id, seed].get("passes")}
        scores.append(line)
    if not scores:
        raise ValueError(f"{folder} holds no sample to judge; go on with the run")
    report = {
        "benchmark": suite.name,
        "protocol": by.protocol,
        "judging": by.about,
        "missing_policy": missing,
        "manifest": manifest,
        "tags": _table(scores),
        "counts": {state: sum(s["state"] == state for s in scores) for state in STATES},
        "passes": {tag: _passes(scores, tag) for tag in [*dict.fromkeys(s["tag"] for s in scores), "all"]},
        "official": figures.own_figures(suite.name, judging.protocol, items, rows, scores),
    }
    if suite.kind == "image":
        report["signs"] = alarms.signs(folder, items, scores, rows, held_out, drawn=suite.drawn and not judging.judge)
    write_whole(folder / "scores.jsonl", "".join(json.dumps(line, sort_keys=True) + "\n" for line in scores))
    write_whole(folder / "report.json", json.dumps(report, indent=1, sort_keys=True) + "\n")
    return {**report, "cost": cost_of(folder), "replies": by.counts}


def _callers(judge: suites.Judge, folder: Path) -> Bench:
    """A judge that the caller brought."""

    def decide(pairs: Pairs) -> list[Judged]:
        made = [judge(item, row, folder) for item, row in pairs]
        return [Judged(verdict, "unparsed" if verdict.score is None else "judged") for verdict in made]

    return Bench("a judge of the caller's", {"judge": "the caller's", "rubric": "", "protocol": ""}, decide)


def _passes(scores: Sequence[Mapping[str, Any]], tag: str) -> float | None:
    """The mean number of passes a sample took."""
    known = [s["passes"] for s in scores if tag in ("all", s["tag"]) and s.get("passes") is not None]
    return round(float(np.mean(known)), 2) if known else None


def _by_prompt(scores: Sequence[Mapping[str, Any]]) -> list[list[float | None]]:
    prompts: dict[str, list[float | None]] = {}
    for line in scores:
        prompts.setdefault(line["id"], []).append(line["score"])
    return list(prompts.values())


def _table(scores: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float | int]]:
    """A share for every tag and for ``all`` prompts alike."""
    tags = list(dict.fromkeys(line["tag"] for line in scores))
    table = {tag: share(_by_prompt([s for s in scores if s["tag"] == tag])).to_json() for tag in tags}
    return {**table, "all": share(_by_prompt(scores)).to_json()}


@dataclass(frozen=True)
class Axis:
    """One line of a comparison: the means, their difference with its interval, and whether that is a fall. ``passes``
    are those of a sample: what was made by many more of them is no fair comparison."""

    name: str
    now: float
    before: float
    change: float
    low: float
    high: float
    prompts: int
    level: float
    passes: float | None = None
    passes_before: float | None = None

    @property
    def fell(self) -> bool:
        """Whether even the upper end of the interval is below the baseline."""
        return self.high < 0

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "fell": self.fell}


def scores_of(folder: Path) -> list[dict[str, Any]]:
    """The judged lines of a run folder. Raises ValueError where it was not scored."""
    path = folder / "scores.jsonl"
    if not path.is_file():
        raise ValueError(f"{folder} was not scored yet: limner score {folder}")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def compare(
    now: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]], *, draws: int = 10_000
) -> list[Axis]:
    """Every tag and ``all``, paired on the prompts and seeds that both have.

    The intervals are joint: with k lines each is at the level 1 - 0.05 / k, so that an unchanged model passes all of
    them in at least 95 of 100 cases.
    """
    mine = {(s["id"], s["seed"]): s for s in now}
    theirs = {(s["id"], s["seed"]): s for s in before}
    both = [key for key in mine if key in theirs]
    if not both:
        raise ValueError("the runs have no prompt and seed in common; compare runs of one benchmark")
    tags = list(dict.fromkeys(mine[key]["tag"] for key in both))
    level = 1 - 0.05 / (len(tags) + 1 if len(tags) > 1 else 1)
    axes = []
    for name in [*tags, "all"] if len(tags) > 1 else tags:
        prompts: dict[str, list[tuple[float, float]]] = {}
        for key in both:
            if name in ("all", mine[key]["tag"]):
                prompts.setdefault(key[0], []).append((mine[key]["score"], theirs[key]["score"]))
        a, b = (np.array([np.mean([pair[i] for pair in pairs]) for pairs in prompts.values()]) for i in (0, 1))
        change, low, high = paired(a.tolist(), b.tolist(), draws=draws, level=level)
        spent = [_passes([side[key] for key in both], name) for side in (mine, theirs)]
        axes.append(Axis(name, float(a.mean()), float(b.mean()), change, low, high, len(prompts), level, *spent))
    return axes


def report_of(folder: Path) -> dict[str, Any]:
    """The report of a scored run folder. Raises ValueError where it was not scored."""
    path = folder / "report.json"
    if not path.is_file():
        raise ValueError(f"{folder} was not scored yet: limner score {folder}")
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value


def gate(folder: Path, baseline: Path) -> list[Axis]:
    """The comparison of two scored runs. Raises ValueError if they were not asked the same or not judged alike."""
    here, there = report_of(folder), report_of(baseline)
    for what, a, b in (
        ("benchmark", here["benchmark"], there["benchmark"]),
        ("protocol", here["protocol"], there["protocol"]),
        ("missing policy", here["missing_policy"], there["missing_policy"]),
        ("prompts", here["manifest"]["items"], there["manifest"]["items"]),
    ):
        if a != b:
            raise ValueError(f"{folder} and {baseline} cannot be compared: the {what} differ ({a} and {b})")
    for where, report in ((folder, here), (baseline, there)):
        if report["counts"]["unanswered"]:
            raise ValueError(
                f"{report['counts']['unanswered']} samples of {where} were not answered by their judge, so nothing can "
                f"be compared; ask again: limner score {where} --judge ..."
            )
    return compare(scores_of(folder), scores_of(baseline))
