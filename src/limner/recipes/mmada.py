"""MMaDA-8B in the six published stages (2505.15809 section 3; values from its code and configs), as runs.

    1.1  class names to pictures at 256 px, plain text, captions        from LLaDA-8B-Instruct
    1.2  captions to pictures at 256 px, plain text, captions
    1.3  captions to pictures at 512 px, instructions, captions
    2.1  the same pictures, chats with worked thoughts, questions with worked thoughts
    2.2  mostly words: chats with thoughts, questions about pictures    gives the published MixCoT
    3    UniGRPO on words, questions about pictures, and pictures

Data stands in lists (``mmada_data``), TASK being t2i, lm or mmu, in stage 3 text, look or draw. None of the
chain-of-thought data was published. One update has the rows of ``RANKS`` GPUs and of the accumulation; each
micro-step is run backward by itself. Costs are 6 x 8.08e9 operations a token at 40% of an A100's bfloat16 peak.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from limner.algorithms.sft import Piece, sft
from limner.algorithms.unigrpo import PAPER, Exercise, GroupLearner, GroupSettings, rounds, unigrpo
from limner.judges.base import weigh
from limner.judges.clip import Scorer, clip_scorer, fits
from limner.judges.words import right_answer, well_formed
from limner.models.mmada import weights
from limner.models.mmada.config import MMaDAConfig, released
from limner.models.mmada.model import MMaDA, load_codec
from limner.models.mmada.network import Network
from limner.models.mmada.tokenizer import CLOSE, load_tokenizer
from limner.parts import Ask, Task, Thinking, user
from limner.recipes.mmada_data import Lines, Mixed, Stage, picture_of
from limner.train.data import each_step
from limner.train.run import Run

RANKS = 64  # GPUs of the published runs
SEED = 10086
THREE = replace(PAPER, rows=1, rollout_rows=8)  # in as little memory as possible
SAID = (192, 64)  # tokens of a thought and of an answer in stage 3
DRAWN = (512, 100)  # pixels and steps of a picture in stage 3
TABLES = ("model.transformer.wte.weight", "model.transformer.ff_out.weight")
CODEC = Path("checkpoints/magvitv2")

_CAPTIONS = {"sa1b": 1.0, "cc12m": 1.0, "laion": 1.0}
_PICTURES = {"journeydb": 1.0, "laion": 1.0}
ONE_1 = Stage(
    "mmada.stage_1_1", 256, 128, (7, 2, 6), 2, 1e-4, 0.0, (1.0, 0.1, 1.0), 200_000,
    {"t2i": {"imagenet": 1.0}, "lm": {"refinedweb": 1.0}, "mmu": _CAPTIONS}, True,
)  # fmt: skip
ONE_2 = replace(
    ONE_1, name="mmada.stage_1_2", text_budget=256, rows=(7, 2, 3), lr=5e-5, floor=0.1, weights=(1.0, 0.1, 0.5),
    steps=400_000, sources={"t2i": _CAPTIONS, "lm": {"refinedweb": 1.0}, "mmu": _CAPTIONS},
)  # fmt: skip
ONE_3 = replace(
    ONE_2, name="mmada.stage_1_3", size=512, text_budget=512, rows=(4, 1, 1), accumulation=4, weights=(1.0, 0.4, 0.5),
    steps=50_000, by_row=False,
    sources={"t2i": _PICTURES | {"text_to_image_2m": 1.0}, "lm": {"instructions": 1.0}, "mmu": _CAPTIONS},
)  # fmt: skip
TWO_1 = replace(
    ONE_3, name="mmada.stage_2_1", rows=(1, 2, 1), weights=(1.0, 0.5, 0.5), steps=210_000,
    sources={"t2i": _PICTURES, "lm": {"thoughts": 1.0}, "mmu": {"thoughts": 1.0, "laion": 1.0}},
)  # fmt: skip
TWO_2 = replace(
    TWO_1, name="mmada.stage_2_2", weights=(0.05, 0.6, 0.4), steps=170_000,
    sources={
        "t2i": _PICTURES,
        "lm": {"chats": 0.98, "refinedweb": 0.02},
        "mmu": {"thoughts": 0.35, "llava_665k": 0.55, "clevr_cogent": 0.05, "geo170k": 0.05},
    },
)  # fmt: skip


def grown(table: Tensor, rows: int, seed: int = 0) -> Tensor:
    """A table (V, D) with new rows up to ``rows``: the old rows' mean, and noise of a billionth of their covariance."""
    missing = rows - len(table)
    if missing < 0:
        raise ValueError(f"the table has {len(table)} rows, more than the {rows} wanted")
    wide = table.float()
    centre = wide.mean(dim=0)
    noise = torch.randn(missing, len(table), generator=torch.Generator().manual_seed(seed))
    spread = noise @ (wide - centre) * (1e-9 / max(1, len(table) - 1)) ** 0.5
    return torch.cat([table, (centre + spread).to(table.dtype)])


