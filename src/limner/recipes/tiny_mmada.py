"""Tiny MMaDA on the picture world, in the published order (2505.15809, section 3; stage three is another recipe).

``tiny_stage_one``: words, as the published model starts from a trained language model; then captions to pictures and
pictures to words as well. ``tiny_stage_two``: mixed long chain-of-thought, that is thinking then picture, and thinking
alone. About a third of the reasoning pictures come without their thought, so that a comparison with thinking switched
off is fair. ``tiny_stage_two_end``: the same at a lower rate, with most rows for what was learned least;
``tiny_stage_two_look``: then with thoughts about pictures that are looked at. All see only what ``limner.world.splits``
lets training see.

Things first stand where they always stand; stage two moves, shrinks and mirrors some, which costs more training to
learn than it looks, and which methods that compare several pictures of one prompt need.

What small models need beside that (docs/tiny-models.md): rope turns that tell apart a hundred places; tables that move
more slowly than the matrices; weights that let pictures speak beside words; and batches of thoughts that are mostly as
long as their longest, because filler teaches nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from limner.algorithms.sft import Piece, sft
from limner.catalog import PRETRAINED
from limner.codecs.magvit import MagvitCodec, to_pixels
from limner.models.mmada.config import MMaDAConfig, small
from limner.models.mmada.digits import folded, share_digits
from limner.models.mmada.model import MMaDA
from limner.models.mmada.render import Renderer
from limner.models.mmada.rows import lm_rows, mmu_rows, mmu_think_rows, r2i_rows, t2i_rows, think_rows
from limner.models.mmada.tokenizer import find_specials, make_word_tokenizer
from limner.parts import PartKind, Task, user
from limner.process.base import Context
from limner.process.noise import Noise
from limner.train.data import seed_of
from limner.train.optim import Optimizers, muon_with_adamw
from limner.train.run import Run
from limner.turn import rollout
from limner.world import lessons, questions, say
from limner.world.content import Content
from limner.world.draw import render
from limner.world.scene import Scene
from limner.world.sheet import draw_sheet
from limner.world.splits import known_content

CODEC = PRETRAINED / "tiny-mmada" / "codec"
STAGE_ONE = Path("runs/mmada.tiny_stage_one/released")
STAGE_TWO = Path("runs/mmada.tiny_stage_two/released")
STAGE_TWO_END = Path("runs/mmada.tiny_stage_two_end/released")
TABLES = 0.2  # the two tables' learning rate beside that of the matrices
WIDER = 2.5  # fresh rows of the input table, so that a step of AdamW turns them by little
ROPE = 10_000.0  # with the published 500,000 most of a small head stands still over a hundred places
INSTRUCTION = "think\n"  # the published instruction has forty words, which a small model need not read
PLACES = 512  # learned positions, half of them before the part being made
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
}
# Without decay the matrices grow by what batches disagree about, until attention is one-hot and nothing new is learned.
DECAY = 0.5
NUMBERS = ("sums", "sums", "arithmetic", "word_problem")  # thoughts that are mostly digits
HARD = ("time_zone", "sequence", "negation", "comparison", "physics", "season")  # thoughts that are learned last
SEVERAL = ("two", "counting", "position", "binding")  # groups of explicit prompts whose pictures hold several things
TANGLED = ("position", "binding", "binding")  # those of which the picture is learned last
LOOKED = ("caption", "question", "looks", "seen")  # pieces of words about pictures
SAMPLES = (
    "two red apples",
    "a blue cat left of a green car",
    "an animal with (2+2) legs",
    "(2+3) yellow stars at night",
    "the opera house when it is noon in new york",
    "a purple heart inside a white box",
)


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
    trios: float = 0.0  # share of the latter pictures that hold three things
    varied: float = 0.0
    looked: float = 0.0
    blank: float = 0.0  # share of pictures of which nothing is shown: most to learn from, and how sampling begins
    unread: float = 0.0  # share of captions and answers about pictures of which no word is shown
    hard: float = 0.0  # share of the thoughts to be worked out that are of the groups learned last
    louder: Mapping[str, float] = field(default_factory=dict)  # weights of pieces that differ from ``WEIGHTS``


def config(tokenizer: Any, codec: MagvitCodec) -> MMaDAConfig:
    """The tiny network's configuration for this vocabulary and codec; pictures are shown as large as it can."""
    base = small(tokenizer.get_vocab_size(), find_specials(tokenizer), codec.num_codes)
    size = 64 * max((1, *codec.config.larger))
    defaults = replace(
        base.defaults,
        size=size,
        text_limit=ANSWER,
        thinking_limit=THOUGHT,
        block=8,
        tokens_per_step=1,
        picture_steps=6,
        picture_guidance=0.0,
        codes_temperature=0.5,
    )
    return replace(
        base, defaults=defaults, grids={size: 8}, rope_theta=ROPE, places=PLACES, suffix=0.5, instruction=INSTRUCTION
    )


