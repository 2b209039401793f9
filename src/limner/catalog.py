"""Which models there are: names to checkpoint folders, and families to the classes that read them.

A checkpoint folder holds a `config.json` with a `family`, or, as released, a `model_type`. The folders inside the
package are known by name; any other one is given by its path, or by its id on the hub (`owner/name`), from where it is
downloaded once. A family's class is imported when one of its models is loaded, not before.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from limner.models.base import Model
    from limner.models.plan import Outline

PRETRAINED = Path(__file__).parent / "pretrained"
DEFAULT = "tiny-mmada"
DTYPES = ("float32", "bfloat16", "float16")

# family -> "module:class"
FAMILIES: dict[str, str] = {
    "echo": "limner.models.echo:Echo",
    "mmada": "limner.models.mmada.model:MMaDA",
    "showo": "limner.models.showo.model:ShowO",
    "mindomni": "limner.models.mindomni.model:MindOmni",
    "nexusgen": "limner.models.nexusgen.model:NexusGen",
}
# family -> "module:function" that writes a released checkpoint in limner's layout
CONVERTERS: dict[str, str] = {
    "mmada": "limner.models.mmada.convert:convert",
    "showo": "limner.models.showo.convert:convert",
}
# family -> "module" whose ``outline`` says what a model takes before it is loaded, and whose ``NAMES`` were released
OUTLINES: dict[str, str] = {
    "mmada": "limner.models.mmada.sizes",
    "showo": "limner.models.showo.sizes",
    "mindomni": "limner.models.mindomni.sizes",
    "nexusgen": "limner.models.nexusgen.sizes",
}
# what released configs call a family
MODEL_TYPES: dict[str, str] = {"mmada": "mmada", "llada": "mmada", "Showo": "showo", "qwen2_5_vl": "nexusgen"}
# what stands in a released folder that says nothing of itself -> the family
LAYOUTS: dict[tuple[str, ...], str] = {
    ("mllm/config.json", "image_decoder/config.json", "vae/config.json"): "mindomni",
    ("generation_decoder.bin",): "nexusgen",
    ("edit_decoder.bin",): "nexusgen",
    ("decoder_81_512.bin",): "nexusgen",
}
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


@dataclass(frozen=True)
class Companion:
    """A part of a family's released models that stands elsewhere on the hub. It is not needed where the model's folder
    has ``here``, nor where the config field ``when`` is false; without ``weights`` its JSON files are all of it."""

    home: str
    here: str
    when: str = ""
    weights: bool = True


# family -> option -> that part of its released models
COMPANIONS: dict[str, dict[str, Companion]] = {
    "mmada": {"codec": Companion("showlab/magvitv2", "codec")},
    "showo": {
        "codec": Companion("showlab/magvitv2", "codec"),
        "words": Companion("microsoft/phi-1_5", "tokenizer.json", weights=False),
        "vision": Companion("openai/clip-vit-large-patch14-336", "vision", when="w_clip_vit"),
    },
    "nexusgen": {"vae": Companion("black-forest-labs/FLUX.1-dev/vae", "vae")},
}


def names() -> list[str]:
    """The models inside the package, sorted; other networks, such as the trained reader, are no models."""
    configs = {path.parent.name: json.loads(path.read_text("utf-8")) for path in PRETRAINED.glob("*/config.json")}
    return sorted(name for name, config in configs.items() if "family" in config)


def find(name_or_path: str | Path) -> Path:
    """The checkpoint folder that is meant: one inside the package by its name, any other by its path or hub id.

    Raises ValueError where there is none.
    """
    text = str(name_or_path)
    if text in names():
        return PRETRAINED / text
    folder = Path(name_or_path).expanduser()
    if (folder / "config.json").is_file() or laid_out(folder):
        return folder
    if folder.is_dir():
        raise ValueError(f"the folder {text!r} holds no config.json; give the folder that a run released")
    if is_hub_id(text):
        return download(text)
    known = ", ".join(names()) or "(none)"
    raise ValueError(f"no model called {text!r}; there are: {known}; or give the path of a checkpoint folder")


def laid_out(folder: Path) -> str | None:
    """The family that a folder without a `config.json` of its own belongs to, by the files in it."""
    return next((family for files, family in LAYOUTS.items() if all((folder / file).is_file() for file in files)), None)


def is_hub_id(text: str) -> bool:
    """Whether this names a repository on the hub, `owner/name`, or a folder in one, and nothing in a folder here."""
    return HUB_ID.fullmatch(text) is not None and not Path(text.partition("/")[0]).is_dir()


def download(name: str, weights: bool = True) -> Path:
    """The folder of a hub repository's configs and weights, from the cache if it is there; no code is fetched. A third
    part of the name is a folder in the repository, which alone is fetched."""
    from huggingface_hub import snapshot_download

    owner, repository, *inside = name.split("/")
    front = "".join(f"{part}/" for part in inside)
    folder = Path()
    try:
        for kind in ("*.safetensors", "*.bin", "*.pt") if weights else ("tokenizer*",):
            named = [f"{front}{file}" for files in LAYOUTS for file in files if weights and "/" not in file]
            wanted = [f"{front}*.json", *named, f"{front}{kind}"]
            folder = Path(snapshot_download(f"{owner}/{repository}", allow_patterns=wanted), *inside)
            if any(folder.glob(kind)) and not lacking(folder):
                break
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise ValueError(
            f"there is no folder {name!r}, and the hub gives no repository of that name ({reason}); "
            "go online, or download it elsewhere and give its path"
        ) from error
    if not folder.is_dir():
        raise ValueError(f"the hub's repository {owner}/{repository} has no folder {front!r}; look up its name there")
    return folder


def lacking(folder: Path) -> list[str]:
    """The parts of a folder of several parts that have no weights yet."""
    family = laid_out(folder)
    layouts = [files for files in LAYOUTS if LAYOUTS[files] == family]
    parts = {file.partition("/")[0] for files in layouts for file in files if "/" in file}
    return sorted(part for part in parts if not any((folder / part).glob("*.safetensors")))


def read_config(folder: Path) -> dict[str, Any]:
    """The `config.json` of a checkpoint folder with its family as `family`; ValueError for none or an unknown one."""
    path = folder / "config.json"
    family = laid_out(folder)
    if family is not None and not path.is_file():
        return {"family": family}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds no object with a family")
    family = config.get("family", family)
    kind = config.get("model_type", config.get("_class_name"))
    if family is None and isinstance(kind, str):
        if kind not in MODEL_TYPES:
            raise ValueError(
                f"{path} is of model_type {kind!r}; limner reads: {', '.join(sorted(MODEL_TYPES, key=str.lower))}"
            )
        family = MODEL_TYPES[kind]
    if not isinstance(family, str) or family not in FAMILIES:
        raise ValueError(f"{path} names the family {family!r}; known families: {', '.join(sorted(FAMILIES))}")
    return config | {"family": family}


def family_class(folder: Path) -> type[Model]:
    """The class that reads a checkpoint folder."""
    module, _, name = FAMILIES[read_config(folder)["family"]].partition(":")
    found: type[Model] = getattr(import_module(module), name)
    return found


def converter(folder: Path) -> Callable[..., dict[str, Any]]:
    """The function that converts a checkpoint folder; ValueError for a family that was never released."""
    family = read_config(folder)["family"]
    if family not in CONVERTERS:
        raise ValueError(f"the family {family} has no released form; families that do: {', '.join(CONVERTERS)}")
    module, _, name = CONVERTERS[family].partition(":")
    found: Callable[..., dict[str, Any]] = getattr(import_module(module), name)
    return found


def companions(name_or_path: str | Path, folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    """``options`` with folders in place of hub ids, and with what a model from the hub keeps in other repositories."""
    config = read_config(folder)
    wanted = COMPANIONS.get(config["family"], {})
    found = {name: value for name, value in options.items() if value is not None}
    for option, companion in wanted.items():
        needed = not (folder / companion.here).exists() and (not companion.when or bool(config.get(companion.when)))
        if option not in found and needed and is_hub_id(str(name_or_path)):
            found[option] = companion.home
        place = found.get(option)
        if place is not None:
            known = is_hub_id(str(place))
            found[option] = download(str(place), companion.weights) if known else Path(place).expanduser()
    return found


def load_model(name_or_path: str | Path, *, device: str = "cpu", dtype: str = "float32", **options: Any) -> Model:
    """The model of that name or in that folder, in evaluation mode. ``options`` are the family's own, such as the
    folder of a codec that stands elsewhere. Raises ValueError for what cannot be loaded."""
    folder = find(name_or_path)
    read_config(folder)
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r} is not one of: {', '.join(DTYPES)}")
    import torch

    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device={device!r} is not a device; say cpu, cuda or cuda:1") from error
    if place.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={device!r}, but no CUDA device can be used here; say cpu")
    family = family_class(folder)
    known = inspect.signature(family.load).parameters.keys() - {"folder", "device", "dtype"}
    unknown = sorted(options.keys() - known)
    if unknown:
        takes = ", ".join(sorted(known)) or "none"
        raise ValueError(f"{unknown[0]}= is no option of the family {family.family}; it takes: {takes}")
    options = companions(name_or_path, folder, options)
    return family.load(folder, device=device, dtype=getattr(torch, dtype), **options).eval()


def outline(name: str) -> Outline:
    """What a model is made of, without its weights: a released one by name (nexus-gen-v2), one inside the package, or
    one in a folder. Nothing is downloaded. Raises ValueError for any other."""
    released: list[str] = []
    for module in OUTLINES.values():
        sizes = import_module(module)
        if name in sizes.NAMES:
            found: Outline = sizes.outline(name, None)
            return found
        released += sizes.NAMES
    if name not in names() and not Path(name).expanduser().is_dir():
        raise ValueError(
            f"no model called {name!r} can be planned; released ones are {', '.join(sorted(released))}; inside the "
            f"package are {', '.join(names())}; or give a checkpoint folder"
        )
    folder = find(name)
    family = read_config(folder)["family"]
    if family not in OUTLINES:
        raise ValueError(f"the family {family} has no plan; families that do: {', '.join(OUTLINES)}")
    made: Outline = import_module(OUTLINES[family]).outline(name, folder)
    return made


def describe() -> list[dict[str, Any]]:
    """The models inside the package as plain values: name, family, folder, bytes."""
    rows = []
    for name in names():
        folder = PRETRAINED / name
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        rows.append({"name": name, "family": read_config(folder)["family"], "folder": str(folder), "bytes": size})
    return rows
