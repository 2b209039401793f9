"""The connector and the image decoder: diffusers' OmniGen modules with a forward of our own.

The condition never sees time or picture, so it is encoded once into keys and values (``encode``); a denoising step then
runs the time token and the picture's tokens alone (``denoise``). Picture rows see everything, so they need no mask but
that of padding; the time row, which sees the condition and itself, is computed apart.

Shape letters: B rows, L condition tokens, n picture tokens, D width, H heads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from diffusers.models.transformers.transformer_omnigen import OmniGenBlock, OmniGenTransformer2DModel
from torch import Tensor, nn

from limner.models import attention
from limner.models.mindomni.config import DecoderConfig
from limner.models.norms import added, gated, normed

Turn = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Encoded:
    """A condition's keys (turned) and values, one pair (B, Hkv, L, head) a layer; kept (B, L) bool."""

    pairs: Sequence[tuple[Tensor, Tensor]]
    kept: Tensor
    whole: bool  # nothing is padding

    @property
    def lengths(self) -> Tensor:
        """(B,) real tokens."""
        return self.kept.sum(dim=1)

    def room(self, more: int) -> tuple[Tensor, Tensor]:
        """Memory for one layer's keys and values with ``more`` places behind them."""
        keys = self.pairs[0][0]
        shape = (*keys.shape[:2], keys.shape[2] + more, keys.shape[3])
        return keys.new_empty(shape), keys.new_empty(shape)


def turns(config: DecoderConfig, places: Tensor, total: Tensor, dtype: torch.dtype) -> Turn:
    """Cosines and sines (B, 1, T, head) of places (B, T); the first half's sines negative.

    ``total`` (B,) is how many tokens attend in the end: long sequences turn by other factors.
    """
    head = config.head
    power = torch.arange(0, head, 2, dtype=torch.float32, device=places.device) / head
    ones = (1.0,) * (head // 2)
    factors = torch.tensor(
        [config.short_factor or ones, config.long_factor or ones], dtype=torch.float32, device=places.device
    )
    frequency = 1.0 / (factors * config.theta**power)
    own = frequency[(total > config.original_positions).long()]
    angle = places[:, :, None].float() * own[:, None, :]
    stretch = config.positions / config.original_positions
    scale = math.sqrt(1 + math.log(stretch) / math.log(config.original_positions)) if stretch > 1 else 1.0
    cos, sin = angle.cos() * scale, angle.sin() * scale
    both = torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)
    return both[0][:, None].to(dtype), both[1][:, None].to(dtype)


def turned(x: Tensor, turn: Turn) -> Tensor:
    """x (B, H, T, head) by its places: halves (a, b) -> (a cos - b sin, b cos + a sin)."""
    cos, sin = (each.to(x.dtype) for each in turn)
    half = x.shape[-1] // 2
    if torch.is_grad_enabled():
        return x * cos + x.roll(half, dims=-1) * sin
    found = x * cos  # the same numbers to the last bit: what is drawn is later scored with gradients
    found[..., :half] += x[..., half:] * sin[..., :half]
    found[..., half:] += x[..., :half] * sin[..., half:]
    return found


def heads(block: OmniGenBlock, x: Tensor, turn: Turn) -> tuple[Tensor, Tensor, Tensor]:
    """Queries (B, H, T, head), keys and values (B, Hkv, T, head) of x (B, T, D), queries and keys turned."""
    own = block.self_attn
    h = normed(block.input_layernorm, x)
    size = turn[0].shape[-1]
    q, k, v = (to(h).unflatten(2, (-1, size)).transpose(1, 2) for to in (own.to_q, own.to_k, own.to_v))
    return turned(q, turn), turned(k, turn), v


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
    """Attention (B, T, H * head); fewer keys than queries are shared by groups of heads."""
    if k.shape[1] != q.shape[1]:
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    return attention.attend(q, k, v, mask, causal=causal).transpose(1, 2).flatten(2)


def rest(block: OmniGenBlock, x: Tensor, seen: Tensor) -> Tensor:
    """What a block does after attention: projections and the gated unit, each added to the stream x (B, T, D)."""
    x = added(x, block.self_attn.to_out[0](seen))
    return added(x, block.mlp.down_proj(gated(block.mlp.gate_up_proj(normed(block.post_attention_layernorm, x)))))


