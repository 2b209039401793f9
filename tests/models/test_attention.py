import pytest
import torch
import torch.nn.functional as F

from limner.models.attention import attend


def given(dtype, gradient=True):
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, 5, 8, generator=generator).to(dtype).requires_grad_(gradient) for _ in range(3))
    sees = torch.rand(2, 1, 5, 5, generator=generator) < 0.6
    return q, k, v, sees | torch.eye(5, dtype=torch.bool)


@pytest.mark.parametrize(("masked", "causal"), [(True, False), (False, False), (False, True)])
def test_spelt_out_attention_and_its_gradients_are_those_of_the_fused_one(masked, causal):
    q, k, v, sees = given(torch.bfloat16)
    mask = sees if masked else None
    mine = attend(q, k, v, mask, causal=causal)
    exact = F.scaled_dot_product_attention(q.double(), k.double(), v.double(), attn_mask=mask, is_causal=causal)
    assert (mine - exact).abs().max() < 0.02
    weights = torch.randn(mine.shape, generator=torch.Generator().manual_seed(1))
    found = torch.autograd.grad((mine.float() * weights).sum(), [q, k, v])
    wanted = torch.autograd.grad((exact * weights).sum(), [q, k, v])
    assert all((a - b).abs().max() < 0.06 for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_without_gradients_and_in_float32_it_is_the_fused_one_bit_for_bit(dtype):
    q, k, v, sees = given(dtype, gradient=dtype == torch.float32)
    assert torch.equal(attend(q, k, v, sees), F.scaled_dot_product_attention(q, k, v, attn_mask=sees))
    assert torch.equal(attend(q, k, v, causal=True), F.scaled_dot_product_attention(q, k, v, is_causal=True))
