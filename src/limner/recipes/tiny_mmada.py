"""Tiny MMaDA on the picture world, in the published order (2505.15809, section 3; stage three is another recipe).

``tiny_stage_one``: words, as the published model starts from a trained language model; then captions to pictures and
pictures to words as well. ``tiny_stage_two``: mixed long chain-of-thought, that is thinking then picture, and thinking
alone. About a third of the reasoning pictures come without their thought, so that a comparison with thinking switched
off is fair. Then the same at lower rates, with most rows for what was learned least: ``tiny_stage_two_end``,
``tiny_stage_two_look`` with thoughts about pictures that are looked at, ``tiny_stage_two_ask`` for whether what is
asked agrees with what is seen, ``tiny_stage_two_polish``. All see only what ``limner.world.splits`` lets training see.

Things first stand where they always stand; stage two moves, shrinks and mirrors some, which costs more training to
learn than it looks, and which methods that compare several pictures of one prompt need.

What small models need beside that (docs/tiny-models.md): rope turns that tell apart a hundred places; tables that move
more slowly than the matrices; weights that let pictures speak beside words; and batches of thoughts that are mostly as
long as their longest, because filler teaches nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from limner.algorithms.sft import Piece, sft
from limner.catalog import PRETRAINED
from limner.codecs.magvit import MagvitCodec
from limner.models.mmada.config import MMaDAConfig, small
from limner.models.mmada.digits import folded, share_digits
from limner.models.mmada.model import MMaDA
from limner.models.mmada.tokenizer import find_specials, make_word_tokenizer
from limner.parts import PartKind, Task, user
from limner.recipes.tiny_mmada_data import (
    ANSWER,
    LAST_HARD,
    THOUGHT,
    TOPICS,
    UNSURE,
    WEIGHTS,
    Mixture,
    Phase,
    teacher_of,
)
from limner.train.data import seed_of
from limner.train.optim import Optimizers, muon_with_adamw
from limner.train.run import Run
from limner.turn import rollout
from limner.world import say
from limner.world.sheet import draw_sheet

CODEC = PRETRAINED / "tiny-mmada" / "codec"
STAGE_ONE = Path("runs/mmada.tiny_stage_one/released")
STAGE_TWO = Path("runs/mmada.tiny_stage_two/released")
STAGE_TWO_END = Path("runs/mmada.tiny_stage_two_end/released")
STAGE_TWO_LOOK = Path("runs/mmada.tiny_stage_two_look/released")
STAGE_TWO_ASK = Path("runs/mmada.tiny_stage_two_ask/released")
STAGE_TWO_POLISH = Path("runs/mmada.tiny_stage_two_polish/released")
TABLES = 0.2  # the two tables' learning rate beside that of the matrices
WIDER = 2.5  # fresh rows of the input table, so that a step of AdamW turns them by little
ROPE = 10_000.0  # with the published 500,000 most of a small head stands still over a hundred places
INSTRUCTION = "think\n"  # the published instruction has forty words, which a small model need not read
PLACES = 512  # learned positions, half of them before the part being made
# Without decay the matrices grow by what batches disagree about, until attention is one-hot and nothing new is learned.
DECAY = 0.5
SAMPLES = (
    "two red apples",
    "a blue cat left of a green car",
    "an animal with (2+2) legs",
    "(2+3) yellow stars at night",
    "the opera house when it is noon in new york",
    "a purple heart inside a white box",
)


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
        picture_steps=10,
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


def _plain(model: nn.Module) -> MMaDA:
    """The model without what training adds to its tables."""
    assert isinstance(model, MMaDA) and model.codec is not None
    plain = new_model(model.codec, model.tokenizer)
    plain.network.load_state_dict(folded(model.network))
    return plain


def _finish(model: nn.Module, folder: Path) -> None:
    _plain(model).save(folder, torch.bfloat16)


def halfway(start: Path) -> Callable[[nn.Module, Path], None]:
    """Releases the mean of a model's weights and of those in ``start``, from which it was trained."""

    def finish(model: nn.Module, folder: Path) -> None:
        plain = _plain(model)
        before, after = MMaDA.load(start).network.state_dict(), plain.network.state_dict()
        plain.network.load_state_dict({name: (before[name].to(after[name]) + after[name]) / 2 for name in after})
        plain.save(folder, torch.bfloat16)

    return finish


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


