"""What a run does to a model before it trains it: freezing, activations computed again, compiled layers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from limner.train.run import Run
from limner.train.shard import layers_of


def freeze(model: nn.Module, pattern: str) -> list[str]:
    """Train nothing whose name matches the regular expression (from the beginning); returns the names.

    Raises ValueError where no trainable weight is called so, or none would be left.
    """
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    found = [name for name in trainable if re.match(pattern, name)]
    if not found or len(found) == len(trainable):
        what = "matches every trainable weight" if found else "matches no trainable weight"
        raise ValueError(f"frozen={pattern!r} {what}; their names are like {next(iter(trainable), 'none')!r}")
    for name in found:
        trainable[name].requires_grad_(False)
    return found


def prepare(model: nn.Module, run: Run) -> nn.Module:
    """The model as a run wants it, in place; names of weights stay. Raises ValueError for what it cannot do."""
    if run.frozen:
        freeze(model, run.frozen)
    if not (run.recompute or run.compile):
        return model
    layers = layers_of(model)
    if not layers:
        raise ValueError(f"run {run.name!r} wants recompute or compile, but its model tells no layers")
    for layer in layers:
        if run.compile:
            layer.forward = torch.compile(layer.forward)
        if run.recompute and any(p.requires_grad for p in layer.parameters()):
            layer.forward = _again(layer.forward)
    return model


def _again(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A forward that keeps its inputs alone and is run again when gradients are wanted."""

    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return run
