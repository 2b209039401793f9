"""Preference pairs from a model's own replies: make N for every prompt, judge them, pair the better with the worse.

A folder holds ``mining.json`` (what was asked for), ``candidates.jsonl`` (every reply with its score) and, once all are
judged, ``pairs.jsonl``. A run that was stopped goes on after the last whole prompt; replies that could not be judged
are asked for again.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from limner.algorithms.dpo import Preference
from limner.judges.base import Judge
from limner.judges.verifier import Verifier
from limner.models.base import Model, Reply
from limner.parts import Image, Part, Plan, Sample, Task, Verdict, part_from_json, part_to_json, user
from limner.process.noise import Noise
from limner.turn import rollout

Rule = Literal["extremes", "ranked", "random"]


@dataclass(frozen=True)
class Mining:
    """``number`` replies to each prompt. ``rule``: "extremes" pairs the best with the worst, "ranked" also the second
    best with the second worst and so on (at most ``most`` pairs a prompt), "random" one of those above ``passing`` with
    one of those below, as published. Pairs need a gap above ``least``; prompts with one kind of reply give none."""

    number: int = 8
    rule: Rule = "extremes"
    most: int = 1
    passing: float = 0.5
    least: float = 0.0
    seed: int = 0
    rows: int = 64

    def __post_init__(self) -> None:
        if self.number < 2 or self.most < 1 or self.rows < 1:
            raise ValueError(
                f"number={self.number} must be at least 2, most={self.most} and rows={self.rows} at least 1"
            )


def mine(
    model: Model,
    tasks: Sequence[Task],
    plan: Plan,
    judge: Judge,
    how: Mining,
    folder: Path,
    *,
    label: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> list[Preference]:
    """The pairs of all tasks, also in ``folder``. ``label`` names model and judge: a folder is not gone on with under
    another. Raises ValueError for a folder with other settings, and for tasks of the same prompt."""
    folder = Path(folder)
    ids = [task.id or task.prompt[-1].text for task in tasks]
    if len(set(ids)) < len(ids):
        raise ValueError("some tasks are the same; give every prompt once")
    _claim(folder, {**asdict(how), "label": label, "tasks": len(tasks)})
    path = folder / "candidates.jsonl"
    done = _finished(path, how.number)
    rest = [(i, task) for i, task in enumerate(tasks) if ids[i] not in done]
    size = max(1, how.rows // how.number)
    for begin in range(0, len(rest), size):
        some = rest[begin : begin + size]
        rows = candidates(model, some, plan, judge, how.number, how.seed, batch=how.rows)
        with path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        if progress is not None:
            progress(len(tasks) - len(rest) + begin + len(some), len(tasks))
    by_id = _finished(path, how.number)
    lost = [name for name in ids if name not in by_id]
    if lost:
        raise ValueError(
            f"nothing was judged for {len(lost)} prompts, such as {lost[0]!r}; run it again with a judge that works"
        )
    pairs = [pair for name, task in zip(ids, tasks, strict=True) for pair in pairs_of(by_id[name], task, how)]
    write_pairs(folder / "pairs.jsonl", pairs)
    return pairs


def candidates(
    model: Model,
    tasks: Sequence[tuple[int, Task]],
    plan: Plan,
    judge: Judge,
    number: int,
    seed: int,
    *,
    batch: int = 64,
) -> list[dict[str, Any]]:
    """``number`` replies to each (place in the list of all tasks, task), judged: a row of candidates.jsonl for each."""
    many = [task for _, task in tasks for _ in range(number)]
    seeds = [one for i, _ in tasks for one in _seeds(seed, i, number)]
    samples = rollout(model, many, plan, seeds, batch=batch)
    verdicts = judge(samples)
    if len(verdicts) != len(samples):
        raise ValueError(f"the judge gave {len(verdicts)} verdicts for {len(samples)} samples")
    judged = iter(zip(samples, verdicts, strict=True))
    rows = []
    for _, task in tasks:
        replies = [
            {"seed": sample.seed, "reply": _bare(sample.reply), "score": verdict.score}
            for sample, verdict in islice(judged, number)
        ]
        about: dict[str, Any] = {"id": task.id or task.prompt[-1].text, "prompt": task.prompt[-1].text}
        rows.append({**about, "facts": dict(task.facts), "candidates": replies})
    return rows


def summary(folder: Path) -> dict[str, float]:
    """What a finished folder holds: prompts, candidates, how many were judged, their mean score, pairs."""
    rows = [json.loads(line) for line in (Path(folder) / "candidates.jsonl").read_text(encoding="utf-8").splitlines()]
    scores = [c["score"] for row in rows for c in row["candidates"]]
    judged = [score for score in scores if score is not None]
    pairs = (Path(folder) / "pairs.jsonl").read_text(encoding="utf-8").count("\n")
    mean = sum(judged) / len(judged) if judged else float("nan")
    return {"prompts": len(rows), "candidates": len(scores), "judged": len(judged), "mean": mean, "pairs": pairs}


def write_pairs(path: Path, pairs: Sequence[Preference]) -> None:
    """Pairs as JSON lines; pictures with codes are kept as these alone."""
    beside = path.with_name(f".{path.name}.partial")
    with beside.open("w", encoding="utf-8") as file:
        for pair in pairs:
            row: dict[str, Any] = {
                "id": pair.task.id,
                "prompt": pair.task.prompt[-1].text,
                "facts": dict(pair.task.facts),
            }
            row |= {"chosen": _bare(pair.chosen), "rejected": _bare(pair.rejected), "gap": pair.gap}
            file.write(json.dumps(row) + "\n")
    os.replace(beside, path)


def read_pairs(path: Path) -> list[Preference]:
    """The pairs in a file. ValueError for a missing file and for lines that are none."""
    if not Path(path).is_file():
        raise ValueError(f"there are no pairs at {path}; make them with limner mine")
    pairs = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            task = Task((user(row["prompt"]),), row.get("facts", {}), id=row.get("id", ""))
            pairs.append(Preference(task, _reply(row["chosen"]), _reply(row["rejected"]), row.get("gap")))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"line {number} of {path} is no pair: {error!r}") from error
    return pairs


def _claim(folder: Path, about: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path, about = folder / "mining.json", json.loads(json.dumps(about))
    if not path.exists():
        path.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    free = ("rule", "most", "passing", "least", "rows")  # pairs are made anew of the same candidates
    changed = [
        f"{k} was {before.get(k)!r} and is now {v!r}" for k, v in about.items() if k not in free and before.get(k) != v
    ]
    if changed:
        raise ValueError(f"{folder} holds other candidates: {'; '.join(changed)}; give another folder")


def _finished(path: Path, number: int) -> dict[str, dict[str, Any]]:
    """The judged prompts of a file by id. Half-written lines and prompts without any verdict are dropped from it."""
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    rows = [json.loads(line) for line in lines if line.endswith("\n")]
    whole = [row for row in rows if any(c["score"] is not None for c in row["candidates"])]
    if len(whole) < len(lines):
        beside = path.with_name(f".{path.name}.partial")
        beside.write_text("".join(json.dumps(row) + "\n" for row in whole), encoding="utf-8")
        os.replace(beside, path)
    return {row["id"]: row for row in whole}


def _seeds(seed: int, task: int, number: int) -> list[int]:
    return Noise.of([seed] * number).fork(f"mine {task}", list(range(number))).seed.tolist()


def pairs_of(row: dict[str, Any], task: Task, how: Mining) -> Iterator[Preference]:
    """The pairs of one prompt's judged replies, by the rule."""
    judged = [c for c in row["candidates"] if c["score"] is not None]
    if how.rule == "random":
        rng = random.Random(f"{how.seed}/{row['id']}")
        good, bad = ([c for c in judged if (c["score"] >= how.passing) == side] for side in (True, False))
        ranked = [(rng.choice(good), rng.choice(bad))] if good and bad else []
    else:
        order = sorted(judged, key=lambda c: -c["score"])
        most = how.most if how.rule == "ranked" else 1
        ranked = [(order[i], order[-1 - i]) for i in range(min(most, len(order) // 2))]
    for better, worse in ranked:
        gap = better["score"] - worse["score"]
        if gap > how.least:
            yield Preference(task, _reply(better["reply"]), _reply(worse["reply"]), gap)


def _bare(reply: Reply) -> list[dict[str, Any]]:
    """Parts as JSON; a picture with codes without its pixels."""
    return [
        {"type": "image", "raw": list(part.raw)} if isinstance(part, Image) and part.raw else part_to_json(part)
        for part in reply
    ]


def _reply(parts: Sequence[dict[str, Any]]) -> Reply:
    return tuple(_part(part) for part in parts)


def _part(value: dict[str, Any]) -> Part:
    if value.get("type") == "image" and "png" not in value:
        from PIL import Image as pil

        # likelihoods need the codes alone, and nobody looks at the picture
        return Image(pil.new("RGB", (1, 1)), tuple(value["raw"]))
    return part_from_json(value)


def by_verifier(verifier: Verifier) -> Judge:
    """A judge that asks a verifier for the outcome."""

    def judge(samples: Sequence[Sample]) -> list[Verdict]:
        return [Verdict(opinion.yes, why=opinion.text) for opinion in verifier("outcome", samples)]

    return judge