def causal_mask(kept: Tensor, spans: Tensor | None = None) -> Tensor | None:
    """(B, 1, L, L) bool: who sees whom among condition tokens; None where that is plainly causal.

    kept (B, L) bool. ``spans`` (B, L) numbers the pictures among the tokens (0: none): inside one, all see all.
    """
    if spans is None and bool(kept.all()):
        return None
    L = kept.shape[1]
    earlier = torch.ones(L, L, dtype=torch.bool, device=kept.device).tril()[None]
    if spans is not None:
        earlier = earlier | ((spans[:, :, None] == spans[:, None, :]) & (spans > 0)[:, None, :])
    # padding sees itself, so that no row of attention is empty
    itself = torch.eye(L, dtype=torch.bool, device=kept.device)[None]
    return ((earlier & kept[:, None, :]) | itself)[:, None]


def places_of(kept: Tensor) -> Tensor:
    """(B, L) places, counted from 0 at the first real token."""
    return (kept.long().cumsum(dim=1) - 1).clamp(min=0)


class Connector(nn.Module):
    """States of the language model (B, L, D') to condition tokens (B, L, D): a linear layer and two causal blocks."""

    def __init__(self, config: DecoderConfig, width: int, layers: int = 2) -> None:
        super().__init__()
        self.config = config
        self.linear = nn.Linear(width, config.width)
        self.layers = nn.ModuleList(_block(config) for _ in range(layers))

    def forward(self, states: Tensor, kept: Tensor) -> Tensor:
        """states (B, L, D'), kept (B, L) bool, padding on the left -> (B, L, D)."""
        x: Tensor = self.linear(states)
        turn = turns(self.config, places_of(kept), kept.sum(dim=1), x.dtype)
        mask = causal_mask(kept)
        for block in self.layers:
            assert isinstance(block, OmniGenBlock)
            q, k, v = heads(block, x, turn)
            x = rest(block, x, attend(q, k, v, mask, causal=mask is None))
        return x


def _block(config: DecoderConfig) -> OmniGenBlock:
    return OmniGenBlock(config.width, config.heads, config.kv_heads, config.mlp, config.eps)


