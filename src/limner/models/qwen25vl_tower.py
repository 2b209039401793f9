"""Qwen2.5-VL's vision tower run over many pictures at once: transformers' modules, pictures of one shape as one batch.

The library computes the attention of every picture and every window by itself. Here pictures with the same grid are a
batch, and their windows of the same size are one; the numbers are the same but for the order of sums.

Letters: G pictures, N patches of a picture, P numbers of a patch, C width of the tower, D width of its tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from limner.models.attention import attend

Grid = tuple[int, int, int]  # frames (one: these are pictures), rows and columns of patches


@dataclass(frozen=True)
class Layout:
    """How a picture's patches stand in the tower: ``order`` (N,) of patches and ``back`` (N / merge^2,) of tokens, the
    rows and columns ``places`` (N, 2) in that order, and ``windows``: (how many, patches of each), one after another.
    """

    order: Tensor
    back: Tensor
    places: Tensor
    windows: tuple[tuple[int, int], ...]


@lru_cache(maxsize=256)
def layout(grid: Grid, merge: int, window: int) -> Layout:
    """The layout of a grid (frames, high, wide) in patches; ``window`` is a window's side in tokens. Windows of like
    size stand together, which attention does not see."""
    _, high, wide = grid
    rows, columns = torch.meshgrid(torch.arange(high // merge), torch.arange(wide // merge), indexing="ij")
    across = -(-(wide // merge) // window)
    number = ((rows // window) * across + columns // window).flatten()
    sizes = number.bincount()
    tokens = torch.argsort(sizes[number] * (len(sizes) + 1) + number, stable=True)
    lengths = (sizes[sizes > 0].sort().values * merge**2).tolist()
    windows = tuple((lengths.count(length), length) for length in dict.fromkeys(lengths))
    # patches stand token by token, and within a token row by row
    inner = torch.cartesian_prod(torch.arange(merge), torch.arange(merge))
    corners = torch.stack([rows.flatten(), columns.flatten()])[:, :, None] * merge
    places = corners + inner.T[:, None]
    places = places[:, tokens].flatten(1).T
    order = (tokens[:, None] * merge**2 + torch.arange(merge**2)).flatten()
    return Layout(order, torch.argsort(tokens), places, windows)


def tokens_of(tower: Any, pictures: Sequence[tuple[Tensor, Grid]]) -> list[Tensor]:
    """Tokens (N / merge^2, D) of each picture, given as patches (N, P) and grid, in their order."""
    groups: dict[Grid, list[int]] = {}
    for i, (_, grid) in enumerate(pictures):
        groups.setdefault(grid, []).append(i)
    found: dict[int, Tensor] = {}
    for grid, members in groups.items():
        shown = torch.stack([pictures[i][0] for i in members])
        found |= dict(zip(members, _same(tower, shown, grid).unbind(0), strict=True))
    return [found[i] for i in range(len(pictures))]


def _same(tower: Any, patches: Tensor, grid: Grid) -> Tensor:
    """Tokens (G, N / merge^2, D) of patches (G, N, P) of pictures with the same grid."""
    merge = int(tower.spatial_merge_size)
    plan = layout(grid, merge, int(tower.window_size) // merge // int(tower.patch_size))
    device = patches.device
    # a kernel as large as its patch is a matrix
    x = F.linear(patches[:, plan.order.to(device)], tower.patch_embed.proj.weight.flatten(1))
    cos, sin = (each[None, None] for each in tower.rotary_pos_emb(x, plan.places.to(device)))
    half = cos.shape[-1] // 2
    sin = torch.cat([-sin[..., :half], sin[..., half:]], dim=-1)
    everything = ((1, x.shape[1]),)
    for number, block in enumerate(tower.blocks):
        attention = block.attn
        q, k, v = attention.qkv(block.norm1(x)).unflatten(2, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = ((each.float() * cos + each.float().roll(half, dims=-1) * sin).to(v.dtype) for each in (q, k))
        parts = everything if number in tower.fullatt_block_indexes else plan.windows
        x = x + attention.proj(_within(q, k, v, parts).transpose(1, 2).flatten(2))
        x = x + block.mlp(block.norm2(x))
    merged: Tensor = tower.merger(x.flatten(0, 1)).unflatten(0, (len(x), -1))
    return merged[:, plan.back.to(device)]


def _within(q: Tensor, k: Tensor, v: Tensor, parts: Sequence[tuple[int, int]]) -> Tensor:
    """Attention (G, H, N, head) of each window to itself; ``parts`` are (how many, patches of each)."""
    found, begin = [], 0
    for count, length in parts:
        a, b, c = (each[:, :, begin : begin + count * length] for each in (q, k, v))
        if count > 1:
            a, b, c = (each.unflatten(2, (count, length)).transpose(1, 2).flatten(0, 1) for each in (a, b, c))
        seen = attend(a, b, c)
        if count > 1:
            seen = seen.unflatten(0, (len(q), count)).transpose(1, 2).flatten(2, 3)
        found.append(seen)
        begin += count * length
    return found[0] if len(found) == 1 else torch.cat(found, dim=2)
