"""Tiny MMaDA on the picture world, in the published order (2505.15809, section 3; stage three is another recipe).

``tiny_stage_one``: captions to pictures, pictures to words, words. ``tiny_stage_two_1`` and ``tiny_stage_two_2``
(numbered as the published code numbers them): mixed long chain-of-thought, that is thinking then picture, and thinking
alone. About a third of the reasoning pictures come without their thought, so that a comparison with thinking switched
off is fair. All see only what ``limner.world.splits`` lets training see.

Things first stand where they always stand; stage two moves, shrinks and mirrors some, which costs more training to
learn than it looks, and which methods that compare several pictures of one prompt need.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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
from limner.models.mmada.rows import lm_rows, mmu_rows, r2i_rows, t2i_rows, think_rows
from limner.models.mmada.tokenizer import find_specials, make_word_tokenizer
from limner.parts import PartKind, Task, user
from limner.process.base import Context
from limner.process.noise import Noise
from limner.train.data import each_step
from limner.train.optim import Optimizers, muon_with_adamw
from limner.train.run import Run
from limner.turn import rollout
from limner.world import lessons, questions, say
from limner.world.content import Content, random_content
from limner.world.draw import render
from limner.world.scene import Scene
from limner.world.sheet import draw_sheet
from limner.world.splits import may_train

CODEC = PRETRAINED / "tiny-mmada" / "codec"
STAGE_ONE = Path("runs/mmada.tiny_stage_one/released")
STAGE_TWO_1 = Path("runs/mmada.tiny_stage_two_1/released")
STAGE_TWO_2 = Path("runs/mmada.tiny_stage_two_2/released")
INSTRUCTION = "think\n"  # the published instruction has forty words, which a small model need not read
THOUGHT, ANSWER = 40, 16  # tokens given to a thought and to an answer, filler included
DROPPED = 0.1  # share of pictures trained without their prompt, for guidance
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
    mmu: int = 0  # pictures to captions and answers
    lm: int = 0  # questions to answers


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
        picture_steps=12,
        picture_guidance=1.0,
        codes_temperature=0.5,
    )
    return replace(base, defaults=defaults, grids={size: 8}, suffix=0.5, instruction=INSTRUCTION)


def new_model(codec: MagvitCodec, tokenizer: Any = None) -> MMaDA:
    """An untrained tiny MMaDA around a trained codec, with the picture world's vocabulary."""
    tokenizer = tokenizer or make_word_tokenizer(say.vocabulary(), INSTRUCTION)
    return MMaDA(config(tokenizer, codec), tokenizer, codec)


