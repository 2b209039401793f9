"""`limner plan`: what a model takes, before anything is loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from limner import catalog
from limner.app.console import Json, json_line, line

if TYPE_CHECKING:
    from limner.models.plan import Outline, Place, Training, Way

_MODEL = "A released model (nexus-gen-v2, mindomni, mmada-8b, show-o), one inside the package, or a folder."
_TRAIN = "A recipe whose batch, averaging and steps are planned for; default: rows as generate has them."


@dataclass(frozen=True)
class Plan:
    """Say what memory and, roughly, time a model takes on a device, and how to load it. Nothing is loaded."""

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL", help=_MODEL)]
    device: Annotated[str, tyro.conf.arg(help="Kind and memory, such as cuda:24GB or cpu:16GB.")] = "cuda:24GB"
    rows: Annotated[int, tyro.conf.arg(help="Replies that are made at a time.")] = 1
    train: Annotated[str, tyro.conf.arg(metavar="RECIPE", help=_TRAIN, help_behavior_hint="(default: no training)")] = (
        ""
    )
    gpus: Annotated[int, tyro.conf.arg(help="Devices that share a training run.")] = 1
    json: Json = False

    def run(self) -> int:
        """Print the plan."""
        from limner.models.plan import best, place_of, ways

        if self.rows < 1 or self.gpus < 1:
            raise ValueError(f"--rows {self.rows} --gpus {self.gpus}: give 1 or more")
        if self.gpus > 1 and not self.train:
            raise ValueError("--gpus is for training; add --train RECIPE")
        place = place_of(self.device, os.cpu_count() or 1)
        outline = catalog.outline(self.model)
        if self.train:
            return self._training(outline, place)
        found = ways(outline, place, self.rows)
        chosen = best(found)
        if self.json:
            parts = {p.name: {"parameters": p.parameters, "bytes": p.nbytes(found[0].dtype)} for p in outline.parts}
            json_line({"model": self.model, "device": self.device, "time_as": place.like, "parts": parts,
                       "ways": [_way_json(way) for way in found],
                       "load": None if chosen is None else chosen.options})  # fmt: skip
            return 0
        self._parts(outline, found)
        print(f"\n{'way':<30}{'at most':>10}{'':>6}{'a reply':>10}")
        for way in found:
            fits = "fits" if way.fits else "-"
            print(f"{way.name:<30}{_gigabytes(way.peak):>10}{fits:>6}{_seconds(way.total):>10}")
        shown = chosen or found[-1]
        told = ", ".join(f"{name} {_seconds(spent)}" for name, spent in shown.seconds.items())
        print(f"\n{self.rows} at a time; time as on {place.like}, rough: {_RULE}; {shown.name}:\n{told}")
        if chosen is None:
            line("load", f"no way fits into {self.device}; give more memory, or fewer --rows")
        else:
            options = "".join(f", {name}={value!r}" for name, value in chosen.options.items())
            line("load", f'limner.load("{self.model}", device="{place.kind}"{options})')
        return 0

    def _parts(self, outline: Outline, found: list[Way]) -> None:
        kinds = list(dict.fromkeys((way.dtype, way.quantise) for way in found))
        print(f"{'part':<22}{'parameters':>16}" + "".join(f"{quantise or dtype:>12}" for dtype, quantise in kinds))
        for part in outline.parts:
            sizes = "".join(f"{_gigabytes(part.nbytes(*kind)):>12}" for kind in kinds)
            print(f"{part.name:<22}{part.parameters:>16,}{sizes}")

    def _training(self, outline: Outline, place: Place) -> int:
        from limner.models.plan import training
        from limner.recipes import recipe

        run = recipe(self.train)
        micro = max(getattr(run, "micro_batches", 1), int(run.settings.get("micro_batches", 1)))
        found = training(
            outline, place, gpus=self.gpus, batch=run.batch_size, micro=micro if micro > 1 else 0, ema=run.ema > 0,
            recompute=getattr(run, "recompute", False), gather=getattr(run, "gather", "whole"),
            dtype=run.dtype if place.kind == "cuda" else "float32",
        )  # fmt: skip
        if self.json:
            json_line({"model": self.model, "device": self.device, "time_as": place.like, "recipe": self.train,
                       "gpus": self.gpus, "bytes": dict(found.bytes), "total": found.total, "fits": found.fits,
                       "trained_parameters": found.trained, "micro_batches": found.micro,
                       "seconds_a_step": found.seconds, "steps": run.steps})  # fmt: skip
            return 0
        self._tell(found, run.batch_size, run.steps, place)
        return 0

    def _tell(self, found: Training, batch: int, steps: int, place: Place) -> None:
        line("trained", f"{found.trained:,} parameters, {batch} rows a step, {self.gpus} x {self.device}")
        line("micro", f"{found.micro} micro-batches of {batch // found.micro} rows")
        for name, size in found.bytes.items():
            line(name, f"{_gigabytes(size):>10} each")
        line("together", f"{_gigabytes(found.total):>10} each: {'fits' if found.fits else 'does not fit'}")
        line("time", f"{_seconds(found.seconds)} a step, {_seconds(found.seconds * steps)} for {steps} steps, "
                     f"as on {place.like}, rough: {_RULE}")  # fmt: skip


_RULE = "two fifths of the peak operations, seven tenths of the bandwidth, attention's own sums left out"


def _way_json(way: Way) -> dict[str, Any]:
    return {"way": way.name, "peak_bytes": round(way.peak), "fits": way.fits, "total": round(way.total, 3),
            "seconds": {name: round(spent, 3) for name, spent in way.seconds.items()}}  # fmt: skip


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def _seconds(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s" if seconds >= 0.1 else f"{1000 * seconds:.0f} ms"