def new_model(codec: MagvitCodec, tokenizer: Any = None) -> MMaDA:
    """An untrained tiny MMaDA around a trained codec, with the picture world's vocabulary."""
    tokenizer = tokenizer or make_word_tokenizer(say.vocabulary(), INSTRUCTION)
    return MMaDA(config(tokenizer, codec), tokenizer, codec)


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
        for name in ("caption", "question", "looks", "seen"):
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
            groups = HARD if kind == "text" and rng.random() < phase.hard else lessons.REASONING
        elif rng.random() < phase.several:
            if kind == "picture" and rng.random() < phase.tangled:
                return self._trio(rng) if rng.random() < phase.trios else lessons.lesson(rng.choice(TANGLED), rng)
            groups = SEVERAL
        return lessons.lesson(rng.choice(groups), rng, "train", kind)

    def _trio(self, rng: random.Random) -> lessons.Lesson:
        while True:
            lesson = lessons.lesson("binding", rng)
            if drawn(lesson).layout == "trio":
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
        contents = [known_content(rng) for _ in range(count)]
        scenes = [content.scene(rng, vary=rng.random() < self.phase.looked) for content in contents]
        if name == "caption":
            asked = [(rng.choice(say.CAPTION_QUESTIONS), say.plan(content)) for content in contents]
        else:
            asked = [questions.ask(scene, rng) for scene in scenes]
        codes, prompts = encode_scenes(self.codec, scenes), [question for question, _ in asked]
        # what a thought about a picture says: all that is in it
        plans = [say.plan(content) for content in contents]
        if name == "looks":
            room = self._room(rng, [self.renderer.thought(plan) for plan in plans], THOUGHT)
            return self._piece(name, "thinking", *mmu_think_rows(self.renderer, codes, prompts, plans, room), rng)
        answers = [answer for _, answer in asked]
        room = self._room(rng, [self.renderer.ids(answer) for answer in answers], ANSWER)
        rows = mmu_rows(self.renderer, codes, prompts, answers, room, plans if name == "seen" else None)
        return self._piece(name, "text", *rows, rng)

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


