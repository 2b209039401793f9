"""What transformer layers of several families compute the same way, and fast on a CPU.

Letters: B rows, H heads, t queries, T keys, d numbers of a head.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
    """What queries (B, H, t, d) see of keys and values (B, H, T, d): (B, H, t, d).

    ``mask`` (B or 1, 1 or H, t or 1, T) bool is true where a query may look; ``causal`` without a mask lets the last
    query see all and each before it one less. On CPUs the fused kernel's backward pass takes about seven times as long
    in bfloat16 as plain products do, so training there uses those.
    """
    slow = q.dtype == torch.bfloat16 and q.device.type == "cpu" and torch.is_grad_enabled()
    if not slow:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
    scores = torch.matmul(q * q.shape[-1] ** -0.5, k.mT)
    if causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril(k.shape[2] - q.shape[2])
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return torch.matmul(scores.softmax(dim=-1).to(v.dtype), v)


def normed(norm: Any, x: Tensor) -> Tensor:
    """A library's RMS norm of x (..., D); in float32 through torch's own function, the same with fewer passes."""
    weight = norm.weight
    eps = float(getattr(norm, "eps", None) or norm.variance_epsilon)  # diffusers' name, transformers' name
    if x.dtype == torch.float32 and isinstance(weight, Tensor) and weight.dtype == x.dtype and not weight.is_meta:
        return F.rms_norm(x, (x.shape[-1],), weight, eps)
    found: Tensor = norm(x)
    return found
