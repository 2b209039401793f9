"""What is needed to go on as if nothing had happened; a crash while writing leaves the old or the new, never a half.

    checkpoints/step-00000500/state.safetensors   weights/NAME  ema/NAME  optimizer/I/P/KEY
                              parts/              the same in torch's distributed format, written by several processes
                              state.json          step, counters, the numbers not yet reported

A checkpoint is written beside and renamed. Either form is read by any number of processes. Frozen parameters are not
stored: `build` makes them, and a digest in config.json says whether they are still the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed import checkpoint as parts
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.tensor import DTensor

from limner.algorithms import workers
from limner.train.optim import EMA, Optimizers
from limner.train.tensors import full, like

PARTS = "parts"


class NotWritten(OSError):
    """A checkpoint could not be written; those before it are whole."""


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
        total.update(full(tensor.detach()).cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
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


def tidy(folder: Path, keep: int) -> None:
    """Remove all but the newest `keep`, and what a run left that was killed while it wrote or removed one."""
    parent = folder / "checkpoints"
    for old in find(folder)[:-keep]:
        old.rename(parent / f".partial-{old.name}")
    for left in parent.glob(".partial-*"):
        shutil.rmtree(left)


def save(
    folder: Path, model: nn.Module, optimizers: Optimizers, ema: EMA, counters: dict[str, Any], *, keep: int
) -> Path:
    """Write the state after `counters["step"]` updates, then remove all but the newest `keep`; returns its folder.

    All processes call it. Raises NotWritten where it cannot be written, and leaves the checkpoints before it.
    """
    tensors, values = _state(model, optimizers, ema)
    parent = folder / "checkpoints"
    final = parent / f"step-{counters['step']:08d}"
    beside = parent / f".partial-{final.name}"
    first = workers.place() == 0

    def begin() -> None:
        parent.mkdir(parents=True, exist_ok=True)
        tidy(folder, keep)
        beside.mkdir()

    def end() -> None:
        write_json(beside / "state.json", {**counters, "optimizer_values": values})
        os.rename(beside, final)
        _flush(parent)

    try:
        workers.by_first(begin)
        _write(beside, tensors)
        workers.by_first(end)
    except (OSError, SafetensorError, parts.CheckpointException) as error:
        if first:
            shutil.rmtree(beside, ignore_errors=True)
        cause = str(error).strip().splitlines()[-1]
        raise NotWritten(
            f"the checkpoint of step {counters['step']} could not be written to {parent}: {cause}. Make room and run "
            f"the same command again: it goes on from {_newest(folder)}"
        ) from error
    workers.together()
    if first:
        tidy(folder, keep)
    return final


def _newest(folder: Path) -> str:
    found = find(folder)
    return found[-1].name if found else "the beginning"


def _state(model: nn.Module, optimizers: Optimizers, ema: EMA) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors by name, the optimisers' other values by name)."""
    tensors: dict[str, Tensor] = {f"weights/{name}": tensor.detach() for name, tensor in _stored(model).items()}
    if ema.decay:
        tensors |= {f"ema/{name}": tensor for name, tensor in ema.averages.items()}
    values: dict[str, Any] = {}
    for index, state in enumerate(optimizers.state_dict()):
        for parameter, entries in state["state"].items():
            for key, value in entries.items():
                name = f"optimizer/{index}/{parameter}/{key}"
                (tensors if isinstance(value, Tensor) else values)[name] = value
    return tensors, values


def _write(beside: Path, tensors: dict[str, Tensor]) -> None:
    if workers.count() == 1:
        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(whole, beside / "state.safetensors")
        _flush(beside / "state.safetensors")
        return
    workers.together()
    parts.save(dict(tensors), storage_writer=parts.FileSystemWriter(beside / PARTS, sync_files=True))


@torch.no_grad()
def load(path: Path, model: nn.Module, optimizers: Optimizers, ema: EMA) -> dict[str, Any]:
    """Put a checkpoint back in place; returns its counters. Raises ValueError where it does not fit the model."""
    counters = json.loads((path / "state.json").read_text())
    values: dict[str, Any] = counters.pop("optimizer_values")
    wanted: dict[str, Tensor] = {f"weights/{name}": tensor.detach() for name, tensor in _stored(model).items()}
    if ema.decay:
        wanted |= {f"ema/{name}": tensor for name, tensor in ema.averages.items()}
    shapes = _shapes(path)
    given = {name for name in shapes if not name.startswith("optimizer/")}
    different = sorted(
        name
        for name in wanted.keys() | given
        if name not in wanted or name not in given or tuple(wanted[name].shape) != shapes[name][0]
    )
    if different:
        raise ValueError(
            f"the checkpoint {path} does not fit the model that the recipe builds: {', '.join(different[:5])}"
            f"{' …' if len(different) > 5 else ''}; use the code that began the run, or begin anew in another folder"
        )
    of_optimizers = {name: _room(name, shapes[name], optimizers) for name in shapes if name not in given}
    _read(path, wanted | of_optimizers)
    ema.updates = counters["step"]

    states = optimizers.state_dict()
    for state in states:
        state["state"] = {}
    for name, value in chain(values.items(), of_optimizers.items()):
        _, index, parameter, key = name.split("/", 3)
        states[int(index)]["state"].setdefault(int(parameter), {})[key] = value
    optimizers.load_state_dict(states)
    return counters


def _shapes(path: Path) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """(shape, type) of every tensor in a checkpoint by name."""
    if (path / PARTS).is_dir():
        stored = parts.FileSystemReader(path / PARTS).read_metadata().state_dict_metadata
        return {
            name: (tuple(about.size), about.properties.dtype)
            for name, about in stored.items()
            if isinstance(about, TensorStorageMetadata)
        }
    with safe_open(path / "state.safetensors", framework="pt") as file:
        # a slice tells no torch type, and reading costs nothing: the file is mapped
        return {name: (tuple((t := file.get_tensor(name)).shape), t.dtype) for name in file.keys()}  # noqa: SIM118


def _room(name: str, about: tuple[tuple[int, ...], torch.dtype], optimizers: Optimizers) -> Tensor:
    """An empty tensor of an optimiser's state, cut as its parameter is."""
    _, index, number, _ = name.split("/", 3)
    shape, dtype = about
    groups = optimizers.optimizers[int(index)].param_groups
    parameter = [p for group in groups for p in group["params"]][int(number)]
    if isinstance(parameter, DTensor) and tuple(parameter.shape) == shape:
        return torch.empty_like(parameter, dtype=dtype)
    return torch.empty(shape, dtype=dtype)


def _read(path: Path, into: dict[str, Tensor]) -> None:
    """Fill tensors, whole or cut, with what a checkpoint holds under their names."""
    if (path / PARTS).is_dir():
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            parts.load(
                into,
                storage_reader=parts.FileSystemReader(path / PARTS),
                no_dist=not (dist.is_available() and dist.is_initialized()),
            )
        return
    with safe_open(path / "state.safetensors", framework="pt") as file:
        for name, tensor in into.items():
            tensor.copy_(like(file.get_tensor(name), tensor))