class Teacher:
    """Makes batches: draws lessons, renders and encodes their pictures, and lays out rows with their masks."""

    def __init__(
        self, renderer: Renderer, codec: MagvitCodec, mixture: Mixture, reasoning: float, varied: float
    ) -> None:
        self.renderer, self.codec, self.mixture = renderer, codec, mixture
        self.reasoning, self.varied = reasoning, varied

    def __call__(self, seed: int, size: int) -> list[Piece]:
        rng = random.Random(seed)
        m = self.mixture
        pieces = []
        if m.t2i:
            prompts, contents = self._prompts(rng, m.t2i)
            drop = [rng.random() < DROPPED for _ in prompts]
            pieces.append(
                self._piece("t2i", "image", *t2i_rows(self.renderer, prompts, self._codes(contents, rng), drop), rng)
            )
        if m.r2i:
            some = [self._lesson(rng, "picture") for _ in range(m.r2i)]
            drop = [rng.random() < DROPPED for _ in some]
            codes = self._codes([drawn(lesson) for lesson in some], rng)
            rows = r2i_rows(self.renderer, [s.prompt for s in some], [s.thought for s in some], codes, drop)
            pieces.append(self._piece("r2i", "image", *rows, rng))
        if m.think:
            some = [self._lesson(rng, "text") for _ in range(m.think)]
            rows = think_rows(self.renderer, [s.prompt for s in some], [s.thought for s in some], THOUGHT)
            pieces.append(self._piece("think", "thinking", *rows, rng))
        if m.mmu:
            pieces.append(self._understand(rng, m.mmu))
        if m.lm:
            some = [lessons.lesson(rng.choice(lessons.TEXT), rng, "train", "text") for _ in range(m.lm)]
            rows = lm_rows(self.renderer, [s.prompt for s in some], [s.answer or "" for s in some], length=ANSWER)
            pieces.append(self._piece("lm", "text", *rows, rng))
        return pieces

    def _lesson(self, rng: random.Random, kind: str) -> lessons.Lesson:
        groups = lessons.REASONING if rng.random() < self.reasoning else lessons.EXPLICIT
        return lessons.lesson(rng.choice(groups), rng, "train", kind)

    def _prompts(self, rng: random.Random, count: int) -> tuple[list[str], list[Content]]:
        """Captions, explicit prompts and, as far as ``reasoning`` allows, reasoning prompts without their thought."""
        prompts: list[str] = []
        contents: list[Content] = []
        for _ in range(count):
            if rng.random() < 0.5 and not self.reasoning:
                content = known_content(rng)
                prompts.append(say.plan(content) if rng.random() < 0.4 else say.caption(content, rng))
                contents.append(content)
            else:
                lesson = self._lesson(rng, "picture")
                prompts.append(lesson.prompt)
                contents.append(drawn(lesson))
        return prompts, contents

    def _understand(self, rng: random.Random, count: int) -> Piece:
        contents = [known_content(rng) for _ in range(count)]
        scenes = [content.scene(rng) for content in contents]
        asked = []
        for content, scene in zip(contents, scenes, strict=True):
            if rng.random() < 0.5:
                asked.append((rng.choice(say.CAPTION_QUESTIONS), say.plan(content)))
            else:
                asked.append(questions.ask(scene, rng))
        codes = encode_scenes(self.codec, scenes)
        rows = mmu_rows(self.renderer, codes, [q for q, _ in asked], [a for _, a in asked], ANSWER)
        return self._piece("mmu", "text", *rows, rng)

    def _codes(self, contents: list[Content], rng: random.Random) -> Tensor:
        scenes = [c.scene(rng, vary=rng.random() < self.varied) for c in contents]
        return encode_scenes(self.codec, scenes)

    def _piece(self, name: str, kind: PartKind, context: Context, values: Tensor, rng: random.Random) -> Piece:
        noise = Noise.of([rng.getrandbits(62) for _ in range(values.shape[0])])
        return Piece(name, kind, context, values, self.process(kind).draw(values, noise))

    process: Callable[[PartKind], Any]  # how draws are made; set by ``teacher_of``


def drawn(lesson: lessons.Lesson) -> Content:
    """What a picture lesson's picture holds."""
    assert lesson.content is not None, f"{lesson.id} is a lesson in words"
    return lesson.content


def known_content(rng: random.Random) -> Content:
    """A random content that training may show."""
    while True:
        content = random_content(rng)
        if may_train(content):
            return content


def encode_scenes(codec: MagvitCodec, scenes: list[Scene]) -> Tensor:
    """Codes (B, 8, 8) of drawn scenes."""
    pictures = np.stack([render(scene, 64) for scene in scenes])
    with torch.no_grad():
        return codec.encode(to_pixels(torch.from_numpy(pictures)))


def teacher_of(model: MMaDA, mixture: Mixture, reasoning: float, varied: float) -> Teacher:
    """The teacher of a model's vocabulary and codec."""
    assert model.codec is not None
    teacher = Teacher(model.renderer, model.codec, mixture, reasoning, varied)
    teacher.process = model.process
    return teacher


