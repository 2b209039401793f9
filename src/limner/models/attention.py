"""Attention that is quick on every machine."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def attend(
    q: Tensor, k: Tensor, v: Tensor, sees: Tensor | None = None, *, causal: bool = False, grouped: bool = False
) -> Tensor:
    """Attention of q (B, H, t, size) over k and v (B, H, T, size) -> (B, H, t, size).

    As `scaled_dot_product_attention`: ``sees`` is what each place looks at (bool) or what is added to its scores, and
    broadcasts to (B, H, t, T); ``causal``, for T = t and without ``sees``, lets each place look at itself and those
    before; ``grouped`` lets several heads share keys and values. The backward pass of the fused one in bfloat16 on a
    CPU takes some eight times as long as plain products (torch 2.13, 40 rows of 82 places): there, and only while
    gradients are wanted, it is spelt out.
    """
    slow = q.dtype == torch.bfloat16 and q.device.type == "cpu" and torch.is_grad_enabled() and not grouped
    if not slow or not any(each.requires_grad for each in (q, k, v)):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=sees, is_causal=causal, enable_gqa=grouped)
    scores = (q * q.shape[-1] ** -0.5) @ k.mT
    if causal:
        sees = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    if sees is not None:
        scores = scores.masked_fill(~sees, -torch.inf) if sees.dtype == torch.bool else scores + sees
    return scores.softmax(dim=-1) @ v
