"""Checkpoint folders: weights read name by name and put into a network by a table of names, and written back.

A checkpoint folder keeps the released names, so one reader serves both: the official files and the ones limner writes.
A table maps released names to a network's own; ``{i}`` in both is the number of a layer.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from limner.codecs.magvit import RELEASED, MagvitCodec, MagvitConfig
from limner.codecs.magvit_layers import Stack
from limner.codecs.quantise import Quantiser

# where the weights of a folder may stand, best first
FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "pytorch_model.safetensors",
    "weights.safetensors",
)

# what the libraries raise for files that end too early or hold something else
DAMAGED = (SafetensorError, RuntimeError, OSError, EOFError, pickle.UnpicklingError)


def translate(name: str, table: Mapping[str, str]) -> str | None:
    """``name`` by the table, the layer's number carried over; None if the table does not have it."""
    number = re.search(r"\.(\d+)\.", name)
    if number is None:
        return table.get(name)
    found = table.get(name.replace(number[0], ".{i}.", 1))
    return None if found is None else found.replace("{i}", number[1])


def turned(names: Mapping[str, str]) -> dict[str, str]:
    """The table from a network's own names to the released ones."""
    return {ours: name for name, ours in names.items()}


def read(folder: str | Path) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of every weight in a folder: one file or sharded, safetensors or ``.bin``."""
    folder = Path(folder)
    file = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if file is None:
        raise ValueError(f"no weights in {folder}; looked for {', '.join(FILES)}")
    if file.suffix != ".json":
        yield from read_file(file)
        return
    try:
        listed: dict[str, str] = dict(json.loads(file.read_text(encoding="utf-8"))["weight_map"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is no list of shards ({error!r}); download it again") from error
    missing = sorted(shard for shard in set(listed.values()) if not (folder / shard).is_file())
    if missing:
        raise ValueError(f"{file.name} lists {', '.join(missing)}, which is not in {folder}; download it too")
    found = set()
    for shard in sorted(set(listed.values())):
        for name, tensor in read_file(folder / shard):
            found.add(name)
            yield name, tensor
    if found != listed.keys():
        lost, unlisted = sorted(listed.keys() - found), sorted(found - listed.keys())
        raise ValueError(f"{file.name} and its shards differ: not found {lost[:3]}, not listed {unlisted[:3]}")


def read_file(file: Path) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of one ``.safetensors`` or ``.bin`` file; ValueError for a damaged one."""
    try:
        if file.suffix == ".safetensors":
            with safe_open(file, "pt") as opened:
                for name in opened.keys():  # noqa: SIM118 - not a mapping
                    yield name, opened.get_tensor(name)
        else:
            # only the newer format can be mapped into memory
            mapped = zipfile.is_zipfile(file)
            tensors = torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
            if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
                raise ValueError(f"{file} holds something else than named tensors")
            yield from tensors.items()
    except DAMAGED as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        raise ValueError(f"{file} is damaged or was cut short ({reason}); download it again") from error


def load_into(
    network: nn.Module,
    weights: Iterable[tuple[str, Tensor]],
    names: Mapping[str, str],
    dtype: torch.dtype,
    device: str | torch.device = "cpu",
) -> dict[str, Any]:
    """Put released weights into a network (which may stand on the meta device) and say what was matched.

    Tensors go to ``device`` one by one. Raises ValueError for a name the table does not have, a wrong shape, a name
    twice, or a weight left without a value.
    """
    wanted, back = network.state_dict(), turned(names)
    values: dict[str, Tensor] = {}
    kinds = set()
    for name, tensor in weights:
        ours = translate(name, names)
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
        values[ours] = tensor.to(device, dtype)
    missing = [translate(name, back) for name in wanted if name not in values]
    if missing:
        raise ValueError(f"the weights lack {len(missing)} tensors, among them {missing[:3]}")
    network.load_state_dict(values, strict=True, assign=True)
    return {
        "names_matched": len(values),
        "parameters": sum(tensor.numel() for tensor in values.values()),
        "dtypes": sorted(kinds),
        "shapes": {str(translate(name, back)): list(tensor.shape) for name, tensor in values.items()},
    }


