"""Released names to ours and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from limner.models import checkpoint
from limner.models.checkpoint import codec_config, read, translate

__all__ = ["NAMES", "OURS", "codec_config", "load_into", "read", "released", "translate"]

# released name -> ours; {i} is the number of a layer
NAMES: dict[str, str] = {
    "model.transformer.wte.weight": "embed.weight",
    "model.transformer.wpe.weight": "places.weight",
    "model.transformer.ln_f.weight": "norm.weight",
    "model.transformer.ff_out.weight": "head.weight",
    "model.transformer.blocks.{i}.attn_norm.weight": "layers.{i}.attention_norm.weight",
    "model.transformer.blocks.{i}.q_proj.weight": "layers.{i}.q_proj.weight",
    "model.transformer.blocks.{i}.k_proj.weight": "layers.{i}.k_proj.weight",
    "model.transformer.blocks.{i}.v_proj.weight": "layers.{i}.v_proj.weight",
    "model.transformer.blocks.{i}.q_proj.bias": "layers.{i}.q_proj.bias",
    "model.transformer.blocks.{i}.k_proj.bias": "layers.{i}.k_proj.bias",
    "model.transformer.blocks.{i}.v_proj.bias": "layers.{i}.v_proj.bias",
    "model.transformer.blocks.{i}.attn_out.weight": "layers.{i}.o_proj.weight",
    "model.transformer.blocks.{i}.ff_norm.weight": "layers.{i}.mlp_norm.weight",
    "model.transformer.blocks.{i}.ff_proj.weight": "layers.{i}.gate_proj.weight",
    "model.transformer.blocks.{i}.up_proj.weight": "layers.{i}.up_proj.weight",
    "model.transformer.blocks.{i}.ff_out.weight": "layers.{i}.down_proj.weight",
}
OURS = {ours: name for name, ours in NAMES.items()}


def load_into(
    network: nn.Module, weights: Iterable[tuple[str, Tensor]], dtype: torch.dtype, device: str | torch.device = "cpu"
) -> dict[str, Any]:
    """Put released weights into a network and say what was matched; ValueError for what does not fit."""
    return checkpoint.load_into(network, weights, NAMES, dtype, device)


def released(network: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    """The network's weights under the released names, on the CPU."""
    return checkpoint.released(network, NAMES, dtype)
