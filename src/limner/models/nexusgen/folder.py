"""A Nexus-Gen's checkpoint folder, read as released and written with the released names:

config.json, generation_config.json, preprocessor_config.json, tokenizer.json, weights      Qwen2.5-VL with additions
generation_decoder.bin, edit_decoder.bin     the decoders (written as .safetensors; V1: decoder_81_512.bin)
vae/                                         FLUX.1-dev's autoencoder
constants.safetensors                        ``pooled`` (1, P) and ``negative`` (1, M, C): the empty text's vectors
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from limner.codecs.vae import Vae
from limner.models import checkpoint
from limner.models import qwen25vl_weights as files
from limner.models.compact import KINDS, CompactLinear
from limner.models.nexusgen import weights
from limner.models.nexusgen.config import NexusConfig
from limner.models.nexusgen.decoders import RELEASED
from limner.models.vocabulary import load_tokenizer

ModelT = TypeVar("ModelT")
# decoder -> its files, best first, and what stands beside the transformer in them
DECODERS: dict[str, tuple[tuple[str, ...], str]] = {
    "generation": (("generation_decoder.safetensors", "generation_decoder.bin", "decoder_81_512.bin"), "adapter."),
    "editing": (("edit_decoder.safetensors", "edit_decoder.bin"), "embedding_merger."),
}
CONSTANTS = "constants.safetensors"
TABLE = "image_prefill_embeds.weight"
# the hashes by which the released lists of names are known
KNOWN = {
    "2bd19e845116e4f875a0a048e27fc219": "Nexus-Gen V2, reader",
    "3e6c61b0f9471135fc9c6d6a98e98b6d": "Nexus-Gen V2, generation decoder",
    "63c969fd37cce769a90aa781fbff5f81": "Nexus-Gen V2, editing decoder",
}


def load(
    build: Callable[..., ModelT],
    folder: Path,
    dtype: torch.dtype,
    vae: Path | None,
    constants_: Path | None,
    wishes: Mapping[str, Any],
) -> ModelT:
    """The model in a folder, on the CPU, by its class; ``wishes`` replace what its config says."""
    data = checkpoint.read_json(folder)
    config = replace(NexusConfig.from_json(data), **wishes)
    tensors = dict(checkpoint.read(folder))
    if "limner" not in data and TABLE not in tensors:
        config = replace(config, rows="pad")  # V1
    found = {name: _file(folder, names) for name, (names, _) in DECODERS.items()}
    where = Path(vae) if vae is not None else folder / "vae"
    shows = Vae.from_folder(where) if vae is not None or where.is_dir() else None
    generation = files.read_json(folder / "generation_config.json")
    processor = files.read_json(folder / "preprocessor_config.json")
    reader = {name: value for name, value in data.items() if name not in ("family", "limner")}
    painters = [name for name, file in found.items() if file is not None]
    tokenizer = load_tokenizer(folder)
    with torch.device("meta"):
        model: Any = build(config, tokenizer, reader, shows, painters, generation, processor)
    about: dict[str, Any] = {"reader": _told(tensors)}
    about["reader"] |= files.load_into(model.reader, "reader", weights.reader(tensors.items()), dtype)
    model.reader.rebuild_tables()
    del tensors
    width = _width(config)
    for name, file in found.items():
        if file is None:
            continue
        given = dict(checkpoint.read_file(file))
        beside = DECODERS[name][1]
        if not any(part.startswith((beside, "0.")) for part in given):
            raise ValueError(f"{file} holds no {beside.rstrip('.')}; it is no {name} decoder of Nexus-Gen")
        ours = weights.decoder(given.items(), width)
        about[name] = _told(given) | files.load_into(getattr(model, name), f"{name} decoder", ours, dtype)
    read_constants(model, Path(constants_) if constants_ is not None else folder / CONSTANTS)
    model.certificate = about
    loaded: ModelT = model
    return loaded


def _told(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The hash of a list of names, and what is known by it."""
    told = weights.fingerprint({name: list(tensor.shape) for name, tensor in tensors.items()})
    return {"fingerprint": told, "known_as": KNOWN.get(told)}


