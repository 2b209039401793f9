"""Tensors that lie in parts with several processes (torch's DTensor): whole from parts, and parts from a whole."""

from __future__ import annotations

from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate


def full(tensor: Tensor) -> Tensor:
    """The whole tensor; every process must ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def local(tensor: Tensor) -> Tensor:
    """This process's part."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def like(whole: Tensor, other: Tensor) -> Tensor:
    """A whole tensor that every process has, cut as ``other`` is; nothing is sent."""
    if not isinstance(other, DTensor):
        return whole
    mesh = other.device_mesh
    spread = DTensor.from_local(whole.to(other.device), mesh, [Replicate()] * mesh.ndim, run_check=False)
    return spread.redistribute(mesh, other.placements)
