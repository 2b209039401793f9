"""A run small enough for tests: dropout, a buffer, two optimizers, averages. As a program it trains into a folder."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from limner.train.data import each_step
from limner.train.fit import Interrupted, fit
from limner.train.optim import Optimizers, muon_with_adamw
from limner.train.run import Run


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 16)
        self.middle = nn.Linear(16, 16)
        self.outer = nn.Linear(16, 1)
        self.dropout = nn.Dropout(0.1)
        self.fixed = nn.Parameter(torch.randn(16), requires_grad=False)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, x_BD: Tensor) -> Tensor:
        if self.training:
            self.seen += len(x_BD)
        hidden = torch.tanh(self.inner(x_BD) + self.fixed)
        return self.outer(self.dropout(torch.tanh(self.middle(hidden))))


def make(seed: int, size: int) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(size, 8, generator=rng)
    return {"x": x, "y": x.sum(1, keepdim=True).sin()}


def objective(model: nn.Module, batch: dict[str, Tensor], rng: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
    x = batch["x"] + 0.01 * torch.randn(batch["x"].shape, generator=rng).to(batch["x"].device)
    error = (model(x) - batch["y"]).float()
    return error.square().mean(), {"absolute": float(error.detach().abs().mean())}


def optimizer(model: nn.Module, lr: float, weight_decay: float) -> Optimizers:
    return muon_with_adamw(
        model, lr, lr / 3, weight_decay, lambda name, _: name.endswith(("inner.weight", "middle.weight"))
    )


def toy() -> Run:
    return Run(
        name="toy",
        build=Net,
        objective=objective,
        batches=each_step(make),
        optimizer=optimizer,
        steps=30,
        batch_size=16,
        lr=0.02,
        warmup=3,
        weight_decay=0.01,
        log_every=4,
        checkpoint_every=7,
        ema=0.9,
    )


def stopped_at(run: Run, step: int, number: int) -> Run:
    """The same run, but a signal reaches the process while step `step` computes its loss."""
    calls = 0

    def build() -> nn.Module:
        nonlocal calls
        calls = 0
        return run.build()

    def stopping(
        model: nn.Module, batch: dict[str, Tensor], rng: torch.Generator
    ) -> tuple[Tensor, Mapping[str, float]]:
        nonlocal calls
        calls += 1
        if calls - 1 == step:
            os.kill(os.getpid(), number)
        return run.objective(model, batch, rng)

    return replace(run, build=build, objective=stopping)


def fingerprint(folder: Path) -> str:
    """Of everything that the newest checkpoint holds in tensors."""
    newest = sorted((folder / "checkpoints").glob("step-*"))[-1]
    return hashlib.sha256((newest / "state.safetensors").read_bytes()).hexdigest()


if __name__ == "__main__":
    where, at, which = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    try:
        fit(stopped_at(toy(), at, which) if at >= 0 else toy(), where, progress=False)
    except Interrupted as stopped:
        sys.exit(stopped.status)
