"""`limner eval`: how often a model is right."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from limner import catalog
from limner.app.console import Device, Json, ModelName, json_line, line


@dataclass(frozen=True)
class EvalWorld:
    """Measure a model on the picture world: per group, with and without thinking, against shuffled prompts."""

    quick: tyro.conf.FlagCreatePairsOff[bool] = False
    """A few prompts a group, for a first look."""
    test_seed: int = 0
    """Draws the test set; any number gives a fresh one of the same kinds."""
    split: Literal["new_compositions", "new_wordings", "text_only", "train"] = "new_compositions"
    """Which prompts: new compositions, new wordings, facts seen only as text, or the kinds trained on."""
    model: ModelName = catalog.DEFAULT
    device: Device = "cpu"
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("out/eval-world")
    """Folder for the numbers (JSON) and the picture sheet."""
    json: Json = False

    def run(self) -> int:
        """Evaluate and print the table."""
        from limner.answer import Limner
        from limner.bench import world

        limner = Limner.load(self.model, device=self.device)
        progress = None if self.json else _Bar()
        try:
            result = world.evaluate(
                limner, quick=self.quick, test_seed=self.test_seed, split=self.split, out=self.out, progress=progress
            )
        finally:
            if progress is not None:
                progress.stop()
        if self.json:
            json_line(result)
            return 0
        print(world.table(result))
        line("numbers", str(self.out / "world.json"))
        return 0


class _Bar:
    """A progress bar that is called with (done, total, what)."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import Progress

        console = Console(stderr=True)
        self.bar = Progress(
            console=console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=not console.is_terminal,
        )
        self.bar.start()
        self.task = self.bar.add_task("evaluating", total=None)

    def __call__(self, done: int, total: int, what: str = "evaluating") -> None:
        self.bar.update(self.task, completed=done, total=total, description=what)

    def stop(self) -> None:
        """Take the bar away."""
        self.bar.stop()
