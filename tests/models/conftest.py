"""A small MMaDA with fresh weights, a codec of 16 codes and a word list."""

from dataclasses import replace

import pytest
import torch

from limner.codecs.magvit import MagvitCodec, MagvitConfig
from limner.codecs.magvit_layers import Stack
from limner.codecs.quantise import Quantiser
from limner.models.mmada.config import small
from limner.models.mmada.model import MMaDA
from limner.models.mmada.tokenizer import find_specials, make_word_tokenizer

SAID = "the animal with nine lives is cat so one a an two red blue dog what left of ( ) + - = , ; . ? ' :"
WORDS = SAID.split()


def make_codec():
    stack = Stack(base=16, widths=(1,), blocks=(1,), patch=8, groups=8)
    torch.manual_seed(0)
    return MagvitCodec(MagvitConfig(stack, stack, Quantiser("lfq", (2,) * 4)))


@pytest.fixture(scope="module")
def model():
    tokenizer = make_word_tokenizer(WORDS)
    base = small(tokenizer.get_vocab_size(), find_specials(tokenizer), codes=16)
    defaults = replace(base.defaults, size=32, thinking_limit=8, text_limit=8, block=8, picture_steps=3)
    config = replace(base, width=32, layers=2, heads=2, kv_heads=2, mlp=48, grids={32: 4}, defaults=defaults)
    return MMaDA(config, tokenizer, make_codec()).eval()
