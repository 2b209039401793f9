"""Runs on small models of every family, for one process or several."""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from limner.algorithms import gate
from limner.algorithms.dpo import Aligner, DpoSettings, Preference, align
from limner.algorithms.rgpo import RewardLearner, RewardSettings, rgpo
from limner.algorithms.sft import Piece, sft
from limner.algorithms.unigrpo import Exercise, GroupLearner, GroupSettings, rounds, unigrpo
from limner.parts import Ask, PartKind, Sample, Task, Verdict
from limner.train.data import each_step
from limner.train.fit import fit
from limner.train.run import Run
from limner.train.shard import joined
from limner.turn import draws

HERE = Path(__file__).parent
gate.SAME = 0.0  # in float32 ratios are exactly 1
FAMILIES = ("mindomni", "mmada", "nexusgen", "showo")


@cache
def conformance() -> Any:
    spec = importlib.util.spec_from_file_location("families", HERE.parent / "conformance" / "conftest.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["families"] = module
    spec.loader.exec_module(module)
    return module


@cache
def samples_of(family: str) -> list[Sample]:
    """Replies of the untrained model."""
    return conformance().FAMILIES[family]().samples()


def fresh(family: str) -> nn.Module:
    return conformance().FAMILIES[family]().model


def learn(model: Any, seeds: list[int], rng: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
    """Supervised: a row for every seed, all parts of its reply."""
    every = samples_of(model.family)
    samples = [every[seed % len(every)] for seed in seeds]
    pieces = []
    for index, draw in enumerate(draws(model, samples, seeds)):
        column = [sample.reply[index] for sample in samples]
        values, kind = model.encode(column), column[0].kind
        before = [sample.reply[:index] for sample in samples]
        context = model.context([s.task.prompt for s in samples], before, Ask(kind, limit=values.shape[1]))
        pieces.append(Piece(f"{kind}_{index}", kind, context, values, draw))
    return sft(model, pieces)


def write(model: nn.Module, folder: Path) -> None:
    policy = getattr(model, "policy", model)
    save_file({name: p.detach().contiguous().clone() for name, p in policy.named_parameters()}, folder / "weights")


def plain(model: nn.Module, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """Gradients as they are: AdamW would make an update of the rounding where a gradient is zero."""
    return torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr, momentum=0.9)


RUN: dict[str, Any] = {
    "finish": write, "optimizer": plain, "steps": 2, "batch_size": 4, "lr": 1e-2, "ema": 0.5, "checkpoint_every": 1,
    "log_every": 1,
}  # fmt: skip


def supervised(family: str) -> Run:
    """Two updates of two micro-batches."""
    return Run(
        name=f"sft.{family}",
        build=lambda: fresh(family),
        objective=learn,
        batches=each_step(lambda seed, size: [seed + i for i in range(size)]),
        micro_batches=2,
        **RUN,
    )


def preferred(family: str) -> Run:
    """DPO on pairs of the untrained model's replies."""

    def pairs(seed: int, size: int) -> list[Preference]:
        every = samples_of(family)
        some = [every[(seed + i) % len(every)] for i in range(size + 1)]
        return [Preference(one.task, one.reply, other.reply) for one, other in pairwise(some)]

    return Run(
        name=f"dpo.{family}",
        build=lambda: Aligner(fresh(family), fresh(family), DpoSettings(draws=1)),
        objective=align,
        batches=each_step(pairs),
        micro_batches=2,
        **RUN,
    )


def judged(samples: Sequence[Sample]) -> list[Verdict]:
    """Something that differs from reply to reply."""
    return [Verdict(float(sum(part.raw[0] for part in sample.reply if part.raw) % 7)) for sample in samples]


def exercise_of(model: Any, kinds: Sequence[PartKind] = ("thinking", "image")) -> Exercise:
    tasks = [Task(conversation) for conversation in conformance().FAMILIES[model.family]().conversations[::2]]
    plan = tuple(replace(ask, temperature=1.0, guidance=0.0) for ask in model.plan(kinds))
    return Exercise("draw", plan, judged, lambda seed, number: (tasks * number)[:number], 2)


def practised(
    name: str,
    objective: Callable[..., tuple[Tensor, Mapping[str, float]]],
    family: str,
    learner: Callable[[Any, Any, list[Exercise]], nn.Module],
    updates: int,
) -> Run:
    """Updates of rounds of four replies; ``learner`` is made of policy, reference and exercises."""
    made: list[Exercise] = []

    def build() -> nn.Module:
        policy = fresh(family)
        made[:] = [exercise_of(policy)]
        return learner(policy, fresh(family), made)

    return Run(
        name=name,
        build=build,
        objective=objective,
        batches=lambda seed, first, size: rounds(made, updates)(seed, first, size),
        divides=True,
        **RUN,
    )


def grouped(family: str) -> Run:
    """UniGRPO: two updates of one round of four replies, scored one by one."""
    settings = GroupSettings(group=2, updates=2, rows=1)
    return practised(f"unigrpo.{family}", unigrpo, family, partial(GroupLearner, settings=settings), settings.updates)


def rewarded(family: str) -> Run:
    """RGPO: two updates of one round of four rollouts, in words and, where pictures flow, in their steps too."""
    flows = family in ("mindomni", "nexusgen")
    more: dict[str, Any] = {"decoder": 1.0, "decoder_steps": 1} if flows else {"picture_beta": 0.0}
    settings = RewardSettings(group=2, updates=2, rows=1, **more)
    settings = replace(settings, picture_beta=0.0) if family == "nexusgen" else settings
    return practised(f"rgpo.{family}", rgpo, family, partial(RewardLearner, settings=settings), settings.updates)


KINDS: dict[str, Callable[[str], Run]] = {"sft": supervised, "dpo": preferred, "unigrpo": grouped, "rgpo": rewarded}


def job(name: str) -> Run:
    """JOB: KIND.FAMILY[.SETTING=VALUE ...]."""
    kind, family, *changes = name.split(".")
    found = KINDS[kind](family)
    for change in changes:
        key, value = change.split("=")
        old = getattr(found, key)
        found = replace(found, **{key: value == "True" if isinstance(old, bool) else type(old)(value)})
    return found


def several(jobs: Mapping[str, Path], processes: int = 2, work: Callable[[str, Path], None] | None = None) -> None:
    """Run jobs one after another in as many processes as torchrun would start; raises with what went wrong.

    They are forked, because every process that starts anew would import torch again.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as told:
        started = [
            os.fork() or _be(rank, processes, port, Path(told), jobs, work or run_job) for rank in range(processes)
        ]
        ended = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in started]
        texts = [file.read_text() for file in sorted(Path(told).iterdir())]
    if texts or any(ended):
        raise RuntimeError("\n".join(texts) or f"the processes ended with {ended}")


def _be(
    rank: int, processes: int, port: int, told: Path, jobs: Mapping[str, Path], work: Callable[[str, Path], None]
) -> int:
    """One of the processes; never returns."""
    about = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in about.items()})
    status = 1
    try:
        with joined(torch.device("cpu")):
            for name, folder in jobs.items():
                work(name, folder)
        status = 0
    except BaseException:
        (told / str(rank)).write_text(traceback.format_exc())
    finally:
        os._exit(status)  # never back into the tests


def run_job(name: str, folder: Path) -> None:
    fit(job(name), folder, progress=False)


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "released" / "weights")


def apart(a: Mapping[str, Tensor], b: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> tuple[float, float]:
    """How far two runs' weights are apart: as a share of their size, and of how far they went from the start."""
    assert a.keys() == b.keys()
    between = sum(float((a[n] - b[n]).double().square().sum()) for n in b)
    size = sum(float(b[n].double().square().sum()) for n in b)
    way = sum(float((b[n] - start[n]).double().square().sum()) for n in b)
    assert way > 0
    return (between / size) ** 0.5, (between / way) ** 0.5
