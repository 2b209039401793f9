"""A network beside a reference folder: ``fwd.*`` of its ``io.safetensors``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from limner.models.parity import Row, close
from limner.models.showo.network import Network, omni, shared_columns


@torch.no_grad()
def network_rows(network: Network, io: Mapping[str, Tensor]) -> Iterator[Row]:
    """The network (float32) on the three layouts of a reference: a picture to be drawn, plain words, a question."""
    s = network.config.specials
    for name in ("t2i_gen", "lm", "mmu"):
        if f"fwd.{name}.logits" not in io:
            continue
        recorded = io[f"fwd.{name}.logits"]
        ids = io[f"{name}.input_ids"].long()[: len(recorded)]
        if recorded.shape[-1] != network.config.rows:
            raise ValueError(
                f"the reference was recorded with {recorded.shape[-1]} rows, this network has {network.config.rows}: "
                "another model"
            )
        kept, shared, picture = torch.ones_like(ids, dtype=torch.bool), None, None
        if name == "t2i_gen":
            kept, picture = ids != s.pad, int((ids[0] == s.soi).nonzero()[0])
        elif name == "mmu":
            shared = shared_columns(ids, s.eoi)
        ours, states = _looked_into(network, ids, omni(kept, shared, picture))
        # what padding itself would say is never used
        yield close(f"fwd.{name}.logits", ours[kept], recorded[kept])
        for i, state in enumerate(states):
            if f"fwd.{name}.hidden_after_layer{i}" in io:
                there = io[f"fwd.{name}.hidden_after_layer{i}"]
                rows = slice(0, len(there))
                yield close(f"fwd.{name}.hidden_after_layer{i}", state[rows][kept[rows]], there[kept[rows]])


def _looked_into(network: Network, ids: Tensor, sees: Tensor) -> tuple[Tensor, list[Tensor]]:
    """(logits (B, T, V), states (B, T, D) behind every layer)."""
    states: list[Tensor] = []
    hooks = [layer.register_forward_hook(lambda *given: states.append(given[2])) for layer in network.layers]
    logits = network(ids, sees)
    for hook in hooks:
        hook.remove()
    return logits, states
