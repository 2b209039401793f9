"""Tiny MindOmni on the picture world: first what the originals' pretrained parts brought, then the three stages.

    tiny_vae          pictures to latents and back (the autoencoder)
    tiny_words        the language model with its vision tower: chains of thought, questions about pictures, captions
    tiny_decoder      the image decoder under its own words, as OmniGen was before MindOmni
    tiny_stage_one    the connector alone: flow loss, and distillation from the decoder under its own words
    tiny_stage_two    connector and decoder: pictures behind chains of thought, edits of pictures that are shown
    tiny_stage_three  RGPO (and ``tiny_clip``, in another file, whose consistency it is rewarded with)

Each goes on from what the one before released. All see only what ``limner.world.splits`` lets training see; reasoning
prompts come without their thought about as often as with it, so that a comparison with thinking switched off is fair.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from limner.algorithms.rgpo import RewardLearner, RewardSettings, rgpo
from limner.algorithms.unigrpo import Exercise, rounds
from limner.codecs.vae import Vae
from limner.judges.base import Judge, weigh
from limner.judges.clip import Scorer, fits
from limner.judges.scenes import scene_judge
from limner.models.mindomni.config import MindOmniConfig, tiny
from limner.models.mindomni.model import MindOmni
from limner.models.mindomni.small import fresh
from limner.models.mindomni.tokenizer import make_tokenizer
from limner.parts import Ask, Conversation, Image, Part, PartKind, Task, Text, Thinking, user
from limner.process.flow import Flow
from limner.process.noise import Noise
from limner.recipes.mindomni import Row, Teacher, flow_loss, flow_rows, form, train_only
from limner.recipes.tiny_vae import SIZE, SIZES
from limner.train.data import each_step
from limner.train.optim import Optimizers, adamw, muon_with_adamw
from limner.train.run import Run
from limner.turn import rollout
from limner.world import lessons, questions, say
from limner.world.content import Content, random_content
from limner.world.draw import to_image
from limner.world.edits import edit
from limner.world.scene import Scene
from limner.world.sheet import draw_sheet
from limner.world.splits import may_train

# where each recipe's model stands after its run
VAE, LANGUAGE, DECODER, ONE, TWO, CLIP = (
    Path("runs") / f"mindomni.{name}" / "released"
    for name in ("tiny_vae", "tiny_words", "tiny_decoder", "tiny_stage_one", "tiny_stage_two", "tiny_clip")
)
TABLES = 0.2  # the learning rate of tables, norms and biases beside that of the matrices
VARIED = 0.1  # share of scenes that are moved, shrunk and mirrored
SAMPLES = (
    "two red apples",
    "a blue cat left of a green car",
    "an animal with (2+2) legs",
    "(2+3) yellow stars at night",
)


def known_content(rng: random.Random) -> Content:
    """A random content that training may show."""
    while True:
        content = random_content(rng)
        if may_train(content):
            return content


def scene_of(content: Content, rng: random.Random) -> Scene:
    """The content as a scene, varied now and then."""
    return content.scene(rng, vary=rng.random() < VARIED)


# words


@dataclass(frozen=True)
class Said:
    """Words to learn: what was asked, and the reply's one part."""

    conversation: Conversation
    part: Part


@dataclass(frozen=True)
class Words:
    """Rows of each task in one batch of words."""

    think: int = 24  # prompts to chains
    change: int = 6  # pictures and instructions to chains
    caption: int = 6  # pictures to plans
    question: int = 10  # pictures and questions to answers
    fact: int = 6  # questions to answers


MIXTURE = Words()


def chained(thought: str) -> Thinking:
    """A world's thought as a chain: what it ends in is the answer."""
    return Thinking(MindOmni.chain(thought, thought.rsplit(";", 1)[-1].strip()))


def shown(scene: Scene) -> Image:
    """A scene as a picture that the model is shown."""
    return Image(to_image(scene, SIZE))


def a_lesson(rng: random.Random, reasoning: float, kind: str = "picture") -> lessons.Lesson:
    """A training lesson; a share of them must be worked out."""
    groups = lessons.REASONING if rng.random() < reasoning else lessons.EXPLICIT
    return lessons.lesson(rng.choice(groups), rng, "train", kind)


def change_of(rng: random.Random) -> tuple[Scene, str, Scene, Thinking]:
    """(scene, instruction, scene after it, the chain that leads from one to the other)."""
    found = edit(scene_of(known_content(rng), rng), rng)
    return found.before, found.instruction, found.after, chained(f"{say.plan(found.before)}; {say.plan(found.after)}")


