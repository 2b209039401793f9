"""What a run tells while it works: numbers as JSON lines, and its progress on the screen."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from limner.train.run import Run
from limner.train.track import Trackers

Show = Callable[[int, float, Mapping[str, float]], None]
HEADLINES = ("reward", "kl", "tokens_per_second", "validation_loss", "validation_score")
UNITS = {"tokens_per_second": "tokens/s"}


class Numbers:
    """Means since the last line, and the lines. What is not yet a line travels in the checkpoint."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self.seconds = {"cpu_seconds": 0.0, "wall_seconds": 0.0}
        self.line_seconds = 0.0  # wall time at the last line
        self.line_step = 0
        self.tokens = 0.0  # values that were learned since the last line
        self.last: dict[str, float] = {}
        self.validation: dict[str, float] = {}  # what the last validation found
        self.trackers = Trackers()

    @property
    def validated(self) -> Path:
        """The lines of validation, beside those of training."""
        return self.path.with_name("validation.jsonl")

    def state(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key not in ("path", "trackers")}

    def restore(self, state: dict[str, Any]) -> None:
        vars(self).update(state)

    def cut(self, step: int) -> None:
        """Drop the lines after `step` and a half-written one."""
        for path in (self.path, self.validated):
            if not path.exists():
                continue
            kept = []
            for line in path.read_text().splitlines(keepends=True):
                if not line.endswith("\n") or json.loads(line)["step"] > step:
                    break
                kept.append(line)
            beside = path.with_name(f".{path.name}.partial")
            beside.write_text("".join(kept))
            os.replace(beside, path)

    def add(self, values: dict[str, float], batch: Any = None) -> None:
        """The numbers of a step on a batch. ``tokens`` are how many values it learned; where the objective does not
        say so, they are counted in the batch."""
        self.tokens += values.pop("tokens", 0.0) or values_in(batch)
        for key, value in values.items():
            self.sums[key] = self.sums.get(key, 0.0) + value
            self.counts[key] = self.counts.get(key, 0) + 1

    def write(self, step: int, lr: float, batch_size: int, *, to_file: bool = True) -> None:
        """A line; `to_file` False keeps it in mind alone (with several processes one of them writes). Raises OSError
        where it cannot be written."""
        means = {key: total / self.counts[key] for key, total in self.sums.items()}
        passed = self.seconds["wall_seconds"] - self.line_seconds
        speed = (step - self.line_step) * batch_size / max(passed, 1e-9)
        self.last = {"step": step, "loss": means.pop("loss"), **means, "lr": lr, "samples_per_second": round(speed, 3)}
        self.last |= {key: round(value, 3) for key, value in self.seconds.items()}
        if self.tokens:
            self.last["tokens_per_second"] = round(self.tokens / max(passed, 1e-9), 1)
        if to_file:
            _append(self.path, self.last)
            self.trackers.log(step, self.last)
        self.sums, self.counts, self.tokens = {}, {}, 0.0
        self.line_seconds, self.line_step = self.seconds["wall_seconds"], step

    def validate(self, step: int, found: Mapping[str, float]) -> None:
        """A line of validation."""
        self.validation = {name: float(value) for name, value in found.items()}
        _append(self.validated, {"step": step, **self.validation})
        self.trackers.log(step, self.validation, "validation/")

    def headline(self) -> dict[str, float]:
        """What a line of progress is made from: the last line's numbers, and what validation found."""
        return self.last | {f"validation_{name}": value for name, value in self.validation.items()}


def _append(path: Path, line: Mapping[str, float]) -> None:
    try:
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:
        raise OSError(
            f"the numbers of step {line['step']} could not be written to {path}: {error}; make room and run the same "
            "command again: it goes on from the newest checkpoint"
        ) from error


def values_in(batch: Any) -> int:
    """How many values a batch's pieces hold (see `limner.algorithms.sft.Piece`); 0 where there are none."""
    if isinstance(batch, Mapping):
        return sum(values_in(each) for each in batch.values())
    if isinstance(batch, list | tuple):
        return sum(values_in(each) for each in batch)
    values = getattr(batch, "values", None)
    return values.numel() if isinstance(values, Tensor) else 0


def told(last: Mapping[str, float]) -> str:
    """The numbers beside the loss that a person watches, as far as a run has them: reward, KL, tokens/s, validation."""
    found = []
    for name in HEADLINES:
        own = name if name in last else next((key for key in last if key.endswith(f"_{name}")), None)
        own = own or next((key for key in last if name == "kl" and "kl_" in key), None)
        if own is not None:
            value = f"{last[own]:,.0f}" if name in UNITS else f"{last[own]:.4g}"
            found.append(f"{value} {UNITS[name]}" if name in UNITS else f"{name.replace('_', ' ')} {value}")
    return "  ".join(found)


@contextmanager
def shown(run: Run, first: int, console: Console | None) -> Iterator[Show]:
    """Yields show(done, loss, last line): a bar with the time left on a terminal, a line each half minute elsewhere."""
    if console is None:
        yield lambda done, loss, last: None
        return
    if not console.is_terminal:
        begun = printed = time.monotonic()

        def line(done: int, loss: float, last: Mapping[str, float]) -> None:
            nonlocal printed
            now = time.monotonic()
            if now - printed < 30.0 and done < run.steps:
                return
            printed = now
            left = (now - begun) / (done - first) * (run.steps - done)
            mean = last.get("loss", loss)
            parts = [f"step {done}/{run.steps}", f"loss {mean:.4f}", told(last), f"{left / 60:.1f} min left"]
            console.print("  ".join([run.name, *filter(None, parts)]), highlight=False)

        yield line
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
        TextColumn("{task.fields[more]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=console, refresh_per_second=2, speed_estimate_period=120) as bar:
        task = bar.add_task(run.name, total=run.steps, completed=first, loss=math.nan, more="")
        yield lambda done, loss, last: bar.update(task, completed=done, loss=last.get("loss", loss), more=told(last))
