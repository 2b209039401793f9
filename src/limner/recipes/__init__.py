"""Recipes: functions that return a Run. A variant is a function that changes another's result."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from limner.train.run import Run

# name -> where its function stands; imported only when asked for
RECIPES: dict[str, str] = {
    "cot.tiny_showo": "limner.recipes.tiny_showo:tiny_showo",
    "cot.orm": "limner.recipes.cot:orm",
    "cot.parm": "limner.recipes.cot:parm",
    "cot.dpo": "limner.recipes.cot:dpo",
    "cot.dpo_iter": "limner.recipes.cot:dpo_iter",
    "cot.dpo_iter_parm": "limner.recipes.cot:dpo_iter_parm",
    "cot.tiny_dpo": "limner.recipes.cot_rounds:tiny_dpo",
    "cot.tiny_orm": "limner.recipes.tiny_verifier:tiny_orm",
    "cot.tiny_prm": "limner.recipes.tiny_verifier:tiny_prm",
    "cot.tiny_parm": "limner.recipes.tiny_verifier:tiny_parm",
    "cot.tiny_parmpp": "limner.recipes.tiny_verifier:tiny_parmpp",
    "cot.tiny_correct": "limner.recipes.tiny_verifier:tiny_correct",
    "mindomni.stage_one": "limner.recipes.mindomni:stage_one",
    "mindomni.stage_two": "limner.recipes.mindomni:stage_two",
    "mindomni.stage_three": "limner.recipes.mindomni:stage_three",
    "mindomni.tiny_clip": "limner.recipes.tiny_clip:tiny_clip",
    "mindomni.tiny_vae": "limner.recipes.tiny_vae:tiny_vae",
    "mindomni.tiny_words": "limner.recipes.tiny_mindomni:tiny_words",
    "mindomni.tiny_decoder": "limner.recipes.tiny_mindomni:tiny_decoder",
    "mindomni.tiny_stage_one": "limner.recipes.tiny_mindomni:tiny_stage_one",
    "mindomni.tiny_stage_two": "limner.recipes.tiny_mindomni:tiny_stage_two",
    "mindomni.tiny_stage_three": "limner.recipes.tiny_mindomni:tiny_stage_three",
    "mmada.stage_1_1": "limner.recipes.mmada:stage_1_1",
    "mmada.stage_1_2": "limner.recipes.mmada:stage_1_2",
    "mmada.stage_1_3": "limner.recipes.mmada:stage_1_3",
    "mmada.stage_2_1": "limner.recipes.mmada:stage_2_1",
    "mmada.stage_2_2": "limner.recipes.mmada:stage_2_2",
    "mmada.stage_3": "limner.recipes.mmada:stage_3",
    "mmada.tiny_codec": "limner.recipes.tiny_codec:tiny_codec",
    "mmada.tiny_codec_large": "limner.recipes.tiny_codec:tiny_codec_large",
    "mmada.tiny_codec_large_end": "limner.recipes.tiny_codec:tiny_codec_large_end",
    "mmada.tiny_stage_one": "limner.recipes.tiny_mmada:tiny_stage_one",
    "mmada.tiny_stage_two": "limner.recipes.tiny_mmada:tiny_stage_two",
    "mmada.tiny_stage_two_end": "limner.recipes.tiny_mmada:tiny_stage_two_end",
    "mmada.tiny_stage_two_look": "limner.recipes.tiny_mmada:tiny_stage_two_look",
    "mmada.tiny_stage_two_ask": "limner.recipes.tiny_mmada:tiny_stage_two_ask",
    "mmada.tiny_stage_two_polish": "limner.recipes.tiny_mmada:tiny_stage_two_polish",
    "mmada.tiny_stage_two_direct": "limner.recipes.tiny_mmada:tiny_stage_two_direct",
    "mmada.tiny_unigrpo": "limner.recipes.tiny_unigrpo:tiny_unigrpo",
    "nexusgen.reader_one": "limner.recipes.nexusgen:reader_one",
    "nexusgen.reader_two": "limner.recipes.nexusgen:reader_two",
    "nexusgen.reader_three": "limner.recipes.nexusgen:reader_three",
    "nexusgen.generation": "limner.recipes.nexusgen:generation",
    "nexusgen.editing": "limner.recipes.nexusgen:editing",
    "nexusgen.tiny_sight": "limner.recipes.tiny_sight:tiny_sight",
    "nexusgen.tiny_generation": "limner.recipes.tiny_nexusgen:tiny_generation",
    "nexusgen.tiny_reader_one": "limner.recipes.tiny_nexusgen:tiny_reader_one",
    "nexusgen.tiny_reader_two": "limner.recipes.tiny_nexusgen:tiny_reader_two",
    "nexusgen.tiny_reader_three": "limner.recipes.tiny_nexusgen:tiny_reader_three",
    "nexusgen.tiny_reader_four": "limner.recipes.tiny_nexusgen:tiny_reader_four",
    "nexusgen.tiny_reader_five": "limner.recipes.tiny_nexusgen:tiny_reader_five",
    "nexusgen.tiny_reader_six": "limner.recipes.tiny_nexusgen:tiny_reader_six",
    "nexusgen.tiny_reader_seven": "limner.recipes.tiny_nexusgen:tiny_reader_seven",
    "nexusgen.tiny_copying": "limner.recipes.tiny_nexusgen:tiny_copying",
    "nexusgen.tiny_editing": "limner.recipes.tiny_nexusgen:tiny_editing",
    "nexusgen.tiny_editing_two": "limner.recipes.tiny_nexusgen:tiny_editing_two",
    "nexusgen.tiny_accumulation": "limner.recipes.tiny_accumulation:tiny_accumulation",
    "sft": "limner.recipes.messages:sft",
    "world.detector": "limner.recipes.world:detector",
}

ROUNDS = "cot.iterative_dpo"  # several runs, one after another: see ``cot_rounds``


def recipe(name: str, **options: Any) -> Run:
    """The run that a recipe describes; ``options`` are its function's own. Raises ValueError for an unknown name and
    for options that the recipe does not take."""
    if name not in RECIPES:
        raise ValueError(f"no recipe called {name!r}; there are: {', '.join([*RECIPES, ROUNDS])}")
    module, function = RECIPES[name].split(":")
    make = getattr(import_module(module), function)
    unknown = [option for option in options if option not in inspect.signature(make).parameters]
    if unknown:
        raise ValueError(f"the recipe {name} takes no {unknown[0]}; leave out --{unknown[0].replace('_', '-')}")
    run: Run = make(**options)
    return run
