"""The drawings of all kinds, by name."""

from __future__ import annotations

from functools import cache

from limner.world.objects.animals import ANIMALS
from limner.world.objects.landmarks import LANDMARKS
from limner.world.objects.nature import NATURE
from limner.world.objects.pen import Drawing, Maker
from limner.world.objects.things import THINGS
from limner.world.objects.vehicles import VEHICLES

MAKERS: dict[str, Maker] = {**ANIMALS, **NATURE, **VEHICLES, **THINGS, **LANDMARKS}


@cache
def drawing(kind: str) -> Drawing:
    """The display list of ``kind`` in a box from -100 to 100 (ValueError for an unknown kind)."""
    if kind not in MAKERS:
        raise ValueError(f"no drawing of {kind!r}; there are: {', '.join(MAKERS)}")
    return tuple(MAKERS[kind]())
