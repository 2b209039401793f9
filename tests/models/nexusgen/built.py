"""A small Nexus-Gen with random weights, large enough that every choice shows; its pictures and the published texts."""

from dataclasses import replace

import torch
from PIL import Image as pil

from limner.models.nexusgen import small
from limner.models.nexusgen.config import NexusConfig, tiny
from limner.models.nexusgen.render import Renderer
from limner.models.nexusgen.tokenizer import make_tokenizer
from limner.parts import Image

SIZES = small.Sizes(
    width=32, layers=2, heads=2, kv_heads=1, mlp=64, length=256, sight=32, sight_layers=1, sight_heads=2, sight_mlp=32,
    patch=4, painter_heads=2, painter_head=16, double=1, single=1, context=24, pooled=8, vae=(8, 8), vae_groups=4,
)  # fmt: skip
WORDS = ["a red cat", "make it blue", "what is this?", "and a dog"]
PICTURE = "<|vision_start|><|image_pad|><|vision_end|>"
ROWS = "<|vision_start|><|video_pad|><|vision_end|>"


def built(**choices):
    config = replace(tiny(text_limit=4, thinking_limit=4, size=16, steps=2), side=3, **choices)
    texts = config.english
    tokenizer = make_tokenizer(WORDS, (config.system, texts.draw, texts.drawn, texts.edited, texts.polish))
    torch.manual_seed(0)
    model = small.fresh(config, tokenizer, SIZES)
    with torch.no_grad():
        for part in small.parts(model):
            for weight in part.parameters():
                weight.mul_(8.0) if weight.ndim > 1 else None
    return model.eval()


def picture(colour="red", size=(40, 24)):
    return Image(pil.new("RGB", size, colour))


def published(**choices):
    """The published texts, with a tokenizer that no test of a text needs."""
    return Renderer(NexusConfig(**choices), make_tokenizer(WORDS))
