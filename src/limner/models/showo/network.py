"""Show-o's network: a Phi with normed queries and keys that looks back at words and all around in pictures (2408.12528,
section 3.2).

It computes what transformers' ``PhiForCausalLM`` computes with such masks (a test says so) without importing that
class, which costs seconds. Places are counted from where the part being made begins: only their differences matter, so
keys and values of what stands in front are the same whatever it is padded to. Shape letters: B rows, T tokens, D width,
H heads, P tokens in front, V rows of the output table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.models.attention import attend
from limner.models.showo.config import ShowOConfig

FEATURE = -1  # stands in ids where a picture's feature takes the place of a token


@dataclass
class Memory:
    """One layer's keys (turned) and values (B, 2, H, P, head) of what stands in front. ``found`` keeps those of a pass,
    (B, H, t, head) each. With ``low`` there is room behind: what is found is written there, from that place on."""

    past: Tensor | None = None
    low: int | None = None
    found: tuple[Tensor, Tensor] | None = None

    def meet(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, H, t, head) of a stretch, put behind those in front."""
        if self.past is not None and self.low is not None:
            end = self.low + k.shape[2]
            self.past[:, 0, :, self.low : end], self.past[:, 1, :, self.low : end] = k, v
            return self.past[:, 0, :, :end], self.past[:, 1, :, :end]
        self.found = k, v
        if self.past is None:
            return k, v
        return torch.cat([self.past[:, 0], k], dim=2), torch.cat([self.past[:, 1], v], dim=2)


