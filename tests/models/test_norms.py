import torch
from torch import nn

from limner.models.norms import normed


def test_norms_of_both_libraries_come_out_as_their_own():
    from diffusers.models.normalization import RMSNorm
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLRMSNorm

    x = torch.randn(2, 3, 8)
    for norm in (RMSNorm(8, 1e-3), Qwen2_5_VLRMSNorm(8, 1e-3)):
        nn.init.normal_(norm.weight)
        torch.testing.assert_close(normed(norm, x), norm(x))
        torch.testing.assert_close(normed(norm.bfloat16(), x.bfloat16()), norm(x.bfloat16()))
