"""The autoregressive part: Qwen2.5-VL with a vision head and rows for the places of pictures to come (section 3).

A picture that is predicted takes side x side places behind the token that begins it. What is read at these places is
constant, a table's rows (V2) or the embedding of the picture's mark (V1); so one causal pass gives the whole block. In
ids such a place is written with the video's mark: Nexus-Gen sees no videos.

Letters: B rows, T places, D width, n = side x side vectors of a predicted picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from limner.models.qwen25vl import Prompt, Qwen25VL
from limner.process.base import Tokens

Rows = Literal["table", "pad", "none"]
After = Literal["training", "official"]


class Reader(Qwen25VL):
    """Qwen2.5-VL with its two additions. ``rows``: what stands at the places of a predicted picture, "table" (V2),
    "pad" (V1), or "none": every vector is fed back and read by the next, the way of comparison.

    ``after``: where words go on behind a predicted picture; "training" as for a picture that is shown, ``side`` places
    on, "official" as the published inference does, n places on. The vision tower is never trained.
    """

    def __init__(self, config: Mapping[str, Any], side: int = 9, rows: Rows = "table", after: After = "training"):
        super().__init__(config)
        self.side, self.rows, self.after = side, rows, after
        self.vision_head = nn.Linear(self.width, self.width, bias=False)
        if rows == "table":
            self.image_prefill_embeds = nn.Embedding(side * side, self.width)
        self.network.model.visual.requires_grad_(False)

    @property
    def drawn(self) -> int:
        """The id that stands for a place of a predicted picture."""
        return int(self.config.video_token_id)

    @property
    def begins(self) -> int:
        """The id that begins a picture."""
        return int(self.config.vision_start_token_id)

    @property
    def ends(self) -> int:
        """The id that ends a picture."""
        return int(self.config.vision_end_token_id)

    @property
    def no_words(self) -> tuple[int, ...]:
        """Ids that are never written: what is seen, and the end of a picture, which follows it without being asked."""
        return (*super().no_words, self.ends)

    # what goes in

    def inputs(self) -> Tensor:
        """(n, D) what is read at the places of a predicted picture."""
        if self.rows == "table":
            return self.image_prefill_embeds.weight
        pad: Tensor = self.text.embed_tokens.weight[int(self.config.image_token_id)]
        return pad.expand(self.side**2, -1)

    def embed(self, ids: Tensor, patches: Tensor, grids: Tensor, apart: bool = False) -> Tensor:
        """Ids (B, T) as (B, T, D): shown pictures in their places, constant rows in those of predicted ones."""
        x = super().embed(ids, patches, grids, apart)
        at = ids == self.drawn
        if not bool(at.any()):
            return x
        passed = at.long().cumsum(dim=1)
        number = passed - torch.where(at, 0, passed).cummax(dim=1).values - 1
        return torch.where(at[:, :, None], self.inputs()[number.clamp(min=0) % self.side**2].to(x.dtype), x)

    def places(self, ids: Tensor, kept: Tensor, grids: Tensor) -> tuple[Tensor, Tensor]:
        """(Rotary places (3, B, T), the place (B,) that comes next) of ids (B, T), kept (B, T) bool.

        A picture's places have the time at which it begins, and its rows and columns counted from there.
        """
        special = (ids == self.drawn) | (ids == self.config.image_token_id)
        if not bool((special & kept).any()):
            return super().places(ids, kept, grids[:, :0])
        merge, found = int(self.config.vision_config.spatial_merge_size), torch.zeros(3, *ids.shape, dtype=torch.int64)
        following = []
        for b in range(len(ids)):
            at = kept[b].nonzero().flatten().cpu()
            row, shown = ids[b].cpu()[at].tolist(), iter([grid for grid in grids[b].tolist() if grid[0] > 0])
            pieces, counter, i = [], 0, 0
            while i < len(row):
                begin = i
                if row[i] == self.config.image_token_id:
                    _, high, wide = next(shown)
                    high, wide = high // merge, wide // merge
                    i, width = i + high * wide, wide
                    step = max(high, wide)
                elif row[i] == self.drawn:
                    while i < len(row) and row[i] == self.drawn and i - begin < self.side**2:
                        i += 1
                    width, step = self.side, self.side if self.after == "training" else i - begin
                else:
                    while i < len(row) and row[i] != self.drawn and row[i] != self.config.image_token_id:
                        i += 1
                    pieces.append((counter + torch.arange(i - begin)).expand(3, -1))
                    counter += i - begin
                    continue
                order = torch.arange(i - begin)
                pieces.append(torch.stack([torch.zeros_like(order), order // width, order % width]) + counter)
                counter += step
            found[:, b, at] = torch.cat(pieces, dim=1) if pieces else found[:, b, at]
            following.append(counter)
        return found.to(ids.device), torch.tensor(following, device=ids.device)

    # a picture

    def predict(self, states: Tensor) -> Tensor:
        """States (..., D) before the last norm -> the embedding (..., D) of the place that follows."""
        found: Tensor = self.vision_head(self.text.norm(states))
        return found

    def block(self, given: Tokens, fed: Tensor | None = None, apart: bool = False) -> Tensor:
        """(B, n, D) of a picture behind a prompt that ends with its beginning, in one causal pass; ``fed``
        (B, n - 1, D) are read at its places in place of the constant rows."""
        n = self.side**2
        x, places, kept = self.laid_out(self.opened(_prompt(given), n - 1), apart=apart)
        if fed is not None and n > 1:
            x = torch.cat([x[:, : 1 - n], fed.to(x.dtype)], dim=1)
        states, _ = self.run(x, places, kept, last=n)
        return self.predict(states[:, -n:])

    def opened(self, prompt: Prompt, count: int) -> Prompt:
        """A prompt with ``count`` places of a predicted picture behind it."""
        places = torch.full_like(prompt.before[:, :1], self.drawn).expand(-1, count)
        kept = torch.ones_like(places, dtype=torch.bool)
        return replace(
            prompt, before=torch.cat([prompt.before, places], dim=1), kept=torch.cat([prompt.kept, kept], dim=1)
        )

    def following(self, given: Tokens, last: Tensor | None, memory: Tensor | None) -> tuple[Tensor, Tensor]:
        """One vector (B, D) and the keys and values so far. Where ``rows`` is "none" the vector before is read."""
        prompt = _prompt(given)
        if last is None or memory is None:
            x, places, kept = self.laid_out(prompt)
        else:
            count = memory.shape[4] - prompt.before.shape[1]
            opened = self.opened(prompt, count + 1)
            places, _ = self.places(opened.before, opened.kept, opened.grids)
            places, kept = places[:, :, -1:], opened.kept
            x = last[:, None] if self.rows == "none" else self.inputs()[count].expand(len(last), 1, -1)
        states, found = self.run(x.to(self.vision_head.weight.dtype), places, kept, memory, remember=True, last=1)
        assert found is not None
        return self.predict(states[:, -1]), found


def _prompt(given: Tokens) -> Prompt:
    if not isinstance(given, Prompt):
        raise ValueError("a picture is predicted behind a Prompt, as the family's context gives it")
    return given
