"""What tiny MindOmni learns from: the picture world as words to say and pictures to draw.

All of it is what ``limner.world.splits`` lets training see.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from limner.models.mindomni.model import MindOmni
from limner.parts import Conversation, Image, Part, Task, Text, Thinking, user
from limner.recipes.mindomni import Row
from limner.recipes.naming import names
from limner.recipes.tiny_vae import SIZE
from limner.world import lessons, questions, say
from limner.world.content import Content
from limner.world.draw import to_image
from limner.world.edits import edit
from limner.world.scene import Scene
from limner.world.splits import known_content

VARIED = 0.1  # share of drawn scenes that are moved, shrunk and mirrored; those to be understood all are
BUCKETS = 4  # rows of words are sorted by length and given out in so many parts
EXPLICIT = 0.1  # share of stage three's prompts that need no thought, so that they are not forgotten
HARD, HARDER = ("sequence", "riddle", "time_zone", "season", "composition"), 0.6  # of the others so many are of these


def scene_of(content: Content, rng: random.Random) -> Scene:
    """The content as a scene, varied now and then."""
    return content.scene(rng, vary=rng.random() < VARIED)


def chained(thought: str) -> Thinking:
    """A world's thought as a chain: what it ends in is the answer."""
    return Thinking(MindOmni.chain(thought, thought.rsplit(";", 1)[-1].strip()))


def shown(scene: Scene) -> Image:
    """A scene as a picture that the model is shown."""
    return Image(to_image(scene, SIZE))


def named(scenes: Sequence[Scene], side: int) -> Tensor:
    """(B, 3, side, side) int64: what stands where."""
    return torch.from_numpy(np.stack([names(scene, side) for scene in scenes]))


def a_lesson(rng: random.Random, reasoning: float, kind: str = "picture") -> lessons.Lesson:
    """A training lesson; a share of them must be worked out."""
    groups = lessons.REASONING if rng.random() < reasoning else lessons.EXPLICIT
    return lessons.lesson(rng.choice(groups), rng, "train", kind)


def change_of(scene: Scene, rng: random.Random) -> tuple[Scene, str, Scene, Thinking]:
    """(scene, instruction, scene after it, the chain that leads from one to the other)."""
    found = edit(scene, rng)
    return found.before, found.instruction, found.after, chained(f"{say.plan(found.before)}; {say.plan(found.after)}")


# words


@dataclass(frozen=True)
class Said:
    """Words to learn: the task they belong to, what was asked, the reply's one part."""

    task: str
    conversation: Conversation
    part: Part


@dataclass(frozen=True)
class Words:
    """Rows of each task in one batch of words."""

    think: int = 64  # prompts to chains
    fact: int = 8  # questions to answers
    change: int = 12  # pictures and instructions to chains
    caption: int = 8  # pictures to plans
    question: int = 28  # pictures and questions to answers


def some_words(mixture: Words, seed: int, size: int) -> list[list[Said]]:
    """A batch of words: rows without pictures, and rows with one."""
    rng = random.Random(seed)
    drawn = (a_lesson(rng, 0.6, "text") for _ in range(BUCKETS * mixture.think))
    # rows of like length, or most of a batch is filler; over many batches every length comes as often as it is drawn
    ordered = sorted(drawn, key=lambda lesson: len(lesson.prompt) + len(lesson.thought))
    begin = rng.randrange(BUCKETS) * mixture.think
    plain = [
        Said("think", (user(lesson.prompt),), chained(lesson.thought))
        for lesson in ordered[begin : begin + mixture.think]
    ]
    for _ in range(mixture.fact):
        lesson = lessons.lesson(rng.choice(lessons.TEXT), rng, "train", "text")
        plain.append(Said("fact", (user(lesson.prompt),), Text(lesson.answer or "")))
    seen = []
    for _ in range(mixture.change):
        before, instruction, _, chain = change_of(known_content(rng).scene(rng), rng)
        seen.append(Said("change", (user(shown(before), instruction),), chain))
    for task in ("caption", "question"):
        for _ in range(getattr(mixture, task)):
            scene = known_content(rng).scene(rng)
            captioned = rng.choice(say.CAPTION_QUESTIONS), say.plan(scene)
            asked, answer = captioned if task == "caption" else questions.ask(scene, rng)
            seen.append(Said(task, (user(shown(scene), asked),), Text(answer)))
    return [rows for rows in (plain, seen) if rows]


# pictures


@dataclass(frozen=True)
class Drawn(Row):
    """A picture to learn, and the scene that it shows."""

    scene: Scene = field(kw_only=True)


@dataclass(frozen=True)
class Drawings:
    """Shares of the pictures in a batch: behind a chain, and of pictures that are shown and changed; of the other
    prompts a share is captions of anything, and of the rest a share must be worked out."""

    chains: float = 0.0
    changes: float = 0.0
    captions: float = 0.3
    reasoning: float = 0.5


def some_rows(shares: Drawings, seed: int, size: int) -> list[Drawn]:
    """Pictures to learn. Each row's own words are the plan of its picture."""
    rng = random.Random(seed)
    return [_drawn(shares, rng) for _ in range(size)]


def _drawn(shares: Drawings, rng: random.Random) -> Drawn:
    behind = rng.random() < shares.chains
    reply: Sequence[Part] = ()
    if rng.random() < shares.changes:
        before, instruction, scene, chain = change_of(scene_of(known_content(rng), rng), rng)
        asked = user(shown(before), instruction)
        reply = (chain,) if behind else ()
    elif not behind and rng.random() < shares.captions:
        content = known_content(rng)
        scene = scene_of(content, rng)
        asked = user(say.plan(content) if rng.random() < 0.5 else say.caption(content, rng))
    else:
        lesson = a_lesson(rng, shares.reasoning)
        assert lesson.content is not None
        scene = scene_of(lesson.content, rng)
        asked = user(lesson.prompt)
        reply = (chained(lesson.thought),) if behind else ()
    return Drawn((asked,), tuple(reply), to_image(scene, SIZE), say.plan(scene), scene=scene)


def tasks(seed: int, number: int) -> list[Task]:
    """Prompts with what a judge may know, the explicit caption among it."""
    rng, found = random.Random(seed), []
    for _ in range(number):
        groups = HARD if rng.random() < HARDER else lessons.REASONING
        if rng.random() < EXPLICIT:
            groups = lessons.EXPLICIT
        lesson = lessons.lesson(rng.choice(groups), rng, "train", "picture")
        assert lesson.content is not None
        facts = {**lesson.facts, "caption": say.plan(lesson.content)}
        found.append(Task((user(lesson.prompt),), facts, (lesson.group, *lesson.tags), lesson.id))
    return found
