"""Preference alignment in small, and in rounds: mine pairs with the present model, align it, and again.

    limner train cot.iterative_dpo --rounds 3                      every round from what the last one released
    limner train cot.iterative_dpo --rounds 3 --guide JUDGE        with a verifier asked while training, as well

A round's folder holds ``pairs`` (``limner mine``) and ``run`` (the training run). All goes on where it was stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from limner import catalog
from limner.algorithms.dpo import Aligner, DpoSettings, Preference, align
from limner.judges.named import SCENES, find_verifier
from limner.judges.verifier import Verifier
from limner.models.base import Model
from limner.parts import Plan
from limner.recipes.cot import guided_align, in_turn
from limner.recipes.cot_data import world_tasks
from limner.recipes.tiny_verifier import default_generator
from limner.train.fit import fit
from limner.train.mining import Mining, by_verifier, mine, read_pairs
from limner.train.optim import Optimizers, adamw
from limner.train.run import Run
from limner.world import lessons

# Without the cross-entropy on what was chosen, 200 updates at 1e-4 made the chosen pictures less likely as well, and
# success fell from 0.77 to 0.38 in one round. At 2e-5 nothing moved, at 2e-4 it broke.
ALIGNED = DpoSettings(beta=0.1, draws=1, sft=1.0, kinds=("image",))


@dataclass(frozen=True)
class Rounds:
    """What a series is made of: prompts a round and their groups, how they are mined, in how many steps pictures are
    drawn to be judged (0: the model's own), updates and rate of each alignment, the judge of the pairs, and a verifier
    that guides ("": none)."""

    prompts: int = 900
    groups: tuple[str, ...] = lessons.SEVERAL  # a generator hardly fails at the others
    mining: Mining = field(default_factory=lambda: Mining(6, "ranked", 3))
    drawn_in: int = 4  # nearly as often right as in twelve, in less than half of the time
    steps: int = 100
    batch: int = 16
    lr: float = 1e-4
    judge: str = SCENES
    guide: str = ""
    how: DpoSettings = ALIGNED
    seed: int = 0


def _plan(model: Model, rounds: Rounds) -> Plan:
    return tuple(replace(ask, steps=rounds.drawn_in) for ask in model.plan(("image",)))


def tiny_dpo(
    start: str | Path | None = None, pairs: Path = Path("runs/cot.pairs/pairs.jsonl"), rounds: Rounds = Rounds()
) -> Run:
    """One alignment of a tiny generator on mined pairs (``limner mine -o runs/cot.pairs``)."""
    origin = str(start or default_generator())

    def build() -> Aligner:
        return Aligner(catalog.load_model(origin), catalog.load_model(origin), rounds.how)

    def batches(seed: int, first: int, size: int) -> Iterator[list[Preference]]:
        found = read_pairs(pairs)
        if not found:
            raise ValueError(f"{pairs} holds no pair; mine more prompts, or with a judge that tells pictures apart")
        yield from in_turn(found, seed, first, size)

    def optimizer(model: nn.Module, lr: float, weight_decay: float) -> Optimizers:
        return adamw(model, lr, weight_decay, betas=(0.9, 0.99))

    def finish(aligner: nn.Module, folder: Path) -> None:
        assert isinstance(aligner, Aligner)
        aligner.policy.save(folder)

    def verifier(model: Model) -> Verifier:
        return find_verifier(rounds.guide, model)

    def plan(model: Model) -> Plan:
        return _plan(model, rounds)

    objective: Callable[..., Any] = guided_align(verifier, "policy", plan) if rounds.guide else align
    return Run(
        name="cot.tiny_dpo",
        build=build,
        objective=objective,
        batches=batches,
        optimizer=optimizer,
        finish=finish,
        steps=rounds.steps,
        batch_size=rounds.batch,
        lr=rounds.lr,
        warmup=max(1, rounds.steps // 10),
        hold=0.5,
        ema=0.98,
        seed=rounds.seed,
        checkpoint_every=50,
        settings={"start": origin, "guide": rounds.guide, "dpo": asdict(rounds.how)},
    )


def iterative_dpo(
    folder: Path,
    number: int = 3,
    start: str | Path | None = None,
    rounds: Rounds = Rounds(),
    *,
    told: Callable[[str], None] = lambda text: None,
    progress: bool = False,
    change: Callable[[Run], Run] = lambda run: run,
) -> Path:
    """So many rounds of mining and alignment; the folder of the last released model. Every round has prompts of its
    own, and what the last one released is both where it begins and its reference."""
    if number < 1:
        raise ValueError(f"{number} rounds cannot be made; give 1 or more")
    present = Path(catalog.find(str(start or default_generator())))
    for round_ in range(1, number + 1):
        place = Path(folder) / f"round-{round_}"
        released = place / "run" / "released"
        if not (released / "config.json").is_file():
            model = catalog.load_model(present)
            tasks = world_tasks(rounds.seed + 1_000 * round_, rounds.prompts, rounds.groups)
            how = replace(rounds.mining, seed=rounds.mining.seed + round_)
            judge = by_verifier(find_verifier(rounds.judge, model))
            label = f"{present.parent.parent.name}/{present.name}, judged by {rounds.judge}"
            found = mine(model, tasks, _plan(model, rounds), judge, how, place / "pairs", label=label)
            told(f"round {round_}: {len(found)} pairs of {len(tasks)} prompts")
            run = tiny_dpo(present, place / "pairs" / "pairs.jsonl", rounds)
            fit(change(replace(run, name="cot.iterative_dpo")), place / "run", progress=progress)
        told(f"round {round_}: {released}")
        present = released
    return present
