"""Small models to be trained from scratch: sizes, configs and fresh weights."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn

from limner.codecs.vae import Vae
from limner.models.nexusgen.config import NexusConfig
from limner.models.nexusgen.decoders import EDIT_ROPE
from limner.models.nexusgen.model import NexusGen
from limner.models.nexusgen.tokenizer import END, NAMED


@dataclass(frozen=True)
class Sizes:
    """Numbers of a small model: of the reader, its vision tower, the painters and the autoencoder.

    ``patch`` is that of the vision tower, in pixels; four patches make a token.
    """

    width: int = 192
    layers: int = 6
    heads: int = 6
    kv_heads: int = 2
    mlp: int = 512
    length: int = 1024
    theta: float = 10_000.0
    sight: int = 128
    sight_layers: int = 4
    sight_heads: int = 4
    sight_mlp: int = 256
    patch: int = 4
    painter_heads: int = 6
    painter_head: int = 32
    double: int = 3
    single: int = 6
    context: int = 192
    pooled: int = 32
    edit_theta: float = 100.0
    edit_stretch: float = 2.0
    vae: tuple[int, ...] = (32, 48, 64)
    vae_layers: int = 1
    vae_groups: int = 8
    channels: int = 4


def reader_config(sizes: Sizes, tokenizer: Tokenizer) -> dict[str, Any]:
    """A Qwen2.5-VL's ``config.json``, flat as released."""
    half = sizes.width // sizes.heads // 2
    sections = [half - 2 * (half * 3 // 8), half * 3 // 8, half * 3 // 8]
    vision = {
        "model_type": "qwen2_5_vl",
        "depth": sizes.sight_layers,
        "hidden_size": sizes.sight,
        "hidden_act": "silu",
        "intermediate_size": sizes.sight_mlp,
        "num_heads": sizes.sight_heads,
        "in_channels": 3,
        "patch_size": sizes.patch,
        "spatial_merge_size": 2,
        "temporal_patch_size": 1,
        "window_size": 64 * sizes.patch,
        "fullatt_block_indexes": list(range(sizes.sight_layers)),
        "out_hidden_size": sizes.width,
    }
    return {
        "model_type": "qwen2_5_vl",
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": sizes.width,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.kv_heads,
        "intermediate_size": sizes.mlp,
        "max_position_embeddings": sizes.length,
        "rms_norm_eps": 1e-6,
        "rope_theta": sizes.theta,
        "rope_scaling": {"type": "default", "rope_type": "default", "mrope_section": sections},
        "use_sliding_window": False,
        "tie_word_embeddings": False,
        "vision_config": vision,
        **{name: tokenizer.token_to_id(mark) for name, mark in NAMED.items()},
    }


def painter_config(sizes: Sizes) -> dict[str, Any]:
    """A FLUX transformer's sizes."""
    third = sizes.painter_head * 3 // 16 * 2
    return {
        "patch_size": 1,
        "in_channels": 4 * sizes.channels,
        "num_layers": sizes.double,
        "num_single_layers": sizes.single,
        "attention_head_dim": sizes.painter_head,
        "num_attention_heads": sizes.painter_heads,
        "joint_attention_dim": sizes.context,
        "pooled_projection_dim": sizes.pooled,
        "guidance_embeds": True,
        "axes_dims_rope": [sizes.painter_head - 2 * third, third, third],
        EDIT_ROPE: {"theta": sizes.edit_theta, "stretch": sizes.edit_stretch},
    }


def vae_config(sizes: Sizes, scale: float = 1.0) -> dict[str, Any]:
    """An ``AutoencoderKL``'s ``config.json``."""
    levels = len(sizes.vae)
    return {
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": sizes.channels,
        "block_out_channels": list(sizes.vae),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "layers_per_block": sizes.vae_layers,
        "norm_num_groups": sizes.vae_groups,
        "scaling_factor": scale,
        "sample_size": 64,
        "act_fn": "silu",
    }


def processor_config(sizes: Sizes) -> dict[str, Any]:
    """A ``preprocessor_config.json``: pictures of any size, in whole tokens."""
    cell = (2 * sizes.patch) ** 2
    return {"min_pixels": cell, "max_pixels": 4096 * cell, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def fresh(
    config: NexusConfig, tokenizer: Tokenizer, sizes: Sizes = Sizes(), vae: Vae | None = None, seed: int = 0
) -> NexusGen:
    """An untrained small model with both decoders, around a trained autoencoder if one is given."""
    shows = vae or Vae(vae_config(sizes))
    config = replace(config, dit=painter_config(replace(sizes, channels=shows.channels)))
    generation = {"eos_token_id": [tokenizer.token_to_id(END)]}
    with torch.device("meta"):
        model = NexusGen(
            config,
            tokenizer,
            reader_config(sizes, tokenizer),
            shows,
            ("generation", "editing"),
            generation,
            processor_config(sizes),
        )
    for module in (model.reader, model.generation, model.editing):
        assert module is not None
        module.to_empty(device="cpu")
    model.reader.rebuild_tables()
    initialise(model, seed)
    return model


@torch.no_grad()
def initialise(model: NexusGen, seed: int) -> None:
    """Fresh weights: normal with deviation 0.02, less for projections that write into a stream; norms 1, biases 0; the
    constants of the empty text normal. The autoencoder's weights are left as they are."""
    generator = torch.Generator().manual_seed(seed)
    for part in (model.reader, model.generation, model.editing):
        assert part is not None
        depth = sum(name.endswith(("o_proj.weight", "proj_out.weight")) for name, _ in part.named_parameters())
        for name, weight in part.named_parameters():
            deep = name.endswith(("o_proj.weight", "down_proj.weight", "attn.proj.weight", "ff.net.2.weight"))
            if weight.ndim > 1:
                deviation = 0.02 / math.sqrt(2 * max(1, depth)) if deep else 0.02
                if "patch_embed" in name:
                    deviation = 1 / math.sqrt(weight[0].numel())
                weight.normal_(0.0, deviation, generator=generator)
            elif name.endswith("bias"):
                weight.zero_()
            else:
                weight.fill_(1.0)
    shape = model.pooled.shape
    model.pooled = torch.empty(shape).normal_(generator=generator)
    model.negative = torch.empty(model.negative.shape).normal_(generator=generator)


def parts(model: NexusGen) -> tuple[nn.Module, ...]:
    """What is trained, part by part."""
    return tuple(part for part in (model.reader, model.generation, model.editing) if part is not None)
