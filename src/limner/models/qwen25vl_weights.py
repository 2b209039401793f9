"""Released weights of a Qwen2.5-VL by our names and back, and tensors put into modules that were renamed already."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

# released beginning -> transformers' beginning, the first that fits
NAMES: tuple[tuple[str, str], ...] = (
    ("visual.", "network.model.visual."),
    ("model.visual.", "network.model.visual."),
    ("model.language_model.", "network.model.language_model."),
    ("model.", "network.model.language_model."),
    ("lm_head.", "network.lm_head."),
)


def ours(name: str) -> str | None:
    """Our name of a released tensor of a Qwen2.5-VL, or None for a name that is none of its."""
    return next((to + name.removeprefix(begin) for begin, to in NAMES if name.startswith(begin)), None)


def released(name: str) -> str | None:
    """The released name (that of transformers 4) of one of our tensors."""
    for begin, to in (NAMES[0], NAMES[3], NAMES[4]):
        if name.startswith(to):
            return begin + name.removeprefix(to)
    return None


def load_into(
    module: nn.Module, what: str, tensors: Iterable[tuple[str, Tensor]], dtype: torch.dtype
) -> dict[str, Any]:
    """Put tensors (by our names) into a module that may stand on the meta device; what was matched.

    Raises ValueError, with the name, for a tensor that the module does not have, one of another shape, and one that
    is missing.
    """
    wanted = module.state_dict()
    values: dict[str, Tensor] = {}
    kinds = set()
    for name, tensor in tensors:
        if name not in wanted:
            raise ValueError(f"the weights of the {what} hold {name}, which it does not have; check its config.json")
        if tensor.shape != wanted[name].shape:
            raise ValueError(
                f"{name} of the {what} has shape {tuple(tensor.shape)}, its config wants {tuple(wanted[name].shape)}"
            )
        kinds.add(str(tensor.dtype).removeprefix("torch."))
        values[name] = tensor.to(dtype)
    missing = [name for name in wanted if name not in values]
    if missing:
        raise ValueError(f"the weights of the {what} lack {len(missing)} tensors, among them {missing[:3]}")
    module.load_state_dict(values, strict=True, assign=True)
    count = sum(tensor.numel() for tensor in values.values())
    return {"names_matched": len(values), "parameters": count, "dtypes": sorted(kinds)}


def read_json(file: Path) -> dict[str, Any]:
    """The JSON object in a file, an empty one where there is no file; ValueError for anything else."""
    if not file.is_file():
        return {}
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file} is no JSON object: {error}") from error


def translated(tensors: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """Tensors of a Qwen2.5-VL by our names; a name that is none of its keeps it and is refused later."""
    for name, tensor in tensors:
        yield ours(name) or name, tensor
