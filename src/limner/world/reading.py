"""What a reader saw: the things it can explain, the blobs it cannot, and how sure it is.

Both readers, the template reader of ``read`` and the trained one of ``detect``, answer with a ``Reading``, so that they
can be compared and exchanged. A reading is honest: whatever is in the picture and not explained by a legal thing
stands in ``unknown``, and a reading with anything unknown has no ``scene``.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from limner.world.content import Content
from limner.world.scene import CANVAS, Scene, Thing

Box = tuple[int, int, int, int]  # left, top, right, bottom in canvas units; right and bottom are exclusive


@dataclass(frozen=True)
class Found:
    """A thing that the picture shows: the best explanation, its tight box, and how well it explains (0 to 1)."""

    thing: Thing
    box: Box
    score: float


@dataclass(frozen=True)
class Reading:
    """A picture read back.

    ``background`` is None when no background explains the picture. ``layout`` is the name in ``SLOTS`` whose slots the
    things stand in (None for an empty canvas or when the reader does not know). ``unknown`` holds the boxes of what
    nothing explains. ``residual`` is the mean absolute difference, 0 to 255, between the picture and the drawing of
    what was found (not a number where a reader does not draw). ``score`` is the least of the things' scores.
    """

    background: str | None
    things: tuple[Found, ...]
    unknown: tuple[Box, ...]
    residual: float
    layout: str | None = None

    @property
    def scene(self) -> Scene | None:
        """The scene that explains the whole picture, or None when something in it stays unexplained."""
        if self.background is None or self.unknown:
            return None
        return Scene(self.background, tuple(found.thing for found in self.things))

    @property
    def content(self) -> Content | None:
        """What the picture says, free of placement, or None when something in it stays unexplained."""
        scene = self.scene
        return None if scene is None else Content.of(scene)

    @property
    def score(self) -> float:
        """How well the worst-explained thing is explained, 0 to 1; 0 when anything is unknown."""
        if self.background is None or self.unknown:
            return 0.0
        return min((found.score for found in self.things), default=1.0)

    def to_geneval(self) -> dict[str, Any]:
        """The reading in the shape of GenEval's detector: ``objects`` has, for every class, its boxes ``[left, top,
        right, bottom, score]``, best first; ``colors`` has the colour answers in the same order. What stays
        unexplained is of the class ``unknown`` and of the colour ``unknown``.
        """
        objects: dict[str, list[list[float]]] = defaultdict(list)
        colors: dict[str, list[str]] = defaultdict(list)
        for found in sorted(self.things, key=lambda found: -found.score):
            objects[found.thing.kind].append([*map(float, found.box), found.score])
            colors[found.thing.kind].append(found.thing.colour)
        for box in self.unknown:
            objects["unknown"].append([*map(float, box), 1.0])
            colors["unknown"].append("unknown")
        return {"objects": dict(objects), "colors": dict(colors), "background": self.background}


def as_square(picture: Any) -> NDArray[np.uint8]:
    """A square RGB picture of at least 64 pixels a side, (H, H, 3) uint8 or PIL, as (64, 64, 3) uint8, area-averaged.

    Raises ``ValueError`` for anything else.
    """
    if isinstance(picture, Image.Image):
        picture = picture.convert("RGB")
    array = np.asarray(picture)
    if array.ndim != 3 or array.shape[2] != 3 or array.shape[0] != array.shape[1] or array.dtype != np.uint8:
        raise ValueError(f"wanted a square picture (H, H, 3) of uint8, got {array.shape} of {array.dtype}")
    if len(array) < CANVAS:
        raise ValueError(f"wanted a picture of at least {CANVAS} pixels a side, got {len(array)}; enlarge it first")
    if len(array) == CANVAS:
        return array
    return np.asarray(Image.fromarray(array).resize((CANVAS, CANVAS), Image.Resampling.BOX))
