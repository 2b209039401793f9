"""Small models to be trained from scratch: sizes, fresh weights, and one from a vocabulary."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn

from limner.codecs.vae import Vae
from limner.models.mindomni.config import DecoderConfig, MindOmniConfig
from limner.models.mindomni.model import MindOmni
from limner.models.mindomni.tokenizer import END, NAMED, NOTHING


@dataclass(frozen=True)
class Sizes:
    """Numbers of a small model: of the language model, its vision tower, the decoder and the autoencoder.

    ``patch`` is that of the vision tower, in pixels; four patches make a token.
    """

    width: int = 192
    layers: int = 6
    heads: int = 6
    kv_heads: int = 2
    mlp: int = 512
    length: int = 512
    theta: float = 10_000.0
    sight: int = 128
    sight_layers: int = 4
    sight_heads: int = 4
    sight_mlp: int = 256
    patch: int = 4
    decoder: int = 192
    decoder_layers: int = 8
    decoder_heads: int = 6
    decoder_mlp: int = 512
    vae: tuple[int, ...] = (32, 48, 64)
    vae_layers: int = 1
    vae_groups: int = 8
    channels: int = 4


def mllm_config(sizes: Sizes, tokenizer: Tokenizer) -> dict[str, Any]:
    """A Qwen2.5-VL's ``config.json``."""
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


def decoder_config(sizes: Sizes, channels: int, vocabulary: int) -> DecoderConfig:
    """The image decoder's numbers. Its own token table, by which it is taught alone, has the same words."""
    return DecoderConfig(
        width=sizes.decoder,
        layers=sizes.decoder_layers,
        heads=sizes.decoder_heads,
        kv_heads=sizes.decoder_heads,
        mlp=sizes.decoder_mlp,
        positions=sizes.length,
        original_positions=sizes.length,
        vocabulary=vocabulary,
        pad=0,
        channels=channels,
    )


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
    config: MindOmniConfig, tokenizer: Tokenizer, sizes: Sizes = Sizes(), vae: Vae | None = None, seed: int = 0
) -> MindOmni:
    """An untrained small model, around a trained autoencoder if one is given."""
    shows = vae or Vae(vae_config(sizes))
    decoder = decoder_config(sizes, shows.channels, tokenizer.get_vocab_size())
    generation: dict[str, Any] = {"eos_token_id": [tokenizer.token_to_id(END)]}
    generation |= {"pad_token_id": tokenizer.token_to_id(NOTHING)}
    parts: Mapping[str, Any] = mllm_config(sizes, tokenizer)
    with torch.device("meta"):
        model = MindOmni(config, tokenizer, parts, decoder, shows, generation, processor_config(sizes))
    for module in (model.mllm, model.connector, model.decoder):
        module.to_empty(device="cpu")
    model.mllm.rebuild_tables()
    initialise(model, seed)
    return model


def initialise(model: MindOmni, seed: int) -> None:
    """Fresh weights: normal with deviation 0.02, less for projections that write into a stream; norms 1, biases 0.

    The autoencoder's weights are left as they are.
    """
    generator = torch.Generator().manual_seed(seed)
    for part in (model.mllm, model.connector, model.decoder):
        initialise_part(part, generator)


@torch.no_grad()
def initialise_part(part: nn.Module, generator: torch.Generator) -> None:
    """The same for one part."""
    depth = sum(name.endswith(("o_proj.weight", "to_out.0.weight")) for name, _ in part.named_parameters())
    for name, weight in part.named_parameters():
        deep = name.endswith(("o_proj.weight", "to_out.0.weight", "down_proj.weight", "attn.proj.weight"))
        if weight.ndim > 1:
            deviation = 0.02 / math.sqrt(2 * max(1, depth)) if deep else 0.02
            if "patch_embed" in name:
                deviation = 1 / math.sqrt(weight[0].numel())
            weight.normal_(0.0, deviation, generator=generator)
        elif name.endswith("bias"):
            weight.zero_()
        else:
            weight.fill_(1.0)
