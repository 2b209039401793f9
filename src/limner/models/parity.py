"""Our numbers beside recorded ones: rows of a comparison, and what a codec gives for the inputs of a reference folder.

A reference folder holds ``io.safetensors``, inputs and outputs that the published code computed with the same weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from limner.codecs.magvit import MagvitCodec, to_uint8

CLOSE = 2e-5  # float32 sums in another order: logits, hidden states, pixels
EXACT = 1e-5  # losses, log-probabilities, schedules
LEVEL = 1.0  # levels of a byte: truncation at a boundary


@dataclass(frozen=True)
class Row:
    """One recorded tensor and how far ours is from it; ``error`` is infinite for another shape."""

    tensor: str
    error: float
    limit: float

    @property
    def ok(self) -> bool:
        """Whether the error is within its limit (a number that is not one never is)."""
        return self.error <= self.limit


def close(name: str, ours: Tensor, recorded: Tensor, limit: float = CLOSE) -> Row:
    """The largest difference, relative to the largest recorded number."""
    ours, recorded = ours.detach().double(), recorded.double()
    if ours.shape != recorded.shape:
        return Row(name, float("inf"), limit)
    scale = recorded.abs().max().clamp(min=1e-30) if recorded.numel() else torch.ones(())
    return Row(name, float((ours - recorded).abs().max() / scale) if recorded.numel() else 0.0, limit)


def equal(name: str, ours: Tensor, recorded: Tensor, limit: float = 0.0) -> Row:
    """How many elements differ, or, with a ``limit``, by how much the most different one does."""
    if ours.shape != recorded.shape:
        return Row(name, float("inf"), limit)
    apart = (ours.long() - recorded.long()).abs()
    return Row(name, float((apart.max() if limit else (apart > 0).sum()) if apart.numel() else 0), limit)


def read_recorded(folder: str | Path) -> dict[str, Tensor]:
    """The tensors of a reference folder; ValueError where there are none."""
    file = Path(folder) / "io.safetensors"
    if not file.is_file():
        raise ValueError(f"no io.safetensors in {folder}; a reference folder holds recorded inputs and outputs")
    try:
        return load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{file} is damaged or was cut short ({error})") from error


@torch.no_grad()
def codec_rows(codec: MagvitCodec, io: Mapping[str, Tensor]) -> Iterator[Row]:
    """The codec against ``vq/*``: codes of pixels, pixels of codes, and the quantiser's training losses."""
    if "vq/pixels" not in io:
        return
    latents = codec.latents(io["vq/pixels"])
    yield close("vq/encoder_out", latents, io["vq/encoder_out"])
    grid = tuple(io["vq/encoder_out"].shape[2:])
    codes = codec.encode(io["vq/pixels"])
    yield equal("vq/codes", codes.flatten(1), io["vq/codes"])
    recorded = io["vq/codes"].long().unflatten(1, grid)
    yield close("vq/quantized", codec.config.quantiser.values(recorded), io["vq/quantized"])
    pixels = codec.decode(recorded)
    yield close("vq/decoded", pixels, io["vq/decoded"].clamp(-1, 1))
    if "vq/decoded_uint8" in io:
        yield equal("vq/decoded_uint8", to_uint8(pixels), io["vq/decoded_uint8"], LEVEL)
    if "vq/rect_codes" in io:
        high, wide = (side // codec.factor for side in io["vq/rect_decoded"].shape[2:])
        shown = codec.decode(io["vq/rect_codes"].long().unflatten(1, (high, wide)))
        yield close("vq/rect_decoded", shown, io["vq/rect_decoded"].clamp(-1, 1))
    if "vq/quantizer_loss" in io:
        quantised = codec.config.quantiser(io["vq/encoder_out"])
        yield close("vq/quantizer_loss", quantised.commitment.view(1), io["vq/quantizer_loss"].view(1), EXACT)
        yield close("vq/entropy_loss", quantised.entropy.view(1), io["vq/entropy_loss"].view(1), EXACT)
    if "vq/codebook" in io:
        table = codec.config.quantiser.values(torch.arange(codec.num_codes).view(1, 1, -1))
        yield close("vq/codebook", table.flatten(2)[0].T, io["vq/codebook"])
