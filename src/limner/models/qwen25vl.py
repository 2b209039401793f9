"""Qwen2.5-VL as families use it: transformers' network, run layer by layer, with a cache that rows can share out.

Two things of it are needed that its own forward does not give: the states before the last norm, and a cache whose rows
can be kept, dropped and saved. So the layers are called here; everything inside a layer is the library's.

Letters: B rows, T sequence places, D width, V vocabulary, K patches of a row's pictures, G pictures of a row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLForConditionalGeneration

from limner.models.attention import attend
from limner.models.norms import normed
from limner.models.qwen25vl_tower import tokens_of
from limner.process.base import Tokens

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


@dataclass(frozen=True)
class Prompt(Tokens):
    """Ids with the pictures among them: patches (B, K, P) float32 and grids (B, G, 3) int64 (time, high, wide), both
    filled up with zeros. Every picture's places hold the id of a picture."""

    patches: Tensor
    grids: Tensor


@dataclass(frozen=True)
class Eyes:
    """How a picture becomes patches: numbers of ``preprocessor_config.json`` and of the vision tower's config."""

    patch: int = 14
    merge: int = 2
    frames: int = 2
    least: int = 4 * 28 * 28
    most: int = 16384 * 28 * 28
    mean: tuple[float, ...] = (0.48145466, 0.4578275, 0.40821073)
    deviation: tuple[float, ...] = (0.26862954, 0.26130258, 0.27577711)

    @property
    def cell(self) -> int:
        """Pixels along the side of what becomes one token."""
        return self.patch * self.merge

    def fitting(self, size: tuple[int, int], most: int | None = None) -> tuple[int, int]:
        """(width, height) in whole cells, with no more than ``most`` pixels and no less than the least."""
        wide, high = size
        if max(size) > 200 * min(size):
            raise ValueError(f"a picture of {wide} x {high} pixels is too narrow; one side is over 200 times the other")
        most = min(self.most, most or self.most)
        least = min(self.least, most)
        cells = [round(side / self.cell) for side in size]
        area = cells[0] * cells[1] * self.cell**2
        if area > most:
            shrink = math.sqrt(wide * high / most)
            cells = [max(1, math.floor(side / shrink / self.cell)) for side in size]
            # one cell is the least of a side, so a very long picture loses length
            cells = [min(own, most // (other * self.cell**2)) for own, other in zip(cells, cells[::-1], strict=True)]
        elif area < least:
            grow = math.sqrt(least / (wide * high))
            cells = [math.ceil(side * grow / self.cell) for side in size]
        return cells[0] * self.cell, cells[1] * self.cell

    def patches(self, picture: Picture, most: int | None = None) -> tuple[Tensor, tuple[int, int, int]]:
        """(patches (K, P) float32, (1, high, wide) in patches) of a picture, resized by PIL's bicubic filter."""
        from PIL import Image as pil

        wide, high = self.fitting(picture.size, most)
        resized = picture.convert("RGB").resize((wide, high), pil.Resampling.BICUBIC)
        pixels: np.ndarray = np.asarray(resized, dtype=np.float32) * np.float32(1 / 255)
        pixels = (pixels - np.asarray(self.mean, dtype=np.float32)) / np.asarray(self.deviation, dtype=np.float32)
        m, p = self.merge, self.patch
        rows, columns = high // p, wide // p
        blocks = torch.from_numpy(pixels).permute(2, 0, 1).reshape(3, rows // m, m, p, columns // m, m, p)
        blocks = blocks.permute(1, 4, 2, 5, 0, 3, 6)[:, :, :, :, :, None].expand(
            -1, -1, -1, -1, -1, self.frames, -1, -1
        )
        return blocks.reshape(rows * columns, -1), (1, rows, columns)

    def tokens(self, grid: tuple[int, int, int]) -> int:
        """How many places a picture of that grid takes in a sequence."""
        return grid[0] * grid[1] * grid[2] // self.merge**2

    @classmethod
    def from_json(cls, vision: Mapping[str, Any], processor: Mapping[str, Any]) -> Self:
        """Of a vision tower's config and a ``preprocessor_config.json`` (empty: the released numbers)."""
        plain = cls()
        patch, merge = vision.get("patch_size", plain.patch), vision.get("spatial_merge_size", plain.merge)
        size = processor.get("size", {})
        cell = (patch * merge) ** 2
        return cls(
            patch,
            merge,
            vision.get("temporal_patch_size", plain.frames),
            processor.get("min_pixels", size.get("shortest_edge", 4 * cell)),
            processor.get("max_pixels", size.get("longest_edge", 16384 * cell)),
            tuple(processor.get("image_mean", plain.mean)),
            tuple(processor.get("image_std", plain.deviation)),
        )


class Qwen25VL(nn.Module):
    """The language model with its vision tower. ``network`` is transformers' class, with its names of weights."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = Qwen2_5_VLConfig.from_dict({"model_type": "qwen2_5_vl", **config})
        text = self.config.text_config
        if any(kind != "full_attention" for kind in text.layer_types):
            raise ValueError("a Qwen2.5-VL with a sliding window is not built; set use_sliding_window to false")
        self.network = Qwen2_5_VLForConditionalGeneration._from_config(self.config)

    @property
    def width(self) -> int:
        """D."""
        return int(self.config.text_config.hidden_size)

    @property
    def text(self) -> Any:
        """The language model without its head: transformers' module."""
        return self.network.model.language_model

    @property
    def layers(self) -> Any:
        """The language model's layers: a module of transformers' modules."""
        return self.network.model.language_model.layers

    @property
    def no_words(self) -> tuple[int, ...]:
        """Ids that stand for what is seen."""
        return int(self.config.image_token_id), int(self.config.video_token_id)

    def rebuild_tables(self) -> None:
        """Make what is computed and not loaded; called once weights have been put in on the meta device."""
        self.text.rotary_emb = type(self.text.rotary_emb)(config=self.config.text_config)
        tower = self.network.model.visual
        tower.rotary_pos_emb = type(tower.rotary_pos_emb)(self.config.vision_config)

    # what goes in

    def see(self, patches: Tensor, grids: Tensor, apart: bool = False) -> Tensor:
        """Tokens (M, D) of all pictures of patches (B, K, P), grids (B, G, 3), row after row. ``apart`` computes each
        picture by itself, and once."""
        tower, dtype = self.network.model.visual, self.network.dtype
        shown: list[tuple[Tensor, Tensor]] = []
        for row, wanted in zip(patches, grids, strict=True):
            begin = 0
            for grid in wanted[wanted.prod(dim=1) > 0]:
                count = int(grid.prod())
                shown.append((row[begin : begin + count], grid))
                begin += count
        if not apart:
            return torch.cat(tokens_of(tower, [(some.to(dtype), _grid(grid)) for some, grid in shown]))
        seen: dict[bytes, Tensor] = {}
        tokens = []
        for some, grid in shown:
            key = grid.cpu().numpy().tobytes() + some.cpu().numpy().tobytes()
            if key not in seen:
                (seen[key],) = tokens_of(tower, [(some.to(dtype), _grid(grid))])
            tokens.append(seen[key])
        return torch.cat(tokens)

    def embed(self, ids: Tensor, patches: Tensor, grids: Tensor, apart: bool = False) -> Tensor:
        """Ids (B, T) as (B, T, D), pictures in their places; ``apart`` as in ``see``."""
        x: Tensor = self.text.embed_tokens(ids)
        if not grids.shape[1] or not bool(grids.any()):
            return x
        tokens = self.see(patches, grids, apart).to(x.dtype)
        at = ids == self.config.image_token_id
        if int(at.sum()) != len(tokens):
            raise ValueError(f"there are {int(at.sum())} places for pictures and {len(tokens)} tokens of them")
        return x.masked_scatter(at[:, :, None], tokens)

    def places(self, ids: Tensor, kept: Tensor, grids: Tensor) -> tuple[Tensor, Tensor]:
        """(Rotary places (3, B, T), the place (B,) that comes next) of ids (B, T), kept (B, T) bool."""
        plain = (kept.long().cumsum(dim=1) - 1).clamp(min=0)
        if not grids.shape[1] or not bool(grids.any()):
            return plain[None].expand(3, -1, -1), kept.sum(dim=1)
        kinds = (ids == self.config.image_token_id).int()
        shown = grids[grids.prod(dim=2) > 0]
        found, _ = self.network.model.get_rope_index(ids, kinds, image_grid_thw=shown, attention_mask=kept.long())
        return found, found.amax(dim=(0, 2)) + 1

    # what comes out

    def run(
        self,
        x: Tensor,
        places: Tensor,
        kept: Tensor,
        past: Tensor | None = None,
        remember: bool = False,
        last: int | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """(States (B, t, D) before the last norm, keys and values (B, layers, 2, Hkv, T, head) if they are wanted).

        x (B, t, D) stands at places (3, B, t), behind what ``past`` holds; kept (B, T) bool tells of all. Where only
        the ``last`` so many states are asked for, the last layer computes no others: nothing reads them.
        """
        if past is not None:
            past = past.to(x.dtype)
        cos, sin = (each[:, None] for each in self.text.rotary_emb(x, places))
        half = cos.shape[-1] // 2
        sin = torch.cat([-sin[..., :half], sin[..., half:]], dim=-1)
        t, T = x.shape[1], kept.shape[1]
        mask = None
        if not bool(kept.all()) or 1 < t < T:
            earlier = torch.ones(t, T, dtype=torch.bool, device=x.device).tril(T - t)
            itself = torch.eye(T, dtype=torch.bool, device=x.device)[T - t :]
            mask = ((earlier & kept[:, None, :]) | itself)[:, None]
        room: Tensor | None = None
        for i, layer in enumerate(self.layers):
            attention = layer.self_attn
            h = normed(layer.input_layernorm, x)
            asking = h
            if last is not None and i + 1 == len(self.layers) and last < t:
                asking, x, mask = h[:, -last:], x[:, -last:], _last(mask, last, T, x.device)
            q, k, v = (
                to(of).unflatten(2, (-1, attention.head_dim)).transpose(1, 2)
                for to, of in ((attention.q_proj, asking), (attention.k_proj, h), (attention.v_proj, h))
            )
            turn = cos.to(q.dtype), sin.to(q.dtype)
            q, k = (
                each * turn[0][:, :, -each.shape[2] :] + each.roll(half, dims=-1) * turn[1][:, :, -each.shape[2] :]
                for each in (q, k)
            )
            if remember:
                if room is None:  # of all layers, so that what is known is copied once
                    room = k.new_empty(len(k), len(self.layers), 2, k.shape[1], T, k.shape[3])
                    if past is not None:
                        room[..., : T - t, :] = past
                room[:, i, 0, :, T - t :], room[:, i, 1, :, T - t :] = k, v
                k, v = room[:, i].unbind(1)
            elif past is not None:
                k, v = torch.cat([past[:, i, 0], k], dim=2), torch.cat([past[:, i, 1], v], dim=2)
            seen = _attend(q, k, v, mask, causal=mask is None and q.shape[2] > 1)
            x = x + attention.o_proj(seen.transpose(1, 2).flatten(2))
            x = x + layer.mlp(normed(layer.post_attention_layernorm, x))
        return x, room

    def states(self, prompt: Prompt, more: Tensor | None = None, apart: bool = False) -> Tensor:
        """States (B, T, D) before the last norm of a prompt, and of ids ``more`` (B, N) behind it."""
        x, places, kept = self.laid_out(prompt, more, apart)
        return self.run(x, places, kept)[0]

    def laid_out(
        self, prompt: Prompt, more: Tensor | None = None, apart: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What ``run`` takes for a whole sequence: (x (B, T, D), places (3, B, T), kept (B, T) bool)."""
        x = self.embed(prompt.before, prompt.patches, prompt.grids, apart)
        places, following = self.places(prompt.before, prompt.kept, prompt.grids)
        kept = prompt.kept
        if more is not None and more.shape[1]:
            x = torch.cat([x, self.text.embed_tokens(more)], dim=1)
            behind = following[:, None] + torch.arange(more.shape[1], device=more.device)
            places = torch.cat([places, behind[None].expand(3, -1, -1)], dim=2)
            kept = torch.cat([kept, torch.ones_like(more, dtype=torch.bool)], dim=1)
        return x, places, kept

    def logits(self, states: Tensor) -> Tensor:
        """States (..., D) -> logits (..., V)."""
        found: Tensor = self.network.lm_head(normed(self.text.norm, states))
        return found


def _grid(of: Tensor) -> tuple[int, int, int]:
    frames, high, wide = of.tolist()
    return frames, high, wide


def _last(mask: Tensor | None, last: int, T: int, device: torch.device) -> Tensor | None:
    """The mask (B or 1, 1, last, T) of the last queries of a causal sequence, from that of all; None: they see all."""
    if mask is not None:
        return mask[:, :, -last:]
    if last == 1:
        return None
    return torch.ones(last, T, dtype=torch.bool, device=device).tril(T - last)[None, None]


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
    groups = q.shape[1] // k.shape[1]
    if q.shape[2] == 1 and mask is None and groups > 1:
        # one query: its group of heads is a group of queries
        B, H, _, size = q.shape
        seen = F.scaled_dot_product_attention(q.view(B, k.shape[1], groups, size), k, v)
        return seen.reshape(B, H, 1, size)
    if groups > 1:
        k, v = (each.repeat_interleave(groups, dim=1) for each in (k, v))
    return attend(q, k, v, mask, causal=causal)


def stack(
    rows: Sequence[Sequence[int]], shown: Sequence[Sequence[tuple[Tensor, tuple[int, int, int]]]], pad: int
) -> Prompt:
    """A prompt of rows of ids, padded on the left, with each row's pictures as ``Eyes.patches`` gave them."""
    B, P = len(rows), max(map(len, rows), default=0)
    before = torch.tensor([[pad] * (P - len(row)) + list(row) for row in rows], dtype=torch.int64).view(B, P)
    missing = torch.tensor([P - len(row) for row in rows], dtype=torch.int64)
    kept = torch.arange(P)[None, :] >= missing[:, None]
    K = max((sum(len(p) for p, _ in pictures) for pictures in shown), default=0)
    G = max(map(len, shown), default=0)
    size = next((p.shape[1] for pictures in shown for p, _ in pictures), 0)
    patches, grids = torch.zeros(B, K, size), torch.zeros(B, G, 3, dtype=torch.int64)
    for b, pictures in enumerate(shown):
        if pictures:
            joined = torch.cat([p for p, _ in pictures])
            patches[b, : len(joined)] = joined
            grids[b, : len(pictures)] = torch.tensor([grid for _, grid in pictures])
    return Prompt(before, kept, torch.zeros(B, 0, dtype=torch.int64), patches, grids)


def alone(prompt: Prompt, row: int) -> Prompt:
    """One row without its padding: what it would be in a batch of its own."""
    one = prompt[[row]]
    begin = int((~one.kept).sum())
    count = int((one.grids.prod(dim=2) > 0).sum())
    grids = one.grids[:, :count]
    patches = one.patches[:, : int(grids.prod(dim=2).sum())]
    return Prompt(one.before[:, begin:], one.kept[:, begin:], one.after, patches, grids)
