"""Of which parts a MindOmni is, and which work makes its replies: for plans, before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from limner.codecs.vae import Vae
from limner.models import checkpoint
from limner.models.mindomni.config import DecoderConfig, MindOmniConfig
from limner.models.mindomni.network import Connector, ImageDecoder
from limner.models.plan import Outline, Part, Work, decoding, keys_and_values, on_meta, pixels
from limner.models.qwen25vl import Qwen25VL
from limner.models.qwen25vl_sizes import QWEN25VL_7B, SDXL_VAE

NAMES = ("mindomni",)
PROMPT, THOUGHT = 80, 300  # tokens of a prompt, and of a thought that the decoder reads


def outline(name: str, folder: Path | None) -> Outline:
    """The released model by name, or the one in a folder."""
    if folder is None:
        return _outline(name, MindOmniConfig(), QWEN25VL_7B, DecoderConfig(), SDXL_VAE)
    data = checkpoint.read_json(folder) if (folder / "config.json").is_file() else {}
    vae = checkpoint.read_json(folder / "vae") if (folder / "vae").is_dir() else SDXL_VAE
    decoder = DecoderConfig.from_json(checkpoint.read_json(folder / "image_decoder"), int(vae["latent_channels"]))
    return _outline(name, MindOmniConfig.from_json(data), checkpoint.read_json(folder / "mllm"), decoder, vae)


def _outline(
    name: str, config: MindOmniConfig, mllm_config: Mapping[str, Any], sizes: DecoderConfig, vae: Mapping[str, Any]
) -> Outline:
    mllm: Qwen25VL = on_meta(Qwen25VL, mllm_config)
    text, own = mllm.config.text_config, config.defaults
    size = own.size
    image = (size // 16) ** 2
    guided = 2 if own.guidance else 1
    heads = int(text.num_key_value_heads) * int(text.hidden_size) // int(text.num_attention_heads)
    kept = keys_and_values(int(text.num_hidden_layers), heads, PROMPT + THOUGHT)
    read = keys_and_values(sizes.layers, sizes.kv_heads * sizes.head, PROMPT + THOUGHT) * guided
    parts = (
        Part("language model", mllm, (mllm.layers,)),
        Part("connector", on_meta(Connector, sizes, mllm.width), beside="decoder"),
        Part("decoder", on_meta(ImageDecoder, sizes)),
        Part("autoencoder", on_meta(Vae, vae), wide=True, moves=False, trained=False),
    )
    works = (
        Work("the prompt", "language model", PROMPT, 1, mllm.width, kept, share=0.9),
        Work(f"{THOUGHT} words", "language model", 1, THOUGHT, mllm.width, kept, 4 * int(text.vocab_size), share=0.9),
        Work("a picture", "decoder", image + 1, own.steps * guided, sizes.width, read),
        Work("pixels", "autoencoder", image, 1, 512, live=pixels(size), operations=decoding(size)),
    )
    return Outline(name, parts, works, ("model", "sequential"), True, PROMPT + THOUGHT + image, sizes.layers,
                   sizes.width, int(text.vocab_size))  # fmt: skip
