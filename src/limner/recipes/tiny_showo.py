"""Tiny Show-o on the picture world: the generator that verification and preference alignment start from (2501.13926).

One run from nothing but a trained codec: prompts to pictures, and beside them pictures to plans, to answers, and to
whether they show what is asked. It draws at once, as the published model does; thoughts and pictures after them have
rows as well (``Mixture``), of which this run uses none. Pictures are masked as the published model masks them. All see
only what ``limner.world.splits`` lets training see.

The published model begins with a trained language model; this one with the tables of the tiny MMaDA, whose words and
codes it shares, and with fresh blocks. What small models need beside that is the tiny MMaDA's too (``tiny_mmada``):
learned places, tables that share what is alike and move more slowly than the matrices, weight decay, and most pictures
with everything hidden: that is how drawing begins, and what most is to be learned from.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from limner.algorithms.sft import Piece, sft
from limner.catalog import PRETRAINED
from limner.codecs.magvit import MagvitCodec
from limner.models.mmada.digits import folded, share_digits
from limner.models.mmada.model import MMaDA
from limner.models.showo.config import ShowOConfig, small
from limner.models.showo.model import ShowO
from limner.models.showo.render import Ids, Script
from limner.models.showo.tokenizer import SHORT, find_specials, make_word_tokenizer
from limner.parts import PartKind, Task, user
from limner.process.base import Context
from limner.process.noise import Noise
from limner.recipes.tiny_mmada import CODEC, SAMPLES, TABLES, WIDER
from limner.recipes.tiny_mmada_data import drawn, encode_scenes
from limner.recipes.tiny_verifier import WORLD
from limner.train.data import seed_of
from limner.train.optim import Optimizers, muon_with_adamw
from limner.train.run import Run
from limner.turn import rollout
from limner.world import lessons, questions, say
from limner.world.check import facts_hold
from limner.world.content import Content, altered
from limner.world.sheet import draw_sheet
from limner.world.splits import known_content, may_train

TINY_MMADA = PRETRAINED / "tiny-mmada"
PLACES = 512  # learned positions, half of them before the part being made
BUCKETS = 4  # rows are sorted by length and given out in so many parts
DROPPED = 0.05  # share of pictures trained without their prompt, for guidance
WEIGHTS = {"t2i": 2.0, "r2i": 2.0, "think": 1.0, "caption": 0.5, "match": 0.3, "question": 0.2, "lm": 0.2}
DECAY = 0.3


@dataclass(frozen=True)
class Mixture:
    """Rows of each task in one batch of ``sum`` rows."""

    t2i: int = 0  # prompts to pictures
    r2i: int = 0  # prompts with thoughts to pictures
    think: int = 0  # prompts to thoughts
    caption: int = 0  # pictures to plans
    match: int = 0  # pictures and prompts to yes or no
    question: int = 0  # pictures and questions to answers
    lm: int = 0  # questions to answers


@dataclass(frozen=True)
class Phase:
    """What batches hold from a step on. Shares: ``captions`` of the prompts are captions of anything, ``several`` of
    the others name several things, ``reasoning`` of the prompts that are thought about are to be worked out, ``varied``
    of the scenes are moved, shrunk and mirrored, ``blank`` of the pictures show nothing of themselves."""

    begin: int
    mixture: Mixture
    captions: float = 0.5
    several: float = 0.6
    reasoning: float = 0.4
    varied: float = 0.05
    blank: float = 0.5


def config(tokenizer: Any, codec: MagvitCodec) -> ShowOConfig:
    """The tiny network's configuration for this vocabulary and codec; pictures are shown as large as it can."""
    base = small(tokenizer.get_vocab_size(), find_specials(tokenizer), codec.num_codes)
    size = 64 * max((1, *codec.config.larger))
    defaults = replace(
        base.defaults,
        size=size,
        text_limit=16,
        thinking_limit=40,
        picture_steps=12,
        picture_guidance=0.0,
        codes_temperature=0.5,
    )
    return replace(base, defaults=defaults, grids={size: 8}, places=PLACES, templates=SHORT)


def new_model(codec: MagvitCodec, tokenizer: Any = None) -> ShowO:
    """An untrained tiny Show-o around a trained codec, with the picture world's vocabulary."""
    tokenizer = tokenizer or make_word_tokenizer(say.vocabulary())
    return ShowO(config(tokenizer, codec), tokenizer, codec)


def take_tables(model: ShowO, other: MMaDA) -> int:
    """Let the words that both know, all codes and the hidden one begin as they stand in another model's tables; the
    number of rows taken. Its last norm's weights go into the output table. ValueError for other codes or widths."""
    mine, theirs = model.config, other.config
    if (mine.codes, mine.width) != (theirs.codes, theirs.width):
        raise ValueError(
            f"tables of {theirs.codes} codes and width {theirs.width} cannot begin a model of {mine.codes} codes and "
            f"width {mine.width}"
        )
    known = other.tokenizer.get_vocab()
    rows = [(i, known[word]) for word, i in model.tokenizer.get_vocab().items() if word in known]
    rows += [(mine.text_vocabulary + code, theirs.text_vocabulary + code) for code in range(mine.codes)]
    rows += [(mine.mask, theirs.specials.mask)]
    here, there = (torch.tensor(side) for side in zip(*rows, strict=True))
    with torch.no_grad():
        model.network.embed.weight[here] = other.network.embed.weight[there]
        model.network.head.weight[here] = other.network.head.weight[there] * other.network.norm.weight
    return len(rows)


