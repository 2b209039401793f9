"""Attention and norms as families share them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from limner.models.blocks import attend, normed


@pytest.mark.parametrize("masked, causal, queries", [(False, False, 5), (True, False, 3), (False, True, 5)])
def test_plain_products_in_bfloat16_agree_with_the_fused_kernel(masked, causal, queries):
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 3, queries, 8), torch.randn(2, 3, 5, 8), torch.randn(2, 3, 5, 8)
    mask = torch.rand(2, 1, queries, 5) < 0.6 if masked else None
    if mask is not None:
        mask[..., 0] = True
    wanted = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
    assert torch.equal(attend(q, k, v, mask, causal), wanted)
    halved = [each.bfloat16().requires_grad_() for each in (q, k, v)]
    found = attend(*halved, mask, causal)
    torch.testing.assert_close(found.float(), wanted, rtol=0.03, atol=0.03)
    found.float().sum().backward()
    assert all(bool(each.grad.isfinite().all()) for each in halved)


def test_norms_of_both_libraries_come_out_as_their_own():
    from diffusers.models.normalization import RMSNorm
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLRMSNorm

    x = torch.randn(2, 3, 8)
    for norm in (RMSNorm(8, 1e-3), Qwen2_5_VLRMSNorm(8, 1e-3)):
        nn.init.normal_(norm.weight)
        torch.testing.assert_close(normed(norm, x), norm(x))
        torch.testing.assert_close(normed(norm.bfloat16(), x.bfloat16()), norm(x.bfloat16()))
