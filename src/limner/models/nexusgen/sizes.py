"""Of which parts a Nexus-Gen is, and which work makes its replies: for plans, before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from limner.codecs.vae import Vae
from limner.models import checkpoint
from limner.models.nexusgen.config import NexusConfig
from limner.models.nexusgen.decoders import RELEASED, Decoder
from limner.models.nexusgen.folder import DECODERS
from limner.models.nexusgen.network import Reader
from limner.models.plan import Outline, Part, Work, decoding, keys_and_values, on_meta, pixels
from limner.models.qwen25vl_sizes import FLUX_VAE, QWEN25VL_7B

PROMPT, SEEN, CONDITION = 80, 324, 405  # tokens of a prompt, of a shown picture, and of an edit's condition
NAMES = {"nexus-gen-v2": True, "nexus-gen-v1": False}  # released -> with an editing decoder


def outline(name: str, folder: Path | None) -> Outline:
    """A released model by name, or the one in a folder."""
    if folder is None:
        config = NexusConfig() if NAMES[name] else NexusConfig(rows="pad")
        painters = ["generation", "editing"] if NAMES[name] else ["generation"]
        return _outline(name, config, QWEN25VL_7B, painters, FLUX_VAE)
    data = checkpoint.read_json(folder)
    reader = {key: value for key, value in data.items() if key not in ("family", "limner")}
    painters = [part for part, (files, _) in DECODERS.items() if any((folder / file).is_file() for file in files)]
    vae = checkpoint.read_json(folder / "vae") if (folder / "vae").is_dir() else FLUX_VAE
    return _outline(name, NexusConfig.from_json(data), reader, painters, vae)


def _outline(
    name: str, config: NexusConfig, reader_config: Mapping[str, Any], painters: list[str], vae_config: Mapping[str, Any]
) -> Outline:
    reader: Reader = on_meta(Reader, reader_config, config.side, config.rows, config.after)
    text, sizes = reader.config.text_config, config.dit or RELEASED
    size, steps = config.defaults.size, config.defaults.steps
    width = int(sizes["attention_head_dim"]) * int(sizes["num_attention_heads"])
    parts = [Part("reader", reader, tuple(reader.layers))]
    heads = int(text.num_key_value_heads) * int(text.hidden_size) // int(text.num_attention_heads)
    kept = keys_and_values(int(text.num_hidden_layers), heads, PROMPT + SEEN + config.side**2)
    seen = Work("the prompt and its picture", "reader", PROMPT + SEEN, 1, reader.width, kept, share=0.9)
    words = Work("32 words", "reader", 1, 32, reader.width, kept, 4 * int(text.vocab_size), share=0.9)
    works = [seen, words, Work("embeddings", "reader", config.side**2 + 1, 1, reader.width, kept, share=0.9)]
    image = (size // 16) ** 2
    for painter in painters:
        decoder: Decoder = on_meta(Decoder, sizes, reader.width, text if painter == "editing" else None)
        blocks = (decoder.dit.transformer_blocks, decoder.dit.single_transformer_blocks)
        parts.append(Part(f"{painter} decoder", decoder, blocks, trained=False))
        guided = 2 if painter == "generation" or config.guided_edits else 1
        tokens = image + (CONDITION if painter == "editing" else config.side**2)
        passes = steps * guided
        works.append(Work(f"a picture ({painter})", f"{painter} decoder", tokens, passes, width, either="a picture"))
    parts.append(Part("autoencoder", on_meta(Vae, vae_config), wide=True, moves=False, trained=False))
    works.append(Work("pixels", "autoencoder", image, 1, 512, live=pixels(size), operations=decoding(size)))
    return Outline(
        name, tuple(parts), tuple(works), ("model",), True, 1024, int(text.num_hidden_layers), reader.width,
        int(text.vocab_size),
    )  # fmt: skip