class Teacher:
    """Makes batches: draws lessons, renders and encodes their pictures, and lays out rows with what is to be hidden."""

    def __init__(self, model: ShowO, phase: Phase) -> None:
        assert model.codec is not None
        self.model, self.renderer, self.codec, self.phase = model, model.renderer, model.codec, phase

    def __call__(self, seed: int) -> list[Piece]:
        rng = random.Random(seed)
        makers = (self._t2i, self._r2i, self._think, self._caption, self._match, self._question, self._lm)
        wanted = asdict(self.phase.mixture)
        return [make(rng, wanted[make.__name__[1:]]) for make in makers if wanted[make.__name__[1:]]]

    # prompts to pictures

    def _t2i(self, rng: random.Random, rows: int) -> Piece:
        prompts, contents = [], []
        for _ in range(rows):
            if rng.random() < self.phase.captions:
                content = known_content(rng)
                prompts.append(say.plan(content) if rng.random() < 0.3 else say.caption(content, rng))
            else:
                lesson = self._explicit(rng)
                content = drawn(lesson)
                prompts.append(lesson.prompt)
            contents.append(content)
        return self._picture(rng, "t2i", [Script([("user", prompt)]) for prompt in prompts], contents)

    def _r2i(self, rng: random.Random, rows: int) -> Piece:
        some = self._alike(rng, rows, lambda: self._lesson(rng, "picture"))
        scripts = [Script([("user", s.prompt)], said=self.renderer.thought(s.thought), thinks=True) for s in some]
        return self._picture(rng, "r2i", scripts, [drawn(s) for s in some])

    def _picture(self, rng: random.Random, name: str, scripts: list[Script], contents: list[Content]) -> Piece:
        drop = [rng.random() < DROPPED for _ in scripts]
        codes = encode_scenes(self.codec, self._scenes(rng, contents)).flatten(1)
        piece = self._piece(rng, name, "image", self.renderer.context(scripts, "image", drop), codes)
        blank = torch.tensor([rng.random() < self.phase.blank for _ in scripts])
        return replace(piece, draw=replace(piece.draw, hidden=piece.draw.hidden | blank[:, None]))

    # to words

    def _think(self, rng: random.Random, rows: int) -> Piece:
        some = self._alike(rng, rows, lambda: self._lesson(rng, "text"))
        scripts = [Script([("user", s.prompt)], thinks=True) for s in some]
        return self._words(rng, "think", "thinking", scripts, [self.renderer.thought(s.thought) for s in some])

    def _caption(self, rng: random.Random, rows: int) -> Piece:
        contents = [known_content(rng) for _ in range(rows)]
        asked = [(rng.choice(say.CAPTION_QUESTIONS), say.plan(content)) for content in contents]
        return self._about(rng, "caption", contents, asked)

    def _match(self, rng: random.Random, rows: int) -> Piece:
        """Half of the pictures differ from what was asked in one respect."""
        contents, asked = [], []
        for i in range(rows):
            lesson = self._explicit(rng)
            right = drawn(lesson)
            seen = right if i % 2 else _wrong(lesson, right, rng)
            contents.append(seen)
            asked.append((WORLD.outcome.replace("{prompt}", lesson.prompt), "yes" if seen is right else "no"))
        return self._about(rng, "match", contents, asked)

    def _question(self, rng: random.Random, rows: int) -> Piece:
        contents = [known_content(rng) for _ in range(rows)]
        return self._about(rng, "question", contents, [questions.ask(content, rng) for content in contents])

    def _about(self, rng: random.Random, name: str, contents: list[Content], asked: Sequence[tuple[str, str]]) -> Piece:
        codes = encode_scenes(self.codec, self._scenes(rng, contents)).flatten(1).tolist()
        scripts = [Script([("user", question)], [seen]) for (question, _), seen in zip(asked, codes, strict=True)]
        return self._words(rng, name, "text", scripts, [self.renderer.ids(answer) for _, answer in asked])

    def _lm(self, rng: random.Random, rows: int) -> Piece:
        some = [lessons.lesson(rng.choice(lessons.TEXT), rng, "train", "text") for _ in range(rows)]
        scripts = [Script([("user", s.prompt)]) for s in some]
        return self._words(rng, "lm", "text", scripts, [self.renderer.ids(s.answer or "") for s in some])

    def _words(self, rng: random.Random, name: str, kind: PartKind, scripts: list[Script], answers: list[Ids]) -> Piece:
        values = self.renderer.values(answers, max(map(len, answers)) + 1)
        return self._piece(rng, name, kind, self.renderer.context(scripts, kind), values)

    # pieces and lessons

    def _piece(self, rng: random.Random, name: str, kind: PartKind, context: Context, values: Tensor) -> Piece:
        noise = Noise.of([rng.getrandbits(62) for _ in values])
        return Piece(name, kind, context, values, self.model.process(kind).draw(values, noise), WEIGHTS[name])

    def _explicit(self, rng: random.Random, kind: str = "picture") -> lessons.Lesson:
        groups = lessons.SEVERAL if rng.random() < self.phase.several else lessons.EXPLICIT
        return lessons.lesson(rng.choice(groups), rng, "train", kind)

    def _lesson(self, rng: random.Random, kind: str) -> lessons.Lesson:
        if rng.random() < self.phase.reasoning:
            return lessons.lesson(rng.choice(lessons.REASONING), rng, "train", kind)
        return self._explicit(rng, kind)

    def _alike(self, rng: random.Random, rows: int, make: Callable[[], lessons.Lesson]) -> list[lessons.Lesson]:
        """Lessons of like length; over many batches, every length comes as often as it is drawn."""
        some = sorted((make() for _ in range(BUCKETS * rows)), key=lambda s: len(s.prompt) + len(s.thought))
        part = rng.randrange(BUCKETS)
        return some[part * rows : (part + 1) * rows]

    def _scenes(self, rng: random.Random, contents: list[Content]) -> list[Any]:
        return [content.scene(rng, vary=rng.random() < self.phase.varied) for content in contents]