def describe(tensors: Iterable[tuple[str, Tensor]]) -> dict[str, dict[str, Any]]:
    """Name -> shape, dtype and SHA-256 of the bytes of every tensor, sorted by name."""
    rows = {}
    for name, tensor in tensors:
        kind = str(tensor.dtype).removeprefix("torch.")
        data = tensor.contiguous().flatten().view(torch.uint8).numpy().data
        rows[name] = {"shape": list(tensor.shape), "dtype": kind, "sha256": hashlib.sha256(data).hexdigest()}
    return dict(sorted(rows.items()))


def released(network: nn.Module, names: Mapping[str, str], dtype: torch.dtype) -> dict[str, Tensor]:
    """The network's weights under the released names, on the CPU."""
    weights, back = {}, turned(names)
    for name, tensor in network.state_dict().items():
        theirs = translate(name, back)
        if theirs is None:
            raise ValueError(
                f"the weight {name} has no released name; merge adapters, or load without quantise, before saving"
            )
        if tensor.is_meta:
            raise ValueError(f"the weight {name} is offloaded; load without device_map before saving")
        weights[theirs] = tensor.detach().to("cpu", dtype).contiguous()
    return weights


def codec_config(data: Mapping[str, Any]) -> MagvitConfig:
    """The picture codec that a released ``config.json`` describes; the published one where it gives no sizes."""
    if "ch" not in data:
        return RELEASED
    try:
        encoder, decoder = (
            Stack(data["ch"], tuple(data[f"{half}_ch_mult"]), tuple(data[f"{half}_num_res_blocks"]))
            for half in ("encoder", "decoder")
        )
        return MagvitConfig(encoder, decoder, Quantiser("lfq", (2,) * data["z_channels"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"the codec's config gives some sizes and not others: {error!r}") from error


def codec_of(folder: Path) -> Path | None:
    """The folder of the codec that belongs to a checkpoint: ``codec/`` in it, or the one that its file ``codec`` names,
    seen from the checkpoint's folder: models that share a codec need it only once. None where there is neither."""
    here = folder / "codec"
    if not here.is_file():
        return here if here.is_dir() else None
    named = here.read_text(encoding="utf-8").strip()
    there = (folder / named).resolve()
    if not there.is_dir():
        raise ValueError(
            f"{here} names the codec {named!r}, and there is no folder {there}; put it there, or into {here}"
        )
    return there


def load_codec(folder: Path, dtype: torch.dtype = torch.float32) -> MagvitCodec:
    """A codec folder that limner wrote, or a released one, of the published size unless its config says another."""
    file = folder / "config.json"
    data = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if data.get("codec") == "magvit":
        return MagvitCodec.from_folder(folder, dtype)
    try:
        return MagvitCodec.from_released(folder, codec_config(data), dtype)
    except DAMAGED as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise ValueError(f"the codec in {folder} is damaged or was cut short ({reason}); download it again") from error


def write(
    folder: Path,
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any],
    tokenizer: Tokenizer,
    codec: MagvitCodec | None,
) -> None:
    """Write ``config.json``, ``model.safetensors``, ``tokenizer.json`` and ``codec/``, each beside its place and then
    moved there. The codec's type is that of the tensors."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(dict(tensors), folder / "model.safetensors.partial", metadata={"format": "pt"})
    tokenizer.save(str(folder / "tokenizer.json.partial"))
    text = json.dumps(config, indent=1, ensure_ascii=False) + "\n"
    (folder / "config.json.partial").write_text(text, encoding="utf-8")
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        os.replace(folder / f"{name}.partial", folder / name)
    if codec is not None:
        codec.save(folder / "codec", next(iter(tensors.values())).dtype)


def read_json(folder: str | Path) -> dict[str, Any]:
    """The ``config.json`` of a model folder; ValueError where there is none."""
    file = Path(folder) / "config.json"
    if not file.is_file():
        raise ValueError(f"no config.json in {folder}; a model folder holds config.json, weights and tokenizer.json")
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file} is no JSON object: {error}") from error
