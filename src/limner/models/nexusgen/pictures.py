"""Both decoders as a flow sees them: where pictures are made, where they are scored.

A row with a source is painted by the editing decoder, one without by the generation decoder. Pictures are made with
conditions computed once; on a CPU every row is computed alone, so that a row of a batch has the bits of the row by
itself. Pictures are scored together, with gradients through the prediction of their embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor

from limner.models.nexusgen.config import NexusConfig
from limner.models.nexusgen.decoders import Decoder, Grid
from limner.models.nexusgen.network import Reader
from limner.models.qwen25vl import Eyes, Prompt
from limner.models.qwen25vl import alone as alone_prompt
from limner.process.base import Context, Tokens
from limner.process.noise import Noise
from limner.process.prefill import Prefill

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

Part = Literal["reader", "generation", "editing"]


@dataclass(frozen=True)
class Scene(Prompt):
    """A prompt that ends where a picture begins, and the picture's source: patches (B, K, P), grids (B, 1, 3), zeros
    for rows without one. ``shape`` (high, wide) in latents is wanted; None: square."""

    source: Tensor
    source_grids: Tensor
    shape: Grid | None = None

    @property
    def edits(self) -> Tensor:
        """(B,) bool: rows with a source."""
        return self.source_grids.flatten(1).any(dim=1)


class Drawing(Protocol):
    """What of a model is needed to paint."""

    reader: Reader
    pooled: Tensor
    negative: Tensor

    @property
    def config(self) -> NexusConfig:
        """The choices."""
        ...

    def painter(self, edits: bool) -> Decoder:
        """The decoder of rows with a source, or without."""
        ...

    def square(self, length: int) -> tuple[int, int]:
        """(high, wide) in latents of a square picture of that many numbers."""
        ...

    def in_place(self, part: Part) -> AbstractContextManager[None]:
        """A part on the device where it computes."""
        ...


@dataclass(frozen=True)
class Group:
    """Rows that one decoder paints: their numbers, tokens (b, L, C), and the grid of the source that is in these."""

    rows: tuple[int, ...]
    edits: bool
    tokens: Tensor
    source: Grid | None


@dataclass
class Pictures:
    """A ``FlowNet`` over a model. ``shape`` (high, wide) in latents; None: square. It lives as long as its process
    does, and keeps the conditions of that process's rows."""

    model: Drawing
    shape: Grid | None = None
    found: dict[bytes, Group] = field(default_factory=dict, repr=False)

    def __call__(self, sides: Sequence[Tokens], latents: Tensor, time: Tensor, first: bool) -> list[Tensor]:
        scene = _scene(sides[0])
        groups = [self._known(alone(scene, row), row) for row in range(len(latents))]
        if latents.device.type != "cpu":
            groups = _joined(groups)
        return self._velocities(groups, latents, time, len(sides) > 1, scene.shape)

    def scored(self, sides: Sequence[Tokens], latents: Tensor, time: Tensor, first: bool) -> list[Tensor]:
        """The same, rows together and nothing remembered."""
        scene = _scene(sides[0])
        return self._velocities(self.groups(scene), latents, time, len(sides) > 1, scene.shape)

    def groups(self, scene: Scene, apart: bool = False) -> list[Group]:
        """Conditions of rows, by decoder."""
        model, by_grid = self.model, dict[Grid | None, list[int]]()
        merge = int(model.reader.config.vision_config.spatial_merge_size)
        for row, (edits, grid) in enumerate(zip(scene.edits.tolist(), scene.source_grids[:, 0].tolist(), strict=True)):
            by_grid.setdefault((grid[1] // merge, grid[2] // merge) if edits else None, []).append(row)
        with model.in_place("reader"):
            block = self._block(scene, apart)
            sources: dict[Grid | None, Tensor | None] = {}
            for grid, rows in by_grid.items():
                of = scene[rows]
                count = int(of.source_grids[0].prod()) if grid else 0
                seen = model.reader.see(of.source[:, :count], of.source_grids, apart).detach() if grid else None
                sources[grid] = None if seen is None else seen.unflatten(0, (len(rows), -1))
        found = []
        for grid, rows in by_grid.items():
            decoder = model.painter(grid is not None)
            with model.in_place("editing" if decoder.edits else "generation"):
                tokens = decoder.tokens(block[rows], sources[grid], grid)
            found.append(Group(tuple(rows), grid is not None, tokens, grid))
        return found

    def _block(self, scene: Scene, apart: bool) -> Tensor:
        reader = self.model.reader
        if reader.rows != "none":
            return reader.block(scene, apart=apart)
        process = Prefill(reader.block, reader.width, reader.following, True)
        start = process.start(Context(scene, scene), process.settings(reader.side**2), Noise.of([0] * scene.num_rows))
        return process.finish(start).vectors.unflatten(1, (-1, reader.width))

    def _known(self, one: Scene, row: int) -> Group:
        key = b"|".join(
            t.cpu().numpy().tobytes() for t in (one.before, one.grids, one.patches, one.source, one.source_grids)
        )
        if key not in self.found:
            (self.found[key],) = self.groups(one, apart=True)
        group = self.found[key]
        return Group((row,), group.edits, group.tokens, group.source)

    def _velocities(
        self, groups: Sequence[Group], latents: Tensor, time: Tensor, guided: bool, wanted: Grid | None
    ) -> list[Tensor]:
        """From noise to picture, under the condition and, if guided, without it."""
        model = self.model
        shape = self.shape or wanted or model.square(latents.shape[1])
        order = torch.tensor([row for group in groups for row in group.rows], dtype=torch.int64)
        if not len(order):
            return [latents] * (2 if guided else 1)
        given, dropped = [], []
        for group in groups:
            decoder = model.painter(group.edits)
            with model.in_place("editing" if decoder.edits else "generation"):
                rows = torch.tensor(group.rows, device=latents.device)
                grid = latents[rows].unflatten(1, (decoder.channels, *shape))
                rest: tuple[Any, ...] = (grid, 1 - time[rows], model.pooled, model.config.distilled)
                count = group.tokens.shape[1] - (group.source[0] * group.source[1] if group.source else 0)
                ids = decoder.ids(count, group.source, shape)
                own = -decoder.velocity(group.tokens, ids, *rest).flatten(1)
                given.append(own)
                if guided and group.source and not model.config.guided_edits:
                    dropped.append(own)
                elif guided:
                    none = model.negative.expand(len(rows), -1, -1)
                    dropped.append(-decoder.velocity(none, torch.zeros(none.shape[1], 3), *rest).flatten(1))
        back = order.argsort().to(latents.device)
        return [torch.cat(side)[back] for side in (given, dropped) if side]


def alone(scene: Scene, row: int) -> Scene:
    """One row without its padding: what it would be in a batch of its own."""
    one = alone_prompt(scene, row)
    count = int(scene.source_grids[row].prod())
    source = scene.source[[row], :count]
    grids = scene.source_grids[[row]]
    return Scene(one.before, one.kept, one.after, one.patches, one.grids, source, grids, scene.shape)


def squashed(
    eyes: Eyes, picture: Picture, side: int, resampling: Literal["BICUBIC", "BILINEAR"]
) -> tuple[Tensor, tuple[int, int, int]]:
    """(Patches (K, P), grid) of a picture made a square of ``side`` pixels, whatever its shape."""
    from PIL import Image as pil

    return eyes.patches(picture.convert("RGB").resize((side, side), pil.Resampling[resampling]))


def _joined(groups: Sequence[Group]) -> list[Group]:
    """Rows of the same decoder and length together."""
    found: dict[tuple[bool, Grid | None, int], list[Group]] = {}
    for group in groups:
        found.setdefault((group.edits, group.source, group.tokens.shape[1]), []).append(group)
    return [
        Group(tuple(row for one in some for row in one.rows), edits, torch.cat([one.tokens for one in some]), source)
        for (edits, source, _), some in found.items()
    ]


def _scene(side: Tokens) -> Scene:
    if not isinstance(side, Scene):
        raise ValueError("a picture's condition is a Scene, as the family's context gives it")
    return side
