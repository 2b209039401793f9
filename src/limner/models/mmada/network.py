"""MMaDA's network: a Llama that looks both ways (LLaDA 2502.09992; MMaDA 2505.15809).

It computes what transformers' ``LlamaForCausalLM`` computes with a full mask (a test says so) in a hundred lines:
importing that class costs seconds, which a command that draws one small picture should not pay, and rope in float32
under bfloat16 weights is this network's own. Shape letters: B rows, T tokens, D width, H heads, V rows of the output
table.
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
from limner.models.mmada.config import MMaDAConfig


class Norm(nn.Module):
    """Root-mean-square norm in float32; the weight multiplies in the input's dtype."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) -> (..., D)."""
        if x.dtype == torch.float32:
            return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)
        return self.weight * F.rms_norm(x.float(), (x.shape[-1],), None, self.eps).to(x.dtype)


@dataclass
class Memory:
    """One layer's keys (turned) and values (B, 2, H, T, head): of all places, or of those in front of ``low``, where a
    pass over a stretch of places begins. ``now`` keeps what a pass over all places found."""

    low: int = 0
    past: Tensor | None = None
    now: Tensor | None = None

    def meet(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, H, t, head) of the stretch, put among the others'."""
        found = torch.stack([k, v], dim=1)
        if self.past is None:
            self.now = found
            return k, v
        before, behind = self.past[..., : self.low, :], self.past[..., self.low + k.shape[2] :, :]
        every = torch.cat([before, found, behind], dim=3)
        return every[:, 0], every[:, 1]


class Layer(nn.Module):
    """Attention, then a gated unit, each on the normed stream and added to it. No bias but that of ``qkv_bias``."""

    def __init__(self, config: MMaDAConfig) -> None:
        super().__init__()
        D, M, eps = config.width, config.mlp, config.norm_eps
        self.head = D // config.heads
        keys = self.head * config.kv_heads
        self.grouped = config.heads != config.kv_heads
        self.attention_norm = Norm(D, eps)
        self.q_proj = nn.Linear(D, D, bias=config.qkv_bias)
        self.k_proj = nn.Linear(D, keys, bias=config.qkv_bias)
        self.v_proj = nn.Linear(D, keys, bias=config.qkv_bias)
        self.o_proj = nn.Linear(D, D, bias=False)
        self.mlp_norm = Norm(D, eps)
        self.gate_proj = nn.Linear(D, M, bias=False)
        self.up_proj = nn.Linear(D, M, bias=False)
        self.down_proj = nn.Linear(M, D, bias=False)

    def forward(
        self,
        x: Tensor,
        turn: tuple[Tensor, Tensor],
        bias: Tensor | None,
        memory: Memory | None = None,
        wanted: slice = slice(None),
    ) -> Tensor:
        """x (B, T, D), turn = cosines and sines (T, 1, head), bias what ``scaled_dot_product_attention`` takes.

        Returns the wanted places alone: every place is looked at, but only these look.
        """
        B, T, D = x.shape
        h = self.attention_norm(x)
        cos, sin = turn
        q = self.q_proj(h[:, wanted])
        q = rotate(q.view(B, q.shape[1], -1, self.head), (cos[wanted], sin[wanted])).transpose(1, 2)
        k = rotate(self.k_proj(h).view(B, T, -1, self.head), turn).transpose(1, 2)
        v = self.v_proj(h).view(B, T, -1, self.head).transpose(1, 2)
        if memory is not None:
            k, v = memory.meet(k, v)
        if bias is not None and bias.shape[2] > 1:
            bias = bias[:, :, wanted]
        seen = attend(q, k, v, bias, grouped=self.grouped)
        x = x[:, wanted] + self.o_proj(seen.transpose(1, 2).flatten(2))
        h = self.mlp_norm(x)
        return x + self.down_proj(F.silu(self.gate_proj(h)) * self.up_proj(h))


