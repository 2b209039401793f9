"""Released weights to ours and back, name by name, with a certificate.

A checkpoint folder keeps the released names, so one reader serves both: the official files and the ones limner writes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

# released name -> ours; {i} is the number of a layer
NAMES: dict[str, str] = {
    "model.transformer.wte.weight": "embed.weight",
    "model.transformer.ln_f.weight": "norm.weight",
    "model.transformer.ff_out.weight": "head.weight",
    "model.transformer.blocks.{i}.attn_norm.weight": "layers.{i}.attention_norm.weight",
    "model.transformer.blocks.{i}.q_proj.weight": "layers.{i}.q_proj.weight",
    "model.transformer.blocks.{i}.k_proj.weight": "layers.{i}.k_proj.weight",
    "model.transformer.blocks.{i}.v_proj.weight": "layers.{i}.v_proj.weight",
    "model.transformer.blocks.{i}.attn_out.weight": "layers.{i}.o_proj.weight",
    "model.transformer.blocks.{i}.ff_norm.weight": "layers.{i}.mlp_norm.weight",
    "model.transformer.blocks.{i}.ff_proj.weight": "layers.{i}.gate_proj.weight",
    "model.transformer.blocks.{i}.up_proj.weight": "layers.{i}.up_proj.weight",
    "model.transformer.blocks.{i}.ff_out.weight": "layers.{i}.down_proj.weight",
}
OURS = {ours: name for name, ours in NAMES.items()}

# where the weights of a folder may stand, best first
FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")


def translate(name: str, table: Mapping[str, str]) -> str | None:
    """``name`` by the table, the layer's number carried over; None if the table does not have it."""
    number = re.search(r"\.(\d+)\.", name)
    if number is None:
        return table.get(name)
    found = table.get(name.replace(number[0], ".{i}.", 1))
    return None if found is None else found.replace("{i}", number[1])


def read(folder: str | Path) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of every weight in a folder: one file or sharded, safetensors or ``.bin``."""
    folder = Path(folder)
    file = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if file is None:
        raise ValueError(f"no weights in {folder}; looked for {', '.join(FILES)}")
    if file.suffix != ".json":
        yield from _read_one(file)
        return
    listed: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))["weight_map"]
    found = set()
    for shard in sorted(set(listed.values())):
        if not (folder / shard).is_file():
            raise ValueError(f"{file.name} lists {shard}, which is not in {folder}; download it too")
        for name, tensor in _read_one(folder / shard):
            found.add(name)
            yield name, tensor
    if found != listed.keys():
        lost, unlisted = sorted(listed.keys() - found), sorted(found - listed.keys())
        raise ValueError(f"{file.name} and its shards differ: not found {lost[:3]}, not listed {unlisted[:3]}")


def _read_one(file: Path) -> Iterator[tuple[str, Tensor]]:
    if file.suffix == ".safetensors":
        with safe_open(file, "pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - not a mapping
                yield name, opened.get_tensor(name)
    else:
        yield from torch.load(file, map_location="cpu", weights_only=True, mmap=True).items()


def load_into(network: nn.Module, weights: Iterator[tuple[str, Tensor]], dtype: torch.dtype) -> dict[str, Any]:
    """Put released weights into a network (which may stand on the meta device) and say what was matched.

    Raises ValueError for a name the table does not have, a wrong shape, a name twice, or a weight left without a value.
    """
    wanted = network.state_dict()
    values: dict[str, Tensor] = {}
    kinds = set()
    for name, tensor in weights:
        ours = translate(name, NAMES)
        if ours is None or ours not in wanted:
            raise ValueError(f"the weights hold {name}, which this network does not have; check layers in config.json")
        if ours in values:
            raise ValueError(f"the weights hold {name} twice")
        if tensor.shape != wanted[ours].shape:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}, the config wants {tuple(wanted[ours].shape)}; "
                "check the sizes in config.json"
            )
        kinds.add(str(tensor.dtype).removeprefix("torch."))
        values[ours] = tensor.to(dtype)
    missing = [translate(name, OURS) for name in wanted if name not in values]
    if missing:
        raise ValueError(f"the weights lack {len(missing)} tensors, among them {missing[:3]}")
    network.load_state_dict(values, strict=True, assign=True)
    return {
        "names_matched": len(values),
        "parameters": sum(tensor.numel() for tensor in values.values()),
        "dtypes": sorted(kinds),
        "shapes": {str(translate(name, OURS)): list(tensor.shape) for name, tensor in values.items()},
    }


def digest(folder: str | Path) -> str:
    """SHA-256 over the names, types, shapes and bytes of a folder's weights, in the order of their names."""
    tensors = dict(read(folder))
    found = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def write_certificate(folder: str | Path, network: nn.Module) -> dict[str, Any]:
    """Check a folder's weights against a network of its config and write ``certificate.json`` beside them."""
    folder = Path(folder)
    certificate = load_into(network, read(folder), torch.float32) | {"sha256": digest(folder)}
    (folder / "certificate.json").write_text(json.dumps(certificate, indent=1) + "\n", encoding="utf-8")
    return certificate


def released(network: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    """The network's weights under the released names, on the CPU."""
    weights = {}
    for name, tensor in network.state_dict().items():
        theirs = translate(name, OURS)
        if theirs is None:
            raise ValueError(f"the weight {name} has no released name; merge or remove adapters before saving")
        weights[theirs] = tensor.detach().to("cpu", dtype).contiguous()
    return weights
