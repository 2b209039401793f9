"""Attention that is quick on every machine."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SHORT = 512  # places; the scores of longer rows take more memory than they save time


def attend(
    q: Tensor, k: Tensor, v: Tensor, sees: Tensor | None = None, *, causal: bool = False, grouped: bool = False
) -> Tensor:
    """Attention of q (B, H, t, size) over k and v (B, H, T, size) -> (B, H, t, size).

    As `scaled_dot_product_attention`: ``sees`` is what each place looks at (bool) or what is added to its scores, and
    broadcasts to (B, H, t, T); ``causal``, for T = t and without ``sees``, lets each place look at itself and those
    before; ``grouped`` lets several heads share keys and values. The backward pass of the fused one in bfloat16 on a
    CPU takes some eight times as long as plain products (torch 2.13, 40 rows of 82 places): there it is spelt out while
    gradients are wanted, and for short rows always, so that what is scored with and without gradients is the same.
    """
    narrow = q.dtype == torch.bfloat16 and q.device.type == "cpu" and not grouped
    wanted = torch.is_grad_enabled() and any(each.requires_grad for each in (q, k, v))
    if not (narrow and (wanted or k.shape[2] <= SHORT)):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=sees, is_causal=causal, enable_gqa=grouped)
    scores = (q * q.shape[-1] ** -0.5) @ k.mT
    if causal:
        sees = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    if sees is not None:
        scores = scores.masked_fill(~sees, -torch.inf) if sees.dtype == torch.bool else scores + sees
    return scores.softmax(dim=-1) @ v