class Network(nn.Module):
    """ids -> states -> logits of chosen rows of the output table."""

    def __init__(self, config: MMaDAConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.rows, config.width)
        if config.places:
            self.places = nn.Embedding(config.places, config.width)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = Norm(config.width, config.norm_eps)
        self.head = nn.Linear(config.width, config.rows, bias=False)

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

    def states(
        self,
        ids: Tensor,
        kept: Tensor,
        begin: int = 0,
        low: int = 0,
        memories: Sequence[Memory] | None = None,
        wanted: slice = slice(None),
    ) -> Tensor:
        """ids (B, T), kept (B, T) bool -> states (B, T, D) before the last norm. Positions count padding too: only
        their differences matter. Learned places are counted from ``begin``, where the part being made begins.

        With ``memories``, one a layer, ids may be (B, t): a stretch from the place ``low`` on. The last layer computes
        the wanted places of the stretch alone.
        """
        here = slice(low, low + ids.shape[1])
        x = self._embedded(ids, torch.arange(here.start, here.stop, device=ids.device), begin)
        cos, sin = angles(kept.shape[1], self.config.width // self.config.heads, self.config.rope_theta, ids.device)
        bias = attention_bias(self.config.attention, kept, x.dtype)
        if bias is not None and bias.shape[2] > 1:
            bias = bias[:, :, here]
        for i, layer in enumerate(self.layers):
            memory = None if memories is None else memories[i]
            x = layer(x, (cos[here], sin[here]), bias, memory, wanted if i == len(self.layers) - 1 else slice(None))
        return x

    def at(self, ids: Tensor, kept: Tensor, at: Tensor, begin: int = 0) -> Tensor:
        """`states` of the places at (B, T) bool alone, (at.sum(), D)."""
        places = at.any(dim=0).nonzero()
        wanted = slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)
        return self.states(ids, kept, begin, wanted=wanted)[at[:, wanted]]

    def _embedded(self, ids: Tensor, place: Tensor, begin: int) -> Tensor:
        """ids (B, T) at places (T,) -> (B, T, D)."""
        x: Tensor = self.embed(ids)
        if self.config.places:
            x = x + self.places((place - begin + self.config.places // 2).clamp(0, self.config.places - 1))
        return x

    def recalled(
        self, ids: Tensor, kept: Tensor, begin: int, low: int = 0, past: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(states (B, t, D) of a stretch from ``low`` on, keys and values (B, layers, 2, H, T, head)).

        Without ``past`` the stretch is all there is; with it the other places' keys and values are taken from there.
        """
        memories = [Memory(low, None if past is None else past[:, i]) for i in range(len(self.layers))]
        states = self.states(ids, kept, begin, low, memories)
        if past is not None:
            return states, past
        return states, torch.stack([memory.now for memory in memories if memory.now is not None], dim=1)

    def doubting(self, ids: Tensor, kept: Tensor, begin: int, block: slice) -> tuple[Tensor, Tensor]:
        """(states (B, T, D) as ever, states (B, b, D) of hidden values that stand beside the b places of a block).

        Each of those sees everything but the value in its place and the others like it; nothing sees them.
        """
        config, T = self.config, ids.shape[1]
        if config.attention == "legacy-soft":
            raise ValueError("values are revoked with attention masked or full, not legacy-soft")
        place = torch.cat([torch.arange(T), torch.arange(block.start, block.stop)]).to(ids.device)
        x = self._embedded(F.pad(ids, (0, len(place) - T), value=config.specials.mask), place, begin)
        cos, sin = angles(T, config.width // config.heads, config.rope_theta, ids.device)
        beside = torch.arange(T, len(place), device=ids.device)
        seen = F.pad(kept if config.attention == "masked" else torch.ones_like(kept), (0, len(place) - T))
        sees = seen[:, None, :].repeat(1, len(place), 1)
        sees[:, beside, place[T:]] = False
        sees[:, beside, beside] = True
        for layer in self.layers:
            x = layer(x, (cos[place], sin[place]), sees[:, None])
        return x[:, :T], x[:, T:]

    def logits(self, states: Tensor, first: int = 0, last: int | None = None) -> Tensor:
        """states (..., D) -> logits (..., last - first) of rows first..last of the output table."""
        return F.linear(self.norm(states), self.head.weight[first:last])

    def forward(self, ids: Tensor, kept: Tensor) -> Tensor:
        """ids (B, T), kept (B, T) bool -> logits (B, T, V)."""
        return self.logits(self.states(ids, kept))


def attention_bias(regime: str, kept: Tensor, dtype: torch.dtype) -> Tensor | None:
    """What attention adds for padding, by regime; None when a batch has no padding or looks at it as at any token.

    "masked": a boolean (B, 1, 1, T), True where a key may be seen. "legacy-soft": (B, 1, T, T) with 1 between kept
    tokens and 0 elsewhere, so padding counts one logit less.
    """
    if regime == "full" or bool(kept.all()):
        return None
    if regime == "masked":
        return kept[:, None, None, :]
    return (kept[:, None, :, None] & kept[:, None, None, :]).to(dtype)


@lru_cache(maxsize=16)
def angles(length: int, size: int, theta: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines (T, 1, size) in float32 for both halves of a head, the first half's sines negative."""
    frequency = theta ** (-torch.arange(0, size, 2, dtype=torch.float32, device=device) / size)
    angle = torch.outer(torch.arange(length, dtype=torch.float32, device=device), frequency)[:, None, :]
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)


def rotate(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """x (B, T, H, size) turned by its position: halves (a, b) -> (a cos - b sin, b cos + a sin), in float32."""
    cos, sin = turn
    wide = x.float()
    return (wide * cos + wide.roll(wide.shape[-1] // 2, dims=-1) * sin).to(x.dtype)
