"""Of which parts a Show-o is, and which work makes its replies: for plans, before anything is loaded."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from limner.codecs.magvit import RELEASED, MagvitCodec, MagvitConfig
from limner.models import checkpoint
from limner.models.plan import Outline, Part, Work, decoding, keys_and_values, on_meta, pixels
from limner.models.showo.config import ShowOConfig, released
from limner.models.showo.network import Network

NAMES = {"show-o": (256, False), "show-o-512": (512, False), "show-o-512-clip": (512, True)}  # size, reads CLIP


def outline(name: str, folder: Path | None) -> Outline:
    """A released model by name, or the one in a folder."""
    config = released(*NAMES[name]) if folder is None else ShowOConfig.from_json(checkpoint.read_json(folder))
    codec = RELEASED
    shared = None if folder is None else checkpoint.codec_of(folder)
    if shared is not None and (shared / "config.json").is_file():
        codec = MagvitConfig.from_json(checkpoint.read_json(shared))
    network: Network = on_meta(Network, config)
    own = config.defaults
    codes = config.grid(own.size) ** 2
    tokens = codes + config.text_budget
    parts = [Part("network", network), Part("codec", on_meta(MagvitCodec, codec), wide=True, trained=False)]
    guided = 2 if own.picture_guidance else 1
    kept = keys_and_values(config.layers, config.width, 128 + own.text_limit)
    works = (
        Work(f"{own.text_limit} words", "network", 1, own.text_limit, config.width, kept, 4 * config.rows),
        Work("a picture", "network", tokens, own.picture_steps * guided, config.width, live=4 * config.rows * codes),
        Work("pixels", "codec", codes, 1, 512, live=pixels(own.size), operations=decoding(own.size)),
    )
    if config.clip:
        parts.append(Part("CLIP", _clip(), trained=False))
    return Outline(name, tuple(parts), works, (), False, tokens, config.layers, config.width, config.rows)


def _clip() -> nn.Module:
    """openai/clip-vit-large-patch14-336's picture tower."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    tower: nn.Module = on_meta(CLIPVisionModel, CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, image_size=336,
        patch_size=14, projection_dim=768,
    ))  # fmt: skip
    return tower
