"""`limner eval`: how often a model is right."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from limner import catalog
from limner.app.console import OWN, Device, Json, ModelName, json_line, line


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
    """Folder for the numbers (report.json) and the pictures (sheet.png)."""
    steps: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint=OWN)] = None
    """In how many steps a picture is drawn, 1 to 1000."""
    guidance: Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint=OWN)] = None
    """How strongly a picture follows the words, 0 to 100."""
    json: Json = False

    def run(self) -> int:
        """Evaluate and print the table."""
        from limner.request import Request

        Request("generate", "any", True, self.steps, self.guidance)  # steps and guidance are possible
        catalog.find(self.model)
        from limner.answer import Limner
        from limner.bench import world

        limner = Limner.load(self.model, device=self.device)
        bar = _Bar(self.json)
        try:
            report = world.evaluate(
                limner.model,
                quick=self.quick,
                test_seed=self.test_seed,
                split=self.split,
                out=self.out,
                progress=bar,
                steps=self.steps,
                guidance=self.guidance,
            )
        finally:
            bar.stop()
        if self.json:
            json_line({"model": self.model, **report, "path": str(self.out / "report.json")})
            return 0
        _print(report, self.model)
        line("numbers", str(self.out / "report.json"))
        line("sheet", str(self.out / "sheet.png"))
        return 0


class _Bar:
    """A progress bar on a terminal; called with what is being done and the share that is done."""

    def __init__(self, silent: bool) -> None:
        from rich.console import Console
        from rich.progress import Progress

        console = Console(stderr=True)
        self.bar = Progress(
            console=console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=silent or not console.is_terminal,
        )
        self.bar.start()
        self.task = self.bar.add_task("evaluating", total=1.0)

    def __call__(self, what: str, done: float) -> None:
        self.bar.update(self.task, completed=done, description=what)

    def stop(self) -> None:
        """Take the bar away."""
        self.bar.stop()


def _print(report: dict[str, Any], model: str) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    quick = ", quick: not for comparison" if report["quick"] else ""
    title = f"{model} on the picture world: {report['split']}, test seed {report['test_seed']}, "
    title += f"{report['prompts']} prompts a group, {report['seeds']} pictures a prompt{quick}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("strict success")
    for name in ("thinking", "direct", "gain"):
        table.add_column(name, justify="right")
    for row in report["rows"]:
        gain = row["gain"]
        change = f"{gain[0]:+.2f} [{gain[1]:+.2f}, {gain[2]:+.2f}]" if gain else ""
        table.add_row(row["group"], _share(row["thinking"]), _share(row["direct"]), change)
    table.add_section()
    for kind in ("explicit", "reasoning"):
        means = [report[kind][name] for name in ("thinking", "direct")]
        table.add_row(f"{kind}, mean", *("" if mean is None else f"{mean:.2f}" for mean in means))
    table.add_section()
    notes = {
        "agreement": "thought, plan, picture agree",
        "shuffled": "shuffled prompts (chance)",
        "questions": "questions answered",
        "captions": "captions exact",
    }
    for name, label in notes.items():
        table.add_row(label, _share(report[name]))
    Console(width=100).print(table)


def _share(value: dict[str, Any] | None) -> str:
    return "" if value is None else f"{value['mean']:.2f} [{value['low']:.2f}, {value['high']:.2f}]"
