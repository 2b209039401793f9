"""`limner train`: run a recipe, or go on with one that was stopped."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from limner.app.console import Device, Json, json_line, line

RECIPES_OWN = "(default: the recipe's own)"
_DATA = "Rows to learn from, for sft; several with their weights, as in --data a.jsonl --data b.parquet@0.3."
_VALIDATE = "Measure success on the picture world, or the loss on held-out rows, while training."
_TRACK = "Tell the numbers a tracker too: tensorboard, wandb, trackio, ...; the JSON lines are always written."
_BROKEN = "A broken row of --data ends the run (default), or is left out and written to broken.jsonl in its folder."


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
    data: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="FILE", help=_DATA)] = ()
    model: Annotated[str, tyro.conf.arg(metavar="MODEL", help="What sft begins from.",
                                        help_behavior_hint="(default: tiny-mmada)")] = ""  # fmt: skip
    broken: Annotated[Literal["stop", "skip"] | None, tyro.conf.arg(help=_BROKEN)] = None
    by_length: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(
        help="Rows of like length share a batch, with sft.")] = False  # fmt: skip
    batch_size: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint=RECIPES_OWN)] = None
    """Rows of an update."""
    lr: Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint=RECIPES_OWN)] = None
    """Peak learning rate."""
    validate: Annotated[str, tyro.conf.arg(metavar="world|FILE", help=_VALIDATE,
                                           help_behavior_hint="(default: nothing)")] = ""  # fmt: skip
    validate_every: Annotated[int, tyro.conf.arg(help="Updates between two validations.")] = 500
    track: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="NAME", help=_TRACK)] = ()
    micro_batches: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint=RECIPES_OWN)] = None
    """How many micro-batches make an update; processes (under torchrun) share them out."""
    gather: Annotated[Literal["whole", "layers"] | None, tyro.conf.arg(help_behavior_hint=RECIPES_OWN)] = None
    """How weights that are cut over processes come together: docs/training.md."""
    replicas: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint=RECIPES_OWN)] = None
    """How many whole copies of the weights the processes hold."""
    device: Device = "cpu"
    json: Json = False

    def run(self) -> int:
        """Train to the end, or until interrupted."""
        from limner.recipes import ROUNDS, recipe

        if self.recipe == ROUNDS:
            return self._in_rounds()
        if self.rounds is not None or self.guide:
            raise ValueError(f"--rounds and --guide are for {ROUNDS}; leave them out with {self.recipe}")

        for name in ("steps", "threads", "batch_size", "micro_batches", "replicas"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"--{name.replace('_', '-')} {value}: give 1 or more")
        folder = self.folder or Path("runs") / self.recipe
        names = ("steps", "seed", "threads", "batch_size", "lr", "micro_batches", "gather", "replicas")
        wished: dict[str, Any] = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        run = replace(recipe(self.recipe, **self._options(folder)), **wished)
        if self.validate:
            from limner.recipes.validation import named

            if self.validate_every < 1:
                raise ValueError(f"--validate-every {self.validate_every}: give 1 or more")
            run = replace(run, validate=named(self.validate), validate_every=self.validate_every)
        from limner.train.fit import Interrupted, fit

        try:
            result = fit(run, folder, resume=True, device=self.device, progress=not self.json, track=self.track)
        except Interrupted as stopped:
            print(f"limner: {stopped}", file=sys.stderr)
            return stopped.status
        if os.environ.get("RANK", "0") != "0":
            return 0  # the first process tells
        released = str(result.released) if result.released else None
        if self.json:
            about = {"recipe": self.recipe, "folder": str(result.folder), "released": released, "seed": run.seed}
            json_line(about | {"steps": run.steps, "numbers": result.numbers})
            return 0
        line("run", str(result.folder))
        if released:
            line("model", released)
        return 0

    def _options(self, folder: Path) -> dict[str, Any]:
        """What is said to the recipe's function."""
        found: dict[str, Any] = {"data": self.data, "model": self.model, "broken": self.broken}
        found |= {"by_length": self.by_length}
        if self.broken == "skip":
            found["report"] = str(folder / "broken.jsonl")
        return {name: value for name, value in found.items() if value}

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
