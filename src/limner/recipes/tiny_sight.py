"""Tiny Nexus-Gen's vision tower: what Qwen2.5-VL's own training brought to the published model, which never trains it.

A picture's embeddings are what Nexus-Gen writes, so they must hold all that a picture is redrawn from, and say it so
that words can be found in them. Small heads ask them for it and are thrown away: the pixels of an embedding's own
square, what stands there (kind, colour, background), and where in the picture the square is, because the generation
decoder is not told that in any other way. The tower learns on both sizes in which it is used.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as pil
from safetensors.torch import save_file
from torch import Tensor, nn

from limner.models.nexusgen.network import Reader
from limner.models.nexusgen.small import Sizes, processor_config, reader_config
from limner.models.nexusgen.tokenizer import make_tokenizer
from limner.models.qwen25vl import Eyes
from limner.models.qwen25vl_tower import tokens_of
from limner.recipes.naming import NAMED, names, naming_loss
from limner.train.data import each_step
from limner.train.optim import Optimizers, muon_with_adamw
from limner.train.run import Run
from limner.world.content import random_content
from limner.world.draw import render
from limner.world.scene import random_scene

SIDE = 4  # embeddings a side of a picture that is written; the editing decoder sees its source by twice as many
SIZES = Sizes(
    layers=6, mlp=640, patch=8, sight=128, sight_layers=4, sight_heads=4, sight_mlp=384, painter_heads=5,
    painter_head=32, double=2, single=4, context=160, pooled=16, vae=(16, 48, 96), vae_layers=1, vae_groups=8,
    channels=8,
)  # fmt: skip
SIZE = 64  # pixels of a picture of the world
NAMING, PLACING = 0.5, 0.05  # weights beside the pixels
TOWER = "tower.safetensors"
Batch = tuple[Tensor, Tensor]  # uint8 (B, 64, 64, 3), names (B, 3, 8, 8)


class Heads(nn.Module):
    """What is asked of embeddings (B, n, D) at one size: each for its square of ``pixels`` a side and ``cells`` codes a
    side, and for its place among the n."""

    def __init__(self, width: int, count: int, pixels: int, cells: int) -> None:
        super().__init__()
        self.side, self.pixels, self.cells = round(count**0.5), pixels, cells
        self.colours = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, 3 * pixels**2))
        self.names = nn.Linear(width, cells**2 * NAMED)
        self.place = nn.Linear(width, count)

    def forward(self, x: Tensor, pictures: Tensor, named: Tensor) -> tuple[Tensor, dict[str, float]]:
        """(Loss, numbers) for pixels (B, 3, 64, 64) in -1..1 and names (B, 3, 8, 8)."""
        wanted = _squares(pictures, self.pixels)
        found = self.colours(x).float()
        pixels = (found - wanted).abs().mean() + F.mse_loss(found, wanted)
        said = self.names(x).float().unflatten(2, (self.cells**2, -1)).flatten(0, 2)
        stands = torch.stack([_squares(each[:, None], self.cells).flatten() for each in named.unbind(1)], dim=1)
        naming, right = naming_loss(said, stands)
        places = torch.arange(x.shape[1], device=x.device).repeat(len(x))
        placing = F.cross_entropy(self.place(x).float().flatten(0, 1), places)
        numbers = {"pixels": float(pixels.detach()), "naming": float(naming.detach()), "kind_right": right}
        return pixels + NAMING * naming + PLACING * placing, numbers | {"placing": float(placing.detach())}


def _squares(grid: Tensor, side: int) -> Tensor:
    """(B, C, H, W) as (B, n, C side^2): its squares, row by row."""
    rows, columns = grid.shape[2] // side, grid.shape[3] // side
    cut = grid.unflatten(3, (columns, side)).unflatten(2, (rows, side))
    return cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


class Sight(nn.Module):
    """A vision tower in training, with its heads."""

    def __init__(self, sizes: Sizes, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        tokenizer = make_tokenizer(())
        config = reader_config(sizes, tokenizer)
        self.tower: Any = Reader(config, SIDE).network.model.visual.requires_grad_(True)
        self.eyes = Eyes.from_json(config["vision_config"], processor_config(sizes))
        self.written = Heads(sizes.width, SIDE**2, SIZE // SIDE, 8 // SIDE)
        self.seen = Heads(sizes.width, 4 * SIDE**2, SIZE // (2 * SIDE), 4 // SIDE)

    def tokens(self, pictures: Tensor, side: int) -> Tensor:
        """(B, side^2, D) of uint8 pictures (B, H, W, 3)."""
        pixels = side * self.eyes.cell
        shown = [
            self.eyes.patches(pil.fromarray(each).resize((pixels, pixels), pil.Resampling.BICUBIC))
            for each in pictures.cpu().numpy()
        ]
        return torch.stack(tokens_of(self.tower, [(p.to(pictures.device), grid) for p, grid in shown]))


def scenes(seed: int, count: int) -> Batch:
    """Pictures and what stands in them: half of any scenes, half of contents as they stand."""
    rng = random.Random(seed)
    some = [random_scene(rng) for _ in range(count - count // 2)]
    some += [random_content(rng).scene(rng, vary=False) for _ in range(count // 2)]
    pictures = np.stack([render(scene, SIZE) for scene in some])
    return torch.from_numpy(pictures), torch.from_numpy(np.stack([names(scene) for scene in some]))


def _look(model: nn.Module, batch: Batch, rng: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
    assert isinstance(model, Sight)
    pictures, named = batch
    wanted = pictures.permute(0, 3, 1, 2).float() / 127.5 - 1
    loss, numbers = model.written(model.tokens(pictures, SIDE), wanted, named)
    some = slice(0, max(1, len(pictures) // 4))  # four times the tokens
    other, told = model.seen(model.tokens(pictures[some], 2 * SIDE), wanted[some], named[some])
    return loss + other, numbers | {f"source_{name}": value for name, value in told.items()}


def _muon(model: nn.Module, lr: float, weight_decay: float) -> Optimizers:
    return muon_with_adamw(model, lr, 0.3 * lr, weight_decay, lambda name, p: p.ndim == 2 and "blocks." in name)


def _finish(model: nn.Module, folder: Path) -> None:
    """Write the tower with embeddings of mean 0 and deviation 1 in every number, so that each counts alike."""
    assert isinstance(model, Sight)
    every = torch.cat([model.tokens(scenes(seed, 64)[0], SIDE).flatten(0, 1) for seed in range(4)])
    last: Any = model.tower.merger.mlp[2]
    deviation = every.std(dim=0).clamp(min=1e-3)
    last.weight.div_(deviation[:, None])
    last.bias.sub_(every.mean(dim=0)).div_(deviation)
    save_file({name: tensor.contiguous() for name, tensor in model.tower.state_dict().items()}, folder / TOWER)


def tiny_sight(sizes: Sizes = SIZES) -> Run:
    """The vision tower, from nothing. ``kind_right``: the share of codes whose kind is told from an embedding."""
    return Run(
        name="nexusgen.tiny_sight",
        build=lambda: Sight(sizes),
        objective=_look,
        batches=each_step(scenes),
        optimizer=_muon,
        finish=_finish,
        steps=1200,
        batch_size=32,
        lr=2e-3,
        warmup=50,
        hold=0.4,
        weight_decay=0.1,
        ema=0.99,
        dtype="bfloat16",
        checkpoint_every=200,
        settings={"sizes": {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(sizes).items()}},
    )