def _wrong(lesson: lessons.Lesson, right: Content, rng: random.Random) -> Content:
    """What nearly is what was asked, and may be shown."""
    while True:
        changed = altered(right, rng)
        if may_train(changed) and not facts_hold(lesson.facts, changed)[0]:
            return changed


def _objective(model: nn.Module, batch: list[Piece], rng: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
    assert isinstance(model, ShowO)
    return sft(model, [piece.to(model.device) for piece in batch], by_length=False)


def _optimizer(model: nn.Module, lr: float, weight_decay: float) -> Optimizers:
    """Muon for the blocks' matrices; AdamW at a fraction of its rate for the tables, biases and norms."""

    def is_matrix(name: str, parameter: nn.Parameter) -> bool:
        return parameter.ndim == 2 and "layers" in name

    return muon_with_adamw(model, lr, TABLES * lr, weight_decay, is_matrix, dtype=torch.bfloat16)


def _sample(model: nn.Module, folder: Path, step: int) -> None:
    assert isinstance(model, ShowO)
    tasks = [Task((user(prompt),)) for prompt in SAMPLES for _ in range(2)]
    pictures, labels = [], []
    for sample in rollout(model, tasks, model.plan(("image",)), list(range(len(tasks)))):
        assert sample.image is not None
        pictures.append(sample.image)
        labels.append(sample.task.prompt[0].text)
    draw_sheet(pictures, labels, columns=6).save(folder / f"sheet-{step:06d}.png")


def _finish(model: nn.Module, folder: Path) -> None:
    assert isinstance(model, ShowO) and model.codec is not None
    plain = new_model(model.codec, model.tokenizer)
    plain.network.load_state_dict(folded(cast(Any, model.network)))
    plain.save(folder, torch.bfloat16)


MIXTURE = Mixture(t2i=32, caption=6, match=6, question=4)


def tiny_showo(codec: Path = CODEC, tables: Path = TINY_MMADA) -> Run:
    """Prompts to pictures, and pictures to words beside them; in bfloat16, with weights in float32. ``codec`` is the
    codec's folder, ``tables`` a tiny MMaDA around the same codec."""
    phases = (Phase(0, MIXTURE, captions=0.3, several=0.75, varied=0.05, blank=0.7),)

    def build() -> ShowO:
        shows = MagvitCodec.from_folder(codec)
        model = new_model(shows)
        with torch.no_grad():
            model.network.embed.weight.mul_(WIDER)
        take_tables(model, MMaDA.load(tables))
        share_digits(cast(Any, model.network), shows.config.quantiser, fresh=False)
        return model

    def batches(seed: int, start: int, size: int) -> Iterator[list[Piece]]:
        # the teacher needs a tokenizer and a codec, never the weights in training: it has a model of its own
        model = new_model(MagvitCodec.from_folder(codec))
        teachers = [Teacher(model, phase) for phase in phases]
        for step in count(start):
            now = [teacher for teacher in teachers if teacher.phase.begin <= step][-1]
            yield now(seed_of(seed, step, "batch"))

    return Run(
        name="cot.tiny_showo",
        build=build,
        objective=_objective,
        batches=batches,
        optimizer=_optimizer,
        sample=_sample,
        finish=_finish,
        steps=3600,
        batch_size=sum(vars(phases[-1].mixture).values()),
        lr=2.5e-3,
        weight_decay=DECAY,
        warmup=50,
        hold=0.5,
        floor=0.02,
        dtype="bfloat16",
        ema=0.998,
        threads=1,
        sample_every=600,
        checkpoint_every=100,
        settings={
            "phases": [asdict(phase) for phase in phases],
            "weights": WEIGHTS,
            "codec": codec.name,
            "tables": tables.name,
        },
    )
