"""A released checkpoint in limner's own layout, with a certificate of what it holds.

The folder that comes out: ``config.json`` (the released names and limner's own fields), ``model.safetensors`` (one
file, the released names), ``tokenizer.json``, ``codec/``, and ``certificate.json`` if wished.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from limner import __version__
from limner.models import checkpoint
from limner.models.checkpoint import load_codec
from limner.models.parity import Row, codec_rows, read_recorded
from limner.models.vocabulary import load_tokenizer


@dataclass(frozen=True)
class Form:
    """What a family says about its checkpoints. ``read_config`` takes the folder, its tokenizer if there is one, and
    the codec's pixels a code; ``compare`` gives rows of a network (float32) beside recorded tensors."""

    family: str
    names: Mapping[str, str]
    network: Callable[[Any], nn.Module]
    read_config: Callable[[Path, Tokenizer | None, int], Any]
    compare: Callable[[Any, Mapping[str, Tensor]], Iterable[Row]]


def convert(
    form: Form,
    source: Path,
    target: Path,
    *,
    codec: Path | None = None,
    words: Path | None = None,
    beside: Mapping[str, Path] | None = None,
    dtype: torch.dtype | None = None,
    certify: bool = False,
    reference: Path | None = None,
) -> dict[str, Any]:
    """Write ``source`` (a model folder, released or limner's) to the new folder ``target``; what the certificate says.

    ``target`` appears whole or not at all. ``codec`` is the codec's folder (default: ``codec/`` inside the source),
    ``words`` that of ``tokenizer.json`` (default: the source), ``beside`` are folders to be copied, by their new names;
    ``dtype`` None keeps the weights' own. ``certify`` writes the certificate: names, shapes, types and SHA-256 of every
    tensor, read back from what was written, and, with a ``reference`` folder recorded from these very weights, how far
    the written model is from it (computed in float32). Raises ValueError for a source that does not fit and for a
    target that exists.
    """
    source, target = Path(source), Path(target)
    if target.exists():
        raise ValueError(f"{target} exists already; choose another folder or remove it")
    where = Path(codec) if codec is not None else source / "codec"
    shows = load_codec(where) if codec is not None or where.is_dir() else None
    # without its tokenizer a model can be converted and compared, though not asked
    spoken = source if words is None else Path(words)
    tokenizer = load_tokenizer(spoken) if (spoken / "tokenizer.json").is_file() else None
    config = form.read_config(source, tokenizer, 16 if shows is None else shows.factor)
    with torch.device("meta"):
        network = form.network(config)
    tensors = dict(checkpoint.read(source))
    kept = dtype or max({t.dtype for t in tensors.values()}, key=lambda kind: kind.itemsize)
    matched = checkpoint.load_into(network, tensors.items(), form.names, kept)
    wanted = checkpoint.describe((name, tensor.to(kept)) for name, tensor in tensors.items())
    del tensors
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.partial")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        save_file(checkpoint.released(network, form.names, kept), part / "model.safetensors", metadata={"format": "pt"})
        text = json.dumps(config.to_json(), indent=1, ensure_ascii=False) + "\n"
        (part / "config.json").write_text(text, encoding="utf-8")
        if tokenizer is not None:
            shutil.copyfile(spoken / "tokenizer.json", part / "tokenizer.json")
        if shows is not None:
            shows.save(part / "codec")
        for name, folder in (beside or {}).items():
            shutil.copytree(folder, part / name)
        about: dict[str, Any] = {"family": form.family, "names_matched": matched["names_matched"]}
        about |= {"parameters": matched["parameters"], "dtype": str(kept).removeprefix("torch.")}
        about |= {"source_dtypes": matched["dtypes"], "tokenizer": tokenizer is not None, "codec": shows is not None}
        if certify or reference is not None:
            about |= _certificate(form, part, source, wanted, reference)
            (part / "certificate.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        os.replace(part, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return about


def _certificate(
    form: Form, folder: Path, source: Path, wanted: dict[str, Any], reference: Path | None
) -> dict[str, Any]:
    """What stands in a written folder: tensors and files by their hashes, and its distance from a reference."""
    found = checkpoint.describe(checkpoint.read(folder))
    if found != wanted:
        different = sorted(name for name in wanted if found.get(name) != wanted[name])
        raise ValueError(f"what was written differs from what was read in {different[:3]}; is the disk full or broken?")
    certificate: dict[str, Any] = {"limner": __version__, "source": source.name, "tensors": found}
    names = [name for name in ("config.json", "tokenizer.json") if (folder / name).is_file()]
    certificate["files"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    has_codec = (folder / "codec").is_dir()
    if has_codec:
        certificate["codec_tensors"] = checkpoint.describe(checkpoint.read(folder / "codec"))
    if reference is not None:
        config = form.read_config(folder, None, 16)
        with torch.device("meta"):
            network = form.network(config)
        checkpoint.load_into(network, checkpoint.read(folder), form.names, torch.float32)
        io = read_recorded(reference)
        rows = list(form.compare(network, io))
        if has_codec:
            rows += codec_rows(load_codec(folder / "codec"), io)
        if not rows:
            raise ValueError(f"the reference {reference} holds nothing to compare (no forward pass, no pixels)")
        certificate["parity"] = {row.tensor: {"error": row.error, "limit": row.limit, "ok": row.ok} for row in rows}
    return certificate
