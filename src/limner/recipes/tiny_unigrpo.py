"""Stage three in small: tiny MMaDA practises what it thinks and draws, and the picture world judges it (UniGRPO).

``limner train mmada.tiny_unigrpo``. A round has 32 prompts with 8 thoughts each, made by the present weights; two
updates use them. What fails in pictures is mostly decided in thoughts, and a thought alone costs a tenth of one with
its picture; ``draw`` practises pictures as well. The reward is exact: 1 for a plan that says what was asked, 0.1 for a
thought that ends; with a picture, 1 for a picture that holds what was asked and 0.5 for the plan (2505.15809 gives 0.5
for the form and 0.1 for each of two picture scores). Groups in which all replies are rewarded alike are not scored.
Prompts are those that training may see; success on new compositions is measured elsewhere (``limner eval world``).

Thoughts are drawn at temperature 0.8 in a fast way, which finds them in a fifth of the passes; pictures in 8 steps.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from limner.algorithms.noising import Noising
from limner.algorithms.policy_gradient import Clipped
from limner.algorithms.unigrpo import Exercise, GroupLearner, GroupSettings, Scoring, rounds, unigrpo
from limner.catalog import PRETRAINED
from limner.judges.base import Judge, weigh
from limner.judges.scenes import detected, planned, scene_judge
from limner.judges.signs import Watch
from limner.judges.words import right_answer, same_answer, well_formed
from limner.models.mmada.model import MMaDA
from limner.models.mmada.tokenizer import CLOSE
from limner.parts import Image, PartKind, Plan, Task, Thinking, user
from limner.recipes.tiny_mmada_data import HARD
from limner.train.optim import Optimizers, adamw
from limner.train.run import Run
from limner.turn import rollout
from limner.world import lessons, questions, say
from limner.world.draw import to_image
from limner.world.sheet import draw_sheet
from limner.world.splits import known_content

START = PRETRAINED / "tiny-mmada"
TEMPERATURE = 0.8  # of thoughts and answers; greedy ones would all be the same
FAST = "threshold=0.8"  # how words are sampled: "factor" makes mistakes of its own, which would then be practised
PICTURE_STEPS = 8
EXPLICIT = 0.15  # share of prompts that need no thought, so that they are not forgotten
HARDER = 0.5  # share of the others that is of the groups that are learned last
LR = 1.5e-4  # falling to nothing; at 5e-4 plans fall
SHOWN = 16  # prompts on a sheet of samples
SETTINGS = GroupSettings(
    group=8,
    updates=2,
    words=Scoring(Clipped(beta=0.02), Noising(masks=2)),
    pictures=Scoring(Clipped(beta=0.02), Noising(low=0.2, masks=1)),
    rollout_rows=128,
    telling=True,
)


def draw_tasks(seed: int, number: int) -> list[Task]:
    """Prompts for pictures, most of which must be worked out."""
    rng = random.Random(seed)
    found = []
    for _ in range(number):
        groups = lessons.EXPLICIT if rng.random() < EXPLICIT else lessons.REASONING
        group = rng.choice(HARD if groups is lessons.REASONING and rng.random() < HARDER else groups)
        lesson = lessons.lesson(group, rng, "train", "picture")
        found.append(Task((user(lesson.prompt),), lesson.facts, (group, *lesson.tags), lesson.id))
    return found


def look_tasks(seed: int, number: int) -> list[Task]:
    """Questions about drawn pictures, with their answers."""
    rng = random.Random(seed)
    found = []
    for index in range(number):
        scene = known_content(rng).scene(rng, vary=rng.random() < 0.2)
        question, answer = questions.ask(scene, rng)
        found.append(
            Task((user(Image(to_image(scene, 64)), question),), {"answer": answer}, ("look",), f"look-{index}")
        )
    return found


def say_tasks(seed: int, number: int) -> list[Task]:
    """Sums and questions about facts, with their answers."""
    rng = random.Random(seed)
    some = [lessons.lesson(rng.choice(lessons.TEXT), rng, "train", "text") for _ in range(number)]
    return [Task((user(s.prompt),), {"answer": s.answer}, (s.group, *s.tags), s.id) for s in some]


def closed(model: MMaDA) -> Callable[[Thinking], bool]:
    """Whether a thought was ended by its tag."""
    tag = model.tokenizer.token_to_id(CLOSE)
    return lambda thought: thought.raw is None or tag in thought.raw


def sampled(model: MMaDA, kinds: Sequence[PartKind]) -> Plan:
    """The model's own plan, with a temperature for words, in fewer passes."""
    plan = []
    for ask in model.plan(kinds):
        if ask.kind == "image":
            plan.append(replace(ask, steps=PICTURE_STEPS))
        else:
            plan.append(replace(ask, fast=FAST, temperature=TEMPERATURE))
    return tuple(plan)


def watched() -> Watch:
    """Looks for signs of a gamed reward: the trained detector is held out, where the package has it."""
    try:
        reader = detected()
    except ValueError:
        return Watch()
    return Watch(scene_judge(reader), "scene")


