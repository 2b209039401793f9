"""What paints embeddings: FLUX's transformer behind an adapter (generation) or a merger (editing). Sections 8 and 9 of
the specification; the transformer's blocks are diffusers', called here so that time is float32 up to its sines.

Letters: B rows, n target and m source vectors, D their width, C width of a condition's tokens, h, w latents a side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from torch import Tensor, nn
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLTextConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
    Qwen2_5_VLDecoderLayer,
    Qwen2_5_VLRMSNorm,
    Qwen2_5_VLRotaryEmbedding,
)

from limner.models.attention import attend

# FLUX.1-dev
RELEASED: dict[str, Any] = {
    "patch_size": 1,
    "in_channels": 64,
    "num_layers": 19,
    "num_single_layers": 38,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 768,
    "guidance_embeds": True,
    "axes_dims_rope": (16, 56, 56),
}
Grid = tuple[int, int]  # (rows, columns)
BASE = 72  # patches a side of the grid on which target and source meet
# key of the sizes: the "theta" of an editing decoder's rotary coordinates (released: 10,000) and their "stretch"
# (released: 1). In narrow heads few of their turns tell neighbours apart, and a source is copied by its coordinates.
EDIT_ROPE = "edit_rope"


class Adapter(nn.Sequential):
    """Target vectors (B, n, D) as tokens (B, n, C)."""

    def __init__(self, width: int, context: int) -> None:
        super().__init__(
            nn.Linear(width, context),
            nn.LayerNorm(context),
            nn.ReLU(),
            nn.Linear(context, context),
            nn.LayerNorm(context),
        )


class Merger(nn.Module):
    """Target and source vectors look at each other, both ways, and become tokens: one layer of Qwen2.5-VL with
    fractional positions on a common grid, then a projector."""

    def __init__(self, text: Qwen2_5_VLTextConfig, context: int) -> None:
        super().__init__()
        self.text = text
        width, wide, eps = int(text.hidden_size), 4 * context, 1e-6
        self.layers = nn.ModuleList([Qwen2_5_VLDecoderLayer(text, 0)])
        self.projector = nn.Sequential(
            Qwen2_5_VLRMSNorm(width, eps),
            nn.Linear(width, wide),
            Qwen2_5_VLRMSNorm(wide, eps),
            nn.SiLU(),
            nn.Linear(wide, context),
            Qwen2_5_VLRMSNorm(context, eps),
        )

    def forward(self, target: Tensor, source: Tensor | None, grid: Grid | None = None) -> Tensor:
        """target (B, n, D), source (B, m, D) or None -> (B, n + m, C); the source has that ``grid`` (None: square)."""
        x, places = target, merger_places(square(target.shape[1]))
        if source is not None:
            x = torch.cat([target, source.to(target.dtype)], dim=1)
            places = torch.cat([places, merger_places(grid or square(source.shape[1]))], dim=2)
        with torch.device("cpu"):
            rotary = Qwen2_5_VLRotaryEmbedding(self.text).to(x.device)
        cos, sin = (each[:, None] for each in rotary(x, places.to(x.device)))
        half = cos.shape[-1] // 2
        sin = torch.cat([-sin[..., :half], sin[..., half:]], dim=-1)
        for layer in self.layers:
            attention: Any = layer.self_attn
            found = layer.input_layernorm(x)  # type: ignore[operator]
            q, k, v = (
                to(found).unflatten(2, (-1, attention.head_dim)).transpose(1, 2)
                for to in (attention.q_proj, attention.k_proj, attention.v_proj)
            )
            q, k = (each * cos + each.roll(half, dims=-1) * sin for each in (q, k))
            k, v = (each.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for each in (k, v))
            seen = attend(q, k, v)
            x = x + attention.o_proj(seen.transpose(1, 2).flatten(2))
            x = x + layer.mlp(layer.post_attention_layernorm(x))  # type: ignore[operator]
        tokens: Tensor = self.projector(x)
        return tokens


def square(count: int) -> Grid:
    """(rows, columns) of a square of so many vectors; ValueError where there is none."""
    side = math.isqrt(count)
    if side * side != count:
        raise ValueError(f"{count} vectors are no square picture")
    return side, side


def merger_places(grid: Grid) -> Tensor:
    """(3, 1, count) float32 positions of a picture's vectors, rows x columns of them, on the common grid."""
    rows, columns = _spread(grid, (BASE, BASE))
    return torch.stack([torch.zeros_like(rows), rows, columns])[:, None]


def token_ids(target: Grid, source: Grid | None, shape: Grid) -> Tensor:
    """(n + m, 3) float32 coordinates of target and source tokens beside a picture of ``shape`` (h, w) latents."""
    found = []
    for number, grid in enumerate((target, source)):
        if grid is not None:
            rows, columns = _spread(grid, shape)
            found.append(torch.stack([torch.full_like(rows, number), rows, columns], dim=1))
    return torch.cat(found)


