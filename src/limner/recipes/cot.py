"""Image-Generation-CoT in full size, with the published settings (2501.13926 and its code), as runs.

    cot.orm            the outcome reward model         random half of orm.json (288K; the paper says all of it)
    cot.parm           clarity, potential and outcome   parm.json and a random 70% of orm.json (400K)
    cot.dpo            stage 1: from Show-o             10K pairs
    cot.dpo_iter       stage 2: from stage 1            7K new pairs
    cot.dpo_iter_parm  stage 3: from stage 1, guided    the same, with the reward model asked while training

Lists and pictures stand in ``data/cot`` as published (``cot_data``): orm.json, parm.json, dpo.json, dpo_iter.json. The
published loader gave every GPU the same rows, so eight of them made one update of 10 pairs: that is the batch here. The
published guidance has no gradient; ``guided="policy"`` is one that has. None of these was ever run here in full size.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from limner import catalog
from limner.algorithms.dpo import OFFICIAL, Aligner, DpoSettings, Preference, align, guidance, official_guidance
from limner.judges.verifier import Verifier
from limner.models.base import Model
from limner.models.llava.network import Looker, load
from limner.process.noise import Noise
from limner.recipes.cot_data import Labelled, part_of, preference, read_json, read_labelled
from limner.train.optim import Optimizers
from limner.train.run import Run
from limner.turn import rollout

if TYPE_CHECKING:
    from limner.parts import Plan

DATA = Path("data/cot")
REWARD = Path("checkpoints/llava-onevision-qwen2-7b-ov")
SHOWO = "showlab/show-o"
CODEC = "showlab/magvitv2"
SEED = 10086
TOWER = 0.2  # the vision tower's learning rate beside that of the rest: 2e-6 and 1e-5
Guided = Literal["", "official", "policy"]


def in_turn(rows: Sequence[Any], seed: int, first: int, size: int) -> Iterator[list[Any]]:
    """Batches from a step on: every row once in an epoch, in an order of its own."""
    for step in count(first):
        found = []
        for place in range(step * size, (step + 1) * size):
            epoch, index = divmod(place, len(rows))
            found.append(rows[_order(seed, epoch, len(rows))[index]])
        yield found


_ORDERS: dict[tuple[int, int, int], list[int]] = {}


def _order(seed: int, epoch: int, number: int) -> list[int]:
    if (seed, epoch, number) not in _ORDERS:
        _ORDERS.clear()
        _ORDERS[seed, epoch, number] = random.Random(f"{seed}/{epoch}").sample(range(number), number)
    return _ORDERS[seed, epoch, number]


# reward models


def _answers(looker: nn.Module, batch: list[Labelled], rng: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
    """Mean cross-entropy over the answers of a batch, row by row."""
    from PIL import Image as pil

    assert isinstance(looker, Looker)
    total, number = torch.zeros((), device=looker.inner.image_newline.device), 0
    for record in batch:
        with pil.open(record.image) as opened:
            loss, counted = looker.loss(opened.convert("RGB"), list(record.turns))
        total, number = total + loss, number + counted
    return total / max(1, number), {"answers": float(number)}


def _both_rates(looker: nn.Module, lr: float, weight_decay: float) -> Optimizers:
    tower: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in looker.named_parameters():
        (tower if ".vision_tower." in name else rest).append(parameter)
    groups = [{"params": tower, "lr": TOWER * lr}, {"params": rest, "lr": lr}]
    return Optimizers(torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.999), weight_decay=weight_decay))


def _finish_looker(looker: nn.Module, folder: Path) -> None:
    from safetensors.torch import save_file

    assert isinstance(looker, Looker)
    state = {name: tensor.contiguous().to(torch.bfloat16) for name, tensor in looker.network.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    network: Any = looker.network
    network.config.save_pretrained(folder)
    if looker.tokenizer is not None:
        looker.tokenizer.save(str(folder / "tokenizer.json"))


def _reward(name: str, records: Callable[[], list[Labelled]], start: Path, rows: int, batch: int) -> Run:
    def build() -> Looker:
        # tuned on grids of tiles, though it is asked about one padded square later: both as published
        return load(start, dtype=torch.float32, form="anyres")

    def batches(seed: int, first: int, size: int) -> Iterator[list[Labelled]]:
        yield from in_turn(records(), seed, first, size)

    return Run(
        name=name,
        build=build,
        objective=_answers,
        batches=batches,
        optimizer=_both_rates,
        finish=_finish_looker,
        steps=max(1, -(-rows // batch)),
        batch_size=batch,
        lr=1e-5,
        schedule="cosine",
        warmup=round(0.03 * rows / batch),
        clip=1.0,
        ema=0.0,
        dtype="bfloat16",
        checkpoint_every=200,
        settings={"start": start.name, "rows": rows, "tower": TOWER},
    )


def orm(start: Path = REWARD, data: Path = DATA, which: str = "random:50%", rows: int = 144_000) -> Run:
    """The outcome reward model: one epoch, 8 GPUs of 8 rows."""
    return _reward("cot.orm", lambda: read_labelled(data / "orm.json", which), start, rows, 64)


def parm(start: Path = REWARD, data: Path = DATA, which: str = "random:70%", rows: int = 400_000) -> Run:
    """PARM: clarity and potential records, and a share of the outcome's."""

    def records() -> list[Labelled]:
        return read_labelled(data / "orm.json", which) + read_labelled(data / "parm.json")

    return _reward("cot.parm", records, start, rows, 64)


