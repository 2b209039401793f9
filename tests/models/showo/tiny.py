"""Small Show-o models, and made-up checkpoints in the layout of the released ones."""

import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from limner.codecs.magvit import MagvitCodec, MagvitConfig
from limner.codecs.magvit_layers import Stack
from limner.codecs.quantise import Quantiser
from limner.models import checkpoint
from limner.models.showo.config import ShowOConfig, small
from limner.models.showo.model import ShowO
from limner.models.showo.network import Network
from limner.models.showo.tokenizer import SHORT, find_specials, make_word_tokenizer
from limner.models.showo.weights import NAMES

WORDS = ["a red cat", "two blue dogs in the snow", "what is this?"]
CODEC = {
    "_class_name": "MAGVITv2",
    "ch": 32,
    "encoder_ch_mult": [1, 1],
    "decoder_ch_mult": [1, 1],
    "encoder_num_res_blocks": [1, 1],
    "decoder_num_res_blocks": [1, 1],
    "z_channels": 3,
}


def make_model(**changes) -> ShowO:
    """A model with opinions, of 4 x 4 codes."""
    tokenizer = make_word_tokenizer(WORDS)
    stack = Stack(base=16, widths=(1,), blocks=(1,), patch=8, groups=8)
    torch.manual_seed(0)
    codec = MagvitCodec(MagvitConfig(stack, stack, Quantiser("lfq", (2,) * 4)))
    base = small(tokenizer.get_vocab_size(), find_specials(tokenizer), codec.num_codes)
    defaults = replace(base.defaults, text_limit=6, thinking_limit=8, size=32, picture_steps=4)
    sizes = {"width": 32, "layers": 2, "heads": 2, "mlp": 64, "text_budget": 64, "grids": {32: 4}}
    config = replace(base, **sizes, defaults=defaults, templates=SHORT)
    model = ShowO(replace(config, **changes), tokenizer, codec)
    with torch.no_grad():
        for weight in model.network.parameters():
            if weight.ndim > 1:
                weight.mul_(8.0)
    return model.eval()


def make_release(folder: Path, form: str = "model", **changes) -> Path:
    """A model folder as released: without a tokenizer, its network's sizes aside. ``form`` is a kind of weight file."""
    folder.mkdir(parents=True)
    words = make_word_tokenizer(WORDS).get_vocab_size()
    data = {"_class_name": "Showo", "w_clip_vit": False, "vocab_size": words + 10 + 8 + 1, "llm_vocab_size": words}
    data |= {"llm_model_path": "microsoft/phi-1_5", "codebook_size": 8, "num_vq_tokens": 16}
    data |= {"mask_token_id": words + 10 + 8, "load_from_showo": True}
    data |= {"phi": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}}
    data |= changes
    (folder / "config.json").write_text(json.dumps(data))
    network = Network(read(folder))
    network.initialise(7)
    named = checkpoint.released(network, NAMES, torch.bfloat16)
    if form.endswith("bin"):
        torch.save(named, folder / "pytorch_model.bin")
    else:
        save_file(named, folder / f"{form}.safetensors")
    return folder


def read(folder: Path) -> ShowOConfig:
    """The config of a made-up release: its special ids are those of the small tokenizer."""
    data = json.loads((folder / "config.json").read_text())
    data["limner"] = {"specials": vars(find_specials(make_word_tokenizer(WORDS))), "grids": {"8": 4}}
    data["limner"] |= {"defaults": {"size": 8}, "clip": 24 if data["w_clip_vit"] else 0, "templates": vars(SHORT)}
    (folder / "config.json").write_text(json.dumps(data))
    return ShowOConfig.from_json(data)


def make_codec(folder: Path) -> Path:
    """A codec folder as released, of another size."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CODEC))
    torch.manual_seed(3)
    named = MagvitCodec(checkpoint.codec_config(CODEC)).state_dict()
    save_file(named, folder / "pytorch_model.safetensors")
    return folder


def make_words(folder: Path) -> Path:
    """A tokenizer's folder."""
    folder.mkdir(parents=True)
    make_word_tokenizer(WORDS).save(str(folder / "tokenizer.json"))
    return folder