def _spread(grid: Grid, over: Grid) -> tuple[Tensor, Tensor]:
    """Rows and columns (count,) float32 of a grid's vectors over a grid of half as many places as ``over`` a side."""
    high, wide = (torch.arange(n, dtype=torch.float32) * (side / (2 * n)) for n, side in zip(grid, over, strict=True))
    return high.repeat_interleave(grid[1]), wide.repeat(grid[0])


def image_ids(shape: tuple[int, int]) -> Tensor:
    """(h/2 * w/2, 3) float32 coordinates of a picture's own tokens."""
    rows, columns = (torch.arange(side // 2, dtype=torch.float32) for side in shape)
    grid = torch.cartesian_prod(rows, columns)
    return torch.cat([torch.zeros(len(grid), 1), grid], dim=1)


class Decoder(nn.Module):
    """A transformer with what makes its condition. ``condition`` is an ``Adapter``, or a ``Merger`` where ``text`` (the
    reader's config) is given."""

    def __init__(self, sizes: Mapping[str, Any], width: int, text: Qwen2_5_VLTextConfig | None = None) -> None:
        super().__init__()
        self.sizes = dict(sizes)
        dit: Any = FluxTransformer2DModel.from_config({k: v for k, v in sizes.items() if k != EDIT_ROPE})
        self.dit = dit
        context = int(dit.config.joint_attention_dim)
        self.condition = Adapter(width, context) if text is None else Merger(text, context)
        rope = sizes.get(EDIT_ROPE) if self.edits else None
        self.stretch = float(rope["stretch"]) if rope else 1.0
        if rope:
            dit.pos_embed.theta = float(rope["theta"])

    @property
    def edits(self) -> bool:
        """Whether it looks at a source."""
        return isinstance(self.condition, Merger)

    @property
    def channels(self) -> int:
        """Of a latent."""
        return int(self.dit.config.in_channels) // 4

    @property
    def dtype(self) -> torch.dtype:
        """In which it computes."""
        found: torch.dtype = self.dit.x_embedder.weight.dtype
        return found

    def tokens(self, target: Tensor, source: Tensor | None = None, grid: Grid | None = None) -> Tensor:
        """The condition's tokens (B, n or n + m, C) of embeddings; the source has that ``grid`` (None: square)."""
        target = target.to(self.dtype)
        if isinstance(self.condition, Merger):
            return self.condition(target, source, grid)
        found: Tensor = self.condition(target)
        return found

    def ids(self, n: int, source: Grid | None, shape: Grid) -> Tensor:
        """(L, 3) coordinates of the tokens of n target vectors and a source's beside a picture of ``shape`` (h, w)
        latents; of the adapter's, which have none, zeros."""
        return token_ids(square(n), source, shape) if self.edits else torch.zeros(n, 3)

    def velocity(
        self, tokens: Tensor, ids: Tensor, latents: Tensor, sigma: Tensor, pooled: Tensor, guidance: float
    ) -> Tensor:
        """The velocity (B, C, h, w) from picture to noise of latents (B, C, h, w) at noise sigma (B,) in 0..1.

        tokens (B, L, C) stand at ids (L, 3); pooled (1 or B, P) is the empty text's vector, ``guidance`` the number
        that the distilled transformer is told.
        """
        dit, dtype, B = self.dit, self.dtype, latents.shape[0]
        shape = (latents.shape[2], latents.shape[3])
        x = dit.x_embedder(packed(latents).to(dtype))
        c = dit.context_embedder(tokens.to(dtype))
        embed = dit.time_text_embed
        told = embed.timestep_embedder(embed.time_proj(sigma.float() * 1000).to(dtype))
        if dit.config.guidance_embeds:
            strength = (torch.full((B,), guidance, device=x.device).to(dtype) * 1000).to(dtype)
            told = told + embed.guidance_embedder(embed.time_proj(strength).to(dtype))
        told = told + embed.text_embedder(pooled.to(dtype))
        # coordinates are rounded as the published pipeline rounds them
        places = self.stretch * torch.cat([ids.to(dtype).float(), image_ids(shape)]).to(x.device)
        rotary = dit.pos_embed(places)
        for block in dit.transformer_blocks:
            c, x = block(hidden_states=x, encoder_hidden_states=c, temb=told, image_rotary_emb=rotary)
        for block in dit.single_transformer_blocks:
            c, x = block(hidden_states=x, encoder_hidden_states=c, temb=told, image_rotary_emb=rotary)
        return unpacked(dit.proj_out(dit.norm_out(x, told)), shape)


def packed(latents: Tensor) -> Tensor:
    """(B, C, h, w) as tokens (B, h/2 * w/2, 4 C) of two by two latents."""
    B, C, h, w = latents.shape
    if h % 2 or w % 2:
        raise ValueError(f"{h} x {w} latents cannot be taken two by two")
    return latents.view(B, C, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(B, h * w // 4, C * 4)


def unpacked(tokens: Tensor, shape: tuple[int, int]) -> Tensor:
    """What ``packed`` packed."""
    h, w = shape
    found = tokens.view(len(tokens), h // 2, w // 2, -1, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return found.reshape(len(tokens), -1, h, w)