def some_words(mixture: Words, seed: int, size: int) -> dict[str, list[Said]]:
    """A batch of words by task."""
    rng = random.Random(seed)
    batch: dict[str, list[Said]] = {name: [] for name in asdict(mixture)}
    for _ in range(mixture.think):
        lesson = a_lesson(rng, 0.6, "text")
        batch["think"].append(Said((user(lesson.prompt),), chained(lesson.thought)))
    for _ in range(mixture.change):
        before, instruction, _, chain = change_of(rng)
        batch["change"].append(Said((user(shown(before), instruction),), chain))
    for name in ("caption", "question"):
        for _ in range(getattr(mixture, name)):
            scene = scene_of(known_content(rng), rng)
            asked = (
                (rng.choice(say.CAPTION_QUESTIONS), say.plan(scene)) if name == "caption" else questions.ask(scene, rng)
            )
            batch[name].append(Said((user(shown(scene), asked[0]),), Text(asked[1])))
    for _ in range(mixture.fact):
        lesson = lessons.lesson(rng.choice(lessons.TEXT), rng, "train", "text")
        batch["fact"].append(Said((user(lesson.prompt),), Text(lesson.answer or "")))
    return {name: rows for name, rows in batch.items() if rows}


WEIGHTS = {"think": 1.0, "change": 0.5, "caption": 0.5, "question": 0.5, "fact": 0.25}


def words_loss(
    model: nn.Module, batch: Mapping[str, Sequence[Said]], rng: torch.Generator
) -> tuple[Tensor, Mapping[str, float]]:
    """Minus the mean log-probability of a token, by task."""
    assert isinstance(model, MindOmni)
    total, numbers = torch.zeros((), device=model.device), {}
    for name, rows in batch.items():
        kind: PartKind = rows[0].part.kind
        values = model.encode([row.part for row in rows])
        context = model.context([row.conversation for row in rows], [()] * len(rows), Ask(kind))
        process = model.process(kind)
        scored = process.log_prob(context, values, process.draw(values, Noise.of([0] * len(rows))))
        loss = -scored.tokens.sum() / scored.hidden.sum()
        numbers[name] = float(loss.detach())
        total = total + WEIGHTS[name] * loss
    return total, numbers


def new_model(vae: Path, seed: int = 0) -> MindOmni:
    """An untrained tiny MindOmni around a trained autoencoder, with the picture world's vocabulary."""
    config: MindOmniConfig = tiny()
    tokenizer = make_tokenizer(say.vocabulary(), (config.system, config.think, config.instruction))
    return fresh(config, tokenizer, SIZES, Vae.from_folder(_there(vae)), seed)


def _there(folder: Path) -> Path:
    if not folder.is_dir():
        raise ValueError(f"there is no {folder}; train the recipe that releases it first")
    return folder


def muon(model: nn.Module, lr: float, weight_decay: float) -> Optimizers:
    """Muon for the blocks' matrices; AdamW at a fraction of its rate for tables, norms and the thin ends."""
    inside = ("layers.", "blocks.")
    return muon_with_adamw(
        model, lr, TABLES * lr, weight_decay, lambda name, p: p.ndim == 2 and any(part in name for part in inside)
    )


def release(model: nn.Module, folder: Path) -> None:
    """Write the model in float32; only a model that is shipped is rounded."""
    assert isinstance(model, MindOmni)
    model.save(folder)


def _sheet(model: nn.Module, folder: Path, step: int) -> None:
    assert isinstance(model, MindOmni)
    tasks = [Task((user(prompt),)) for prompt in SAMPLES for _ in range(2)]
    pictures, labels = [], []
    plans: list[list[PartKind]] = [["thinking", "image"], ["image"]]
    for kinds in plans:
        for sample in rollout(model, tasks, model.plan(kinds), list(range(len(tasks)))):
            assert sample.image is not None
            pictures.append(sample.image)
            labels.append(sample.thinking or sample.task.prompt[0].text)
    draw_sheet(pictures, labels, columns=8).save(folder / f"sheet-{step:06d}.png")


def _run(name: str, build: Callable[[], nn.Module], make: Callable[[int, int], Any], **numbers: Any) -> Run:
    plain: dict[str, Any] = {"optimizer": muon, "finish": release, "lr": 4e-3, "warmup": 50, "hold": 0.5}
    plain |= {"ema": 0.998, "threads": 2, "checkpoint_every": 250}
    return Run(name=f"mindomni.{name}", build=build, batches=each_step(make), **plain | numbers)


