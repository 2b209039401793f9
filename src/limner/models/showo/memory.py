"""What the network has read and need not read again.

What stands in front of a picture never looks at it, and words never look ahead: their keys and values are the same in
every step. They are looked up by what was read, so rows may be dropped, repeated or reordered, a state may be saved and
loaded, and many rows with one prompt cost it once. A memory lives as long as one process does: the weights must not
change meanwhile, so nothing is ever scored with it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from limner.models.showo.network import Memory, Network, omni, shared_columns

KEPT_BATCHES = 4  # with and without the condition, before and after rows were dropped
MORE = 64  # places that are added when there is no room


class Fronts:
    """Keys and values of what stands in front of pictures."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._batches: dict[tuple[bytes, ...], Tensor] = {}

    @torch.no_grad()
    def of(self, ids: Tensor, kept: Tensor) -> Tensor:
        """ids (B, P), kept (B, P) bool in front of the place -1 -> (B, layers, 2, H, P, head)."""
        keys = tuple(row.tobytes() for row in torch.where(kept, ids, -2).cpu().numpy())
        if keys not in self._batches:
            known = {key: row for some, batch in self._batches.items() for key, row in zip(some, batch, strict=True)}
            fresh = {key: row for row, key in enumerate(keys) if key not in known}
            if fresh:
                rows = list(fresh.values())
                known |= zip(fresh, self._read(ids[rows], kept[rows]), strict=True)
            if len(set(keys)) == 1:
                batch = known[keys[0]].expand(len(keys), *known[keys[0]].shape)
            else:
                batch = torch.stack([known[key] for key in keys])
            self._batches = dict([*self._batches.items()][1 - KEPT_BATCHES :]) | {keys: batch}
        return self._batches[keys]

    def _read(self, ids: Tensor, kept: Tensor) -> Tensor:
        memories = [Memory() for _ in self.network.layers]
        sees = omni(kept, shared_columns(ids, self.network.config.specials.eoi))
        self.network.states(ids, sees, -1 - ids.shape[1], None, memories)
        found = [torch.stack(memory.found, dim=1) for memory in memories if memory.found is not None]
        return torch.stack(found, dim=1)


class Heard:
    """Keys and values of texts that are being written, with room for more."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._ids: Tensor | None = None
        self._features: Tensor | None = None
        self._past = torch.empty(0)
        self._begin = 0

    @torch.no_grad()
    def last(self, ids: Tensor, kept: Tensor, begin: int, features: Tensor | None) -> Tensor:
        """States (B, D) of the last of ids (B, T), of which those before ``begin`` are the context."""
        T = ids.shape[1]
        rows = self._find(ids[:, :-1], begin, features)
        low = 0 if rows is None else T - 1
        if rows is None:
            config, network = self.network.config, self.network
            head = config.width // config.heads
            shape = (len(ids), config.layers, 2, config.heads, T + MORE, head)
            self._past = torch.zeros(shape, dtype=network.head.weight.dtype, device=ids.device)
            sees: Tensor | None = omni(kept, self._shared(ids, begin))
        else:
            if not torch.equal(rows, torch.arange(self._past.shape[0], device=rows.device)):
                self._past = self._past[rows]
            if self._past.shape[4] < T:
                self._past = torch.nn.functional.pad(self._past, (0, 0, 0, MORE))
            sees = None if bool(kept.all()) else kept[:, None, :]
        self._ids, self._begin, self._features = ids, begin, features
        memories = [Memory(self._past[:, i], low) for i in range(len(self.network.layers))]
        at = torch.zeros_like(kept[:, low:])
        at[:, -1] = True
        return self.network.states(ids[:, low:], sees, low - begin, features if low == 0 else None, memories, at)

    def _shared(self, ids: Tensor, begin: int) -> Tensor:
        shared = shared_columns(ids[:, :begin], self.network.config.specials.eoi)
        return torch.nn.functional.pad(shared, (0, ids.shape[1] - begin))

    def _find(self, ids: Tensor, begin: int, features: Tensor | None) -> Tensor | None:
        """(B,) the rows in memory that ids (B, n) begin; None unless all are there."""
        mine, n = self._ids, ids.shape[1]
        if mine is None or begin != self._begin or mine.shape[1] < n or (features is None) != (self._features is None):
            return None
        if features is not None and self._features is not None:
            same_rows = features.shape == self._features.shape and torch.equal(features, self._features)
            return torch.arange(len(ids), device=ids.device) if same_rows and torch.equal(ids, mine[:, :n]) else None
        same = (ids[:, None, :] == mine[None, :, :n]).all(dim=2)
        return same.long().argmax(dim=1) if bool(same.any(dim=1).all()) else None
