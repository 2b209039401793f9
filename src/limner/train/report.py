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

from limner.train.run import Run

Show = Callable[[int, float, Mapping[str, float]], None]


class Numbers:
    """Means since the last line, and the lines. What is not yet a line travels in the checkpoint."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self.seconds = {"cpu_seconds": 0.0, "wall_seconds": 0.0}
        self.line_seconds = 0.0  # wall time at the last line
        self.line_step = 0
        self.last: dict[str, float] = {}

    def state(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "path"}

    def restore(self, state: dict[str, Any]) -> None:
        vars(self).update(state)

    def cut(self, step: int) -> None:
        """Drop the lines after `step` and a half-written one."""
        if not self.path.exists():
            return
        kept = []
        for line in self.path.read_text().splitlines(keepends=True):
            if not line.endswith("\n") or json.loads(line)["step"] > step:
                break
            kept.append(line)
        beside = self.path.with_name(f".{self.path.name}.partial")
        beside.write_text("".join(kept))
        os.replace(beside, self.path)

    def add(self, values: dict[str, float]) -> None:
        for key, value in values.items():
            self.sums[key] = self.sums.get(key, 0.0) + value
            self.counts[key] = self.counts.get(key, 0) + 1

    def write(self, step: int, lr: float, batch_size: int) -> None:
        means = {key: total / self.counts[key] for key, total in self.sums.items()}
        passed = self.seconds["wall_seconds"] - self.line_seconds
        speed = (step - self.line_step) * batch_size / max(passed, 1e-9)
        self.last = {"step": step, "loss": means.pop("loss"), **means, "lr": lr, "samples_per_second": round(speed, 3)}
        self.last |= {key: round(value, 3) for key, value in self.seconds.items()}
        with self.path.open("a") as file:
            file.write(json.dumps(self.last) + "\n")
        self.sums, self.counts = {}, {}
        self.line_seconds, self.line_step = self.seconds["wall_seconds"], step


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
            console.print(
                f"{run.name}  step {done}/{run.steps}  loss {mean:.4f}  {left / 60:.1f} min left", highlight=False
            )

        yield line
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=console, refresh_per_second=2, speed_estimate_period=120) as bar:
        task = bar.add_task(run.name, total=run.steps, completed=first, loss=math.nan)
        yield lambda done, loss, last: bar.update(task, completed=done, loss=last.get("loss", loss))
