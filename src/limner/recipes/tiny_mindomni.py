"""Tiny MindOmni on the picture world: first what the originals' pretrained parts brought, then the three stages.

    tiny_vae          pictures to latents and back (the autoencoder)
    tiny_words        the language model: chains of thought, questions about pictures, captions. It begins as tiny
                      Nexus-Gen's, as both publications begin with one Qwen2.5-VL
    tiny_decoder      the image decoder under its own words, as OmniGen was before MindOmni
    tiny_stage_one    the connector alone: flow loss, and distillation from the decoder under its own words
    tiny_stage_two    connector and decoder: pictures behind chains of thought, edits of pictures that are shown
    tiny_stage_three  RGPO (and ``tiny_clip``, in another file, whose consistency it is rewarded with)

Each goes on from what the one before released. All see only what ``limner.world.splits`` lets training see; reasoning
prompts come without their thought about as often as with it, so that a comparison with thinking switched off is fair.

Beside what the originals learn from, a small head names what stands where, halfway through the decoder (``naming``). It
is thrown away. Times are drawn nearer to the noise than OmniGen's, because where a picture
follows from its words most is learned from a picture of which nothing is seen yet.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from limner.algorithms.rgpo import RewardLearner, RewardSettings, rgpo
from limner.algorithms.unigrpo import Exercise, rounds
from limner.codecs.vae import Vae
from limner.judges.base import Judge, weigh
from limner.judges.clip import Scorer, fits
from limner.judges.scenes import detected, scene_judge
from limner.models.mindomni.config import MindOmniConfig, tiny
from limner.models.mindomni.model import MindOmni
from limner.models.mindomni.small import fresh
from limner.models.mindomni.tokenizer import make_tokenizer
from limner.models.nexusgen.model import NexusGen
from limner.parts import Ask, PartKind, Task, user
from limner.process.base import Context
from limner.process.flow import Flow, FlowDraw, level_divergence
from limner.process.noise import Noise
from limner.recipes.mindomni import Teacher, form, train_only
from limner.recipes.naming import NAMED, naming_loss
from limner.recipes.tiny_mindomni_data import Drawings, Drawn, Said, Words, named, some_rows, some_words, tasks
from limner.recipes.tiny_nexusgen import SIX as READER
from limner.recipes.tiny_nexusgen import there
from limner.recipes.tiny_vae import SIZE, SIZES
from limner.train.data import each_step
from limner.train.optim import Optimizers, adamw, muon_with_adamw
from limner.train.run import Run
from limner.turn import rollout
from limner.world import say
from limner.world.sheet import draw_sheet

# where each recipe's model stands after its run
VAE, LANGUAGE, DECODER, ONE, TWO, CLIP = (
    Path("runs") / f"mindomni.{name}" / "released"
    for name in ("tiny_vae", "tiny_words", "tiny_decoder", "tiny_stage_one", "tiny_stage_two", "tiny_clip")
)
TABLES = 0.2  # the learning rate of tables, norms and biases beside that of the matrices
NAMING = 0.3  # weight of the names beside what they help to learn
EARLY = 1.0  # how much nearer to the noise times are drawn, on the logistic scale
DROPPED = 0.05  # share of pictures trained without their condition
MIXTURE = Words()
WEIGHTS = {"think": 1.0, "fact": 0.25, "change": 0.5, "caption": 0.5, "question": 0.5}  # of a task's words
TAUGHT = Drawings(captions=0.7)
CONNECTED = Drawings(changes=0.2)
THOUGHT = Drawings(chains=0.5, changes=0.2, captions=0.2)
SAMPLES = (
    "two red apples",
    "a blue cat left of a green car",
    "an animal with (2+2) legs",
    "(2+3) yellow stars at night",
)


def new_model(vae: Path, seed: int = 0) -> MindOmni:
    """An untrained tiny MindOmni around a trained autoencoder, with the picture world's vocabulary."""
    config: MindOmniConfig = tiny()
    tokenizer = make_tokenizer(say.vocabulary(), (config.system, config.think, config.instruction))
    return fresh(config, tokenizer, SIZES, Vae.from_folder(there(vae)), seed)


