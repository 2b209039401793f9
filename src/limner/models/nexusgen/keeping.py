"""What an edit leaves alone keeps its pixels, beyond the paper (after DiffEdit 2210.11427, which compares noise).

A small editing decoder does not give back what it is shown to the pixel. So the source is drawn once more, from the
same noise and beside itself, as if nothing was asked for: both drawings are wrong in the same way where both show the
same, and where they are alike the source's own pixels are taken. Between alike and different lies a mixture: with a
hard edge, faint parts of new things were cut out. Costs a second drawing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from limner.models.nexusgen.pictures import Drawing, Pictures, Scene, alone
from limner.models.nexusgen.schedule import Painting, times, untold
from limner.process.base import Context, Settings
from limner.process.noise import Noise

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


class Keeping(Drawing, Protocol):
    """What of a model is needed to draw a source as itself."""

    @property
    def device(self) -> torch.device:
        """Where everything is computed."""
        ...

    def own(self, picture: Picture) -> tuple[Tensor, tuple[int, int, int]]:
        """Patches of a picture as the model predicts them."""
        ...

    def show(self, values: Tensor, shape: tuple[int, int] | None = None) -> list[Picture]:
        """Values (B, N) as pictures."""
        ...


@dataclass
class _Same(Pictures):
    """Paints beside given embeddings (1, n, D) in place of predicted ones."""

    vectors: Tensor = field(default_factory=lambda: torch.empty(0))

    def _block(self, scene: Scene, apart: bool) -> Tensor:
        return self.vectors


@torch.no_grad()
def redrawn(model: Keeping, scene: Scene, source: Picture, settings: Settings, noise: Noise) -> Tensor:
    """Latents (1, N) of a source drawn as itself; scene, settings and noise are those of an edit of it, one row."""
    patches, grid = model.own(source)
    with model.in_place("reader"):
        own = model.reader.see(patches[None].to(model.device), torch.tensor([[grid]], device=model.device))
    net = _Same(model, scene.shape, vectors=own.unflatten(0, (1, -1)))
    process = Painting(net.scored, making=net, times=times)
    state = process.start(Context(scene, scene), settings, noise)
    while not bool(state.done.all()):
        state = process.step(state)
    return process.view(state)


def blended(drawn: Picture, again: Picture, source: Picture, below: float, until: float = 0.0) -> Picture:
    """``drawn`` with the source's pixels wherever it and ``again`` are less than ``below`` levels of 255 apart: the
    largest of the channels, as a mean of 3 x 3 pixels. From ``until`` on it is ``drawn`` alone, in between a mixture in
    proportion; an ``until`` that is not above ``below`` mixes nothing. The source is resized where it has another size.
    """
    from PIL import Image as pil

    shown = source.convert("RGB")
    if shown.size != drawn.size:
        shown = shown.resize(drawn.size, pil.Resampling.BICUBIC)
    found, other = np.asarray(drawn).astype(np.float32), np.asarray(again).astype(np.float32)
    apart = torch.from_numpy(np.abs(found - other).max(axis=2))[None, None]
    apart = torch.nn.functional.avg_pool2d(apart, 3, 1, 1, count_include_pad=False)[0, 0]
    share = ((apart - below) / (until - below)).clamp(0, 1) if until > below else (apart >= below).float()
    kept = np.asarray(shown).astype(np.float32)
    mixed = kept + share.numpy()[..., None] * (found - kept)
    return pil.fromarray(np.rint(mixed).astype(np.uint8))


def kept(
    model: Keeping,
    scene: Scene,
    sources: Sequence[Picture | None],
    drawn: Sequence[Picture],
    settings: Settings,
    noise: Noise,
) -> list[Picture]:
    """Pictures that were drawn, those of rows with a source blended with it (``NexusConfig.keep_below``)."""
    found = list(drawn)
    for row, source in enumerate(sources):
        if source is None:
            continue
        (again,) = model.show(*untold(redrawn(model, alone(scene, row), source, settings, noise[[row]])))
        found[row] = blended(drawn[row], again, source, model.config.keep_below, model.config.keep_until)
    return found
