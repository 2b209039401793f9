"""MMaDA's network: a Llama that looks both ways (LLaDA 2502.09992; MMaDA 2505.15809).

It computes what transformers' ``LlamaForCausalLM`` computes with a full mask (a test says so) in a hundred lines:
importing that class costs seconds, which a command that draws one small picture should not pay, and rope in float32
under bfloat16 weights is this network's own. Shape letters: B rows, T tokens, D width, H heads, V rows of the output
table.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], bias: Tensor | None) -> Tensor:
        """x (B, T, D), turn = cosines and sines (T, 1, head), bias what ``scaled_dot_product_attention`` takes."""
        B, T, D = x.shape
        h = self.attention_norm(x)
        q = rotate(self.q_proj(h).view(B, T, -1, self.head), turn).transpose(1, 2)
        k = rotate(self.k_proj(h).view(B, T, -1, self.head), turn).transpose(1, 2)
        v = self.v_proj(h).view(B, T, -1, self.head).transpose(1, 2)
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, enable_gqa=self.grouped)
        x = x + self.o_proj(seen.transpose(1, 2).reshape(B, T, D))
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

    def states(self, ids: Tensor, kept: Tensor, begin: int = 0) -> Tensor:
        """ids (B, T), kept (B, T) bool -> states (B, T, D) before the last norm. Positions count padding too: only
        their differences matter. Learned places are counted from ``begin``, where the part being made begins."""
        x = self.embed(ids)
        if self.config.places:
            place = torch.arange(ids.shape[1], device=ids.device) - begin + self.config.places // 2
            x = x + self.places(place.clamp(0, self.config.places - 1))
        turn = angles(ids.shape[1], self.config.width // self.config.heads, self.config.rope_theta, ids.device)
        bias = attention_bias(self.config.attention, kept, x.dtype)
        for layer in self.layers:
            x = layer(x, turn, bias)
        return x

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
