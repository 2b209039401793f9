import pytest
import torch

from limner.models.mindomni.config import tiny
from limner.models.mindomni.small import Sizes, fresh
from limner.models.mindomni.tokenizer import make_tokenizer

SIZES = Sizes(
    width=32, layers=2, heads=2, kv_heads=1, mlp=64, length=128, sight=32, sight_layers=1, sight_heads=2, sight_mlp=32,
    patch=8, decoder=32, decoder_layers=2, decoder_heads=2, decoder_mlp=64, vae=(8, 8), vae_groups=4,
)  # fmt: skip


@pytest.fixture(scope="session")
def small_mindomni():
    """Makes an untrained small MindOmni that knows some words and draws 16 px in two steps; ``louder`` multiplies the
    matrices of the parts named, so that what they do shows."""

    def made(words, **louder):
        config = tiny(thinking_limit=5, size=16, steps=2)
        torch.manual_seed(0)
        model = fresh(config, make_tokenizer(words, (config.system, config.think, config.instruction)), SIZES)
        with torch.no_grad():
            for part, times in louder.items():
                for weight in getattr(model, part).parameters():
                    if weight.ndim > 1:
                        weight.mul_(times)
        return model

    return made