def tiny_words(vae: Path = VAE, mixture: Words = MIXTURE) -> Run:
    """The language model and its vision tower, from nothing; everything else of the model is fresh."""

    def build() -> MindOmni:
        model = train_only(new_model(vae), "mllm")
        model.mllm.network.model.visual.requires_grad_(True)
        return model

    return _run(
        "tiny_words",
        build,
        partial(some_words, mixture),
        objective=words_loss,
        steps=4000,
        batch_size=sum(asdict(mixture).values()),
        settings={"mixture": asdict(mixture), "weights": WEIGHTS},
    )


# pictures


@dataclass(frozen=True)
class Drawings:
    """Shares of the pictures in a batch: behind a chain, and of pictures that are shown and changed; of the other
    prompts a share is captions of anything, and of the rest a share must be worked out."""

    chains: float = 0.0
    changes: float = 0.0
    captions: float = 0.3
    reasoning: float = 0.5


TAUGHT = Drawings(captions=0.7)
CONNECTED = Drawings(changes=0.2)
THOUGHT = Drawings(chains=0.5, changes=0.2, captions=0.2)


def some_rows(shares: Drawings, seed: int, size: int) -> list[Row]:
    """Pictures to learn. Each row's own words are the plan of its picture."""
    rng = random.Random(seed)
    rows = []
    for _ in range(size):
        behind = rng.random() < shares.chains
        if rng.random() < shares.changes:
            before, instruction, after, chain = change_of(rng)
            conversation: Conversation = (user(shown(before), instruction),)
            rows.append(Row(conversation, (chain,) if behind else (), to_image(after, SIZE), say.plan(after)))
            continue
        if not behind and rng.random() < shares.captions:
            content = known_content(rng)
            prompt = say.plan(content) if rng.random() < 0.5 else say.caption(content, rng)
            rows.append(Row((user(prompt),), (), to_image(scene_of(content, rng), SIZE), say.plan(content)))
            continue
        lesson = a_lesson(rng, shares.reasoning)
        assert lesson.content is not None
        picture = to_image(scene_of(lesson.content, rng), SIZE)
        reply = (chained(lesson.thought),) if behind else ()
        rows.append(Row((user(lesson.prompt),), reply, picture, say.plan(lesson.content)))
    return rows


def own_words(model: MindOmni) -> Teacher:
    """The decoder's own condition: plain words."""
    return Teacher(model.tokenizer, "{}", 64)


