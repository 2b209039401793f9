"""Released weights of the image decoder and the connector to ours and back, name by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from limner.models.mindomni.config import DecoderConfig
from limner.models.mindomni.network import position_crop

# released beginning -> that of diffusers' class, the first that fits
DECODER: tuple[tuple[str, str], ...] = (
    ("x_embedder.proj.", "patch_embedding.output_image_proj."),
    ("input_x_embedder.proj.", "patch_embedding.input_image_proj."),
    ("time_token.mlp.0.", "time_token.linear_1."),
    ("time_token.mlp.2.", "time_token.linear_2."),
    ("t_embedder.mlp.0.", "t_embedder.linear_1."),
    ("t_embedder.mlp.2.", "t_embedder.linear_2."),
    ("final_layer.adaLN_modulation.1.", "norm_out.linear."),
    ("final_layer.linear.", "proj_out."),
    ("llm.embed_tokens.", "embed_tokens."),
    ("llm.norm.", "norm."),
    ("llm.layers.", "layers."),
)
TABLE = "pos_embed"  # computed, never loaded
LAYER = re.compile(r"(\d+)\.(.*)")


def split_heads(name: str, tensor: Tensor, config: DecoderConfig) -> Iterator[tuple[str, Tensor]]:
    """A layer's tensor by diffusers' names; the fused queries, keys and values come apart."""
    if name.endswith("self_attn.qkv_proj.weight"):
        stem = name.removesuffix("qkv_proj.weight")
        keys = config.head * config.kv_heads
        if tensor.ndim != 2 or tensor.shape[0] != config.width + 2 * keys:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, its config wants {config.width + 2 * keys} rows")
        for part, rows in zip(("to_q", "to_k", "to_v"), tensor.split([config.width, keys, keys]), strict=True):
            yield f"{stem}{part}.weight", rows
    else:
        yield name.replace("self_attn.o_proj.", "self_attn.to_out.0."), tensor


def decoder(tensors: Iterable[tuple[str, Tensor]], config: DecoderConfig) -> Iterator[tuple[str, Tensor]]:
    """The image decoder's released tensors by our names; one that is none of its keeps its name and is refused later.

    Raises ValueError for a position table that is not the one that belongs to these sizes.
    """
    for name, tensor in tensors:
        if name == TABLE:
            _check_table(tensor, config)
            continue
        ours = next((to + name.removeprefix(begin) for begin, to in DECODER if name.startswith(begin)), f"({name})")
        yield from split_heads(ours, tensor, config)


def _check_table(tensor: Tensor, config: DecoderConfig) -> None:
    side = config.table
    if tuple(tensor.shape) != (1, side * side, config.width):
        raise ValueError(f"{TABLE} has shape {tuple(tensor.shape)}, wanted {(1, side * side, config.width)}")
    if tensor.is_meta:
        return
    middle = position_crop(config, 2, 2)[0]
    rows = [(side // 2 - 1 + i) * side + side // 2 - 1 + j for i in (0, 1) for j in (0, 1)]
    if not torch.allclose(tensor[0, rows].float(), middle, atol=1e-2):
        raise ValueError(f"{TABLE} holds other numbers than sines and cosines of these sizes; is the file damaged?")


def connector(tensors: Iterable[tuple[str, Tensor]], config: DecoderConfig) -> Iterator[tuple[str, Tensor]]:
    """The connector's released tensors (``0``: the linear layer, ``1``, ``2``: blocks) by our names."""
    for name, tensor in tensors:
        found = LAYER.fullmatch(name)
        if found is None:
            yield f"({name})", tensor
        elif found[1] == "0":
            yield f"linear.{found[2]}", tensor
        else:
            yield from split_heads(f"layers.{int(found[1]) - 1}.{found[2]}", tensor, config)


def _joined(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Queries, keys and values fused again, and the output projection called as released."""
    found = {}
    for name, tensor in weights.items():
        if name.endswith("to_q.weight"):
            stem = name.removesuffix("to_q.weight")
            parts = [weights[f"{stem}{part}.weight"] for part in ("to_q", "to_k", "to_v")]
            found[f"{stem}qkv_proj.weight"] = torch.cat(parts)
        elif not name.endswith(("to_k.weight", "to_v.weight")):
            found[name.replace("self_attn.to_out.0.", "self_attn.o_proj.")] = tensor
    return found


def released_decoder(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our decoder's tensors by their released names, without the position table."""
    found = {}
    for name, tensor in _joined(weights).items():
        begin, to = next((begin, to) for begin, to in DECODER if name.startswith(to))
        found[begin + name.removeprefix(to)] = tensor
    return found


def released_connector(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our connector's tensors by their released names."""
    found = {}
    for name, tensor in _joined(weights).items():
        if name.startswith("linear."):
            found[f"0.{name.removeprefix('linear.')}"] = tensor
        else:
            number, rest = LAYER.fullmatch(name.removeprefix("layers.")).groups()  # type: ignore[union-attr]
            found[f"{int(number) + 1}.{rest}"] = tensor
    return found
