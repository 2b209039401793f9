"""The libraries' norms, quick on every machine."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def normed(norm: Any, x: Tensor) -> Tensor:
    """A library's RMS norm of x (..., D); in float32 through torch's own function, the same with fewer passes."""
    weight = norm.weight
    eps = float(getattr(norm, "eps", None) or norm.variance_epsilon)  # diffusers' name, transformers' name
    if x.dtype == torch.float32 and isinstance(weight, Tensor) and weight.dtype == x.dtype and not weight.is_meta:
        if torch.is_grad_enabled():
            return F.rms_norm(x, (x.shape[-1],), weight, eps)
        squares = x * x  # the same numbers in place: fresh memory costs a processor more than the products
        share = squares.mean(dim=-1, keepdim=True).add_(eps).rsqrt_()
        return torch.mul(x, share, out=squares).mul_(weight)
    found: Tensor = norm(x)
    return found


def gated(both: Tensor) -> Tensor:
    """silu(gate) * up of (..., 2 D), gate first."""
    gate, up = both.chunk(2, dim=-1)
    found = F.silu(gate)
    return found * up if torch.is_grad_enabled() else found.mul_(up)


def added(stream: Tensor, found: Tensor) -> Tensor:
    """stream + found; without gradients into ``found``'s own memory, which nobody else may read."""
    if torch.is_grad_enabled() or found.dtype != stream.dtype:
        return stream + found
    return found.add_(stream)
