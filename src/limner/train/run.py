"""A training run as a value: settings that are data, and the callables that give them meaning.

A recipe is a function that returns a `Run`; a variant changes another's result:

    def longer() -> Run:
        return replace(tiny(), steps=20_000, ema=0.999)

The callables take what they depend on as arguments (`batch_size`, `lr`, ...), so that a replaced setting is a setting
obeyed. A number that only a recipe knows (sizes, shares of a mixture) is an argument of the recipe's function, and is
repeated in `settings`, which is recorded, and compared when the run is resumed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from limner.train.optim import SCHEDULES, Optimizers, Schedule, adamw

DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}

CALLABLES = frozenset({"build", "objective", "batches", "optimizer", "sample", "validate", "finish"})

# Fields that change what is reported and how fast, but never a weight: they may differ when a run is resumed.
# Those of the last line change by rounding at most.
FREE = frozenset({"log_every", "sample_every", "validate_every", "checkpoint_every", "keep", "prefetch"}) | frozenset(
    {"divides", "gather", "replicas", "recompute", "compile"}
)

Objective = Callable[[nn.Module, Any, torch.Generator], tuple[Tensor, Mapping[str, float]]]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run. Steps count updates; `lr` is the peak; sizes and shares are checked on construction."""

    name: str
    # Called under `seed`.
    build: Callable[[], nn.Module]
    # (model, batch, rng of this step on the CPU) -> loss, numbers to report (nan: not measured on this batch).
    objective: Objective
    # (seed, first step, batch size) -> the batches from that step on; `data.each_step` makes one.
    batches: Callable[[int, int, int], Iterator[Any]]
    # (model, lr, weight decay)
    optimizer: Callable[[nn.Module, float, float], Optimizers | torch.optim.Optimizer] = adamw
    # (model with averaged weights, folder, step): writes a sheet of samples.
    sample: Callable[[nn.Module, Path, int], None] | None = None
    # (model with averaged weights, step) -> numbers on what was never trained on; "loss" or "score" is the headline.
    validate: Callable[[nn.Module, int], Mapping[str, float]] | None = None
    # (model with averaged weights, folder): writes the released checkpoint.
    finish: Callable[[nn.Module, Path], None] | None = None

    steps: int
    batch_size: int
    lr: float
    schedule: str = "hold_then_decay"
    warmup: int = 0  # steps
    hold: float = 0.5  # share of the steps before the decay begins
    floor: float = 0.0  # factor at the end of the decay
    weight_decay: float = 0.0
    clip: float = 1.0  # largest norm of the gradient; 0: never clipped
    ema: float = 0.998  # decay of the averaged weights; 0: no averaging
    dtype: str = "float32"  # of the forward pass; weights keep their own
    seed: int = 0
    # Of an update. The loss is their mean, each runs backward by itself, and processes share them out: W processes
    # need a multiple of W.
    micro_batches: int = 1
    # The objective shares out a batch's rows itself: every process is given the whole batch and computes a part of the
    # loss, and the parts are added up.
    divides: bool = False
    gather: Literal["whole", "layers"] = "whole"  # how sharded weights come together: see ``shard``
    replicas: int = 1  # whole copies of the weights among all processes (HSDP)
    recompute: bool = False  # activations of layers are computed again in the backward pass instead of kept
    compile: bool = False  # layers through torch.compile
    frozen: str = ""  # regular expression, from a name's beginning: these weights are not trained
    # Regular expression, from a name's beginning -> factor on lr; the first that matches counts, others have 1.
    rates: Mapping[str, float] = field(default_factory=dict)
    threads: int = 1  # of torch
    prefetch: int = 2  # batches made ahead in the background; 0: none
    log_every: int = 20
    sample_every: int = 0  # 0: never
    validate_every: int = 0  # 0: never
    checkpoint_every: int = 500
    keep: int = 2  # checkpoints kept
    settings: Mapping[str, Any] = field(default_factory=dict)  # the recipe's own, as JSON

    def __post_init__(self) -> None:
        for name in (
            "steps",
            "batch_size",
            "threads",
            "log_every",
            "checkpoint_every",
            "keep",
            "micro_batches",
            "replicas",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} in run {self.name!r} must be at least 1")
        for name in ("warmup", "sample_every", "validate_every", "prefetch", "clip", "weight_decay", "lr"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} in run {self.name!r} must not be negative")
        for name in ("hold", "floor"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name}={getattr(self, name)} in run {self.name!r} must be a share between 0 and 1")
        if not 0.0 <= self.ema < 1.0:
            raise ValueError(f"ema={self.ema} in run {self.name!r} must be in [0, 1); 0 switches averaging off")
        if self.batch_size % self.micro_batches:
            raise ValueError(
                f"micro_batches={self.micro_batches} in run {self.name!r} must divide batch_size={self.batch_size}"
            )
        gathers = ["layers", "whole"]
        for name, known in (("schedule", sorted(SCHEDULES)), ("dtype", sorted(DTYPES)), ("gather", gathers)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} in run {self.name!r} is not one of: {', '.join(known)}"
                )
        try:
            json.dumps(dict(self.settings), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"settings of run {self.name!r} must be plain JSON values: {error}") from error

    def config(self) -> dict[str, Any]:
        """The settings as data, equal to themselves after a round trip through JSON."""
        plain = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in CALLABLES}
        return json.loads(json.dumps({**plain, "settings": dict(self.settings), "rates": dict(self.rates)}))

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """The settings that have a default, as data."""
        plain = {each.name: each.default for each in fields(cls) if each.name not in CALLABLES}
        return {name: value for name, value in plain.items() if value is not MISSING} | {"settings": {}, "rates": {}}

    def factor(self) -> Schedule:
        """The schedule: step -> factor on the learning rate."""
        return SCHEDULES[self.schedule](self.steps, warmup=self.warmup, hold=self.hold, floor=self.floor)
