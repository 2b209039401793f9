"""Pictures to continuous latents and back: diffusers' ``AutoencoderKL`` with its scaling, in float32.

Letters: B pictures, H, W pixels a side, h, w latents a side, C channels of a latent.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

WEIGHTS = "diffusion_pytorch_model"
# attention layers as diffusers once called them
OLD = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}


class Vae(nn.Module):
    """A variational autoencoder; latents are scaled as the networks that draw them expect."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.settings = {name: value for name, value in config.items() if not name.startswith("_")}
        self.network = AutoencoderKL.from_config(dict(self.settings))
        # what is stored unless the config says otherwise is the class's own business
        self.scale = float(self.network.config.scaling_factor)
        self.shift = float(self.network.config.shift_factor or 0.0)

    @property
    def factor(self) -> int:
        """Pixels along the side of a latent."""
        return 2 ** (len(self.network.config.block_out_channels) - 1)

    @property
    def channels(self) -> int:
        """C."""
        return int(self.network.config.latent_channels)

    def posterior(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, standard deviation), both (B, C, h, w) unscaled, of pixels (B, 3, H, W) in -1..1."""
        found = self.network.encode(pixels).latent_dist
        return found.mean, found.std

    def encode(self, pixels: Tensor, noise: Tensor | None = None) -> Tensor:
        """Scaled latents (B, C, h, w) of pixels (B, 3, H, W) in -1..1: the mean, or a sample with the noise given."""
        mean, deviation = self.posterior(pixels)
        latents = mean if noise is None else mean + deviation * noise
        return (latents - self.shift) * self.scale

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) in -1..1, not clamped, of scaled latents (B, C, h, w)."""
        found: Tensor = self.network.decode(latents / self.scale + self.shift).sample
        return found

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write ``config.json`` and the weights."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config = {"_class_name": "AutoencoderKL", **self.settings}
        weights = {n: t.detach().to("cpu", dtype).contiguous() for n, t in self.network.state_dict().items()}
        beside = folder / f"{WEIGHTS}.safetensors.partial"
        save_file(weights, beside, metadata={"format": "pt"})
        os.replace(beside, folder / f"{WEIGHTS}.safetensors")
        text = json.dumps(config, indent=1) + "\n"
        (folder / "config.json.partial").write_text(text, encoding="utf-8")
        os.replace(folder / "config.json.partial", folder / "config.json")

    @classmethod
    def from_folder(cls, folder: Path) -> Self:
        """The autoencoder in a folder, in float32. Raises ValueError for missing files and weights that do not fit."""
        folder = Path(folder)
        for name in ("config.json", f"{WEIGHTS}.safetensors"):
            if not (folder / name).is_file():
                raise ValueError(f"there is no {name} in {folder}; download the whole folder")
        with torch.device("meta"):
            vae = cls(json.loads((folder / "config.json").read_text(encoding="utf-8")))
        weights = {}
        for name, tensor in load_file(folder / f"{WEIGHTS}.safetensors").items():
            for old, new in OLD.items():
                name = name.replace(old, new)
            wanted = vae.network.state_dict().get(name)
            # old attention layers were convolutions of one pixel
            if wanted is not None and tensor.ndim == 4 and wanted.ndim == 2:
                tensor = tensor[:, :, 0, 0]
            weights[name] = tensor.float()
        try:
            vae.network.load_state_dict(weights, strict=True, assign=True)
        except RuntimeError as error:
            raise ValueError(f"the weights in {folder} do not fit its config: {error}") from error
        return vae


def to_bytes(pixels: Tensor) -> Tensor:
    """uint8 (B, H, W, 3) of pixels (B, 3, H, W) in -1..1, cut off to whole levels as published."""
    return ((pixels.float() * 0.5 + 0.5).clamp(0, 1) * 255).to(torch.uint8).permute(0, 2, 3, 1)
