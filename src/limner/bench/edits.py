"""Edits and stories of the picture world: is what was asked there, and did everything else stay?

An edit counts where the reader finds exactly the scene that the instruction leads to, and where the pixels that no
change of the scene touches are those of the source: all of them are looked at, and at most ``MOST_OFF`` of them may be
further than ``NEAR`` levels off in a channel, because small decoders ring at outlines. A story is several instructions
one after another, each about the model's own last picture; it counts where the last picture is right.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from limner.bench.stats import share
from limner.judges.scenes import read_content
from limner.models.base import Model
from limner.parts import Conversation, Image, Sample, Task, assistant, user
from limner.turn import rollout
from limner.world.content import Content, random_content
from limner.world.draw import render, to_image
from limner.world.edits import EDITS, Edit, edit, story
from limner.world.sheet import draw_sheet

Progress = Callable[[str, float], None]
NEAR, MOST_OFF = 48, 0.02
SIZE = 64


@dataclass(frozen=True)
class Judged:
    """One edit's result: the scene is right; the share of pixels that must stay and are off; their mean distance in
    levels of 255."""

    scene: bool
    off: float
    distance: float

    @property
    def strict(self) -> bool:
        """The scene is right and everything else stayed."""
        return self.scene and self.off <= MOST_OFF


def judge(one: Edit, picture: np.ndarray) -> Judged:
    """An edit's picture (64, 64, 3) uint8. Raises ValueError for another size."""
    if picture.shape != (SIZE, SIZE, 3):
        raise ValueError(f"edits are judged at {SIZE} x {SIZE} pixels, not {picture.shape[1]} x {picture.shape[0]}")
    before, after = (render(scene, SIZE) for scene in (one.before, one.after))
    stays = (before == after).all(axis=2)
    apart = np.abs(picture.astype(int) - before)[stays]
    right = read_content(picture) == Content.of(one.after)
    if not len(apart):
        return Judged(right, 0.0, 0.0)
    return Judged(right, float((apart.max(axis=1) > NEAR).mean()), float(apart.mean()))


def some_edits(count: int, seed: int, split: str = "new_compositions") -> list[Edit]:
    """``count`` edits of every kind, fresh for every seed."""
    rng, found = random.Random(f"edits/{seed}"), list[Edit]()
    for kind in EDITS:
        while len([one for one in found if one.kind == kind]) < count:
            try:
                found.append(edit(random_content(rng).scene(rng), rng, kind, split))
            except ValueError:  # this kind of edit does not fit this scene
                continue
    return found


def evaluate(
    model: Model,
    count: int = 20,
    stories: int = 20,
    turns: int = 3,
    seed: int = 0,
    split: str = "new_compositions",
    out: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """A JSON-able report on ``count`` edits of each kind and ``stories`` of ``turns`` instructions, thought about by
    models that do; ``out`` gets ``report.json`` and ``sheet.png``. Raises ValueError for a model that cannot edit."""
    if not model.edits:
        raise ValueError(f"models of the family {model.family} cannot edit a picture as words say")
    told = progress or (lambda what, done: None)
    told("edits", 0.0)
    edits = some_edits(count, seed, split)
    samples = _made(model, [(user(Image(to_image(one.before, SIZE)), one.instruction),) for one in edits])
    judged = [judge(one, _pixels(sample)) for one, sample in zip(edits, samples, strict=True)]
    told("stories", 0.6)
    reached = _stories(model, stories, turns, seed, split)
    report = {
        "benchmark": "edits",
        "split": split,
        "test_seed": seed,
        "edits": count,
        "rules": {"levels": NEAR, "share": MOST_OFF},
        "kinds": {kind: _row([j for e, j in zip(edits, judged, strict=True) if e.kind == kind]) for kind in EDITS},
        "all": _row(judged),
        "stories": {
            "turns": turns,
            "steps": [share([[float(row[k])] for row in reached]).to_json() for k in range(turns)] if reached else [],
        },
    }
    if out is not None:
        _write(out, report, edits, samples, judged)
    return report


def _row(judged: Sequence[Judged]) -> dict[str, Any]:
    return {
        "strict": share([[float(one.strict)] for one in judged]).to_json(),
        "scene": share([[float(one.scene)] for one in judged]).to_json(),
        "off": float(np.mean([one.off for one in judged])),
        "distance": float(np.mean([one.distance for one in judged])),
    }


def _made(model: Model, conversations: Sequence[Conversation]) -> list[Sample]:
    plan = model.plan(["thinking", "image"] if model.thinks_of("image", edits=True) else ["image"])
    return rollout(model, [Task(conversation) for conversation in conversations], plan, list(range(len(conversations))))


def _pixels(sample: Sample) -> np.ndarray:
    assert sample.image is not None
    shown = sample.image.convert("RGB")
    return np.asarray(shown if shown.size == (SIZE, SIZE) else shown.resize((SIZE, SIZE)))


def _stories(model: Model, count: int, turns: int, seed: int, split: str) -> list[list[bool]]:
    """For each story, turn by turn, whether the picture showed the wanted scene."""
    rng = random.Random(f"stories/{seed}")
    told = [story(rng, turns, split) for _ in range(count)]
    conversations: list[Conversation] = [
        (user(Image(to_image(steps[0].before, SIZE)), steps[0].instruction),) for steps in told
    ]
    reached: list[list[bool]] = [[] for _ in told]
    for turn in range(turns):
        samples = _made(model, conversations) if conversations else []
        for i, (steps, sample) in enumerate(zip(told, samples, strict=True)):
            reached[i].append(read_content(_pixels(sample)) == Content.of(steps[turn].after))
            if turn + 1 < turns:
                conversations[i] = (*conversations[i], assistant(*sample.reply), user(steps[turn + 1].instruction))
    return reached


def _write(
    out: Path, report: dict[str, Any], edits: Sequence[Edit], samples: Sequence[Sample], judged: Sequence[Judged]
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    partial = out / "report.json.partial"
    partial.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, out / "report.json")
    shown: list[Any] = []
    labels: list[str] = []
    for kind in EDITS:
        chosen = [i for i, one in enumerate(edits) if one.kind == kind][:3]
        for i in chosen:
            shown += [to_image(edits[i].before, SIZE), _pixels(samples[i])]
            labels += [edits[i].instruction, f"{'+' if judged[i].strict else '-'} {edits[i].kind}"]
    partial = out / "sheet.partial.png"
    draw_sheet(shown, labels, columns=6).save(partial)
    os.replace(partial, out / "sheet.png")
