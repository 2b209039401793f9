"""Low-rank adapters (LoRA 2106.09685, through peft) on any model: the model without them is its own reference.

A policy with adapters needs no second copy of itself: ``without_adapters`` gives the base while it lasts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import nn

from limner.models.base import Model

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def add_adapters(model: nn.Module, pattern: str, rank: int = 16, alpha: float | None = None) -> list[str]:
    """Adapters on the linear layers whose names match ``pattern`` (from the beginning); nothing else is trained any
    more. Returns the names. Raises ValueError where none matches."""
    from peft import LoraConfig
    from peft.tuners.lora import Linear

    if rank < 1:
        raise ValueError(f"rank={rank} must be at least 1; 16 is usual")
    found = [
        name for name, module in model.named_modules() if isinstance(module, nn.Linear) and re.match(pattern, name)
    ]
    if not found:
        raise ValueError(f"no linear layer is called like {pattern!r}; see model.named_modules()")
    model.requires_grad_(False)
    scale = 2.0 * rank if alpha is None else alpha
    for name in found:
        base = model.get_submodule(name)
        config = LoraConfig(r=rank, lora_alpha=int(scale))
        layer = Linear(base, "default", config=config, r=rank, lora_alpha=int(scale))
        model.set_submodule(name, layer)
    return found


def _adapted(model: nn.Module) -> list[tuple[str, Any]]:
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [(name, module) for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]


def has_adapters(model: nn.Module) -> bool:
    """Whether any layer has one."""
    return any("lora_" in name for name, _ in model.named_parameters())


@contextmanager
def without_adapters(model: ModuleT) -> Iterator[ModuleT]:
    """The model as it was before its adapters."""
    _switch(model, off=True)
    try:
        yield model
    finally:
        _switch(model, off=False)


def _switch(model: nn.Module, *, off: bool) -> None:
    # peft's own switch also freezes the adapters' weights, which are other objects while a sharded layer is gathered
    for _, layer in _adapted(model):
        layer._disable_adapters = off
    for part in model.modules():
        if isinstance(part, Model):
            part.forget()  # what was remembered is the other one's, though no weight has changed


@contextmanager
def reference_of(policy: ModuleT, reference: ModuleT | None) -> Iterator[ModuleT]:
    """The reference while it lasts: the one given, or a policy with adapters without them."""
    if reference is not None:
        yield reference
        return
    with without_adapters(policy) as base:
        yield base


def merge_adapters(model: nn.Module) -> None:
    """Put the adapters into the weights; afterwards the model has its own names again."""
    for name, layer in _adapted(model):
        layer.merge()
        model.set_submodule(name, layer.get_base_layer())
