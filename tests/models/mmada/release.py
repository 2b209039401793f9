"""Small made-up checkpoints in the layout of the released ones."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from limner.codecs.magvit import MagvitCodec
from limner.models.mmada import weights
from limner.models.mmada.config import MMaDAConfig
from limner.models.mmada.network import Network
from limner.models.mmada.tokenizer import make_word_tokenizer

WORDS = ["a", "red", "cat", "dog", "one", "what", "is", "this"]
CODEC = {
    "ch": 32,
    "encoder_ch_mult": [1, 1],
    "decoder_ch_mult": [1, 1],
    "encoder_num_res_blocks": [1, 1],
    "decoder_num_res_blocks": [1, 1],
    "z_channels": 3,
    "attn_resolutions": [5],
    "codebook_size": 8,
}


def tokenizer():
    """Knows the special tokens by name, so its ids need not be the released ones."""
    return make_word_tokenizer(WORDS)


def config_json(**changes):
    """A config as released: LLaDA's names, no family, nothing about the tokenizer. 5 rows stay unused."""
    rows = tokenizer().get_vocab_size() + 8 + 5
    return {
        "architectures": ["MMadaModelLM"],
        "model_type": "mmada",
        "d_model": 16,
        "n_layers": 2,
        "n_heads": 4,
        "n_kv_heads": 2,
        "mlp_hidden_size": 24,
        "vocab_size": rows,
        "embedding_size": rows,
        "new_vocab_size": rows,
        "llm_vocab_size": rows - 10,
        "codebook_size": 8,
        "num_vq_tokens": 16,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "max_sequence_length": 64,
        "block_type": "llama",
        "activation_type": "silu",
        "layer_norm_type": "rms",
        "rope": True,
        "rope_full_precision": True,
        "alibi": False,
        "include_bias": False,
        "include_qkv_bias": True,
        "weight_tying": False,
        "multi_query_attention": None,
        "dtype": "bfloat16",
    } | changes


def make_release(folder: Path, form: str = "shards", **changes) -> Path:
    """A model folder: ``form`` is "shards", "safetensors" or "bin"; ``changes`` are to its config."""
    folder.mkdir(parents=True)
    data = config_json(**changes)
    (folder / "config.json").write_text(json.dumps(data))
    tokenizer().save(str(folder / "tokenizer.json"))
    config = MMaDAConfig.from_json(data | {"text_vocab_size": tokenizer().get_vocab_size()})
    network = Network(config)
    network.initialise(7)
    generator = torch.Generator().manual_seed(8)
    for name, value in network.named_parameters():
        if name.endswith("bias"):
            value.data.normal_(generator=generator)
    named = weights.released(network, torch.bfloat16)
    if form == "bin":
        torch.save(named, folder / "pytorch_model.bin")
    elif form == "safetensors":
        save_file(named, folder / "model.safetensors")
    else:
        listed = {}
        for k in (1, 2, 3):
            file = f"model-{k:05}-of-00003.safetensors"
            part = {name: value for i, (name, value) in enumerate(named.items()) if i % 3 == k - 1}
            save_file(part, folder / file, metadata={"format": "pt"})
            listed |= dict.fromkeys(part, file)
        about = {"metadata": {"total_size": 0}, "weight_map": listed}
        (folder / "model.safetensors.index.json").write_text(json.dumps(about))
    return folder


def make_codec(folder: Path, form: str = "safetensors") -> Path:
    """A codec folder as released, derived tables and all, but of another size."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"_class_name": "MAGVITv2"} | CODEC))
    torch.manual_seed(3)
    named = MagvitCodec(weights.codec_config(CODEC)).state_dict()
    named |= {"quantize.embedding": torch.zeros(8, 3), "quantize.power_vals": torch.tensor([4, 2, 1])}
    if form == "bin":
        torch.save(named, folder / "pytorch_model.bin")
    else:
        save_file(named, folder / "pytorch_model.safetensors")
    return folder