def own_loss(model: nn.Module, rows: list[Row], rng: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
    """The flow loss of the decoder under its own words, a share of them left out."""
    assert isinstance(model, MindOmni)
    _, values, draw = flow_rows(model, rows, SIZE, rng)
    gone = (torch.rand(len(rows), generator=rng) < 0.1).tolist()
    process = model.process("image")
    assert isinstance(process, Flow)
    mixed, time, wanted = process.noisy(values, draw)
    grid = mixed.unflatten(1, (model.vae.channels, *model.square(mixed.shape[1])))
    texts = [say.CAPTION_QUESTIONS[0] if lost else row.own for row, lost in zip(rows, gone, strict=True)]
    encoded = own_words(model).encoded(model, texts, 1 + grid[0, 0].numel() // 4)
    loss = ((model.decoder.denoise(encoded, grid, time).flatten(1) - wanted) ** 2).mean()
    return loss, {"flow": float(loss.detach())}


def stage_loss(distil: bool) -> Callable[[nn.Module, list[Row], torch.Generator], tuple[Tensor, Mapping[str, float]]]:
    """The loss of stage one (with distillation) or two."""

    def objective(model: nn.Module, rows: list[Row], rng: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        assert isinstance(model, MindOmni)
        return flow_loss(model, rows, SIZE, rng, own_words(model) if distil else None)

    return objective


def tiny_decoder(start: Path = LANGUAGE, shares: Drawings = TAUGHT) -> Run:
    """The decoder under its own words: captions and plans to pictures."""

    def build() -> MindOmni:
        model = train_only(MindOmni.load(_there(start)), "decoder")
        model.decoder.embed_tokens.requires_grad_(True)
        return model

    return _run(
        "tiny_decoder",
        build,
        partial(some_rows, shares),
        objective=own_loss,
        steps=4000,
        batch_size=32,
        settings={"start": start.parent.name, "shares": asdict(shares)},
    )


def tiny_stage_one(start: Path = DECODER, shares: Drawings = CONNECTED) -> Run:
    """The connector alone."""
    return _run(
        "tiny_stage_one",
        lambda: train_only(MindOmni.load(_there(start)), "connector"),
        partial(some_rows, shares),
        objective=stage_loss(True),
        sample=_sheet,
        sample_every=500,
        steps=800,
        batch_size=32,
        settings={"start": start.parent.name, "shares": asdict(shares)},
    )


def tiny_stage_two(start: Path = ONE, shares: Drawings = THOUGHT) -> Run:
    """Connector and decoder: pictures behind chains and without, and pictures that are changed."""
    return _run(
        "tiny_stage_two",
        lambda: train_only(MindOmni.load(_there(start)), "connector", "decoder"),
        partial(some_rows, shares),
        objective=stage_loss(False),
        sample=_sheet,
        sample_every=1000,
        steps=4000,
        batch_size=32,
        lr=3e-3,
        settings={"start": start.parent.name, "shares": asdict(shares)},
    )


# stage three

EXPLICIT = 0.25  # share of prompts that need no thought, so that they are not forgotten
REWARDS = RewardSettings(group=4, rollout_rows=32, text_beta=0.01, picture_beta=0.06)


def tasks(seed: int, number: int) -> list[Task]:
    """Prompts with what a judge may know, the explicit caption among it."""
    rng, found = random.Random(seed), []
    for _ in range(number):
        lesson = a_lesson(rng, 1 - EXPLICIT)
        assert lesson.content is not None
        facts = {**lesson.facts, "caption": say.plan(lesson.content)}
        found.append(Task((user(lesson.prompt),), facts, (lesson.group, *lesson.tags), lesson.id))
    return found


def tiny_stage_three(
    start: Path = TWO,
    settings: RewardSettings = REWARDS,
    prompts: int = 8,
    form_weight: float = 1.0,
    consistency: float = 1.0,
    scene: float = 0.0,
    clip: Path = CLIP,
    scorer: Scorer | None = None,
    steps: int = 8,
) -> Run:
    """RGPO: chains at temperature 1, pictures in 8 steps. Rewards by weight: the form, the consistency with the
    explicit caption by a small CLIP trained on the world, and, beyond the paper, the exact reading of the picture."""
    made: list[Exercise] = []

    def exercises(model: MindOmni) -> list[Exercise]:
        if made:
            return made
        judges: dict[str, tuple[Judge, float]] = {"format": (form(model), form_weight)}
        if consistency:
            from limner.recipes.tiny_clip import clip_of

            judges["consistency"] = (fits(scorer or clip_of(_there(clip))), consistency)
        judges["scene"] = (scene_judge(), scene)
        plan = tuple(
            replace(ask, steps=steps) if ask.kind == "image" else replace(ask, temperature=1.0)
            for ask in model.plan(["thinking", "image"])
        )
        made.append(Exercise("draw", plan, weigh(**judges), tasks, prompts))
        return made

    def build() -> RewardLearner:
        policy = train_only(MindOmni.load(_there(start)), "mllm")
        reference = MindOmni.load(start) if settings.compares else None
        return RewardLearner(policy, reference, exercises(policy), settings)

    def finish(learner: nn.Module, folder: Path) -> None:
        assert isinstance(learner, RewardLearner) and isinstance(learner.policy, MindOmni)
        learner.policy.save(folder)

    def sample(learner: nn.Module, folder: Path, step: int) -> None:
        assert isinstance(learner, RewardLearner)
        _sheet(learner.policy, folder, step)

    weights = {"format": form_weight, "consistency": consistency, "scene": scene}
    return Run(
        name="mindomni.tiny_stage_three",
        build=build,
        objective=rgpo,
        divides=True,
        batches=lambda seed, first, size: rounds(made, settings.updates)(seed, first, size),
        optimizer=partial(adamw, betas=(0.9, 0.99)),
        finish=finish,
        sample=sample,
        steps=300,
        batch_size=settings.group * prompts,
        lr=5e-5,
        schedule="cosine",
        warmup=10,
        ema=0.97,
        threads=2,
        log_every=5,
        sample_every=100,
        checkpoint_every=20,
        settings=json.loads(
            json.dumps({"start": start.parent.name, "prompts": prompts, "weights": weights, "rl": asdict(settings)})
        ),
    )