class ImageDecoder(nn.Module):
    """Condition, time and noisy latents to the velocity. Weights have the names of diffusers' class."""

    # diffusers' modules
    patch_embedding: Any
    time_token: Any
    t_embedder: Any
    embed_tokens: Any
    layers: Any
    norm: Any
    norm_out: Any

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        with torch.device("meta"):
            whole = OmniGenTransformer2DModel(
                in_channels=config.channels,
                patch_size=config.patch,
                hidden_size=config.width,
                rms_norm_eps=config.eps,
                num_attention_heads=config.heads,
                num_key_value_heads=config.kv_heads,
                intermediate_size=config.mlp,
                num_layers=config.layers,
                pad_token_id=config.pad,
                vocab_size=config.vocabulary,
                rope_scaling={"short_factor": [], "long_factor": []},
                pos_embed_max_size=1,
            )
        # the table is computed where it is needed, and only as much of it
        del whole.patch_embedding.pos_embed
        self.time_proj = whole.time_proj
        for name in ("patch_embedding", "time_token", "t_embedder", "embed_tokens", "layers", "norm", "norm_out"):
            setattr(self, name, getattr(whole, name))
        self.proj_out = whole.proj_out

    @property
    def dtype(self) -> torch.dtype:
        """The type that everything is computed in."""
        return self.proj_out.weight.dtype

    def encode(self, condition: Tensor, kept: Tensor, more: int, spans: Tensor | None = None) -> Encoded:
        """Keys and values of condition tokens (B, L, D), kept (B, L) bool, padding on the left. ``more`` tokens will
        follow; ``spans`` as in ``causal_mask``."""
        x, pairs = condition, []
        turn = turns(self.config, places_of(kept), kept.sum(dim=1) + more, x.dtype)
        mask = causal_mask(kept, spans)
        for i, block in enumerate(self.layers):
            q, k, v = heads(block, x, turn)
            pairs.append((k, v))
            if i + 1 < len(self.layers):
                x = rest(block, x, attend(q, k, v, mask, causal=mask is None))
        return Encoded(pairs, kept, bool(kept.all()))

    def embed_input(self, latents: Tensor) -> Tensor:
        """Tokens (B, n, D) of the latents (B, C, h, w) of a picture that is shown (OmniGen's way)."""
        tokens: Tensor = self.patch_embedding.input_image_proj(latents).flatten(2).transpose(1, 2)
        return tokens + self._positions(latents)

    def _positions(self, latents: Tensor) -> Tensor:
        high, wide = (side // self.config.patch for side in latents.shape[-2:])
        return position_crop(self.config, high, wide).to(latents.device, self.dtype)

    def denoise(
        self,
        encoded: Encoded | Sequence[Encoded],
        latents: Tensor,
        time: Tensor,
        apart: bool = False,
        levels: list[Tensor] | None = None,
    ) -> Tensor:
        """The velocity (B, C, h, w) of latents (B, C, h, w) at time (B,) in [0, 1].

        Of several conditions each has the next rows of latents; they attend apart and do everything else together.
        ``apart``: time and picture see the condition alone. ``levels`` is given the picture tokens' states (B, n, D)
        at the input, after every block but the last, and after the last norm.
        """
        conditions = [encoded] if isinstance(encoded, Encoded) else encoded
        latents = latents.to(self.dtype)
        picture = self.patch_embedding.output_image_proj(latents).flatten(2).transpose(1, 2) + self._positions(latents)
        wave = self.time_proj(time).to(self.dtype)
        x = torch.cat([self.time_token(wave)[:, None], picture], dim=1)
        n = picture.shape[1]
        lengths = torch.cat([condition.lengths for condition in conditions])
        places = lengths[:, None] + torch.arange(n + 1, device=x.device)
        turn = turns(self.config, places, lengths + n + 1, x.dtype)
        counts = [len(condition.kept) for condition in conditions]
        rooms = [None if apart or torch.is_grad_enabled() else each.room(n + 1) for each in conditions]
        for i, block in enumerate(self.layers):
            if levels is not None:
                levels.append(x[:, 1:])
            last = i + 1 == len(self.layers)
            parts = zip(*(each.split(counts) for each in heads(block, x, turn)), strict=True)
            seen = [
                _look(condition, i, q, k, v, apart, last, room)
                for condition, (q, k, v), room in zip(conditions, parts, rooms, strict=True)
            ]
            # after the last block nobody looks at time
            x = rest(block, x[:, 1:] if last else x, seen[0] if len(seen) == 1 else torch.cat(seen))
        x = normed(self.norm, x)
        if levels is not None:
            levels.append(x)
        x = self.proj_out(self.norm_out(x, temb=self.t_embedder(wave)))
        high, wide = (side // self.config.patch for side in latents.shape[-2:])
        p = self.config.patch
        x = x.unflatten(2, (p, p, -1)).unflatten(1, (high, wide))
        return x.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)


def _look(
    condition: Encoded,
    layer: int,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    apart: bool,
    last: bool,
    room: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """What time and the picture's tokens see (B, 1 + n, H * head), in the last layer the picture's tokens alone.

    Time sees the condition and itself, the picture everything; ``apart`` the condition alone. Without gradients keys
    and values are put together in ``room``, because fresh memory costs a processor more than the copy.
    """
    keys, values = condition.pairs[layer]
    L, near, far = keys.shape[2], None, None
    if not condition.whole:
        ones = torch.ones(len(q), q.shape[2], dtype=torch.bool, device=q.device)
        near, far = condition.kept[:, None, None, :], torch.cat([condition.kept, ones], dim=1)[:, None, None, :]
    if apart:
        return attend(q[:, :, 1:] if last else q, keys, values, near)
    k = torch.cat([keys, k], dim=2, out=room and room[0])
    v = torch.cat([values, v], dim=2, out=room and room[1])
    seen = attend(q[:, :, 1:], k, v, far)
    if last:
        return seen
    mask = None if far is None else far[..., : L + 1]
    first = attend(q[:, :, :1], k[:, :, : L + 1], v[:, :, : L + 1], mask)
    return torch.cat([first, seen], dim=1)


@lru_cache(maxsize=16)
def position_crop(config: DecoderConfig, high: int, wide: int) -> Tensor:
    """(1, high * wide, D) float32: the middle of the position table. Raises ValueError for more than it covers."""
    if max(high, wide) > config.table:
        raise ValueError(f"a picture of {wide} x {high} patches is too large; at most {config.table} a side are known")
    quarter = config.width // 4
    frequency = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)

    def waves(count: int) -> Tensor:
        begin = (config.table - count) // 2
        place = torch.arange(begin, begin + count, dtype=torch.float64) * config.cells / config.table
        angle = place[:, None] * frequency
        return torch.cat([angle.sin(), angle.cos()], dim=1)

    columns = waves(wide)[None].expand(high, -1, -1)
    rows = waves(high)[:, None].expand(-1, wide, -1)
    return torch.cat([columns, rows], dim=2).flatten(0, 1)[None].float()
