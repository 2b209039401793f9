"""MindOmni in its three stages (2505.13031), as runs. The training code was never released.

    1  connect   connector alone: flow loss and layer-wise distillation from OmniGen conditioned its own way
    2  CoT SFT   connector and decoder: pictures behind a chain of thought
    3  RGPO      language model: groups of chains and pictures, judged by their form and by CLIP

Published: what is trained, the resolutions (256 and 512), the first two learning rates, the batch of stage one and its
weight decay, and of RGPO the group of 4, both betas, a cosine schedule and 600 shown steps of 128 rollouts. Known from
OmniGen's code: the times' distribution and 10% dropped conditions. Ours: the steps of stages one and two, the batch of
stage two, the distillation's weight of 1, stage three's learning rate (that of the code base it was built on), its
resolution and sampler. Data stands in lists of JSON lines; none of the originals' was published.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from PIL import Image as pil
from tokenizers import Tokenizer
from torch import Tensor, nn

from limner.algorithms.adapters import add_adapters, merge_adapters
from limner.algorithms.rgpo import RewardLearner, RewardSettings, rgpo
from limner.algorithms.unigrpo import Exercise, rounds
from limner.codecs.vae import Vae
from limner.judges.base import Judge, weigh
from limner.judges.clip import Scorer, clip_scorer, fits
from limner.models import checkpoint
from limner.models import qwen25vl_weights as files
from limner.models.mindomni import teacher, weights
from limner.models.mindomni.config import OMNIGEN, DecoderConfig, MindOmniConfig
from limner.models.mindomni.model import MindOmni
from limner.models.mindomni.render import well_formed
from limner.models.mindomni.small import initialise_part
from limner.models.vocabulary import load_tokenizer
from limner.parts import Ask, Conversation, Image, Part, Sample, Task, Text, Thinking, Verdict, user
from limner.process.base import Context
from limner.process.flow import Flow, FlowDraw, level_divergence
from limner.process.noise import Noise
from limner.recipes.mmada_data import Lines
from limner.train.data import each_step
from limner.train.micro import micro_steps
from limner.train.optim import Optimizers, adamw
from limner.train.run import Run

if TYPE_CHECKING:
    from limner.models.mindomni.network import Encoded

DROPPED = 0.1  # share of pictures trained without their condition
LANGUAGE = r"mllm\.network\.model\.language_model\.layers\."  # where adapters go
ROLLOUT = (512, 20, 2.0)  # pixels, steps and guidance of a picture in stage three
TOLD = 1024  # the most tokens of a chain in stage three
RGPO = RewardSettings(rows=1, rollout_rows=8)


@dataclass(frozen=True)
class Row:
    """One picture to learn: what was asked, what stands before the picture in the reply, the picture, and the words
    by which OmniGen itself would draw it (with the pictures that were shown)."""

    conversation: Conversation
    reply: tuple[Part, ...]
    picture: pil.Image
    own: str = ""


@dataclass(frozen=True)
class Teacher:
    """The frozen decoder with its own conditions. ``form`` is put around the words, ``limit`` cuts them."""

    tokenizer: Tokenizer
    form: str = OMNIGEN
    limit: int = 256

    def encoded(self, model: MindOmni, texts: Sequence[str], more: int) -> Encoded:
        """Conditions of words, padded on the left."""
        rows = [self.tokenizer.encode(self.form.format(text)).ids[-self.limit :] for text in texts]
        longest = max(map(len, rows))
        pad = model.decoder.config.pad
        ids = torch.tensor([[pad] * (longest - len(row)) + row for row in rows], device=model.device)
        missing = torch.tensor([longest - len(row) for row in rows], device=model.device)
        kept = torch.arange(longest, device=model.device)[None, :] >= missing[:, None]
        return teacher.encode(model.decoder, ids, kept, more)


def picture_of(row: Row) -> pil.Image:
    """The picture as RGB."""
    return row.picture.convert("RGB")


def flow_rows(
    model: MindOmni, rows: Sequence[Row], size: int, rng: torch.Generator, dropped: float = DROPPED
) -> tuple[Context, Tensor, FlowDraw]:
    """(Contexts, values, draw) of rows; a share of them has the negative prompt as its condition."""
    gone = torch.rand(len(rows), generator=rng) < dropped
    nothing: Conversation = (user(Text(model.config.negative)),)
    conversations = [nothing if lost else row.conversation for row, lost in zip(rows, gone.tolist(), strict=True)]
    replies = [() if lost else row.reply for row, lost in zip(rows, gone.tolist(), strict=True)]
    given = model.context(conversations, replies, Ask("image", size=size)).given
    values = model.see([picture_of(row) for row in rows], size)
    seeds = torch.randint(0, 2**62, (len(rows),), generator=rng).tolist()
    process = model.process("image")
    assert isinstance(process, Flow)
    return Context(given, given), values, process.draw(values, Noise.of(seeds))


def flow_loss(
    model: MindOmni, rows: Sequence[Row], size: int, rng: torch.Generator, taught: Teacher | None = None
) -> tuple[Tensor, dict[str, float]]:
    """(loss, numbers): mean squared error of the velocity; with a teacher also the mean divergence of the picture's
    token states, level by level, from those of the decoder under its own condition."""
    context, values, draw = flow_rows(model, rows, size, rng)
    process = model.process("image")
    assert isinstance(process, Flow)
    if taught is None:
        loss = -process.log_prob(context, values, draw).mean.mean()
        return loss, {"flow": float(loss.detach())}
    velocity, levels = process.traced(context, values, draw)
    mixed, time, wanted = process.noisy(values, draw)
    flow = ((velocity - wanted) ** 2).mean()
    grid = mixed.unflatten(1, (model.vae.channels, *model.square(mixed.shape[1])))
    more = 1 + levels.shape[2]
    every: list[Tensor] = []
    with torch.no_grad():
        own = taught.encoded(model, [row.own for row in rows], more)
        model.decoder.denoise(own, grid, time, levels=every)
    distilled = level_divergence(levels, torch.stack(every, dim=1)).mean()
    return flow + distilled, {"flow": float(flow.detach()), "distilled": float(distilled.detach())}


def train_only(model: MindOmni, *parts: Literal["mllm", "connector", "decoder"]) -> MindOmni:
    """Freeze all but these parts, and of them what no loss reaches; the vision tower is always frozen."""
    model.requires_grad_(False)
    for part in parts:
        model.get_submodule(part).requires_grad_(True)
    model.mllm.network.model.visual.requires_grad_(False)
    model.decoder.embed_tokens.requires_grad_(False)
    model.decoder.patch_embedding.input_image_proj.requires_grad_(False)
    return model


# data


def _open(file: Path) -> pil.Image:
    with pil.open(file) as picture:
        return picture.convert("RGB")


def listed_rows(data: Path, chains: bool) -> Callable[[int, int], list[Row]]:
    """Rows of all lists in a folder, drawn by seed. A line has ``image`` (a file beside the list), ``text``, perhaps
    ``inputs`` (files of pictures that are shown), and for chains ``thought`` and ``answer``."""
    opened: list[Lines] = []

    def make(seed: int, size: int) -> list[Row]:
        if not opened:
            opened.extend(Lines(path) for path in sorted(data.glob("*.jsonl")))
        if not opened:
            raise ValueError(f"there is no list in {data}; put JSON lines there, as the recipe's page describes")
        rng, rows = random.Random(seed), []
        for _ in range(size):
            lines = rng.choice(opened)
            line, home = lines[rng.randrange(len(lines))], lines.path.parent
            shown = [Image(_open(home / file)) for file in line.get("inputs", [])]
            reply: tuple[Part, ...] = ()
            if chains:
                missing = [name for name in ("thought", "answer") if not line.get(name)]
                if missing:
                    raise ValueError(f"a line of {lines.path} has no {missing[0]!r}; stage two needs worked chains")
                reply = (Thinking(MindOmni.chain(line["thought"], line["answer"])),)
            rows.append(Row((user(*shown, line["text"]),), reply, _open(home / line["image"]), line["text"]))
        return rows

    return make


def listed_tasks(data: Path) -> Callable[[int, int], list[Task]]:
    """Prompts of all lists in a folder: ``prompt`` is asked, ``caption`` says plainly what must be seen."""
    opened: list[Lines] = []

    def make(seed: int, number: int) -> list[Task]:
        if not opened:
            opened.extend(Lines(path) for path in sorted(data.glob("*.jsonl")))
        if not opened:
            raise ValueError(f"there is no list in {data}; put JSON lines with prompt and caption there")
        rng, found = random.Random(seed), []
        for _ in range(number):
            lines = rng.choice(opened)
            index = rng.randrange(len(lines))
            line = lines[index]
            found.append(Task((user(line["prompt"]),), {"caption": line["caption"]}, (), f"{lines.path.stem}-{index}"))
        return found

    return make


# models


def from_parts(qwen: Path, omnigen: Path, dtype: torch.dtype = torch.float32) -> MindOmni:
    """Qwen2.5-VL, OmniGen and a fresh connector between them."""
    vae = Vae.from_folder(omnigen / "vae")
    decoder = DecoderConfig.from_json(checkpoint.read_json(omnigen), vae.channels)
    mllm = checkpoint.read_json(qwen)
    generation, processor = (files.read_json(qwen / f"{name}_config.json") for name in ("generation", "preprocessor"))
    with torch.device("meta"):
        model = MindOmni(MindOmniConfig(), load_tokenizer(qwen), mllm, decoder, vae, generation, processor)
    files.load_into(model.mllm, "language model", files.translated(checkpoint.read(qwen)), dtype)
    files.load_into(model.decoder, "decoder", weights.decoder(checkpoint.read(omnigen), decoder), dtype)
    model.mllm.rebuild_tables()
    model.connector.to_empty(device="cpu")
    initialise_part(model.connector, torch.Generator().manual_seed(0))
    return model


def save_half(model: nn.Module, folder: Path) -> None:
    """Write the model in bfloat16."""
    assert isinstance(model, MindOmni)
    model.save(folder, torch.bfloat16)


def optimizer(model: nn.Module, lr: float, weight_decay: float) -> Optimizers:
    """AdamW with the usual betas."""
    return adamw(model, lr, weight_decay, betas=(0.9, 0.999))


def supervised(
    name: str,
    build: Callable[[], MindOmni],
    make: Callable[[int, int], list[Row]],
    taught: Callable[[], Teacher] | None,
    size: int,
    micro: int,
    **numbers: Any,
) -> Run:
    """The run of a stage that learns pictures from rows."""
    found: list[Teacher] = []

    def objective(model: nn.Module, rows: list[Row], rng: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        assert isinstance(model, MindOmni)
        if taught is not None and not found:
            found.append(taught())
        return micro_steps(lambda some: flow_loss(model, some, size, rng, found[0] if found else None), rows, micro)

    plain: dict[str, Any] = {"ema": 0.0, "optimizer": optimizer, "finish": save_half, "dtype": "bfloat16"}
    settings = {"size": size, "dropped": DROPPED, **numbers.pop("settings", {})}
    return Run(
        name=name, build=build, objective=objective, batches=each_step(make), settings=settings, **plain | numbers
    )


def stage_one(
    qwen: Path = Path("checkpoints/Qwen2.5-VL-7B-Instruct"),
    omnigen: Path = Path("checkpoints/OmniGen-v1"),
    data: Path = Path("data/mindomni/one"),
) -> Run:
    """The connector learns to speak to OmniGen (256 px).

    Published: rate 1e-4, batch 1024, weight decay 0.05, both losses. Ours: 20,000 steps, weight 1 of the distillation,
    a constant rate after 1,000 steps. Data: LAION-COCO captions, JourneyDB pairs, X2I.
    """
    return supervised(
        "mindomni.stage_one",
        lambda: train_only(from_parts(qwen, omnigen), "connector"),
        listed_rows(data, False),
        lambda: Teacher(load_tokenizer(omnigen)),
        256,
        16,
        steps=20_000,
        batch_size=1024,
        lr=1e-4,
        schedule="constant",
        warmup=1000,
        weight_decay=0.05,
        checkpoint_every=500,
        settings={"distillation": 1.0},
    )


def stage_two(start: Path = Path("runs/mindomni.stage_one/released"), data: Path = Path("data/mindomni/two")) -> Run:
    """Connector and decoder learn to draw behind a chain of thought (512 px).

    Published: rate 5e-5, a coarse description as the answer and a fine one as the thought. Ours: 10,000 steps of 256
    pictures, weight decay 0.05. Data: chains and pictures made by strong models (Sana and FLUX in the paper).
    """
    return supervised(
        "mindomni.stage_two",
        lambda: train_only(MindOmni.load(start), "connector", "decoder"),
        listed_rows(data, True),
        None,
        512,
        8,
        steps=10_000,
        batch_size=256,
        lr=5e-5,
        schedule="constant",
        warmup=500,
        weight_decay=0.05,
        checkpoint_every=250,
    )


def form(model: MindOmni, lenient: bool = False) -> Judge:
    """1 for a thought, then an answer, and nothing else; else 0."""

    def judge(samples: Sequence[Sample]) -> list[Verdict]:
        verdicts = []
        for sample in samples:
            part = sample.first("thinking")
            text = "" if part is None else model.renderer.whole(part)
            good = well_formed(text, lenient)
            verdicts.append(Verdict(float(good), why="" if good else "the chain is not a thought and then an answer"))
        return verdicts

    return judge


def stage_three(
    start: Path = Path("runs/mindomni.stage_two/released"),
    data: Path = Path("data/mindomni/three"),
    settings: RewardSettings = RGPO,
    prompts: int = 32,
    clip: Scorer | None = None,
    judges: Mapping[str, tuple[Judge, float]] | None = None,
    adapters: int = 0,
) -> Run:
    """RGPO: the language model learns to think for pictures; connector, decoder and vision tower stay.

    Published: 4 rollouts a prompt, beta 0.01 for text and 0.06 for pictures, format and CLIP rewards of weight 1, 600
    steps of 128 rollouts, a cosine schedule. Ours: rate 1e-6, 512 px in 20 steps with guidance 3 in the official
    counting, temperature 1, at most 1024 tokens, one update a round. ``judges`` are further rewards by name with
    weights; ``adapters`` above 0 trains low-rank adapters of that rank, whose base is the reference.
    """
    scorer = clip or clip_scorer()
    made: list[Exercise] = []

    def build() -> RewardLearner:
        policy = train_only(MindOmni.load(start), "mllm")
        if adapters:
            add_adapters(policy, LANGUAGE, adapters)
        reference = MindOmni.load(start) if settings.compares and not adapters else None
        size, steps, guidance = ROLLOUT
        plan = (Ask("thinking", TOLD, temperature=1.0), Ask("image", 0, size, steps, guidance, 1.0))
        reward = weigh(format=(form(policy), 1.0), consistency=(fits(scorer), 1.0), **dict(judges or {}))
        made[:] = [Exercise("draw", plan, reward, listed_tasks(data), prompts)]
        return RewardLearner(policy, reference, made, settings)

    def finish(learner: nn.Module, folder: Path) -> None:
        assert isinstance(learner, RewardLearner) and isinstance(learner.policy, MindOmni)
        merge_adapters(learner.policy)
        learner.policy.save(folder, torch.bfloat16)

    return Run(
        name="mindomni.stage_three",
        build=build,
        objective=rgpo,
        divides=True,
        batches=lambda seed, first, size: rounds(made, settings.updates)(seed, first, size),
        optimizer=optimizer,
        finish=finish,
        steps=600 * settings.updates,
        batch_size=settings.group * prompts,
        lr=1e-6,
        schedule="cosine",
        ema=0.0,
        dtype="bfloat16",
        checkpoint_every=20,
        settings=json.loads(json.dumps({"prompts": prompts, "adapters": adapters, "rl": asdict(settings)})),
    )
