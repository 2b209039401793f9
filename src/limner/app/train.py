"""`limner train`: run a recipe, or go on with one that was stopped."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from limner.app.console import Device, Json, json_line, line

RECIPES_OWN = "(default: the recipe's own)"


@dataclass(frozen=True)
class Train:
    """Train by a recipe. Ctrl-C keeps what was done; the same command goes on from there."""

    recipe: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")]
    """The recipe's name; a wrong one lists them all."""
    steps: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint=RECIPES_OWN)] = None
    """How many updates."""
    folder: Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="(default: runs/RECIPE)")] = None
    """What the run leaves behind goes here."""
    seed: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint=RECIPES_OWN)] = None
    """First weights, data and noise all come from it."""
    threads: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint=RECIPES_OWN)] = None
    """CPU threads."""
    rounds: Annotated[int | None, tyro.conf.arg(metavar="INT", help="How many rounds, of cot.iterative_dpo.",
                                                help_behavior_hint="(default: 3)")] = None  # fmt: skip
    guide: Annotated[str, tyro.conf.arg(metavar="JUDGE", help="A judge that is asked while cot.iterative_dpo trains.",
                                        help_behavior_hint="(default: none)")] = ""  # fmt: skip
    device: Device = "cpu"
    json: Json = False

    def run(self) -> int:
        """Train to the end, or until interrupted."""
        from limner.recipes import ROUNDS, recipe

        if self.recipe == ROUNDS:
            return self._in_rounds()
        if self.rounds is not None or self.guide:
            raise ValueError(f"--rounds and --guide are for {ROUNDS}; leave them out with {self.recipe}")

        for name in ("steps", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"--{name} {value}: give 1 or more")
        wished: dict[str, Any] = {"steps": self.steps, "seed": self.seed, "threads": self.threads}
        run = replace(recipe(self.recipe), **{name: value for name, value in wished.items() if value is not None})
        from limner.train.fit import Interrupted, fit

        folder = self.folder or Path("runs") / self.recipe
        try:
            result = fit(run, folder, resume=True, device=self.device, progress=not self.json)
        except Interrupted as stopped:
            print(f"limner: {stopped}", file=sys.stderr)
            return stopped.status
        released = str(result.released) if result.released else None
        if self.json:
            about = {"recipe": self.recipe, "folder": str(result.folder), "released": released, "seed": run.seed}
            json_line(about | {"steps": run.steps, "numbers": result.numbers})
            return 0
        line("run", str(result.folder))
        if released:
            line("model", released)
        return 0

    def _in_rounds(self) -> int:
        """`cot.iterative_dpo`: rounds of mining and alignment."""
        from limner.recipes import cot_rounds
        from limner.train.fit import Interrupted

        if self.device != "cpu" or self.threads is not None:
            raise ValueError(f"{self.recipe} runs on one thread of the CPU; leave --device and --threads out")
        own = cot_rounds.Rounds()
        steps, seed = self.steps or own.steps, own.seed if self.seed is None else self.seed
        how = replace(own, guide=self.guide, steps=steps, seed=seed)
        folder = self.folder or Path("runs") / self.recipe
        try:
            released = cot_rounds.iterative_dpo(
                folder,
                3 if self.rounds is None else self.rounds,
                rounds=how,
                told=(lambda text: None) if self.json else (lambda text: line("round", text)),
                progress=not self.json,
            )
        except Interrupted as stopped:
            print(f"limner: {stopped}", file=sys.stderr)
            return stopped.status
        if self.json:
            json_line({"recipe": self.recipe, "folder": str(folder), "released": str(released)})
            return 0
        line("model", str(released))
        return 0
