"""The picture world's benchmark: fresh prompts from a seed, drawn with and without thinking, judged by exact reading.

Every group has its own prompts; explicit groups say what to draw, reasoning groups must be worked out first. Success is
strict: exactly what was asked, nothing else. ``shuffled`` judges pictures by another prompt's facts: the chance level.
The test seed is an argument, so a fresh test set of the same kinds can be drawn at any time.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as pil

from limner.bench.stats import Share, paired, share
from limner.judges.scenes import Reader, agreement, detected, remembering, scene_judge
from limner.models.base import Model, Reply
from limner.parts import Image, Sample, Task, Text, user
from limner.turn import rollout
from limner.world import lessons, questions, say
from limner.world.content import Content, random_content
from limner.world.draw import render, to_image
from limner.world.scene import Scene, random_scene
from limner.world.sheet import draw_sheet

Progress = Callable[[str, float], None]  # (what is being done, share done)
PROMPTS, SEEDS, QUICK_PROMPTS = 100, 4, 10
UNSEEN = "unseen_colour"  # the tag of prompts with a colour and kind never shown together
TEXT_ONLY = "text_only"
NUMBER_RIDDLE = "number_riddle"
BESIDE = (NUMBER_RIDDLE, TEXT_ONLY)  # rows of a part of the reasoning prompts, which their mean does not count again


@dataclass(frozen=True)
class Row:
    """One line of the table: a group, with and without thinking, and the paired difference where both were run."""

    group: str
    kind: str
    thinking: Share | None
    direct: Share | None
    gain: tuple[float, float, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "group": self.group,
            "kind": self.kind,
            "thinking": self.thinking and self.thinking.to_json(),
            "direct": self.direct and self.direct.to_json(),
            "gain": self.gain and [round(value, 4) for value in self.gain],
        }


def tasks(group: str, split: str, count: int, seed: int) -> list[Task]:
    """``count`` different prompts of a group, fresh for every seed."""
    return _collect(group, lambda rng: lessons.lesson(group, rng, split), None, count, seed)


def unseen_tasks(count: int, seed: int) -> list[Task]:
    """Single things in a colour that training never shows them in."""
    return _collect(UNSEEN, lambda rng: lessons.lesson("single", rng, "new_compositions"), UNSEEN, count, seed)


def number_riddle_tasks(count: int, seed: int) -> list[Task]:
    """Riddles in which a number decides: ``an animal with (2+2) legs``."""
    return _collect(
        NUMBER_RIDDLE, lambda rng: lessons.lesson("riddle", rng, "new_compositions"), "by_number", count, seed
    )


def text_only_tasks(count: int, seed: int) -> list[Task]:
    """Prompts of the reasoning groups that rest on a fact which training had only as text."""

    def make(rng: random.Random) -> lessons.Lesson:
        return lessons.lesson(rng.choice(lessons.TEXT_ONLY), rng, TEXT_ONLY)

    return _collect(TEXT_ONLY, make, "text_fact", count, seed)


def _collect(
    name: str, make: Callable[[random.Random], lessons.Lesson], tag: str | None, count: int, seed: int
) -> list[Task]:
    rng = random.Random(f"{name}/{seed}")
    found: dict[str, Task] = {}
    for _ in range(500 * count):
        lesson = make(rng)
        if lesson.prompt not in found and (tag is None or tag in lesson.tags):
            found[lesson.prompt] = Task((user(lesson.prompt),), lesson.facts, (name, *lesson.tags), lesson.id)
        if len(found) == count:
            return list(found.values())
    raise ValueError(f"{name} has only {len(found)} different prompts, {count} were asked for; ask for fewer")


def _draw(model: Model, some: Sequence[Task], seeds: int, think: bool, settings: dict[str, Any]) -> list[list[Sample]]:
    """Samples [prompt][seed]. A thought at temperature 0 does not depend on the seed, so it is made once a prompt."""
    many = [task for task in some for _ in range(seeds)]
    numbers = [seed for _ in some for seed in range(seeds)]
    image = tuple(_with(ask, settings) for ask in model.plan(("image",)))
    thoughts: list[Reply] = [() for _ in many]
    if think:
        plan = model.plan(("thinking",))
        certain = plan[0].temperature == 0
        made = rollout(model, some if certain else many, plan, [0] * len(some) if certain else numbers)
        thoughts = [sample.reply for sample in made for _ in range(seeds if certain else 1)]
    samples = rollout(model, many, image, numbers, replies=thoughts)
    return [samples[i : i + seeds] for i in range(0, len(samples), seeds)]


def _with(ask: Any, settings: dict[str, Any]) -> Any:
    return replace(ask, **{name: value for name, value in settings.items() if value is not None})


def _scores(judge: Any, samples: list[list[Sample]]) -> list[list[float | None]]:
    flat = [verdict.score for verdict in judge([sample for row in samples for sample in row])]
    width = len(samples[0])
    return [flat[i : i + width] for i in range(0, len(flat), width)]


def _means(scores: Sequence[Sequence[float | None]]) -> list[float]:
    return [float(np.mean([s for s in row if s is not None] or [0.0])) for row in scores]


def _understand(
    model: Model, count: int, seed: int, captions: bool, think: bool = False
) -> tuple[Share, list[dict[str, Any]]]:
    """Exact answers to questions about clean pictures, at once or after a thought, or exact captions of them."""
    rng = random.Random(f"understand/{captions}/{seed}")
    some, wanted, shown = [], [], []
    for index in range(count):
        scene = random_scene(rng)
        picture = to_image(scene, 64)
        if captions:
            question, answer = rng.choice(say.CAPTION_QUESTIONS), say.plan(scene)
        else:
            question, answer = questions.ask(scene, rng)
        some.append(Task((user(Image(picture), question),), id=f"q{index}"))
        wanted.append(answer)
        shown.append({"question": question, "wanted": answer})
    plan = model.plan(("thinking", "text") if think else ("text",))
    samples = rollout(model, some, plan, list(range(count)))
    right = []
    for sample, answer, row in zip(samples, wanted, shown, strict=True):
        said = sample.first("text")
        text = said.text if isinstance(said, Text) else ""
        row["said"] = text
        if think:
            row["thinking"] = sample.thinking or ""
        right.append([float(say.words(text) == say.words(answer))])
    return share(right), shown


@dataclass(frozen=True)
class _Measured:
    """A group's row; scores [prompt][seed] of agreement and under another prompt's facts; what two readers read in
    every picture; samples for the sheet."""

    row: Row
    agreed: list[list[float | None]]
    crossed: list[list[float | None]]
    read: list[tuple[Content | None, Content | None]]  # by the exact reader and by the trained one
    shown: list[tuple[Sample, float | None]]


_Set = tuple[str, str, list[Task]]  # group, kind of group, prompts


def _measured(model: Model, one: _Set, repeats: int, settings: dict[str, Any]) -> _Measured:
    group, kind, some = one
    reader = remembering()
    judge, agree = scene_judge(reader), agreement(reader)
    thought = _draw(model, some, repeats, True, settings) if model.thinks else []
    direct = _draw(model, some, repeats, False, settings)
    with_scores, without_scores = _scores(judge, thought) if thought else None, _scores(judge, direct)
    gain = paired(_means(with_scores), _means(without_scores)) if with_scores else None
    shown, scores = thought or direct, with_scores or without_scores
    return _Measured(
        Row(group, kind, share(with_scores) if with_scores else None, share(without_scores), gain),
        _scores(agree, thought) if thought else [],
        _scores(judge, _shuffled(shown)),
        _read_twice([sample for row in (*thought, *direct) for sample in row], reader, detected()),
        [(shown[i][0], scores[i][0]) for i in range(min(3, len(some)))],
    )


def _read_twice(
    samples: Sequence[Sample], exact: Reader, trained: Reader
) -> list[tuple[Content | None, Content | None]]:
    pictures = [np.asarray(sample.image.convert("RGB")) for sample in samples if sample.image is not None]
    return [(exact(picture), trained(picture)) for picture in pictures]


def _readers(read: Sequence[tuple[Content | None, Content | None]]) -> dict[str, Any]:
    """How the two readers compare: shares of pictures that hold something unknown to the exact one and to the trained
    one, and, of the pictures that both can read, the share that both read alike."""
    both = [pair for pair in read if None not in pair]
    return {
        "pictures": len(read),
        "unknown": float(np.mean([exact is None for exact, _ in read])) if read else None,
        "unknown_trained": float(np.mean([trained is None for _, trained in read])) if read else None,
        "alike": float(np.mean([exact == trained for exact, trained in both])) if both else None,
    }


_ours: list[Model] = []  # a worker process's own model


def _begin(model: Model) -> None:
    torch.set_num_threads(1)
    _ours.append(model)


def _measured_there(one: _Set, repeats: int, settings: dict[str, Any]) -> _Measured:
    with torch.no_grad():
        return _measured(_ours[0], one, repeats, settings)


def _measured_all(
    model: Model, sets: Sequence[_Set], repeats: int, settings: dict[str, Any], workers: int
) -> Iterator[_Measured]:
    """Every group in turn. Rows do not depend on their batch, so the number of processes changes nothing but time."""
    if workers == 1:
        yield from (_measured(model, one, repeats, settings) for one in sets)
        return
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, fresh, _begin, (model,)) as pool:
        try:
            yield from pool.map(_measured_there, sets, repeat(repeats), repeat(settings))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def evaluate(
    model: Model,
    *,
    quick: bool = False,
    test_seed: int = 0,
    split: str = "new_compositions",
    out: Path | None = None,
    progress: Progress | None = None,
    prompts: int = 0,
    seeds: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
    workers: int = 1,
) -> dict[str, Any]:
    """Run the benchmark. Returns a JSON-able report; ``out`` gets ``report.json`` and ``sheet.png``.

    ``quick`` takes 10 prompts a group and one seed: a smoke test, not for comparison. ``steps`` and ``guidance``
    replace the model's own for pictures. ``workers`` processes measure the groups, each with one thread and a copy of
    the model.
    """
    if workers < 1:
        raise ValueError(f"workers={workers}: give 1 process or more")
    count = prompts or (QUICK_PROMPTS if quick else PROMPTS)
    repeats = seeds or (1 if quick else SEEDS)
    settings = {"steps": steps, "guidance": guidance}
    started = time.perf_counter()
    report_progress = progress or (lambda what, done: None)
    names = [(group, "explicit", split) for group in lessons.EXPLICIT]
    names += [(group, "reasoning", split) for group in lessons.REASONING]
    sets = [(g, kind, tasks(g, s, count, test_seed)) for g, kind, s in names]
    sets.append((UNSEEN, "unseen", unseen_tasks(count, test_seed)))
    sets.append((NUMBER_RIDDLE, "reasoning", number_riddle_tasks(count, test_seed)))
    sets.append((TEXT_ONLY, "reasoning", text_only_tasks(count, test_seed)))
    sets = [each for each in sets if each[2]]
    rows, agreed, crossed, read, sheet = [], [], [], [], []
    for index, measured in enumerate(_measured_all(model, sets, repeats, settings, workers)):
        report_progress(sets[index][0], (index + 1) / (len(sets) + 2))
        rows.append(measured.row)
        agreed += measured.agreed
        crossed += measured.crossed
        read += measured.read
        sheet += measured.shown
    report_progress("questions", len(sets) / (len(sets) + 2))
    asked, asked_rows = _understand(model, count * repeats, test_seed, captions=False)
    thought: Share | None = None
    thought_rows: list[dict[str, str]] = []
    if model.thinks_of("text"):
        thought, thought_rows = _understand(model, count * repeats, test_seed, captions=False, think=True)
    report_progress("captions", (len(sets) + 1) / (len(sets) + 2))
    captioned, caption_rows = _understand(model, count * repeats, test_seed, captions=True)
    report = {
        "benchmark": "world",
        "quick": quick,
        "split": split,
        "test_seed": test_seed,
        "prompts": count,
        "seeds": repeats,
        "settings": settings,
        "rows": [row.to_json() for row in rows],
        "explicit": _mean(rows, "explicit"),
        "reasoning": _mean(rows, "reasoning"),
        "agreement": share(agreed).to_json() if agreed else None,
        "shuffled": share(crossed).to_json(),
        "questions": asked.to_json(),
        "questions_thinking": thought and thought.to_json(),
        "captions": captioned.to_json(),
        "readers": _readers(read),
        "seconds": round(time.perf_counter() - started, 1),
    }
    if out is not None:
        looked = {"answers": asked_rows, "answers_thinking": thought_rows, "captioned": caption_rows}
        _write(out, {**report, **{name: some[:40] for name, some in looked.items()}}, sheet)
    return report


def _mean(rows: Sequence[Row], kind: str) -> dict[str, float | None]:
    chosen = [row for row in rows if row.kind == kind and row.group not in BESIDE]
    out: dict[str, float | None] = {"thinking": None, "direct": None}
    for name in out:
        found = [value.mean for row in chosen if (value := getattr(row, name)) is not None]
        out[name] = round(float(np.mean(found)), 4) if found else None
    return out


def _shuffled(samples: list[list[Sample]]) -> list[list[Sample]]:
    """The same pictures under the facts of another prompt of the group."""
    half = max(1, len(samples) // 2)
    tasks_ = [row[0].task for row in samples]
    other = tasks_[half:] + tasks_[:half]
    return [[replace(s, task=task) for s in row] for row, task in zip(samples, other, strict=True)]


def ceilings(model: Model, count: int = 1000, seed: int = 0) -> dict[str, float]:
    """Shares of random scenes read back right: as drawn (the reader's own error), and through the model's codec.

    ``codec_many`` counts scenes with four to six copies alone, and ``codec_still`` as many scenes of which nothing is
    moved, shrunk or mirrored. No generator of these codes can do better by more.
    """
    from limner.judges.scenes import read_content

    rng = random.Random(f"ceiling/{seed}")

    def read_back(scenes: Sequence[Scene]) -> tuple[list[bool], list[bool]]:
        """Whether each scene is read right as drawn, and through the codec."""
        clean, through = [], []
        for begin in range(0, len(scenes), 64):
            part = scenes[begin : begin + 64]
            drawn = [render(scene, 64) for scene in part]
            values = model.encode([Image(pil.fromarray(picture)) for picture in drawn])
            shown = [np.asarray(p.image) for p in model.decode("image", values) if isinstance(p, Image)]
            for scene, picture, copy in zip(part, drawn, shown, strict=True):
                wanted = Content.of(scene)
                clean.append(read_content(picture) == wanted)
                through.append(read_content(copy) == wanted)
        return clean, through

    some = [random_scene(rng) for _ in range(count)]
    clean, through = read_back(some)
    many = [right for scene, right in zip(some, through, strict=True) if len(scene.things) >= 4]
    still = read_back([random_content(rng).scene(rng, vary=False) for _ in range(count)])[1]
    shares = {"reader": clean, "codec": through, "codec_many": many, "codec_still": still}
    return {name: float(np.mean(rights)) for name, rights in shares.items()}


def _write(out: Path, report: dict[str, Any], sheet: list[tuple[Sample, float | None]]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    partial = out / "report.json.partial"
    partial.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, out / "report.json")
    pictures = [s.image for s, _ in sheet if s.image is not None]
    labels = [f"{'+' if score else '-'} {s.task.prompt[0].text}" for s, score in sheet if s.image is not None]
    partial = out / "sheet.partial.png"
    draw_sheet(pictures, labels, columns=6).save(partial)
    os.replace(partial, out / "sheet.png")