def _from(name: str, start: Path, codec: Path, phases: Sequence[Phase]) -> Run:
    """A stage that goes on from the one before it."""
    return _run(name, going_on(start, codec), phases, {"start": start.parent.name})


WORDS = Mixture(think=96, lm=16)
PICTURES = Mixture(t2i=40, think=48, caption=24, question=8, lm=8)
THINKING = Mixture(t2i=14, r2i=20, think=36, caption=14, question=8, lm=6)
LOOKING = Mixture(t2i=8, r2i=14, think=40, caption=36, question=16, lm=4)
LAST = Mixture(t2i=16, r2i=36, think=16, caption=24, question=36, lm=4, said=4)
MATCHING = Mixture(t2i=8, r2i=24, think=24, question=24, told=256)
POLISH = Mixture(t2i=8, r2i=52, think=40, caption=10, question=28, looks=12, seen=12, told=24, lm=2, said=4)
DIRECT = Mixture(t2i=72, r2i=24, think=24, caption=8, question=20, looks=8, seen=8, told=16, lm=2, said=4)
CHECKING = Mixture(t2i=10, r2i=40, think=40, caption=8, question=36, looks=8, seen=16, told=24, lm=2, said=4)
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
        _from("mmada.tiny_stage_two", start, codec, (first, last)),
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
        _from("mmada.tiny_stage_two_end", start, codec, (phase,)),
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
        _from("mmada.tiny_stage_two_look", start, codec, (phase,)),
        steps=1200,
        lr=2e-3,
        hold=0.1,
    )


def tiny_stage_two_ask(start: Path = STAGE_TWO_LOOK, codec: Path = CODEC) -> Run:
    """Stage two's last: whether what is asked agrees with what is seen; riddles, and things inside others.

    Questions that are answered yes or no want two places compared. One answer in a row of a hundred tokens, they stayed
    at chance; so they are first asked of what was seen in words, where rows are short, many and loud.
    """
    first = Phase(
        0, MATCHING, captions=0.2, sums=0.1, reasoning=0.75, puzzles=0.25, several=0.85, tangled=0.75, trios=0.35,
        inside=0.35, varied=0.02, looked=0.9, blank=0.7, unread=0.7, hard=0.8, groups=LAST_HARD, topics=TOPICS,
        louder={"question": 8.0, "told": 80.0},
    )  # fmt: skip
    last = replace(first, begin=260, mixture=CHECKING, louder={"question": 4.0, "seen": 4.0, "told": 12.0})
    return replace(
        _from("mmada.tiny_stage_two_ask", start, codec, (first, last)),
        steps=1060,
        lr=1.2e-3,
        hold=0.25,
    )


def tiny_stage_two_polish(start: Path = STAGE_TWO_ASK, codec: Path = CODEC) -> Run:
    """Stage two once more, short: several things, in thoughts and in pictures, and every kind of question."""
    phase = Phase(
        0, POLISH, captions=0.2, sums=0.1, reasoning=0.7, puzzles=0.2, several=0.9, tangled=0.8, trios=0.45,
        inside=0.2, varied=0.02, looked=0.9, blank=0.7, unread=0.7, hard=0.6, groups=UNSURE,
        louder={"question": 4.0, "seen": 4.0, "told": 6.0},
    )  # fmt: skip
    return replace(
        _from("mmada.tiny_stage_two_polish", start, codec, (phase,)),
        steps=450,
        lr=1e-3,
        hold=0.0,
    )


def tiny_stage_two_direct(start: Path = STAGE_TWO_POLISH, codec: Path = CODEC) -> Run:
    """Stage two's end: reasoning pictures without their thought, which had become fewer than a third of them.

    What is released lies halfway between what it began with and what it ended with (2109.01903, section 3).
    """
    phase = Phase(
        0, DIRECT, captions=0.15, sums=0.1, reasoning=0.7, puzzles=0.6, several=0.9, tangled=0.8, trios=0.4, inside=0.2,
        varied=0.02, looked=0.9, blank=0.7, unread=0.7, hard=0.6, groups=UNSURE,
        louder={"question": 4.0, "seen": 4.0, "told": 6.0},
    )  # fmt: skip
    return replace(
        _from("mmada.tiny_stage_two_direct", start, codec, (phase,)),
        finish=halfway(start),
        steps=270,
        lr=8e-4,
        hold=0.0,
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