def muon(model: nn.Module, lr: float, weight_decay: float) -> Optimizers:
    """Muon for the blocks' matrices; AdamW at a fraction of its rate for tables, norms and the thin ends."""
    inside = ("layers.", "blocks.")
    return muon_with_adamw(
        model, lr, TABLES * lr, weight_decay, lambda name, p: p.ndim == 2 and any(part in name for part in inside)
    )


class Named(nn.Module):
    """A model in training, with a head that names what stands at each place of the picture that is drawn."""

    def __init__(self, model: MindOmni, width: int) -> None:
        super().__init__()
        self.model = model
        self.head = nn.Linear(width, NAMED)

    def names(self, states: Tensor) -> Tensor:
        """(B, NAMED, h, w) of places (B, h x w, C), row by row."""
        side = int(states.shape[1] ** 0.5)
        said: Tensor = self.head(states).unflatten(1, (side, side))
        return said.permute(0, 3, 1, 2)


def _inner(trained: nn.Module) -> MindOmni:
    model = trained.model if isinstance(trained, Named) else trained
    assert isinstance(model, MindOmni)
    return model


def release(trained: nn.Module, folder: Path) -> None:
    """Write the model in float32; only a model that is shipped is rounded."""
    _inner(trained).save(folder)


def _sheet(trained: nn.Module, folder: Path, step: int) -> None:
    model = _inner(trained)
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
    plain: dict[str, Any] = {"optimizer": muon, "finish": release, "lr": 3e-3, "weight_decay": 0.3, "warmup": 50}
    plain |= {"ema": 0.998, "dtype": "bfloat16", "checkpoint_every": 250}
    return Run(name=f"mindomni.{name}", build=build, batches=each_step(make), **plain | numbers)


# words


def words_loss(
    model: nn.Module, batch: Sequence[Sequence[Said]], rng: torch.Generator
) -> tuple[Tensor, Mapping[str, float]]:
    """Minus the mean log-probability of a token, by task."""
    assert isinstance(model, MindOmni)
    total, numbers = torch.zeros((), device=model.device), dict[str, float]()
    process = model.process("text")
    for rows in batch:
        given = model.prompt([model.renderer.script(row.conversation, (), Ask(row.part.kind)) for row in rows])
        context = Context(given, given).to(model.device)
        values = model.encode([row.part for row in rows])
        scored = process.log_prob(context, values, process.draw(values, Noise.of([0] * len(rows))))
        for task in dict.fromkeys(row.task for row in rows):
            of = torch.tensor([row.task == task for row in rows], device=model.device)
            loss = -scored.tokens[of].sum() / scored.hidden[of].sum()
            numbers[task] = float(loss.detach())
            total = total + WEIGHTS[task] * loss
    return total, numbers


@torch.no_grad()
def begin_as(model: MindOmni, reader: NexusGen) -> None:
    """Take over the network of a Nexus-Gen of the same sizes, the vision tower with it; words that it does not know
    stay as they are. RuntimeError for other sizes."""
    own, known = model.mllm.network, reader.reader.network.state_dict()
    places = [
        (model.tokenizer.token_to_id(word), place)
        for word, place in reader.tokenizer.get_vocab(with_added_tokens=True).items()
        if model.tokenizer.token_to_id(word) is not None
    ]
    to, of = torch.tensor(places).T
    for name, rows in own.state_dict().items():
        if name.endswith(("embed_tokens.weight", "lm_head.weight")):
            known[name] = rows.index_copy(0, to, known[name][of])
    own.load_state_dict(known)


