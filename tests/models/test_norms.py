import torch
from torch import nn

from limner.models.norms import added, gated, normed


def test_norms_of_both_libraries_come_out_as_their_own():
    from diffusers.models.normalization import RMSNorm
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLRMSNorm

    x = torch.randn(2, 3, 8)
    for norm in (RMSNorm(8, 1e-3), Qwen2_5_VLRMSNorm(8, 1e-3)):
        nn.init.normal_(norm.weight)
        torch.testing.assert_close(normed(norm, x), norm(x))
        torch.testing.assert_close(normed(norm.bfloat16(), x.bfloat16()), norm(x.bfloat16()))


def test_without_gradients_the_numbers_are_the_same():
    from diffusers.models.normalization import RMSNorm

    x, y, both = torch.randn(2, 5, 64), torch.randn(2, 5, 64), torch.randn(2, 5, 128)
    norm = RMSNorm(64, 1e-3)
    nn.init.normal_(norm.weight)
    wanted = normed(norm, x), gated(both), added(x, y.clone())
    before = x.clone(), both.clone()
    with torch.no_grad():
        found = normed(norm, x), gated(both), added(x, y.clone())
    for one, other in zip(found, wanted, strict=True):
        assert torch.equal(one, other)
    assert torch.equal(x, before[0]) and torch.equal(both, before[1])
    torch.testing.assert_close(gated(both), nn.functional.silu(both[..., :64]) * both[..., 64:])


def test_a_wider_stream_stays_wide():
    with torch.no_grad():
        assert added(torch.ones(2), torch.ones(2, dtype=torch.bfloat16)).dtype == torch.float32
