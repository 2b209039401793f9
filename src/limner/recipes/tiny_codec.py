"""The picture world's codec, in three runs.

``tiny_codec``: encoder, codes and the 64 px decoder, from nothing. Beside the pixels it learns, from the decoder's last
features, which kind and colour stands at each code and what the background is: a plain pixel loss cares for areas, and
four to six small things lose their identity to it. The head that answers is thrown away.

``tiny_codec_large``: a decoder that shows the same codes at 128 px, with everything else frozen; and
``tiny_codec_large_end``, which trains it on.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.codecs.losses import reconstruction_loss
from limner.codecs.magvit import TINY, TINY_LARGE, MagvitCodec, to_pixels, to_uint8
from limner.codecs.quantise import Quantised
from limner.recipes.naming import NAMED, names, naming_loss
from limner.train.data import each_step
from limner.train.optim import Optimizers, muon_with_adamw
from limner.train.run import Run
from limner.world.content import random_content
from limner.world.draw import render
from limner.world.scene import Scene, random_scene
from limner.world.sheet import draw_sheet

NAMING = 0.1  # weight of the naming loss beside the pixels'


def scenes(seed: int, count: int) -> list[Scene]:
    """Random scenes of all layouts; many small copies, which are the hardest to encode."""
    rng = random.Random(seed)
    return [random_scene(rng) for _ in range(count)]


def pictures(seed: int, count: int, size: int = 64) -> Tensor:
    """uint8 (count, size, size, 3): random scenes, drawn."""
    return torch.from_numpy(np.stack([render(scene, size) for scene in scenes(seed, count)]))


def _sheet(size: int) -> Callable[[nn.Module, Path, int], None]:
    def sample(trained: nn.Module, folder: Path, step: int) -> None:
        model = _codec(trained)
        real = pictures(7, 24)
        with torch.no_grad():
            codes = model.encode(to_pixels(real))
            shown = to_uint8(model.decode(codes, size=size))
        rows = [picture for pair in zip(real.numpy(), shown.numpy(), strict=True) for picture in pair]
        draw_sheet(rows, ["real", "codec"] * len(real), columns=12).save(folder / f"sheet-{step:06d}.png")

    return sample


class Taught(nn.Module):
    """A codec in training, with a head that names what stands at every code."""

    def __init__(self, codec: MagvitCodec) -> None:
        super().__init__()
        self.codec = codec
        self.head = nn.Conv2d(codec.config.decoder.level_widths[0], NAMED, 1)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Quantised, Tensor]:
        """(shown (B, 3, H, W), what the quantiser did, names (B, NAMED, h, w))."""
        features: list[Tensor] = []
        hook = self.codec.decoder.norm_out.register_forward_hook(lambda module, given, out: features.append(out))
        shown, quantised = self.codec(pixels)
        hook.remove()
        return shown, quantised, self.head(F.silu(features[0]))


def _named(seed: int, count: int) -> tuple[Tensor, Tensor]:
    some = scenes(seed, count)
    drawn = np.stack([render(scene, 64) for scene in some])
    return torch.from_numpy(drawn), torch.from_numpy(np.stack([names(scene) for scene in some]))


def _teach(model: nn.Module, batch: tuple[Tensor, Tensor], rng: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
    """Batch: uint8 (B, 64, 64, 3) and names (B, 3, 8, 8)."""
    pixels = to_pixels(batch[0])
    shown, quantised, said = model(pixels)
    loss, numbers = reconstruction_loss(shown, pixels)
    naming, right = naming_loss(said, batch[1])
    return loss + NAMING * naming + quantised.loss, {**numbers, "naming": float(naming.detach()), "kind_right": right}


def _muon(model: nn.Module, lr: float, weight_decay: float) -> Optimizers:
    """Muon for kernels with more than a few inputs and outputs, AdamW for norms, biases and the thin ends."""
    return muon_with_adamw(model, lr, lr, weight_decay, lambda _, p: p.ndim == 4 and min(p.shape[:2]) > 16)


def tiny_codec() -> Run:
    """64 px to 8 x 8 codes and back."""
    return Run(
        name="mmada.tiny_codec",
        build=lambda: Taught(MagvitCodec(TINY)),
        objective=_teach,
        batches=each_step(_named),
        sample=_sheet(64),
        finish=_write,
        optimizer=_muon,
        steps=2400,
        batch_size=32,
        lr=5e-3,
        warmup=50,
        hold=2030 / 2400,
        floor=1 - 370 / 3770,
        ema=0.998,
        threads=2,
        sample_every=800,
        checkpoint_every=400,
        settings={"codec": TINY.to_json()},
    )


def _write(trained: nn.Module, folder: Path) -> None:
    _codec(trained).save(folder, torch.bfloat16)


def _codec(trained: nn.Module) -> MagvitCodec:
    codec = trained.codec if isinstance(trained, Taught) else trained
    assert isinstance(codec, MagvitCodec)
    return codec


def from_codec(folder: Path) -> MagvitCodec:
    """A trained codec, frozen but for its larger decoder: the one it has, or a new one whose 8 x 8 layers start as
    those of the trained one."""
    trained = MagvitCodec.from_folder(folder)
    if trained.larger:
        trained.requires_grad_(False)
        trained.larger.requires_grad_(True)
        return trained
    codec = MagvitCodec(replace(TINY, larger={2: TINY_LARGE}))
    codec.load_state_dict(trained.state_dict(), strict=False)
    codec.requires_grad_(False)
    large = codec.larger["2"].requires_grad_(True)
    coarsest = f"up.{len(TINY_LARGE.widths) - 1}."
    known = {name.replace("up.0.", coarsest): value for name, value in trained.decoder.state_dict().items()}
    fitting = {
        name: known[name]
        for name, own in large.state_dict().items()
        if name in known and known[name].shape == own.shape
    }
    large.load_state_dict(fitting, strict=False)
    return codec


def tiny_codec_large(codec: Path = Path("runs/mmada.tiny_codec/released")) -> Run:
    """A second decoder shows the frozen codes at 128 px. Pictures are judged and shipped at this size."""
    return replace(
        tiny_codec(),
        name="mmada.tiny_codec_large",
        build=lambda: from_codec(codec),
        objective=_decode(128),
        batches=each_step(_pairs(128)),
        sample=_sheet(128),
        steps=4600,
        hold=0.5,
        floor=0.0,
        threads=1,
        settings={"codec": replace(TINY, larger={2: TINY_LARGE}).to_json(), "start": codec.name},
    )


def tiny_codec_large_end(codec: Path = Path("runs/mmada.tiny_codec_large/released")) -> Run:
    """The larger decoder trained on at a lower rate, in bfloat16."""
    return replace(
        tiny_codec_large(codec), name="mmada.tiny_codec_large_end", steps=3000, lr=3e-3, hold=0.2, dtype="bfloat16"
    )


def _decode(size: int) -> Callable[[nn.Module, Any, torch.Generator], tuple[Tensor, Mapping[str, float]]]:
    def objective(model: nn.Module, batch: Any, rng: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """Batch: the same scenes at the encoder's size and at ``size``, uint8 (B, H, W, 3) each."""
        small, wanted = batch
        shown, _ = model(to_pixels(small), size)
        return reconstruction_loss(shown.float(), to_pixels(wanted))

    return objective


def _pairs(size: int) -> Callable[[int, int], tuple[Tensor, Tensor]]:
    def make(seed: int, count: int) -> tuple[Tensor, Tensor]:
        # half of them stand where things stand when nothing moves them, which is what a generator mostly asks for
        rng = random.Random(f"still/{seed}")
        some = scenes(seed, count - count // 2)
        some += [random_content(rng).scene(rng, vary=False) for _ in range(count // 2)]
        small, wanted = (np.stack([render(scene, s) for scene in some]) for s in (64, size))
        return torch.from_numpy(small), torch.from_numpy(wanted)

    return make
