"""Which models there are: names to checkpoint folders, and families to the classes that read them.

A checkpoint folder holds a `config.json` with a `family`. The folders inside the package are known by name; any other
one is given by its path. A family's class is imported when one of its models is loaded, not before.
"""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from limner.models.base import Model

PRETRAINED = Path(__file__).parent / "pretrained"
DEFAULT = "tiny-mmada"
DTYPES = ("float32", "bfloat16", "float16")

# family -> "module:class"
FAMILIES: dict[str, str] = {
    "echo": "limner.models.echo:Echo",
    "mmada": "limner.models.mmada.model:MMaDA",
}


def names() -> list[str]:
    """The models inside the package, sorted."""
    return sorted(path.parent.name for path in PRETRAINED.glob("*/config.json"))


def find(name_or_path: str | Path) -> Path:
    """The checkpoint folder that is meant: one inside the package by its name, any other by its path.

    Raises ValueError where there is none.
    """
    text = str(name_or_path)
    if text in names():
        return PRETRAINED / text
    folder = Path(name_or_path).expanduser()
    if (folder / "config.json").is_file():
        return folder
    if folder.is_dir():
        raise ValueError(f"the folder {text!r} holds no config.json; give the folder that a run released")
    known = ", ".join(names()) or "(none)"
    raise ValueError(f"no model called {text!r}; there are: {known}; or give the path of a checkpoint folder")


def read_config(folder: Path) -> dict[str, Any]:
    """The `config.json` of a checkpoint folder, with its family known; ValueError otherwise."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    family = config.get("family") if isinstance(config, dict) else None
    if not isinstance(family, str) or family not in FAMILIES:
        raise ValueError(f"{path} names the family {family!r}; known families: {', '.join(sorted(FAMILIES))}")
    return dict(config)


def load_model(name_or_path: str | Path, *, device: str = "cpu", dtype: str = "float32") -> Model:
    """The model of that name or in that folder, in evaluation mode. Raises ValueError for what cannot be loaded."""
    folder = find(name_or_path)
    module, _, name = FAMILIES[read_config(folder)["family"]].partition(":")
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r} is not one of: {', '.join(DTYPES)}")
    import torch

    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device={device!r} is not a device; say cpu, cuda or cuda:1") from error
    if place.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={device!r}, but no CUDA device can be used here; say cpu")
    family: type[Model] = getattr(import_module(module), name)
    return family.load(folder, device=device, dtype=getattr(torch, dtype)).eval()


def describe() -> list[dict[str, Any]]:
    """The models inside the package as plain values: name, family, folder, bytes."""
    rows = []
    for name in names():
        folder = PRETRAINED / name
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        rows.append({"name": name, "family": read_config(folder)["family"], "folder": str(folder), "bytes": size})
    return rows
