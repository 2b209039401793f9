"""What is needed to go on as if nothing had happened; a crash while writing leaves the old or the new, never a half.

    checkpoints/step-00000500/state.safetensors   weights/NAME  ema/NAME  optimizer/I/P/KEY
                              state.json          step, counters, the numbers not yet reported

A checkpoint is written beside and renamed. Frozen parameters are not stored: `build` makes them, and a digest in
config.json says whether they are still the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from limner.train.optim import EMA, Optimizers


def _stored(model: nn.Module) -> dict[str, Tensor]:
    """Trainable parameters and persistent buffers, shared ones once."""
    persistent = model.state_dict(keep_vars=True)
    trainable = ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)
    buffers = ((name, buffer) for name, buffer in model.named_buffers() if name in persistent)
    return dict(chain(trainable, buffers))


def digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """sha256 over names, shapes, types and bytes."""
    total = hashlib.sha256()
    for name, tensor in tensors:
        total.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        total.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def frozen_digest(model: nn.Module) -> str:
    """sha256 of the parameters that training does not change."""
    return digest((name, parameter) for name, parameter in model.named_parameters() if not parameter.requires_grad)


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file whole."""
    beside = path.with_name(f".{path.name}.partial")
    with beside.open("w") as file:
        json.dump(value, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def find(folder: Path) -> list[Path]:
    """The complete checkpoints of a run folder, oldest first."""
    return sorted(path for path in (folder / "checkpoints").glob("step-*") if path.is_dir())


def save(
    folder: Path, model: nn.Module, optimizers: Optimizers, ema: EMA, counters: dict[str, Any], *, keep: int
) -> Path:
    """Write the state after `counters["step"]` updates, then remove all but the newest `keep`; returns its folder."""
    tensors = {f"weights/{name}": tensor for name, tensor in _stored(model).items()}
    if ema.decay:
        tensors |= {f"ema/{name}": tensor for name, tensor in ema.averages.items()}
    values: dict[str, Any] = {}
    for index, state in enumerate(optimizers.state_dict()):
        for parameter, entries in state["state"].items():
            for key, value in entries.items():
                name = f"optimizer/{index}/{parameter}/{key}"
                (tensors if isinstance(value, Tensor) else values)[name] = value

    parent = folder / "checkpoints"
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(".partial-*"):  # of a run killed while it wrote
        shutil.rmtree(left)
    final = parent / f"step-{counters['step']:08d}"
    beside = parent / f".partial-{final.name}"
    beside.mkdir()
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, beside / "state.safetensors"
    )
    _flush(beside / "state.safetensors")
    write_json(beside / "state.json", {**counters, "optimizer_values": values})
    os.rename(beside, final)
    _flush(parent)
    for old in find(folder)[:-keep]:
        shutil.rmtree(old.rename(parent / f".partial-{old.name}"))
    return final


@torch.no_grad()
def load(path: Path, model: nn.Module, optimizers: Optimizers, ema: EMA) -> dict[str, Any]:
    """Put a checkpoint back in place; returns its counters. Raises ValueError where it does not fit the model."""
    counters = json.loads((path / "state.json").read_text())
    values: dict[str, Any] = counters.pop("optimizer_values")
    with safe_open(path / "state.safetensors", framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)

    wanted = {f"weights/{name}": tensor for name, tensor in _stored(model).items()}
    if ema.decay:
        wanted |= {f"ema/{name}": tensor for name, tensor in ema.averages.items()}
    given = {name: tensor for name, tensor in tensors.items() if not name.startswith("optimizer/")}
    different = sorted(
        name
        for name in wanted.keys() | given.keys()
        if name not in wanted or name not in given or wanted[name].shape != given[name].shape
    )
    if different:
        raise ValueError(
            f"the checkpoint {path} does not fit the model that the recipe builds: {', '.join(different[:5])}"
            f"{' …' if len(different) > 5 else ''}; use the code that began the run, or begin anew in another folder"
        )
    for name, tensor in wanted.items():
        tensor.copy_(given[name])
    ema.updates = counters["step"]

    states = optimizers.state_dict()
    for state in states:
        state["state"] = {}
    for name, value in chain(values.items(), tensors.items()):
        kind, *rest = name.split("/", 3)
        if kind == "optimizer":
            index, parameter, key = int(rest[0]), int(rest[1]), rest[2]
            states[index]["state"].setdefault(parameter, {})[key] = value
    optimizers.load_state_dict(states)
    return counters
