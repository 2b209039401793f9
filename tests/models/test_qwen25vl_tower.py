"""The vision tower over many pictures at once equals transformers' own, picture by picture."""

import pytest
import torch

from limner.models.nexusgen.small import Sizes, reader_config
from limner.models.nexusgen.tokenizer import make_tokenizer
from limner.models.qwen25vl import Qwen25VL
from limner.models.qwen25vl_tower import layout, tokens_of

SIZES = Sizes(width=24, layers=1, heads=2, kv_heads=1, mlp=16, sight=32, sight_layers=3, sight_heads=2, sight_mlp=48)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = reader_config(SIZES, make_tokenizer(["a"]))
    # windows of 3 x 3 tokens, which most grids do not fill; one layer in three looks at everything
    config["vision_config"] |= {"window_size": 6 * SIZES.patch, "fullatt_block_indexes": [1]}
    return Qwen25VL(config).eval()


def pictures(*grids):
    generator = torch.Generator().manual_seed(1)
    size = 3 * SIZES.patch**2
    return [(torch.randn(high * wide, size, generator=generator), (1, high, wide)) for high, wide in grids]


@torch.no_grad()
def test_it_is_what_transformers_computes(model):
    given = pictures((14, 10), (6, 6), (14, 10), (4, 16))
    tower = model.network.model.visual
    grids = torch.tensor([grid for _, grid in given])
    wanted = tower(torch.cat([patches for patches, _ in given]), grid_thw=grids).pooler_output
    found = tokens_of(tower, given)
    assert [len(tokens) for tokens in found] == [35, 9, 35, 16]
    torch.testing.assert_close(torch.cat(found), wanted, rtol=1e-5, atol=1e-5)


def test_gradients_reach_the_tower(model):
    tower = model.network.model.visual
    sum(tokens.square().sum() for tokens in tokens_of(tower, pictures((6, 6), (6, 6)))).backward()
    assert all(weight.grad is not None for weight in tower.parameters())
    tower.zero_grad(set_to_none=True)


def test_a_layout_holds_every_patch_once_and_windows_of_like_size_together():
    plan = layout((1, 14, 10), 2, 3)
    assert sorted(plan.order.tolist()) == list(range(140))
    assert sum(count * length for count, length in plan.windows) == 140
    lengths = [length for _, length in plan.windows]
    assert len(set(lengths)) == len(lengths) > 1