class Layer(nn.Module):
    """Attention and a feed-forward net side by side, on one normed stream, both added to it."""

    def __init__(self, config: ShowOConfig) -> None:
        super().__init__()
        D, M, eps = config.width, config.mlp, config.norm_eps
        self.head, self.turned = D // config.heads, config.turned
        self.norm = nn.LayerNorm(D, eps)
        self.q_proj = nn.Linear(D, D)
        self.k_proj = nn.Linear(D, D)
        self.v_proj = nn.Linear(D, D)
        self.q_norm = nn.LayerNorm(self.head, eps)
        self.k_norm = nn.LayerNorm(self.head, eps)
        self.o_proj = nn.Linear(D, D)
        self.up_proj = nn.Linear(D, M)
        self.down_proj = nn.Linear(M, D)

    def forward(
        self,
        x: Tensor,
        turn: tuple[Tensor, Tensor],
        sees: Tensor | None,
        memory: Memory | None = None,
        at: Tensor | None = None,
    ) -> Tensor:
        """x (B, t, D), turn = cosines and sines (t, 1, turned), sees (B, 1, t or 1, T) bool or None for everything.
        With ``at`` (B, t) bool only those places come out (at.sum(), D): all that the last layer is asked for."""
        B, T, D = x.shape
        h = self.norm(x)
        q = self._turn(self.q_norm(self.q_proj(h).view(B, T, -1, self.head)), turn).transpose(1, 2)
        k = self._turn(self.k_norm(self.k_proj(h).view(B, T, -1, self.head)), turn).transpose(1, 2)
        v = self.v_proj(h).view(B, T, -1, self.head).transpose(1, 2)
        if memory is not None:
            k, v = memory.meet(k, v)
        seen = attend(q, k, v, sees).transpose(1, 2).reshape(B, T, D)
        if at is not None:
            x, h, seen = x[at], h[at], seen[at]
        return x + self.o_proj(seen) + self.down_proj(F.gelu(self.up_proj(h), approximate="tanh"))

    def _turn(self, x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        """x (B, T, H, head) with the first numbers of every head turned by their place, in float32."""
        cos, sin = turn
        wide, rest = x[..., : self.turned].float(), x[..., self.turned :]
        wide = wide * cos + wide.roll(self.turned // 2, dims=-1) * sin
        return torch.cat([wide.to(x.dtype), rest], dim=-1)


class Network(nn.Module):
    """ids -> states -> logits of chosen rows of the output table."""

    def __init__(self, config: ShowOConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.rows, config.width)
        if config.places:
            self.places = nn.Embedding(config.places, config.width)
        if config.clip:
            self.projector = nn.Sequential(
                nn.Linear(config.clip, config.width), nn.GELU(), nn.Linear(config.width, config.width)
            )
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width, config.norm_eps)
        self.head = nn.Linear(config.width, config.rows)

    def initialise(self, seed: int) -> None:
        """Fresh weights: normal with deviation 0.02, less for the two projections that write into the stream."""
        generator = torch.Generator().manual_seed(seed)
        if self.embed.weight.is_meta:
            return
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                deep = name.endswith(("o_proj.weight", "down_proj.weight"))
                deviation = 0.02 / math.sqrt(2 * len(self.layers)) if deep else 0.02
                weight.data.normal_(0.0, deviation, generator=generator)
            elif name.endswith("bias"):
                weight.data.zero_()

    def embedded(self, ids: Tensor, first: int, features: Tensor | None = None) -> Tensor:
        """ids (B, t) from the place ``first`` on -> (B, t, D). The places that hold ``FEATURE`` are given the features
        (B, F, clip) of their row, in order."""
        x: Tensor = self.embed(ids.clamp(min=0))
        if features is not None:
            at = ids == FEATURE
            given = torch.arange(features.shape[1], device=ids.device) < at.sum(dim=1, keepdim=True)
            x = x.masked_scatter(at[..., None], self.projector(features.to(x.dtype))[given])
        if self.config.places:
            half = self.config.places // 2
            place = torch.arange(first + half, first + half + ids.shape[1], device=ids.device)
            x = x + self.places(place.clamp(0, self.config.places - 1))
        return x

    def states(
        self,
        ids: Tensor,
        sees: Tensor | None,
        first: int,
        features: Tensor | None = None,
        memories: Sequence[Memory] | None = None,
        at: Tensor | None = None,
    ) -> Tensor:
        """ids (B, t) from the place ``first`` on -> states before the last norm: (B, t, D), or of the places ``at``
        (B, t) bool alone (at.sum(), D).

        ``sees`` (B, t or 1, T) bool says what each place looks at; None is everything. With ``memories``, one a layer,
        keys and values of what stands in front come from there.
        """
        x = self.embedded(ids, first, features)
        turn = angles(first, ids.shape[1], self.config.turned, self.config.rope_theta, ids.device)
        mask = None if sees is None else sees[:, None]
        last = len(self.layers) - 1
        for i, layer in enumerate(self.layers):
            x = layer(x, turn, mask, None if memories is None else memories[i], at if i == last else None)
        return x

    def logits(self, states: Tensor, first: int = 0, last: int | None = None) -> Tensor:
        """states (..., D) -> logits (..., last - first) of rows first..last of the output table."""
        return F.linear(self.norm(states), self.head.weight[first:last], self.head.bias[first:last])

    def forward(self, ids: Tensor, sees: Tensor) -> Tensor:
        """ids (B, T), sees (B, T, T) bool -> logits (B, T, V)."""
        return self.logits(self.states(ids, sees, 0))


def omni(kept: Tensor, shared: Tensor | None = None, picture: int | None = None) -> Tensor:
    """(B, T, T) bool: what each place (rows) looks at (columns).

    Everything looks back at what is kept (B, T) and at what is shared (B, T), which is a picture that stands in front.
    From the place ``picture`` on, where one that is being drawn begins, everything is looked at. Padding looks back at
    padding: a row that looks at nothing has no softmax.
    """
    T = kept.shape[1]
    back = torch.ones(T, T, dtype=torch.bool, device=kept.device).tril()
    sees = back[None] if shared is None else back | shared[:, None, :]
    if picture is not None:
        sees = sees | (torch.arange(T, device=kept.device) >= picture)[:, None]
    return torch.where(kept[:, :, None], sees & kept[:, None, :], back)


def shared_columns(ids: Tensor, eoi: int) -> Tensor:
    """(B, P) bool: what everything may look at in front of a part: up to the end of the last picture there, or the
    features of one."""
    if bool((ids == FEATURE).any()):
        return ids == FEATURE
    ends = (ids == eoi).long()
    return ends.flip(1).cumsum(dim=1).flip(1) > 0


@lru_cache(maxsize=64)
def angles(first: int, length: int, size: int, theta: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines (length, 1, size) in float32 of places from ``first`` on, the first half's sines negative."""
    frequency = theta ** (-torch.arange(0, size, 2, dtype=torch.float32, device=device) / size)
    place = torch.arange(first, first + length, dtype=torch.float32, device=device)
    angle = torch.outer(place, frequency)[:, None, :]
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)