def _objective(model: nn.Module, batch: list[Piece], rng: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
    assert isinstance(model, MMaDA)
    return sft(model, [piece.to(model.device) for piece in batch])


def _optimizer(model: nn.Module, lr: float, weight_decay: float, tables: float = 1.0) -> Optimizers:
    """Muon for the blocks' matrices, AdamW at ``tables`` times its rate for the two tables and the norms."""
    return muon_with_adamw(model, lr, tables * lr, weight_decay, lambda name, p: p.ndim == 2 and "layers" in name)


def _slow_tables(model: nn.Module, lr: float, weight_decay: float) -> Optimizers:
    return _optimizer(model, lr, weight_decay, tables=0.3)


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


def _run(
    name: str,
    start: Callable[[], MMaDA],
    mixture: Mixture,
    reasoning: float,
    varied: float,
    settings: dict[str, Any],
) -> Run:
    """``reasoning`` is the share of prompts to be worked out, ``varied`` that of scenes with varied placement."""
    # the teacher needs a tokenizer and a codec, never the weights in training: it has a model of its own
    teachers: list[Teacher] = []

    def make(seed: int, size: int) -> list[Piece]:
        if not teachers:
            teachers.append(teacher_of(start(), mixture, reasoning, varied))
        return teachers[0](seed, size)

    rows = sum(vars(mixture).values())
    return Run(
        name=name,
        build=start,
        objective=_objective,
        batches=each_step(make),
        optimizer=_optimizer,
        sample=_sample,
        finish=_finish,
        steps=2000,
        batch_size=rows,
        lr=2.5e-3,
        warmup=50,
        hold=0.5,
        ema=0.998,
        threads=2,
        sample_every=500,
        checkpoint_every=250,
        settings={"mixture": vars(mixture), "reasoning": reasoning, "varied": varied, **settings},
    )


def tiny_stage_one(codec: Path = CODEC) -> Run:
    """Captions to pictures, pictures to words, words; from nothing but a trained codec."""

    def build() -> MMaDA:
        shows = MagvitCodec.from_folder(codec)
        model = new_model(shows)
        share_digits(model.network, shows.config.quantiser, fresh=True)
        return model

    mixture = Mixture(t2i=32, think=16, mmu=8, lm=8)
    run = _run(
        "mmada.tiny_stage_one",
        build,
        mixture,
        0.0,
        0.0,
        {"codec": codec.name},
    )
    return replace(run, steps=500, schedule="constant", threads=1)


def tiny_stage_two_1(start: Path = STAGE_ONE, codec: Path = CODEC) -> Run:
    """Stage 2.1, mixed chain-of-thought: thoughts, pictures after thoughts and without, pictures to words."""
    mixture = Mixture(t2i=12, r2i=24, think=20, mmu=10, lm=4)
    run = _stage_two("mmada.tiny_stage_two_1", start, codec, mixture)
    return replace(run, steps=570, schedule="constant")


def tiny_stage_two_2(start: Path = STAGE_TWO_1, codec: Path = CODEC) -> Run:
    """Stage 2.2: the same with more thoughts."""
    mixture = Mixture(t2i=8, r2i=20, think=40, mmu=8, lm=2)
    return replace(_stage_two("mmada.tiny_stage_two_2", start, codec, mixture), steps=560, schedule="constant")


def tiny_anneal(start: Path = STAGE_TWO_2, codec: Path = CODEC) -> Run:
    """Stage 2.2 goes on, slower in the two tables, to the end of the learning rate. What is shipped comes from here.

    At a steady rate the loss hangs above what the network can do: with AdamW a table's row moves by the rate in every
    coordinate, which is a tenth of a new row and half a logit a step.
    """
    run = replace(tiny_stage_two_2(start, codec), name="mmada.tiny_anneal", optimizer=_slow_tables)
    return replace(run, steps=930, lr=2e-3, schedule="hold_then_decay", hold=0.1)


def _stage_two(name: str, start: Path, codec: Path, mixture: Mixture) -> Run:
    def load() -> MMaDA:
        if not start.is_dir():
            raise ValueError(f"{name} goes on from an earlier stage, and there is no {start}; train that stage first")
        before = MMaDA.load(start)
        shows = MagvitCodec.from_folder(codec)
        model = new_model(shows, before.tokenizer)
        model.network.load_state_dict(before.network.state_dict())
        share_digits(model.network, shows.config.quantiser, fresh=False)
        return model

    return _run(name, load, mixture, 0.6, 0.3, {"start": start.name})
