"""Tiny verifiers: a small model learns to judge half-made and finished pictures of the world by what became of them.

    cot.tiny_orm      does the finished picture show the prompt?
    cot.tiny_prm      may this half-made one become right in any of some continuations? (2501.13926 section 3.2)
    cot.tiny_parm     is it clear yet, may it become right, is it right; 120 : 80 : 200 as published
    cot.tiny_parmpp   the same, steps (each path being its own continuation), and reflection: is it right, and if not,
                      what is there instead, in words; one verifier for every method. It thinks before it judges a
                      finished picture: it says what it sees, and compares that
    cot.tiny_correct  the generator learns to draw again, with the wrong picture and the critique before it

All learn from a generator's rollouts: the views after every step, and the exact reader's verdict on the finished
picture. They are made once, by the first run that needs them, and stand in ``runs/cot.half_made`` (with continuations
in ``runs/cot.continued``). A verifier begins as the generator itself, or as another model around the same codec
(``start``; for the shipped generator the shipped reader) that reads pictures better; the family is whatever it is. The
published verifiers have 8 B parameters and learned from 288K to 400K pictures (``recipes.cot``).
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as pil
from torch import Tensor, nn

from limner import catalog
from limner.algorithms.sft import Piece, sft
from limner.algorithms.verify.run import again
from limner.judges.asked import SHORT, conversation, save_about
from limner.judges.scenes import read_content, scene_judge
from limner.judges.verifier import About, Question
from limner.models.base import Model, Reply
from limner.parts import Ask, Conversation, Image, PartKind, Sample, Task, Text, Thinking, user
from limner.process.noise import Noise
from limner.recipes.cot_data import world_tasks
from limner.train.data import seed_of
from limner.train.optim import Optimizers, adamw
from limner.train.run import Run
from limner.turn import stream
from limner.world import lessons, say
from limner.world.check import facts_hold
from limner.world.content import Content, altered

WORLD = SHORT
UNCLEAR = "it is not clear"
GENERATOR = "tiny-show-o"
HALF_MADE = Path("runs/cot.half_made")
CONTINUED = Path("runs/cot.continued")  # the step-wise verifier's own: continuations cost most
FAST = "threshold=0.8"
OWN = 0.3  # share of the readable pictures that are judged under their own prompt
READABLE = 0.7  # share of readable pictures among those that are described in words
WEIGHTS = {"compares": 20.0, "judges": 3.0}  # words alone are few, and what they teach is used everywhere
NOT_BEFORE, FROM = 10 / 18, 11 / 18  # shares of the steps: never clear before the one, always after the other
MIXTURES: dict[str, dict[str, float]] = {
    "tiny_orm": {"outcome": 1.0},
    "tiny_prm": {"step": 1.0},
    "tiny_parm": {"clarity": 120, "potential": 80, "outcome": 200},
    "tiny_parmpp": {
        **{"clarity": 120, "potential": 80, "outcome": 100, "step": 60, "reflection": 60, "critique": 60},
        **{"sees": 300, "judges": 100, "compares": 700},
    },
}
THINKS: tuple[Question, ...] = ("outcome", "reflection")  # what it thinks about; clarity and potential are asked often


@dataclass(frozen=True)
class HalfMade:
    """How much is made: ``prompts`` with ``number`` paths each, and ``continuations`` from one step of every path."""

    prompts: int = 2000
    number: int = 4
    continuations: int = 0
    groups: tuple[str, ...] = lessons.SEVERAL  # a generator hardly fails at the others
    seed: int = 0
    rows: int = 64


def default_generator() -> str:
    """The model that verifiers are made for and from."""
    return GENERATOR if GENERATOR in catalog.names() else catalog.DEFAULT


def half_made(model: Model, how: HalfMade, folder: Path, label: str) -> list[dict[str, Any]]:
    """One row a path: prompt, facts, ``views`` (codes after every step), ``right``, what it ``shows`` in words, and, at
    the step ``branch``, whether ``any`` continuation came out right. Goes on where it was stopped."""
    folder.mkdir(parents=True, exist_ok=True)
    about = json.loads(json.dumps({**asdict(how), "label": label}))
    claimed = folder / "half_made.json"
    if claimed.exists() and json.loads(claimed.read_text()) != about:
        raise ValueError(f"{folder} holds rollouts of another generator or of other settings; give another folder")
    claimed.write_text(json.dumps(about) + "\n")
    path = folder / "paths.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    rows = [json.loads(line) for line in lines if line.endswith("\n")]
    per = max(1, how.rows // how.number)
    rows = rows[: len(rows) // (per * how.number) * per * how.number] if len(rows) < how.prompts * how.number else rows
    beside = path.with_name(".paths.jsonl.partial")
    beside.write_text("".join(json.dumps(row) + "\n" for row in rows))
    os.replace(beside, path)
    tasks = world_tasks(how.seed, how.prompts, how.groups)
    for begin in range(len(rows) // how.number, how.prompts, per):
        some = tasks[begin : begin + per]
        made = _paths(model, some, how, begin)
        with path.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in made)
        rows += made
    return rows


@torch.no_grad()
def _paths(model: Model, tasks: Sequence[Task], how: HalfMade, begin: int) -> list[dict[str, Any]]:
    many = [task for task in tasks for _ in range(how.number)]
    seeds = Noise.of([how.seed] * len(many)).fork(f"paths {begin}", list(range(len(many)))).seed.tolist()
    plan = model.plan(("image",))
    steps = model.settings(plan[0], 1).steps
    branch = random.Random(f"{how.seed}/{begin}").randint(1, max(1, steps - 1))
    views: list[list[list[int]]] = [[] for _ in many]
    judge, found = scene_judge(), [False] * len(many)
    reply: Sequence[tuple[Any, ...]] = ()
    for step in stream(model, [task.prompt for task in many], plan, seeds):
        reply = step.replies
        if step.state.step:
            for row, codes in zip(views, step.process.view(step.state).tolist(), strict=True):
                row.append(codes)
        if step.state.step == branch and how.continuations and not step.finished:
            rows = [i for i in range(len(many)) for _ in range(how.continuations)]
            state = step.state[rows]
            numbers = list(range(how.continuations)) * len(many)
            ended = step.process.finish(replace(state, noise=state.noise.fork("continue", numbers)))
            parts = model.decode("image", step.process.view(ended))
            good = judge([Sample(many[i], (part,)) for i, part in zip(rows, parts, strict=True)])
            for i, verdict in zip(rows, good, strict=True):
                found[i] = found[i] or bool(verdict.score)
    made = []
    for i, (task, (*_, picture)) in enumerate(zip(many, reply, strict=True)):
        content = read_content(np.asarray(picture.image.convert("RGB")))
        right = content is not None and facts_hold(dict(task.facts), content)[0]
        made.append(
            {
                "prompt": task.prompt[-1].text,
                "facts": dict(task.facts),
                "views": views[i],
                "right": right,
                "shows": _said(content),
                "branch": branch,
                "any": found[i] or right,
            }
        )
    return made


def _said(content: Content | None) -> str:
    """What a picture holds, as a plan: the critique of a wrong one."""
    return UNCLEAR if content is None or content.layout == "other" else say.plan(content)


class Lessons:
    """Makes batches of questions about recorded paths; ``model`` gives words, contexts and draws, never its weights."""

    def __init__(self, model: Model, rows: Sequence[dict[str, Any]], mixture: Mapping[str, float]) -> None:
        self.model, self.mixture = model, dict(mixture)
        self.good, self.bad = ([row for row in rows if row["right"] == side] for side in (True, False))
        # what cannot be read teaches nothing about reading: half of it looks like what was asked
        self.read = [row for row in rows if row["shows"] != UNCLEAR] or list(rows)
        self.hope, self.lost = ([row for row in rows if row["any"] == side] for side in (True, False))
        if not self.good or not self.bad:
            raise ValueError(f"of {len(rows)} pictures {len(self.good)} are right: a verifier needs some of both kinds")

    def __call__(self, seed: int, size: int) -> list[Piece]:
        """``size`` rows, shared by the questions at random."""
        rng = random.Random(seed)
        names = rng.choices(list(self.mixture), list(self.mixture.values()), k=size)
        return [self._piece(name, names.count(name), rng) for name in dict.fromkeys(names)]

    def _piece(self, name: str, number: int, rng: random.Random) -> Piece:
        if name in ("sees", "judges", "compares"):
            return self._thoughtful(name, number, rng)
        asked, answers = zip(*(self._one(name, rng) for _ in range(number)), strict=True)
        return _learned(self.model, name, "text", asked, [Text(answer) for answer in answers], rng)

    def _thoughtful(self, name: str, number: int, rng: random.Random) -> Piece:
        """What is seen in a finished picture; whether that is what was asked; and the latter in words alone, about
        anything that may be seen, where comparing is learned first."""
        asked: list[Conversation] = []
        thoughts: list[Thinking] = []
        verdicts: list[Text] = []
        for _ in range(number):
            if name == "compares":
                prompt, shows, right = compared(rng)
                question = rng.choice((WORLD.outcome, WORLD.reflection)).replace("{prompt}", prompt)
                asked.append((user(question),))
            else:
                # mostly asked about something else, or the thought would be the question said again
                row, other = rng.choice(self.read), rng.choice(self.read)
                other = row if rng.random() < OWN else other
                put = _put({**row, "prompt": other["prompt"]}, rng.choice(("outcome", "reflection")), len(row["views"]))
                asked.append(put)
                shows, content = row["shows"], say.read_plan(row["shows"])
                right = content is not None and facts_hold(dict(other["facts"]), content)[0]
            thoughts.append(Thinking(shows))
            verdicts.append(Text(_word(right)))
        if name == "sees":
            return _learned(self.model, name, "thinking", asked, thoughts, rng)
        return _learned(self.model, name, "text", asked, verdicts, rng, [(thought,) for thought in thoughts])

    def _one(self, name: str, rng: random.Random) -> tuple[Conversation, str]:
        hopeful = name == "step" and bool(self.lost)
        sides = (self.hope, self.lost) if hopeful else (self.good, self.bad)
        share = 0.2 if name == "reflection" else 0.5  # the published reflections are one fifth positive
        row = rng.choice(sides[0] if rng.random() < share else sides[1])
        if name == "critique":  # right pictures are described as well, or everything would be found unclear
            row = rng.choice(self.read if rng.random() < READABLE else self.bad)
        steps = len(row["views"])
        if name == "critique":
            return _put(row, "reflection", steps, WORLD.critique), row["shows"]
        if name == "clarity":
            early, late = max(1, int(NOT_BEFORE * steps)), min(steps, int(FROM * steps) + 1)
            clear = rng.random() < 0.5
            step = rng.randint(late, steps) if clear else rng.randint(1, early)
            return _put(row, "clarity", step), "yes" if clear else "no"
        if name == "potential":
            step = rng.randint(min(steps, int(FROM * steps) + 1), steps)
            return _put(row, "potential", step), _word(row["right"])
        if name == "step":
            return _put(row, "step", row["branch"]), _word(row["any"])
        question: Question = "reflection" if name == "reflection" else "outcome"
        return _put(row, question, steps), _word(row["right"])


def compared(rng: random.Random) -> tuple[str, str, bool]:
    """(Prompt, what a picture shows in words, whether that is what was asked): half of them differ in one respect."""
    lesson = lessons.lesson(rng.choice(lessons.SEVERAL), rng, "train", "picture")
    assert lesson.content is not None
    content = lesson.content
    if rng.random() < 0.5:
        return lesson.prompt, say.plan(content), True
    while facts_hold(lesson.facts, content)[0] or content.layout == "other":
        content = altered(lesson.content, rng)
    return lesson.prompt, say.plan(content), False


def _word(yes: bool) -> str:
    return "yes" if yes else "no"


def _picture(codes: Sequence[int]) -> Image:
    return Image(pil.new("RGB", (1, 1)), tuple(codes))  # contexts need the codes alone


def _put(row: dict[str, Any], question: Question, step: int, text: str = "") -> Conversation:
    sample = Sample(Task((user(row["prompt"]),)), (_picture(row["views"][step - 1]),))
    return conversation(WORLD, question, sample, text)


def _learned(
    model: Model,
    name: str,
    kind: PartKind,
    asked: Sequence[Conversation],
    parts: Sequence[Any],
    rng: random.Random,
    before: Sequence[Reply] | None = None,
) -> Piece:
    values = model.encode(parts)
    context = model.context(asked, [()] * len(asked) if before is None else before, Ask(kind, limit=values.shape[1]))
    noise = Noise.of([rng.getrandbits(62) for _ in asked])
    return Piece(name, kind, context, values, model.process(kind).draw(values, noise), WEIGHTS.get(name, 1.0))


class Corrections:
    """Rows of self-correction: a prompt, a wrong picture and what it shows in front, a right picture to draw. Half of
    the rows are plain prompts, so that drawing without a critique is not forgotten."""

    def __init__(self, model: Model, rows: Sequence[dict[str, Any]]) -> None:
        self.model = model
        good: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            if row["right"]:
                good.setdefault(row["prompt"], []).append(row)
        self.groups = [(row, good[row["prompt"]]) for row in rows if not row["right"] and row["prompt"] in good]
        if not self.groups:
            raise ValueError("no prompt has a right and a wrong picture; make more paths of each")

    def __call__(self, seed: int, size: int) -> list[Piece]:
        """``size`` rows: with a critique, and plain."""
        rng = random.Random(seed)
        pieces = []
        for name, number in (("again", size - size // 2), ("plain", size // 2)):
            some = [rng.choice(self.groups) for _ in range(number)]
            if not some:
                continue
            asked: list[Conversation] = []
            for bad, _ in some:
                prompt: Conversation = (user(bad["prompt"]),)
                asked.append(again(prompt, _picture(bad["views"][-1]), bad["shows"]) if name == "again" else prompt)
            wanted = [_picture(rng.choice(good)["views"][-1]) for _, good in some]
            pieces.append(_learned(self.model, name, "image", asked, wanted, rng))
        return pieces


def _objective(model: nn.Module, batch: list[Piece], rng: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
    assert isinstance(model, Model)
    loss, numbers = sft(model, [piece.to(model.device) for piece in batch], by_length=False)
    return loss, {f"{name}_loss": value for name, value in numbers.items()}


def _optimizer(model: nn.Module, lr: float, weight_decay: float) -> Optimizers:
    return adamw(model, lr, weight_decay, betas=(0.9, 0.99))


def _fast(model: Model) -> str:
    """How thoughts are made in fewer passes, where the family can."""
    try:
        model.settings(replace(model.plan(("thinking",))[0], fast=FAST), 1)
    except ValueError:
        return ""
    return FAST


Maker = Callable[[Model, Sequence[dict[str, Any]]], Callable[[int, int], list[Piece]]]


def same_codes(one: Model, other: Model) -> bool:
    """Whether two models show the same pictures for the same codes."""
    try:
        length = one.settings(one.plan(("image",))[-1], 1).length
        codes = (torch.arange(length) * 7)[None]
        mine, theirs = (model.decode("image", codes.to(model.device))[0] for model in (one, other))
    except (ValueError, IndexError, RuntimeError):
        return False  # another length, or fewer codes
    return isinstance(mine, Image) and isinstance(theirs, Image) and mine.image.tobytes() == theirs.image.tobytes()


def _run(
    name: str,
    generator: str | Path | None,
    data: Path,
    how: HalfMade,
    make: Maker,
    *,
    start: str | Path | None = None,
    verifies: bool = True,
) -> Run:
    origin = str(generator or default_generator())
    begun = str(start or (catalog.DEFAULT if verifies and origin == GENERATOR else origin))

    def build() -> Model:
        return catalog.load_model(begun)

    def batches(seed: int, first: int, size: int) -> Iterator[list[Piece]]:
        model = build()
        drawer = model if begun == origin else catalog.load_model(origin)
        if drawer is not model and not same_codes(model, drawer):
            raise ValueError(f"{begun} does not read the codes that {origin} draws; begin from a model with its codec")
        teach = make(model, half_made(drawer, how, data, origin))
        for step in count(first):
            yield teach(seed_of(seed, step, "batch"), size)

    def finish(model: nn.Module, folder: Path) -> None:
        assert isinstance(model, Model)
        model.save(folder)
        if verifies:
            # labels are the exact reader's, prompts the world's: whoever measures with both is told so
            thinks = THINKS if "sees" in MIXTURES[name] and model.thinks else ()
            about = About(f"cot.{name}", metric="scenes", prompts="world")
            save_about(folder, WORLD, about, thinks=thinks, fast=_fast(model) if thinks else "")

    rows, steps = (128, 450) if "sees" in MIXTURES.get(name, {}) else (48, 700)
    return Run(
        name=f"cot.{name}",
        build=build,
        objective=_objective,
        batches=batches,
        optimizer=_optimizer,
        finish=finish,
        steps=steps,
        batch_size=rows,
        lr=5e-4,
        warmup=50,
        hold=0.5,
        ema=0.99,
        checkpoint_every=100,
        settings={"generator": origin, "start": begun, "half_made": asdict(how), "mixture": MIXTURES.get(name, {})},
    )


def _verifier(
    name: str, generator: str | Path | None, data: Path, how: HalfMade, start: str | Path | None = None
) -> Run:
    return _run(name, generator, data, how, lambda model, rows: Lessons(model, rows, MIXTURES[name]), start=start)


def tiny_orm(
    generator: str | Path | None = None,
    data: Path = HALF_MADE,
    how: HalfMade = HalfMade(),
    start: str | Path | None = None,
) -> Run:
    """An outcome verifier."""
    return _verifier("tiny_orm", generator, data, how, start)


def tiny_prm(
    generator: str | Path | None = None,
    data: Path = CONTINUED,
    how: HalfMade = HalfMade(prompts=300, number=2, continuations=4),
    start: str | Path | None = None,
) -> Run:
    """A verifier of steps, labelled by continuations."""
    return _verifier("tiny_prm", generator, data, how, start)


def tiny_parm(
    generator: str | Path | None = None,
    data: Path = HALF_MADE,
    how: HalfMade = HalfMade(),
    start: str | Path | None = None,
) -> Run:
    """Clarity, potential and outcome in one verifier."""
    return _verifier("tiny_parm", generator, data, how, start)


def tiny_parmpp(
    generator: str | Path | None = None,
    data: Path = HALF_MADE,
    how: HalfMade = HalfMade(),
    start: str | Path | None = None,
) -> Run:
    """PARM and reflection with critiques in words."""
    return _verifier("tiny_parmpp", generator, data, how, start)


def tiny_correct(generator: str | Path | None = None, data: Path = HALF_MADE, how: HalfMade = HalfMade()) -> Run:
    """The generator learns to correct itself."""
    return _run("tiny_correct", generator, data, how, Corrections, verifies=False)
