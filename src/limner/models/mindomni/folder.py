"""A MindOmni's checkpoint folder, read and written in the released layout:

mllm/             Qwen2.5-VL's config.json, generation_config.json, preprocessor_config.json, tokenizer.json, weights
image_decoder/    config.json (a Phi-3's) and weights
connector.safetensors
vae/              config.json and weights
config.json       limner's own fields; the release has none
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from limner.codecs.vae import Vae
from limner.models import checkpoint
from limner.models import qwen25vl_weights as files
from limner.models.mindomni import weights
from limner.models.mindomni.config import DecoderConfig, MindOmniConfig
from limner.models.vocabulary import load_tokenizer

PICKLED = "model.pt"  # the image decoder may come as this
ModelT = TypeVar("ModelT")


def load(
    build: Callable[..., ModelT],
    folder: Path,
    dtype: torch.dtype,
    vae: Path | None,
    wishes: Mapping[str, Any],
    shift: float | None,
) -> ModelT:
    """The model in a folder, on the CPU, by its class; ``wishes`` and ``shift`` replace what its config says."""
    config = replace(MindOmniConfig.from_json(files.read_json(folder / "config.json")), **wishes)
    if shift is not None:
        config = replace(config, defaults=replace(config.defaults, shift=shift))
    mllm = checkpoint.read_json(folder / "mllm")
    generation = files.read_json(folder / "mllm" / "generation_config.json")
    processor = files.read_json(folder / "mllm" / "preprocessor_config.json")
    shows = Vae.from_folder(Path(vae) if vae is not None else folder / "vae")
    decoder = DecoderConfig.from_json(checkpoint.read_json(folder / "image_decoder"), shows.channels)
    tokenizer = load_tokenizer(folder / "mllm")
    with torch.device("meta"):
        model: Any = build(config, tokenizer, mllm, decoder, shows, generation, processor)
    model.certificate = {
        "mllm": files.load_into(
            model.mllm, "language model", files.translated(checkpoint.read(folder / "mllm")), dtype
        ),
        "connector": files.load_into(
            model.connector,
            "connector",
            weights.connector(checkpoint.read_file(folder / "connector.safetensors"), decoder),
            dtype,
        ),
        "image_decoder": files.load_into(
            model.decoder,
            "image decoder",
            weights.decoder(_decoder(folder / "image_decoder"), decoder),
            dtype,
        ),
    }
    model.mllm.rebuild_tables()
    found: ModelT = model
    return found


def _decoder(folder: Path) -> Iterator[tuple[str, Tensor]]:
    return checkpoint.read_file(folder / PICKLED) if (folder / PICKLED).is_file() else checkpoint.read(folder)


def _named(module: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    found = {}
    for name, tensor in module.state_dict().items():
        if tensor.is_meta:
            raise ValueError(f"the weight {name} has no value here; load without offload before saving")
        found[name] = tensor.detach().to("cpu", dtype).contiguous()
    return found


def _write(weights_: Mapping[str, Tensor], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f"{file.name}.partial")
    save_file({name: tensor.contiguous() for name, tensor in weights_.items()}, beside, metadata={"format": "pt"})
    os.replace(beside, file)


def _write_json(value: Mapping[str, Any], file: Path) -> None:
    beside = file.with_name(f"{file.name}.partial")
    beside.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(beside, file)


def save(model: Any, folder: Path, dtype: torch.dtype) -> None:
    """Write a model's folder. Raises ValueError for one with adapters or quantised layers, which have no such names."""
    mllm: dict[str, Tensor] = {}
    for name, tensor in _named(model.mllm, dtype).items():
        theirs = files.released(name)
        if theirs is None or ".base_layer." in name or ".lora_" in name or name.endswith((".stored", ".scale")):
            raise ValueError(f"the weight {name} has no released name; merge adapters, or load without quantise")
        mllm[theirs] = tensor
    _write(mllm, folder / "mllm" / "model.safetensors")
    _write(weights.released_decoder(_named(model.decoder, dtype)), folder / "image_decoder" / "model.safetensors")
    _write(weights.released_connector(_named(model.connector, dtype)), folder / "connector.safetensors")
    _write_json(model.mllm_config, folder / "mllm" / "config.json")
    if model.generation:
        _write_json(model.generation, folder / "mllm" / "generation_config.json")
    if model.processor:
        _write_json(model.processor, folder / "mllm" / "preprocessor_config.json")
    beside = folder / "mllm" / "tokenizer.json.partial"
    model.tokenizer.save(str(beside))
    os.replace(beside, folder / "mllm" / "tokenizer.json")
    _write_json(model.decoder.config.to_json(), folder / "image_decoder" / "config.json")
    model.vae.save(folder / "vae", dtype)
    _write_json(model.config.to_json(), folder / "config.json")