def same_words(said: str, wanted: str) -> bool:
    """Answers of the picture world: the same words, or the same number."""
    return say.words(said) == say.words(wanted) or same_answer(said, wanted)


def exercises(model: MMaDA, draw: int, think: int, look: int, speak: int) -> list[Exercise]:
    """So many prompts a round of each kind: pictures after a thought, the same prompts' thoughts alone (a third of the
    work), questions about pictures, and questions in words."""
    form = well_formed(closed(model))
    drawing: Judge = weigh(scene=(scene_judge(), 1.0), plan=(planned(), 0.5), format=(form, 0.1))
    right: Judge = weigh(correct=(right_answer(same_words), 1.0))
    alone: Judge = weigh(plan=(planned(), 1.0), format=(well_formed(closed(model), follows=False), 0.1))
    worked: Judge = weigh(correct=(right_answer(same_words), 1.0), format=(form, 0.1))
    every = [
        Exercise("draw", sampled(model, ("thinking", "image")), drawing, draw_tasks, draw, watch=watched()),
        Exercise("think", sampled(model, ("thinking",)), alone, draw_tasks, think),
        Exercise("look", sampled(model, ("text",)), right, look_tasks, look),
        Exercise("say", sampled(model, ("thinking", "text")), worked, say_tasks, speak),
    ]
    return [exercise for exercise in every if exercise.prompts]


def optimizer(model: nn.Module, lr: float, weight_decay: float) -> Optimizers:
    """AdamW: with rewards as noisy as these, Muon would make every direction of the noise as large as the signal."""
    return adamw(model, lr, weight_decay, betas=(0.9, 0.99))


def policy_of(learner: nn.Module) -> MMaDA:
    """The model that a learner trains."""
    assert isinstance(learner, GroupLearner) and isinstance(learner.policy, MMaDA)
    return learner.policy


def _sample(learner: nn.Module, folder: Path, step: int) -> None:
    """A sheet of greedy thoughts and their pictures, each marked by the judge."""
    model = policy_of(learner)
    tasks = draw_tasks(0, SHOWN)
    samples = rollout(model, tasks, model.plan(("thinking", "image")), list(range(len(tasks))))
    marks = ["+" if verdict.score else "-" for verdict in scene_judge()(samples)]
    pictures = [sample.image for sample in samples if sample.image is not None]
    labels = [f"{m} {s.task.prompt[0].text}: {s.thinking}" for m, s in zip(marks, samples, strict=True)]
    draw_sheet(pictures, labels, columns=4).save(folder / f"sheet-{step:06d}.png")


def _finish(learner: nn.Module, folder: Path) -> None:
    """In float32: what a few hundred small steps change is near bfloat16's rounding."""
    policy_of(learner).save(folder, torch.float32)


def tiny_unigrpo(
    start: Path = START,
    settings: GroupSettings = SETTINGS,
    draw: int = 0,
    think: int = 32,
    look: int = 0,
    speak: int = 0,
    change: Callable[[Exercise], Exercise] = lambda exercise: exercise,
) -> Run:
    """UniGRPO from the shipped model (or the released folder of a stage-two run), 150 updates, 256 replies a round.

    ``draw``, ``think``, ``look`` and ``speak`` are prompts a round of each kind; ``change`` replaces what an exercise
    is. Numbers: ``think_reward``, ``think_plan`` (the share of right plans), ``think_format``, with pictures
    ``draw_scene`` (the share of right ones), and by kind of part ``kl``, ``clip_fraction`` and ``ratio``.
    """
    if not (start / "config.json").is_file():
        raise ValueError(f"{start} holds no model to start from; give a folder that stage two released")
    asked = {"draw": draw, "think": think, "look": look, "speak": speak}
    found: list[Exercise] = []

    def practised() -> list[Exercise]:
        # plans and judges need the model's vocabulary, never its weights
        if not found:
            found.extend(change(exercise) for exercise in exercises(MMaDA.load(start), **asked))
        return found

    def build() -> GroupLearner:
        reference = MMaDA.load(start) if settings.compares else None
        return GroupLearner(MMaDA.load(start), reference, practised(), settings)

    def batches(seed: int, first: int, size: int) -> Any:
        return rounds(practised(), settings.updates)(seed, first, size)

    return Run(
        name="mmada.tiny_unigrpo",
        build=build,
        objective=unigrpo,
        divides=True,
        batches=batches,
        optimizer=optimizer,
        sample=_sample,
        finish=_finish,
        steps=150,
        batch_size=settings.group * sum(asked.values()),
        lr=LR,
        schedule="cosine",
        warmup=10,
        ema=0.9,
        dtype="bfloat16",
        threads=2,
        log_every=settings.updates,
        sample_every=100,
        checkpoint_every=20,
        settings={"start": start.name, **asked, "rl": asdict(settings)},
    )