def _objective(model: nn.Module, batch: list[Piece], rng: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
    assert isinstance(model, MMaDA)
    return sft(model, [piece.to(model.device) for piece in batch], by_length=False)


def _optimizer(model: nn.Module, lr: float, weight_decay: float) -> Optimizers:
    """Muon for the blocks' matrices; AdamW at a fraction of its rate for the two tables and the norms.

    AdamW moves every coordinate of a table's row by the rate; at Muon's own rate that is half a logit a step.
    """
    return muon_with_adamw(model, lr, TABLES * lr, weight_decay, lambda name, p: p.ndim == 2 and "layers" in name)


def _sample(model: nn.Module, folder: Path, step: int) -> None:
    assert isinstance(model, MMaDA)
    tasks = [Task((user(prompt),)) for prompt in SAMPLES for _ in range(2)]
    kinds: list[tuple[PartKind, ...]] = [("thinking", "image"), ("image",)]
    pictures, labels = [], []
    for plan in kinds:
        for sample in rollout(model, tasks, model.plan(plan), list(range(len(tasks)))):
            assert sample.image is not None
            pictures.append(sample.image)
            labels.append(sample.thinking or sample.task.prompt[0].text)
    draw_sheet(pictures, labels, columns=6).save(folder / f"sheet-{step:06d}.png")


def _finish(model: nn.Module, folder: Path) -> None:
    assert isinstance(model, MMaDA) and model.codec is not None
    plain = new_model(model.codec, model.tokenizer)
    plain.network.load_state_dict(folded(model.network))
    plain.save(folder, torch.bfloat16)


def _run(name: str, build: Callable[[], MMaDA], phases: Sequence[Phase], settings: dict[str, Any]) -> Run:
    def batches(seed: int, start: int, size: int) -> Iterator[list[Piece]]:
        # the teacher needs a tokenizer and a codec, never the weights in training: it has a model of its own
        model = build()
        teachers = [teacher_of(model, phase) for phase in phases]
        for step in count(start):
            now = [teacher for teacher in teachers if teacher.phase.begin <= step][-1]
            yield now(seed_of(seed, step, "batch"))

    return Run(
        name=name,
        build=build,
        objective=_objective,
        batches=batches,
        optimizer=_optimizer,
        sample=_sample,
        finish=_finish,
        steps=2000,
        batch_size=sum(vars(phases[-1].mixture).values()),
        lr=4e-3,
        weight_decay=DECAY,
        warmup=50,
        hold=0.5,
        ema=0.998,
        dtype="bfloat16",
        threads=2,
        sample_every=500,
        checkpoint_every=250,
        settings={"phases": [asdict(phase) for phase in phases], "weights": WEIGHTS, **settings},
    )


WORDS = Mixture(think=96, lm=16)
PICTURES = Mixture(t2i=40, think=48, caption=24, question=8, lm=8)
THINKING = Mixture(t2i=14, r2i=20, think=36, caption=14, question=8, lm=6)
LOOKING = Mixture(t2i=8, r2i=14, think=40, caption=36, question=16, lm=4)
LAST = Mixture(t2i=16, r2i=36, think=16, caption=24, question=36, lm=4, said=4)
ASKING = Mixture(t2i=14, r2i=36, think=28, caption=8, question=20, looks=16, seen=28, lm=2, said=4)


def tiny_stage_one(codec: Path = CODEC) -> Run:
    """Words, from nothing but a trained codec; then captions to pictures and pictures to words as well.

    With pictures in the same batches from the start, words are learned much later.
    """

    def build() -> MMaDA:
        shows = MagvitCodec.from_folder(codec)
        model = new_model(shows)
        with torch.no_grad():
            model.network.embed.weight.mul_(WIDER)
        share_digits(model.network, shows.config.quantiser, fresh=True)
        return model

    phases = (
        Phase(0, WORDS, reasoning=0.6),
        Phase(500, WORDS, sums=0.7, reasoning=0.6),
        Phase(1200, PICTURES, captions=0.7, sums=0.3, reasoning=0.6, puzzles=0.35, several=0.5, looked=0.5, blank=0.7),
    )
    run = _run("mmada.tiny_stage_one", build, phases, {"codec": codec.name})
    return replace(run, steps=1600, lr=3e-3, hold=1.0)


def tiny_stage_two(start: Path = STAGE_ONE, codec: Path = CODEC) -> Run:
    """Mixed chain-of-thought: thoughts, pictures after thoughts and without, pictures to words."""

    first = Phase(
        0,
        THINKING,
        captions=0.3,
        sums=0.2,
        reasoning=0.65,
        puzzles=0.35,
        several=0.6,
        varied=0.05,
        looked=0.8,
        blank=0.7,
    )
    last = replace(
        first, begin=1600, mixture=LOOKING, sums=0.05, reasoning=0.75, hard=0.5, unread=0.5, louder={"caption": 2.0}
    )
    return replace(
        _run("mmada.tiny_stage_two", going_on(start, codec), (first, last), {"start": start.parent.name}),
        steps=2750,
        lr=3e-3,
        hold=0.3,
    )


def tiny_stage_two_end(start: Path = STAGE_TWO, codec: Path = CODEC) -> Run:
    """Stage two to its end: pictures of several things, questions about pictures, answers after a thought."""
    phase = Phase(
        0, LAST, captions=0.3, sums=0.1, reasoning=0.7, puzzles=0.25, several=0.85, tangled=0.6, varied=0.02,
        looked=0.9, blank=0.7, unread=0.5, hard=0.7, louder={"caption": 2.0, "question": 2.0},
    )  # fmt: skip
    return replace(
        _run("mmada.tiny_stage_two_end", going_on(start, codec), (phase,), {"start": start.parent.name}),
        steps=2000,
        lr=2e-3,
        hold=0.1,
    )


def tiny_stage_two_look(start: Path = STAGE_TWO_END, codec: Path = CODEC) -> Run:
    """Stage two with thoughts about pictures: what is seen first, then the answer; and three things in a row."""
    phase = Phase(
        0, ASKING, captions=0.2, sums=0.1, reasoning=0.65, puzzles=0.25, several=0.85, tangled=0.7, trios=0.5,
        varied=0.02, looked=0.9, blank=0.7, unread=0.5, hard=0.7, louder={"question": 2.0, "seen": 2.0},
    )  # fmt: skip
    return replace(
        _run("mmada.tiny_stage_two_look", going_on(start, codec), (phase,), {"start": start.parent.name}),
        steps=1200,
        lr=2e-3,
        hold=0.1,
    )


def going_on(start: Path, codec: Path) -> Callable[[], MMaDA]:
    """Loads a trained model in a folder for further training, around a codec that may have been trained further."""

    def load() -> MMaDA:
        if not start.is_dir():
            raise ValueError(f"a stage goes on from the one before it, and there is no {start}; train that one first")
        before = MMaDA.load(start)
        shows = MagvitCodec.from_folder(codec)
        model = new_model(shows, before.tokenizer)
        model.network.load_state_dict(before.network.state_dict())
        share_digits(model.network, shows.config.quantiser, fresh=False)
        return model

    return load
