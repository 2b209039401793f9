"""A network beside a reference folder: ``fwd/*`` of its ``io.safetensors``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from limner.models.mmada.config import Attention
from limner.models.mmada.network import Network
from limner.models.parity import CLOSE, EXACT, LEVEL, Row, close, codec_rows, equal, read_recorded

__all__ = ["CLOSE", "EXACT", "LEVEL", "Row", "close", "codec_rows", "equal", "network_rows", "read_recorded", "variant"]


def variant(network: Network, attention: Attention) -> Network:
    """The same weights under another attention regime."""
    with torch.device("meta"):
        other = Network(replace(network.config, attention=attention))
    other.load_state_dict(network.state_dict(), assign=True)
    return other


@torch.no_grad()
def network_rows(network: Network, io: Mapping[str, Tensor]) -> Iterator[Row]:
    """The network (float32) against ``fwd/*``: without padding, with masked padding, with soft padding."""
    if "fwd/input_ids" not in io:
        return
    ids = io["fwd/input_ids"].long()
    rows, recorded = network.config.rows, io["fwd/plain/logits"].shape[-1]
    if rows != recorded:
        raise ValueError(f"the reference was recorded with {recorded} rows, this network has {rows}: another model")
    everything = torch.ones_like(ids, dtype=torch.bool)
    full = variant(network, "full")
    yield close("fwd/plain/logits", full(ids, everything), io["fwd/plain/logits"])
    states = [full.embed(ids)]
    hooks = [layer.register_forward_hook(lambda *given: states.append(given[2])) for layer in full.layers]
    full.states(ids, everything)
    for hook in hooks:
        hook.remove()
    states[-1] = full.norm(states[-1])
    for i, state in enumerate(states):
        if f"fwd/plain/hidden_{i}" in io:
            yield close(f"fwd/plain/hidden_{i}", state, io[f"fwd/plain/hidden_{i}"])
    if "fwd/pad_mask" not in io:
        return
    kept = io["fwd/pad_mask"].bool()
    # what padding itself would say is never used
    if "fwd/bool_bias/logits" in io:
        ours = variant(network, "masked")(ids, kept)
        yield close("fwd/bool_bias/logits", ours[kept], io["fwd/bool_bias/logits"][kept])
    if "fwd/float_bias/logits" in io:
        # the official call softens the padding of the first row only
        soft = everything.clone()
        soft[0] = kept[0]
        yield close("fwd/float_bias/logits", variant(network, "legacy-soft")(ids, soft), io["fwd/float_bias/logits"])