def tiny_words(vae: Path = VAE, start: Path = READER, mixture: Words = MIXTURE) -> Run:
    """The language model; its vision tower stays as it was, and everything else of the model is fresh."""

    def build() -> MindOmni:
        model = new_model(vae)
        begin_as(model, NexusGen.load(there(start)))
        return train_only(model, "mllm")

    return _run(
        "tiny_words",
        build,
        partial(some_words, mixture),
        objective=words_loss,
        steps=1500,
        batch_size=sum(asdict(mixture).values()),
        lr=2e-3,
        settings={"start": start.parent.name, "mixture": asdict(mixture), "weights": WEIGHTS},
    )


# pictures

Condition = Literal["own", "distilled", "words"]


def own_words(model: MindOmni) -> Teacher:
    """The decoder's own condition: plain words."""
    return Teacher(model.tokenizer, "{}", 64)


def picture_loss(
    condition: Condition,
) -> Callable[[nn.Module, list[Drawn], torch.Generator], tuple[Tensor, Mapping[str, float]]]:
    """The flow loss and the names halfway, under the decoder's ``own`` words or under the language model's states;
    ``distilled`` adds the divergence of all levels from those under its own words."""

    def objective(trained: nn.Module, rows: list[Drawn], rng: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        assert isinstance(trained, Named)
        model = trained.model
        process = model.process("image")
        assert isinstance(process, Flow)
        values = model.see([row.picture for row in rows], SIZE)
        draw = _early(process, values, rng)
        gone = (torch.rand(len(rows), generator=rng) < DROPPED).tolist()
        mixed, time, wanted = process.noisy(values, draw)
        if condition == "own":
            velocity, levels = _own(model, rows, gone, mixed, time)
        else:
            asked = [
                (user(model.config.negative),) if lost else r.conversation for r, lost in zip(rows, gone, strict=True)
            ]
            replies = [() if lost else row.reply for row, lost in zip(rows, gone, strict=True)]
            given = model.context(asked, replies, Ask("image", size=SIZE)).given
            velocity, levels = process.traced(Context(given, given), values, draw)
        flow = ((velocity.float() - wanted) ** 2).mean()
        loss, numbers = flow, {"flow": float(flow.detach())}
        known = [i for i, lost in enumerate(gone) if not lost]
        if known:
            said = trained.names(levels[known, levels.shape[1] // 2])
            naming, right = naming_loss(said, named([rows[i].scene for i in known], said.shape[-1]).to(said.device))
            numbers |= {"naming": float(naming.detach()), "kind_right": right}
            loss = loss + NAMING * naming
        if condition == "distilled":
            with torch.no_grad():
                _, taught = _own(model, rows, gone, mixed, time)
            distilled = level_divergence(levels, taught).mean()
            numbers["distilled"] = float(distilled.detach())
            loss = loss + distilled
        return loss, numbers

    return objective


def _early(process: Flow, values: Tensor, rng: torch.Generator) -> FlowDraw:
    seeds = torch.randint(0, 2**62, (len(values),), generator=rng).tolist()
    draw = process.draw(values, Noise.of(seeds))
    return replace(draw, time=(draw.time.logit() - EARLY).sigmoid())


def _own(
    model: MindOmni, rows: Sequence[Drawn], gone: Sequence[bool], mixed: Tensor, time: Tensor
) -> tuple[Tensor, Tensor]:
    """(velocity (B, N), levels (B, L, n, D)) under the decoder's own words; other words stand where they are gone."""
    grid = mixed.unflatten(1, (model.vae.channels, *model.square(mixed.shape[1])))
    texts = [say.CAPTION_QUESTIONS[0] if lost else row.own for row, lost in zip(rows, gone, strict=True)]
    levels: list[Tensor] = []
    encoded = own_words(model).encoded(model, texts, 1 + grid[0, 0].numel() // 4)
    velocity = model.decoder.denoise(encoded, grid, time, levels=levels).flatten(1)
    return velocity, torch.stack(levels, dim=1)


def _pictures(name: str, start: Path, shares: Drawings, condition: Condition, **numbers: Any) -> Run:
    parts: dict[Condition, tuple[Literal["connector", "decoder"], ...]] = {
        "own": ("decoder",),
        "distilled": ("connector",),
        "words": ("connector", "decoder"),
    }

    def build() -> Named:
        model = train_only(MindOmni.load(there(start)), *parts[condition])
        model.decoder.embed_tokens.requires_grad_(condition == "own")
        return Named(model, model.decoder.config.width)

    return _run(
        name,
        build,
        partial(some_rows, shares),
        objective=picture_loss(condition),
        batch_size=64,
        settings={"start": start.parent.name, "shares": asdict(shares), "naming": NAMING, "early": EARLY},
        **numbers,
    )


def tiny_decoder(start: Path = LANGUAGE, shares: Drawings = TAUGHT) -> Run:
    """The decoder under its own words: plans to pictures."""
    return _pictures("tiny_decoder", start, shares, "own", steps=2000)


def tiny_stage_one(start: Path = DECODER, shares: Drawings = CONNECTED) -> Run:
    """The connector alone."""
    return _pictures("tiny_stage_one", start, shares, "distilled", steps=300, sample=_sheet, sample_every=100)


def tiny_stage_two(start: Path = ONE, shares: Drawings = THOUGHT) -> Run:
    """Connector and decoder: pictures behind chains and without, and pictures that are changed."""
    return _pictures("tiny_stage_two", start, shares, "words", steps=1000, lr=2e-3, sample=_sheet, sample_every=250)


# stage three

REWARDS = RewardSettings(group=4, rollout_rows=64, rows=32, delta=0.1, text_beta=0.01, picture_beta=0.06, trace_every=4)
PROMPTS = 32  # a round


def tiny_stage_three(
    start: Path = TWO,
    settings: RewardSettings = REWARDS,
    prompts: int = PROMPTS,
    form_weight: float = 1.0,
    consistency: float = 1.0,
    scene: float = 1.0,
    clip: Path = CLIP,
    scorer: Scorer | None = None,
    steps: int = 2,
) -> Run:
    """RGPO: chains at temperature 1, pictures in 2 steps without guidance, which the tiny decoder draws as well as in 8
    with it. Rewards by weight: the form, the consistency with the explicit caption by a small CLIP trained on the
    world, and, beyond the paper, whether the trained detector finds what was asked; the exact reader, which measures
    success, is held out. Rewards of a group are compared by their deviation plus 0.1, or the small differences between
    right pictures would count as much as those between right and wrong ones. D_I is taken of one rollout in four."""
    made: list[Exercise] = []

    def exercises(model: MindOmni) -> list[Exercise]:
        if made:
            return made
        judges: dict[str, tuple[Judge, float]] = {"format": (form(model), form_weight)}
        if consistency:
            from limner.recipes.tiny_clip import clip_of

            judges["consistency"] = (fits(scorer or clip_of(there(clip))), consistency)
        if scene:
            judges["scene"] = (scene_judge(detected()), scene)
        plan = tuple(
            replace(ask, steps=steps, guidance=0.0) if ask.kind == "image" else replace(ask, temperature=1.0)
            for ask in model.plan(["thinking", "image"])
        )
        made.append(Exercise("draw", plan, weigh(**judges), tasks, prompts))
        return made

    def build() -> RewardLearner:
        policy = train_only(MindOmni.load(there(start)), "mllm")
        policy.rows_apart = False
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
        steps=150,
        batch_size=settings.group * prompts,
        lr=1.5e-4,
        schedule="cosine",
        warmup=3,
        weight_decay=0.0,
        ema=0.9,
        dtype="bfloat16",
        threads=2,
        log_every=5,
        sample_every=50,
        checkpoint_every=20,
        settings=json.loads(
            json.dumps({"start": start.parent.name, "prompts": prompts, "weights": weights, "rl": asdict(settings)})
        ),
    )
