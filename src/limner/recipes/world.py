"""The picture world's own network: the trained reader, which judges pictures beside the template reader.

``limner train world.detector``: about 1 M parameters on random scenes, each blurred, shrunk and enlarged, noised and
tinted at random, because what it has to read is a small decoder's output and not clean drawings.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.train.data import each_step
from limner.train.optim import Optimizers, muon_with_adamw
from limner.train.run import Run
from limner.world.detect import Detector, Truth, loss, to_input, truth
from limner.world.draw import render
from limner.world.scene import CANVAS, random_scene

Batch = tuple[Tensor, Truth]


def worn(pictures_B3HW: Tensor, rng: torch.Generator) -> Tensor:
    """Pictures in -1..1 as a small decoder might draw them: each blurred, resampled, tinted and noised at random."""
    count = len(pictures_B3HW)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape, 1, 1, generator=rng)

    side = int(torch.randint(22, CANVAS + 1, (), generator=rng))
    small = F.interpolate(pictures_B3HW, size=(side, side), mode="area")
    coarse = F.interpolate(small, size=(CANVAS, CANVAS), mode="bicubic", align_corners=False)
    soft = F.avg_pool2d(F.pad(pictures_B3HW, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    result = pictures_B3HW + uniform(0, 1, 1) * (soft - pictures_B3HW)
    result = torch.where(uniform(0, 1, 1) < 0.4, coarse, result)
    result = result * uniform(0.93, 1.07, 3) + uniform(-0.06, 0.06, 3)
    return result + uniform(0, 0.09, 1) * torch.randn(pictures_B3HW.shape, generator=rng)


def batch(seed: int, size: int) -> Batch:
    """Worn pictures (size, 3, 64, 64) of random scenes, and the perfect answers."""
    rng = random.Random(seed)
    scenes = [random_scene(rng) for _ in range(size)]
    clean = to_input(np.stack([render(scene) for scene in scenes]))
    return worn(clean, torch.Generator().manual_seed(seed % 2**63)), truth(scenes)


def _objective(model: nn.Module, made: Batch, rng: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
    pictures, wanted = made
    return loss(model(pictures), Truth(*wanted))


def _optimizer(model: nn.Module, lr: float, weight_decay: float) -> Optimizers:
    ends = ("heat.", "colour.", "place.", "background.", "stem.")
    return muon_with_adamw(
        model, lr, lr, weight_decay, lambda name, value: value.ndim >= 2 and not name.startswith(ends)
    )


def _finish(model: nn.Module, folder: Path) -> None:
    assert isinstance(model, Detector)
    model.save(folder)


def detector() -> Run:
    """The trained reader: 4,000 updates of 32 pictures, some 22 CPU minutes."""
    return Run(
        name="world.detector",
        build=Detector,
        objective=_objective,
        batches=each_step(batch),
        optimizer=_optimizer,
        finish=_finish,
        steps=4000,
        batch_size=32,
        lr=2e-3,
        warmup=50,
        hold=0.4,
        weight_decay=0.01,
    )