def as_published(config: MMaDAConfig, size: int, text_budget: int) -> MMaDAConfig:
    """A config for training as the released weights were: padding is looked at, and every row of the table competes."""
    defaults = replace(config.defaults, size=size)
    grids = config.grids if size in config.grids else {**config.grids, size: size // 16}
    return replace(
        config,
        attention="full",
        padding="fixed",
        words_only=False,
        text_budget=text_budget,
        defaults=defaults,
        grids=grids,
    )


def from_llada(folder: Path, codec: Path, size: int, text_budget: int) -> MMaDA:
    """LLaDA-8B-Instruct with its two tables grown for picture codes."""
    config = as_published(released(size, text_budget), size, text_budget)
    with torch.device("meta"):
        network = Network(config)
    named = ((n, grown(t, config.rows) if n in TABLES else t) for n, t in weights.read(folder))
    weights.load_into(network, named, torch.float32)
    return MMaDA.around(config, load_tokenizer(folder), network, load_codec(codec))


def from_stage(folder: Path, codec: Path, size: int, text_budget: int) -> MMaDA:
    """The model that an earlier stage released, for pictures and texts of this size."""
    model = MMaDA.load(folder, codec=codec if codec.is_dir() else None)
    config = as_published(model.config, size, text_budget)
    model.network.config = config
    return MMaDA.around(config, model.tokenizer, model.network, model.codec)


def without_weights(model: MMaDA) -> MMaDA:
    """The same words and codec around an empty network: enough to lay out rows and to draw what is hidden."""
    with torch.device("meta"):
        network = Network(model.config)
    return MMaDA.around(model.config, model.tokenizer, network, model.codec)


def objective(model: nn.Module, batch: list[list[Piece]], rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
    """(loss, numbers): the published losses, averaged over micro-batches, all but the last run backward here."""
    assert isinstance(model, MMaDA)
    total, numbers = torch.zeros((), device=model.device), dict[str, float]()
    for index, pieces in enumerate(batch):
        loss, some = sft(model, [piece.to(model.device) for piece in pieces], pictures="table")
        loss = loss / len(batch)
        if index + 1 < len(batch):
            loss.backward()
            loss = loss.detach()
        total = total + loss
        for name, value in some.items():
            numbers[name] = numbers.get(name, 0.0) + value / len(batch)
    return total, numbers


def everything_decays(model: nn.Module, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """The published AdamW: norms and tables decay as well, for its list of exceptions matches no name."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(trained, lr=lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=weight_decay)


def save_half(model: nn.Module, folder: Path) -> None:
    """Write the model in bfloat16."""
    assert isinstance(model, MMaDA)
    model.save(folder, torch.bfloat16)


def run_stage(stage: Stage, build: Callable[[], MMaDA], data: Path, ranks: int = RANKS) -> Run:
    """The run of a supervised stage. ``ranks`` 1 is one GPU's share of the published batch."""
    makers: list[Mixed] = []
    built: list[MMaDA] = []

    def begin() -> MMaDA:
        model = build()
        built[:] = [without_weights(model)]
        return model

    def make(seed: int, size: int) -> list[list[Piece]]:
        if not makers:
            makers.append(Mixed(built[0] if built else without_weights(build()), stage, data))
        return makers[0](seed, size)

    return Run(
        name=stage.name,
        build=begin,
        objective=objective,
        batches=each_step(make),
        optimizer=everything_decays,
        finish=save_half,
        steps=stage.steps,
        batch_size=ranks * stage.accumulation * sum(stage.rows),
        lr=stage.lr,
        schedule="cosine",
        warmup=5000,
        floor=stage.floor,
        weight_decay=0.01,
        ema=0.0,
        dtype="bfloat16",
        seed=SEED,
        checkpoint_every=1000,
        settings={
            "rows": stage.rows,
            "weights": stage.weights,
            "sources": {k: dict(v) for k, v in stage.sources.items()},
        },
    )


def stage_1_1(
    start: Path = Path("checkpoints/LLaDA-8B-Instruct"), data: Path = Path("data/mmada/1_1"), codec: Path = CODEC
) -> Run:
    """Class names to pictures (256 px), plain text, captions.

    Source: config of stage 1 and paper, 200 K steps; the config has no floor of the rate, here 0. Data: ImageNet-1k by
    class name, RefinedWeb, SA-1B, CC12M and LAION captions. Cost: 0.74 M tokens an update, 16,000 A100 hours.
    """
    return run_stage(ONE_1, lambda: from_llada(start, codec, ONE_1.size, ONE_1.text_budget), data)


def stage_1_2(
    start: Path = Path("runs/mmada.stage_1_1/released"), data: Path = Path("data/mmada/1_2"), codec: Path = CODEC
) -> Run:
    """Captions to pictures (256 px), plain text, captions.

    Source: config and paper, 400 K steps. Data: SA-1B, CC12M, LAION-aesthetics-12M (recaptioned by Qwen2.5-VL-3B),
    RefinedWeb. Cost: 0.79 M tokens an update, 34,000 A100 hours.
    """
    return run_stage(ONE_2, lambda: from_stage(start, codec, ONE_2.size, ONE_2.text_budget), data)


def stage_1_3(
    start: Path = Path("runs/mmada.stage_1_2/released"), data: Path = Path("data/mmada/1_3"), codec: Path = CODEC
) -> Run:
    """Captions to pictures (512 px), instructions, captions.

    Source: config; the number of steps was not published, 50 K here. Data: JourneyDB, LAION, text-to-image-2M,
    instruction chats such as Alpaca. Cost: 2.4 M tokens an update, 13,000 A100 hours.
    """
    return run_stage(ONE_3, lambda: from_stage(start, codec, ONE_3.size, ONE_3.text_budget), data)


def stage_2_1(
    start: Path = Path("runs/mmada.stage_1_3/released"), data: Path = Path("data/mmada/2_1"), codec: Path = CODEC
) -> Run:
    """Mixed long chain-of-thought, text first.

    Source: config; 210 K steps by the code's history, 50 K for both halves by the paper. Data: JourneyDB, filtered
    LAION; chats with thoughts under 1,536 tokens (ReasonFlux, LIMO, s1K, OpenThoughts, AceMath); AI2D, CLEVR, DocVQA,
    Geo with thoughts. Cost: 1.6 M tokens an update, 36,000 A100 hours.
    """
    return run_stage(TWO_1, lambda: from_stage(start, codec, TWO_1.size, TWO_1.text_budget), data)


def stage_2_2(
    start: Path = Path("runs/mmada.stage_2_1/released"), data: Path = Path("data/mmada/2_2"), codec: Path = CODEC
) -> Run:
    """Mixed long chain-of-thought, questions about pictures: MixCoT.

    Source: config; step 170 K was under test when MixCoT appeared. Data: as 2.1, LLaVA-665K, CLEVR-CoGenT, Geo170K.
    Cost: 1.6 M tokens an update, 29,000 A100 hours.
    """
    return run_stage(TWO_2, lambda: from_stage(start, codec, TWO_2.size, TWO_2.text_budget), data)


def closed(thought: Thinking, model: MMaDA) -> bool:
    """Whether a thought was ended by its tag, here plain text."""
    said = model.renderer.written(thought.raw or ())
    return thought.raw is None or CLOSE in model.tokenizer.decode(said, skip_special_tokens=False)


def _tasks(data: Path, kind: str) -> Callable[[int, int], list[Task]]:
    """Tasks drawn from all lists of data/KIND; ``answer`` and ``caption`` of a line are its facts."""
    opened: list[Lines] = []

    def make(seed: int, number: int) -> list[Task]:
        if not opened:
            opened.extend(Lines(path) for path in sorted((data / kind).glob("*.jsonl")))
        if not opened:
            raise ValueError(f"there is no list in {data / kind}; put JSON lines there, or set {kind}=0")
        rng, found = random.Random(seed), []
        for _ in range(number):
            lines = rng.choice(opened)
            index = rng.randrange(len(lines))
            line = lines[index]
            shown = [picture_of(line, lines.path.parent)] if "image" in line or "codes" in line else []
            facts: dict[str, Any] = {name: line[name] for name in ("answer", "caption") if name in line}
            found.append(Task((user(*shown, line["prompt"]),), facts, (kind,), f"{lines.path.stem}-{index}"))
        return found

    return make


def stage_3(
    start: Path = Path("runs/mmada.stage_2_2/released"),
    data: Path = Path("data/mmada/3"),
    codec: Path = CODEC,
    settings: GroupSettings = THREE,
    text: int = 64,
    look: int = 64,
    draw: int = 64,
    clip: Scorer | None = None,
    picture_score: Scorer | None = None,
) -> Run:
    """UniGRPO on words, questions about pictures, and pictures; ``text``, ``look`` and ``draw`` are prompts a round.

    Source: paper (rewards, masks; 50 K steps) and the compiled trainer (8 replies, rate 1e-6, beta 0.04, clip 0.2, 256
    new tokens in half as many steps, temperature 0.9; pictures in 100 steps with guidance 5; one prompt of each kind a
    GPU; it reveals words in random order, here the surest come first). Rewards: 2.0 for a right answer and 0.5 for the
    form in words; 0.1 CLIP score and 0.1 ``picture_score`` (ImageReward in the paper; left out where none is given) for
    pictures. Data: GSM8K; GeoQA and CLEVR with answers; prompts for pictures. Cost: 3.4 M tokens an update, scored by
    three policies, 31,000 A100 hours; making the replies costs ten times as much.
    """
    scorer = clip or clip_scorer(scale=100.0)
    made: list[Exercise] = []
    words: list[MMaDA] = []  # how the policy writes, once it is built

    def exercises() -> list[Exercise]:
        if made:
            return made
        form = well_formed(lambda thought: closed(thought, words[0]))
        answer = weigh(correct=(right_answer(), 2.0), format=(form, 0.5))
        fitting: dict[str, Any] = {"clip": (fits(scorer), 0.1)}
        if picture_score is not None:
            fitting["picture"] = (fits(picture_score), 0.1)
        thought, spoken = SAID
        said = (
            Ask("thinking", thought, steps=thought // 2, temperature=0.9),
            Ask("text", spoken, steps=spoken // 2, temperature=0.9),
        )
        drawn = (Ask("image", 0, *DRAWN, 5.0, 1.0),)
        every = [
            Exercise("text", said, answer, _tasks(data, "text"), text),
            Exercise("look", said, answer, _tasks(data, "look"), look),
            Exercise("draw", drawn, weigh(**fitting), _tasks(data, "draw"), draw),
        ]
        made.extend(exercise for exercise in every if exercise.prompts)
        return made

    def build() -> GroupLearner:
        policy = from_stage(start, codec, 512, 512)
        reference = from_stage(start, codec, 512, 512) if settings.compares else None
        words[:] = [without_weights(policy)]
        return GroupLearner(policy, reference, exercises(), settings)

    def finish(learner: nn.Module, folder: Path) -> None:
        assert isinstance(learner, GroupLearner)
        save_half(learner.policy, folder)

    return Run(
        name="mmada.stage_3",
        build=build,
        objective=unigrpo,
        divides=True,
        batches=lambda seed, first, size: rounds(exercises(), settings.updates)(seed, first, size),
        optimizer=everything_decays,
        finish=finish,
        steps=50_000,
        batch_size=settings.group * (text + look + draw),
        lr=1e-6,
        schedule="constant",
        ema=0.0,
        dtype="bfloat16",
        seed=SEED,
        checkpoint_every=100,
        settings={"text": text, "look": look, "draw": draw, "rl": asdict(settings)},
    )
