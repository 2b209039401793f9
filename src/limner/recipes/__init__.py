"""Recipes: functions that return a Run. A variant is a function that changes another's result."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from limner.train.run import Run

# name -> where its function stands; imported only when asked for
RECIPES: dict[str, str] = {
    "cot.tiny_showo": "limner.recipes.tiny_showo:tiny_showo",
    "mmada.stage_1_1": "limner.recipes.mmada:stage_1_1",
    "mmada.stage_1_2": "limner.recipes.mmada:stage_1_2",
    "mmada.stage_1_3": "limner.recipes.mmada:stage_1_3",
    "mmada.stage_2_1": "limner.recipes.mmada:stage_2_1",
    "mmada.stage_2_2": "limner.recipes.mmada:stage_2_2",
    "mmada.stage_3": "limner.recipes.mmada:stage_3",
    "mmada.tiny_codec": "limner.recipes.tiny_codec:tiny_codec",
    "mmada.tiny_codec_large": "limner.recipes.tiny_codec:tiny_codec_large",
    "mmada.tiny_stage_one": "limner.recipes.tiny_mmada:tiny_stage_one",
    "mmada.tiny_stage_two": "limner.recipes.tiny_mmada:tiny_stage_two",
    "mmada.tiny_unigrpo": "limner.recipes.tiny_unigrpo:tiny_unigrpo",
    "world.detector": "limner.recipes.world:detector",
}


def recipe(name: str) -> Run:
    """The run that a recipe describes. Raises ValueError for an unknown name."""
    if name not in RECIPES:
        raise ValueError(f"no recipe called {name!r}; there are: {', '.join(RECIPES)}")
    module, function = RECIPES[name].split(":")
    run: Run = getattr(import_module(module), function)()
    return run