# preference alignment


def load_generator(name: str | Path, codec: str | Path | None = CODEC) -> Model:
    """A generator in float32, with the codec that its pictures are read by; ``codec`` None is the model's own."""
    options: dict[str, Any] = {} if codec is None else {"codec": codec}
    return catalog.load_model(name, **options)


def _decayed(model: nn.Module, lr: float, weight_decay: float) -> Optimizers:
    trained = [p for p in model.parameters() if p.requires_grad]
    return Optimizers(torch.optim.AdamW(trained, lr=lr, betas=(0.9, 0.999), weight_decay=weight_decay))


def _finish_policy(aligner: nn.Module, folder: Path) -> None:
    assert isinstance(aligner, Aligner)
    aligner.policy.save(folder)


def guided_align(
    verifier: Callable[[Model], Verifier],
    guided: Guided,
    plan: Callable[[Model], Plan],
    group: int = 4,
    weight: float = 0.1,
) -> Callable[[nn.Module, Sequence[Preference], torch.Generator], tuple[Tensor, dict[str, float]]]:
    """The objective with the online term: pictures of the batch's prompts by the present policy, judged. "official"
    adds a number without a gradient, "policy" a score-function gradient. The verifier is built at first use, for the
    policy: it may be the policy itself."""
    made: list[Verifier] = []

    def objective(
        aligner: nn.Module, pairs: Sequence[Preference], rng: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        assert isinstance(aligner, Aligner)
        loss, numbers = align(aligner, pairs, rng)
        if not made:
            made.append(verifier(aligner.policy))
        seed = int(torch.randint(0, 2**62, (), generator=rng))
        tasks = [pair.task for pair in pairs]
        if guided == "policy":
            term, told = guidance(
                aligner.policy, tasks, plan(aligner.policy), made[0], seed, group=group, weight=weight
            )
            return loss + term, numbers | told
        seeds = Noise.of([seed] * len(tasks)).fork("guide", list(range(len(tasks)))).seed.tolist()
        said = made[0]("outcome", rollout(aligner.policy, tasks, plan(aligner.policy), seeds))
        chances = [opinion.yes for opinion in said if opinion.yes is not None]
        term_value = official_guidance(chances, weight) if chances else 0.0
        return loss + term_value, numbers | {"guide": sum(chances) / max(1, len(chances))}

    return objective


def _preferences(
    name: str,
    start: str | Path,
    reference: str | Path,
    codec: str | Path | None,
    records: Path,
    rows: int,
    how: DpoSettings,
    objective: Callable[..., Any] = align,
    settings: Mapping[str, Any] = {},  # noqa: B006 - read only
) -> Run:
    def build() -> Aligner:
        return Aligner(load_generator(start, codec), load_generator(reference, codec), how)

    def batches(seed: int, first: int, size: int) -> Iterator[list[Preference]]:
        for some in in_turn(part_of(read_json(records), "all"), seed, first, size):
            yield [
                preference(r["prompt"], *(records.parent / r[side] for side in ("chosen", "rejected"))) for r in some
            ]

    batch = 10
    return Run(
        name=name,
        build=build,
        objective=objective,
        batches=batches,
        optimizer=_decayed,
        finish=_finish_policy,
        steps=max(1, rows // batch),
        batch_size=batch,
        lr=1e-5,
        schedule="cosine",
        warmup=rows // batch // 10,
        weight_decay=0.01,
        clip=0.0,
        ema=0.0,
        dtype="bfloat16",
        seed=SEED,
        checkpoint_every=100,
        settings={"start": Path(start).name, "reference": Path(reference).name, "dpo": asdict(how), **settings},
    )


def dpo(
    start: str | Path = SHOWO, data: Path = DATA, codec: str | Path | None = CODEC, how: DpoSettings = OFFICIAL
) -> Run:
    """Stage 1: from Show-o, which is the reference, on 10K pairs."""
    return _preferences("cot.dpo", start, start, codec, data / "dpo.json", 10_000, how)


def dpo_iter(
    start: str | Path = Path("runs/cot.dpo/released"),
    data: Path = DATA,
    codec: str | Path | None = None,
    how: DpoSettings = OFFICIAL,
) -> Run:
    """Stage 2: from stage 1, which is the reference, on 7K pairs of its own pictures."""
    return _preferences("cot.dpo_iter", start, start, codec, data / "dpo_iter.json", 7_000, how)


def dpo_iter_parm(
    start: str | Path = Path("runs/cot.dpo/released"),
    data: Path = DATA,
    codec: str | Path | None = None,
    how: DpoSettings = OFFICIAL,
    reward: Path = Path("checkpoints/parm"),
    guided: Guided = "official",
) -> Run:
    """Stage 3: as stage 2, with the reward model asked about pictures of the present policy."""

    def verifier(model: Model) -> Verifier:
        from limner.judges.named import find_verifier

        return find_verifier(f"llava:{reward}", model)

    objective = guided_align(verifier, guided, lambda model: model.plan(("image",)))
    records, settings = data / "dpo_iter.json", {"guided": guided, "reward": reward.name}
    return _preferences("cot.dpo_iter_parm", start, start, codec, records, 7_000, how, objective, settings)