def _file(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _width(config: NexusConfig) -> int:
    sizes = config.dit or RELEASED
    return int(sizes["attention_head_dim"]) * int(sizes["num_attention_heads"])


def read_constants(model: Any, file: Path) -> None:
    """Put the empty text's vectors in a file into a model. Raises ValueError for a file that is missing or another."""
    if not file.is_file():
        if model.generation is not None or model.editing is not None:
            raise ValueError(
                f"there is no {file}: the decoders need the empty text's vectors; make them once with "
                "limner.models.nexusgen.folder.constants(FLUX.1-dev's folder, that file)"
            )
        model.pooled, model.negative = (torch.zeros(each.shape) for each in (model.pooled, model.negative))
        return
    found = dict(checkpoint.read_file(file))
    if found.keys() != {"pooled", "negative"}:
        raise ValueError(f"{file} holds {', '.join(sorted(found))}, wanted negative and pooled")
    for name, tensor in found.items():
        wanted = getattr(model, name)
        if tensor.ndim != wanted.ndim or tensor.shape[-1] != wanted.shape[-1]:
            raise ValueError(f"{name} in {file} has shape {tuple(tensor.shape)}, wanted (..., {wanted.shape[-1]})")
        setattr(model, name, tensor.float())


@torch.no_grad()
def constants(flux: Path, file: Path, places: int = 512) -> None:
    """Compute the empty text's vectors with FLUX.1-dev's own encoders (``text_encoder``, ``text_encoder_2`` and their
    tokenizers in ``flux``), once, and write them to ``file``."""
    from transformers import AutoTokenizer, CLIPTextModel, T5EncoderModel

    flux = Path(flux)
    clip = CLIPTextModel.from_pretrained(flux / "text_encoder").eval()
    ids = AutoTokenizer.from_pretrained(flux / "tokenizer")(
        "", padding="max_length", max_length=77, return_tensors="pt"
    ).input_ids
    pooled = clip(ids).pooler_output.float()
    t5 = T5EncoderModel.from_pretrained(flux / "text_encoder_2").eval()
    ids = AutoTokenizer.from_pretrained(flux / "tokenizer_2")(
        "", padding="max_length", max_length=places, return_tensors="pt"
    ).input_ids
    negative = t5(ids).last_hidden_state.float()
    _write({"pooled": pooled, "negative": negative}, Path(file))


def quantise_model(model: Any, kind: str) -> None:
    """Keep the linear layers of the reader's and the transformers' blocks in eight bits."""
    if kind not in KINDS:
        raise ValueError(f"quantise={kind!r} is not one of: {', '.join(KINDS)}")
    stacks = [model.reader.layers]
    for decoder in (model.generation, model.editing):
        if decoder is not None:
            stacks += [decoder.dit.transformer_blocks, decoder.dit.single_transformer_blocks]
    for stack in stacks:
        for parent in list(stack.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.Linear):
                    setattr(parent, name, CompactLinear(child, kind))


def _write(tensors: Mapping[str, Tensor], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f"{file.name}.partial")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, beside, metadata={"format": "pt"})
    os.replace(beside, file)


def _write_json(value: Mapping[str, Any], file: Path) -> None:
    beside = file.with_name(f"{file.name}.partial")
    beside.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(beside, file)


def save(model: Any, folder: Path, dtype: torch.dtype) -> None:
    """Write a model's folder. Raises ValueError for one with adapters or quantised layers, which have no such names."""

    def named(module: nn.Module) -> dict[str, Tensor]:
        return {name: tensor.detach().to("cpu", dtype) for name, tensor in module.state_dict().items()}

    _write(weights.released_reader(named(model.reader)), folder / "model.safetensors")
    for name, (names, front) in DECODERS.items():
        decoder = getattr(model, name)
        if decoder is not None:
            _write(weights.released_decoder(named(decoder), front), folder / names[0])
    _write({name: getattr(model, name).cpu().float() for name in ("pooled", "negative")}, folder / CONSTANTS)
    if model.generation_config:
        _write_json(model.generation_config, folder / "generation_config.json")
    if model.processor:
        _write_json(model.processor, folder / "preprocessor_config.json")
    beside = folder / "tokenizer.json.partial"
    model.tokenizer.save(str(beside))
    os.replace(beside, folder / "tokenizer.json")
    if model.vae is not None:
        model.vae.save(folder / "vae", dtype)
    _write_json(model.reader_config | model.config.to_json(), folder / "config.json")
