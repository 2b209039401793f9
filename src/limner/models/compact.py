"""A large network in little memory: weights kept in eight bits, or spread over several places.

Neither changes the network's class: linear layers are replaced, or given hooks. Both are for use, not for training, and
a network treated so is not saved again. A network's repeated part is called ``layers`` and made of ``Layer``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# name -> (type of the stored numbers, the largest of them)
KINDS: dict[str, tuple[torch.dtype, float]] = {"int8": (torch.int8, 127.0), "fp8": (torch.float8_e4m3fn, 448.0)}


class CompactLinear(nn.Module):
    """A linear layer whose weight stands in eight bits with one scale for each output; sums are made in the input's
    type, so the input loses nothing."""

    def __init__(self, linear: nn.Linear, kind: str) -> None:
        super().__init__()
        stored, most = KINDS[kind]
        wide = linear.weight.detach().float()
        scale = wide.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / most
        small = wide / scale
        self.register_buffer("stored", (small.round() if stored == torch.int8 else small).to(stored))
        self.register_buffer("scale", scale[:, 0].to(linear.weight.dtype))
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) -> (..., outputs)."""
        y = F.linear(x, self.get_buffer("stored").to(x.dtype)) * self.get_buffer("scale").to(x.dtype)
        return y if self.bias is None else y + self.bias


def quantise(network: nn.Module, kind: str) -> None:
    """Keep the layers' weights in eight bits: "int8" or "fp8". The tables stay as they are.

    MMaDA's 8 B then take 9.2 GB in place of 16.2 GB (bfloat16).
    """
    if kind not in KINDS:
        raise ValueError(f"quantise={kind!r} is not one of: {', '.join(KINDS)}")
    for layer in network.get_submodule("layers").children():
        for name, module in list(layer.named_children()):
            if isinstance(module, nn.Linear):
                setattr(layer, name, CompactLinear(module, kind))


def spread(
    network: nn.Module, device: str, places: str | Mapping[str, str | int], offload: str | Path | None = None
) -> dict[str, Any]:
    """Put the layers where there is room for them and say where they went; through accelerate.

    ``places`` is "auto" (graphics memory first, then main memory, then ``offload``, a folder), or says for some of
    "layers.0", "layers.1", ... where they stand: a device, "cpu" or "disk". Everything else, and whatever is not
    named, stands on ``device``, where everything is computed that is not computed in its own place.
    """
    try:
        from accelerate import dispatch_model, infer_auto_device_map
        from accelerate.utils import get_max_memory
    except ImportError as error:
        raise ValueError("device_map needs accelerate: pip install 'limner[large]'") from error
    layers = network.get_submodule("layers")
    names = [f"layers.{name}" for name, _ in layers.named_children()]
    if isinstance(places, str):
        if places != "auto":
            raise ValueError(f'device_map={places!r} must be "auto" or say where each of the layers stands')
        place = torch.device(device)
        room = get_max_memory()
        tables = sum(p.nbytes for name, p in network.named_parameters() if not name.startswith("layers."))
        main: int | str = place.index or 0 if place.type == "cuda" else "cpu"
        room[main] = max(0, room[main] - tables)
        found = infer_auto_device_map(layers, room, no_split_module_classes=["Layer"])
        # one entry for everything is what accelerate calls ""
        chosen = {name: found.get(name.removeprefix("layers."), found.get("")) for name in names}
    else:
        unknown = sorted(places.keys() - set(names))
        if unknown:
            raise ValueError(f"device_map names {unknown[0]!r}, which is none of layers.0 to {names[-1]}")
        chosen = {name: places.get(name, device) for name in names}
    if "disk" in chosen.values() and offload is None:
        raise ValueError("some layers go to the disk: say in which folder with offload")
    whole = {name: device for name, _ in network.named_children() if name != "layers"} | chosen
    folder = None if offload is None else str(offload)
    # what was quantised stands in buffers
    dispatch_model(network, whole, main_device=device, offload_dir=folder, offload_buffers=True)
    return whole
