"""What tiny MMaDA learns from: batches of lessons with their pictures drawn and encoded, laid out as rows."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limner.algorithms.sft import Piece
from limner.codecs.magvit import MagvitCodec, to_pixels
from limner.models.mmada.model import MMaDA
from limner.models.mmada.render import Renderer
from limner.models.mmada.rows import lm_rows, mmu_rows, mmu_think_rows, r2i_rows, t2i_rows, think_rows
from limner.parts import PartKind
from limner.process.base import Context
from limner.process.noise import Noise
from limner.world import lessons, questions, say
from limner.world.content import Content
from limner.world.draw import render
from limner.world.scene import Scene
from limner.world.splits import known_content

THOUGHT, ANSWER = 40, 16  # tokens given to a thought and to an answer, filler included
LOOSE = 0.3  # share of batches of words that have more room than their longest row
BUCKETS = 4  # rows are sorted by length and given out in so many parts
DROPPED = 0.02  # share of pictures trained without their prompt, for guidance (which the tiny model hardly needs)
# Few rows with few hidden words have gradients that are nearly all noise: captions and answers may not shout.
WEIGHTS = {
    "t2i": 1.0,
    "r2i": 1.5,
    "think": 3.0,
    "caption": 1.0,
    "question": 0.5,
    "lm": 0.5,
    "said": 0.5,
    "seen": 1.0,
    "looks": 1.0,
    "told": 1.0,
}
NUMBERS = ("sums", "sums", "arithmetic", "word_problem")  # thoughts that are mostly digits
HARD = ("time_zone", "sequence", "negation", "comparison", "physics", "season")  # thoughts that are learned last
LAST_HARD = (*("riddle",) * 3, *("time_zone",) * 2, "composition", "negation", "sequence", "comparison")
UNSURE = (*("time_zone", "comparison", "binding") * 2, "negation", "sequence")  # and what was learned last after those
TANGLED = ("position", "binding", "binding")  # those of which the picture is learned last
TOPICS = (  # what is asked of a picture, what is learned last most often
    *("is_there", "is_coloured", "how_many", "is_placed", "where") * 3,
    *("is_there", "is_coloured", "colour", "what", "more_than", "same_colour", "is_background"),
)
LOOKED = ("caption", "question", "looks", "seen", "told")  # pieces of words about pictures


@dataclass(frozen=True)
class Mixture:
    """Rows of each task in one batch of ``sum`` rows."""

    t2i: int = 0  # prompts to pictures
    r2i: int = 0  # prompts with thoughts to pictures
    think: int = 0  # prompts to thoughts
    caption: int = 0  # pictures to plans
    question: int = 0  # pictures and questions to answers
    lm: int = 0  # questions to answers
    said: int = 0  # questions with thoughts to answers, and as many questions to thoughts
    seen: int = 0  # pictures, questions and what is seen to answers
    looks: int = 0  # pictures and questions to what is seen
    told: int = 0  # questions about pictures with what is seen, but no picture, to answers


@dataclass(frozen=True)
class Phase:
    """What batches hold from a step on. Shares: ``captions`` of the plain prompts are captions of anything, ``sums`` of
    the prompts for thoughts are about numbers, ``reasoning`` of their others and ``puzzles`` of those for pictures are
    to be worked out, ``several`` of the rest name several things, ``varied`` of the scenes (``looked`` of those that
    are only looked at) are moved, shrunk and mirrored."""

    begin: int
    mixture: Mixture
    captions: float = 0.0
    sums: float = 0.0
    reasoning: float = 0.0
    puzzles: float = 0.0
    several: float = 0.0
    tangled: float = 0.0  # share of those that are of the groups learned last
    trios: float = 0.0  # share of the latter pictures that hold three things in a row
    inside: float = 0.0  # share of them that hold a thing inside another
    varied: float = 0.0
    looked: float = 0.0
    blank: float = 0.0  # share of pictures of which nothing is shown: most to learn from, and how sampling begins
    unread: float = 0.0  # share of captions and answers about pictures of which no word is shown
    hard: float = 0.0  # share of the thoughts to be worked out that are of the groups learned last
    groups: Sequence[str] = HARD  # those groups
    topics: Sequence[str] = ()  # what questions about pictures are about; without, any that fits the picture
    louder: Mapping[str, float] = field(default_factory=dict)  # weights of pieces that differ from ``WEIGHTS``


class Teacher:
    """Makes batches: draws lessons, renders and encodes their pictures, and lays out rows with their masks.

    ``process`` says how each kind's draws are made (a model's own).
    """

    def __init__(
        self,
        renderer: Renderer,
        codec: MagvitCodec,
        process: Callable[[PartKind], Any],
        phase: Phase,
    ) -> None:
        self.renderer, self.codec, self.process, self.phase = renderer, codec, process, phase

    def __call__(self, seed: int) -> list[Piece]:
        rng = random.Random(seed)
        m = self.phase.mixture
        pieces = []
        if m.t2i:
            prompts, contents = self._prompts(rng, m.t2i)
            drop = [rng.random() < DROPPED for _ in prompts]
            pieces.append(
                self._piece("t2i", "image", *t2i_rows(self.renderer, prompts, self._codes(contents, rng), drop), rng)
            )
        if m.r2i:
            some = self._lessons(rng, m.r2i, "picture", lambda s: len(s.prompt) + len(s.thought))
            drop = [rng.random() < DROPPED for _ in some]
            codes = self._codes([drawn(lesson) for lesson in some], rng)
            rows = r2i_rows(self.renderer, [s.prompt for s in some], [s.thought for s in some], codes, drop)
            pieces.append(self._piece("r2i", "image", *rows, rng))
        if m.think:
            some = self._lessons(rng, m.think, "text", lambda s: len(self.renderer.thought(s.thought)))
            some += self._questions(rng, m.said)
            room = self._room(rng, [self.renderer.thought(s.thought) for s in some], THOUGHT)
            rows = think_rows(self.renderer, [s.prompt for s in some], [s.thought for s in some], room)
            pieces.append(self._piece("think", "thinking", *rows, rng))
        for name in ("caption", "question", "looks", "seen", "told"):
            if rows_wanted := getattr(m, name):
                pieces.append(self._understand(rng, name, rows_wanted))
        if m.lm:
            pieces.append(self._answers(rng, "lm", m.lm, thinks=False))
        if m.said:
            pieces.append(self._answers(rng, "said", m.said, thinks=True))
        return pieces

    def _questions(self, rng: random.Random, count: int) -> list[lessons.Lesson]:
        return [lessons.lesson(rng.choice(lessons.TEXT), rng, "train", "text") for _ in range(count)]

    def _answers(self, rng: random.Random, name: str, count: int, thinks: bool) -> Piece:
        some = self._questions(rng, count)
        answers = [lesson.answer or "" for lesson in some]
        room = self._room(rng, [self.renderer.ids(answer) for answer in answers], ANSWER)
        thoughts = [lesson.thought for lesson in some] if thinks else None
        rows = lm_rows(self.renderer, [lesson.prompt for lesson in some], answers, thoughts, room)
        return self._piece(name, "text", *rows, rng)

    def _lesson(self, rng: random.Random, kind: str) -> lessons.Lesson:
        phase = self.phase
        groups: Sequence[str] = lessons.EXPLICIT
        if kind == "text" and rng.random() < phase.sums:
            groups = NUMBERS
        elif rng.random() < (phase.puzzles if kind == "picture" else phase.reasoning):
            groups = phase.groups if kind == "text" and rng.random() < phase.hard else lessons.REASONING
        elif rng.random() < phase.several:
            if kind == "picture" and rng.random() < phase.tangled:
                return self._tangled(rng)
            groups = lessons.SEVERAL
        return lessons.lesson(rng.choice(groups), rng, "train", kind)

    def _tangled(self, rng: random.Random) -> lessons.Lesson:
        which = rng.random()
        if which >= self.phase.trios + self.phase.inside:
            return lessons.lesson(rng.choice(TANGLED), rng)
        group, layout = ("binding", "trio") if which < self.phase.trios else ("position", "inside")
        while True:
            lesson = lessons.lesson(group, rng)
            if drawn(lesson).layout == layout:
                return lesson

    def _lessons(
        self, rng: random.Random, count: int, kind: str, size: Callable[[lessons.Lesson], int]
    ) -> list[lessons.Lesson]:
        """Lessons of like size; over many batches, every size comes as often as it is drawn."""
        some = sorted((self._lesson(rng, kind) for _ in range(BUCKETS * count)), key=size)
        part = rng.randrange(BUCKETS)
        return some[part * count : (part + 1) * count]

    def _room(self, rng: random.Random, answers: list[list[int]], most: int) -> int:
        """Tokens for the longest answer and its end; sometimes as many as sampling gives, or any number between."""
        least = max(map(len, answers)) + 1
        return rng.choice((most, rng.randint(least, most))) if rng.random() < LOOSE else least

    def _prompts(self, rng: random.Random, count: int) -> tuple[list[str], list[Content]]:
        """Captions, explicit prompts, and reasoning prompts without their thought."""
        prompts: list[str] = []
        contents: list[Content] = []
        for _ in range(count):
            if rng.random() < self.phase.captions:
                content = known_content(rng)
                prompts.append(say.plan(content) if rng.random() < 0.6 else say.caption(content, rng))
                contents.append(content)
            else:
                lesson = self._lesson(rng, "picture")
                prompts.append(lesson.prompt)
                contents.append(drawn(lesson))
        return prompts, contents

    def _understand(self, rng: random.Random, name: str, count: int) -> Piece:
        if name == "caption":
            contents = [known_content(rng) for _ in range(count)]
            asked = [(rng.choice(say.CAPTION_QUESTIONS), say.plan(content)) for content in contents]
        else:
            some = [self._question(rng) for _ in range(count)]
            contents, asked = [content for content, _ in some], [pair for _, pair in some]
        prompts, answers = [question for question, _ in asked], [answer for _, answer in asked]
        # what a thought about a picture says: all that is in it
        plans = [say.plan(content) for content in contents]
        if name == "told":
            room = self._room(rng, [self.renderer.ids(answer) for answer in answers], ANSWER)
            return self._piece(name, "text", *lm_rows(self.renderer, prompts, answers, plans, room), rng)
        scenes = [content.scene(rng, vary=rng.random() < self.phase.looked) for content in contents]
        codes = encode_scenes(self.codec, scenes)
        if name == "looks":
            room = self._room(rng, [self.renderer.thought(plan) for plan in plans], THOUGHT)
            return self._piece(name, "thinking", *mmu_think_rows(self.renderer, codes, prompts, plans, room), rng)
        room = self._room(rng, [self.renderer.ids(answer) for answer in answers], ANSWER)
        rows = mmu_rows(self.renderer, codes, prompts, answers, room, plans if name == "seen" else None)
        return self._piece(name, "text", *rows, rng)

    def _question(self, rng: random.Random) -> tuple[Content, tuple[str, str]]:
        """A content with a question about it and its answer."""
        topic = rng.choice(self.phase.topics) if self.phase.topics else None
        while True:
            content = known_content(rng)
            try:
                return content, questions.ask(content, rng, topic)
            except ValueError:  # the topic wants another layout
                continue

    def _codes(self, contents: list[Content], rng: random.Random) -> Tensor:
        scenes = [c.scene(rng, vary=rng.random() < self.phase.varied) for c in contents]
        return encode_scenes(self.codec, scenes)

    def _piece(self, name: str, kind: PartKind, context: Context, values: Tensor, rng: random.Random) -> Piece:
        noise = Noise.of([rng.getrandbits(62) for _ in range(values.shape[0])])
        draw = self.process(kind).draw(values, noise)
        share = self.phase.blank if kind == "image" else self.phase.unread if name in LOOKED else 0.0
        if share:
            blank = torch.tensor([rng.random() < share for _ in values])
            draw = replace(draw, hidden=draw.hidden | blank[:, None])
        return Piece(name, kind, context, values, draw, self.phase.louder.get(name, WEIGHTS[name]))


def drawn(lesson: lessons.Lesson) -> Content:
    """What a picture lesson's picture holds."""
    assert lesson.content is not None, f"{lesson.id} is a lesson in words"
    return lesson.content


def encode_scenes(codec: MagvitCodec, scenes: list[Scene]) -> Tensor:
    """Codes (B, 8, 8) of drawn scenes."""
    pictures = np.stack([render(scene, 64) for scene in scenes])
    with torch.no_grad():
        return codec.encode(to_pixels(torch.from_numpy(pictures)))


def teacher_of(model: MMaDA, phase: Phase) -> Teacher:
    """The teacher of a model's vocabulary and codec."""
    assert model.codec is not None
    return Teacher(model.renderer, model.codec, model.process, phase)
