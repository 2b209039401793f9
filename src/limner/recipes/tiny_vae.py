"""Tiny MindOmni's autoencoder: 64 px pictures of the world to 16 x 16 latents of eight numbers and back."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from limner.codecs.losses import reconstruction_loss
from limner.codecs.vae import Vae
from limner.models.mindomni.small import Sizes, vae_config
from limner.train.data import each_step
from limner.train.optim import Optimizers, muon_with_adamw
from limner.train.run import Run
from limner.world.draw import render
from limner.world.scene import random_scene

SIZES = Sizes(mlp=640, patch=8, sight_mlp=384, vae=(16, 48, 96), vae_layers=1, vae_groups=8, channels=8)
SIZE = 64
SPREAD = 1e-5  # weight of the divergence from normal numbers


def _kl(mean: Tensor, deviation: Tensor) -> Tensor:
    return 0.5 * (mean**2 + deviation**2 - 1 - 2 * deviation.clamp(min=1e-8).log()).mean()


def _reconstruct(model: nn.Module, batch: Tensor, rng: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
    """Batch: uint8 (B, 64, 64, 3)."""
    assert isinstance(model, Vae)
    pixels = batch.permute(0, 3, 1, 2).float() / 127.5 - 1
    mean, deviation = model.posterior(pixels)
    noise = torch.randn(mean.shape, generator=rng).to(mean.device)
    shown: Tensor = model.network.decode(mean + deviation * noise).sample
    loss, numbers = reconstruction_loss(shown, pixels)
    kl = _kl(mean, deviation)
    return loss + SPREAD * kl, {**numbers, "kl": float(kl.detach())}


def _pictures(seed: int, count: int) -> Tensor:
    rng = random.Random(seed)
    return torch.from_numpy(np.stack([render(random_scene(rng), SIZE) for _ in range(count)]))


def _scaled(model: nn.Module, folder: Path) -> None:
    """Write the autoencoder with the scale and shift that give its latents mean 0 and deviation 1."""
    assert isinstance(model, Vae)
    mean, _ = model.posterior(_pictures(1, 256).permute(0, 3, 1, 2).float() / 127.5 - 1)
    centre = float(mean.mean())
    scale = 1 / float((mean - centre).std())
    scaled = Vae(model.settings | {"scaling_factor": scale, "shift_factor": centre})
    scaled.load_state_dict(model.state_dict())
    scaled.save(folder)


def _codec_muon(model: nn.Module, lr: float, weight_decay: float) -> Optimizers:
    """Muon for kernels with more than a few inputs and outputs, AdamW for the rest."""
    return muon_with_adamw(model, lr, lr, weight_decay, lambda _, p: p.ndim >= 2 and min(p.shape[:2]) >= 16)


def tiny_vae() -> Run:
    """64 px to 16 x 16 latents of 8 numbers and back."""
    return Run(
        name="mindomni.tiny_vae",
        build=lambda: Vae(vae_config(SIZES)),
        objective=_reconstruct,
        batches=each_step(_pictures),
        optimizer=_codec_muon,
        finish=_scaled,
        steps=3000,
        batch_size=16,
        lr=3e-3,
        warmup=50,
        hold=0.3,
        dtype="bfloat16",
        threads=2,
        checkpoint_every=250,
        settings={"vae": SIZES.vae, "spread": SPREAD},
    )
