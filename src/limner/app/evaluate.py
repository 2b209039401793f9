"""`limner eval`: how often a model is right."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from limner import catalog
from limner.app.console import OWN, Bar, Device, Json, ModelName, json_line, line
from limner.app.verifying import Budget, Judge, Ways, seconds, unjudged

_GROUPS = "Groups of prompts, with --verify."
Groups = Annotated[
    tuple[str, ...],
    tyro.conf.arg(metavar="GROUP", help=_GROUPS, help_behavior_hint="(default: the explicit ones)"),
]


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
    workers: Annotated[
        int, tyro.conf.arg(metavar="INT", help="Processes that measure groups, each with one thread.")
    ] = 1
    verify: Ways = None
    number: Annotated[int, tyro.conf.arg(aliases=["-n"], help="Candidates to choose from, with --verify.")] = 20
    judge: Judge = "self"
    budget: Budget = ""
    groups: Groups = ()
    prompts: Annotated[int, tyro.conf.arg(help="Prompts a group, with --verify.")] = 100
    outputs: Annotated[int, tyro.conf.arg(help="Chosen pictures a prompt, with --verify.")] = 4
    think: bool = False
    """Think before drawing, with --verify; without it both are measured."""
    begin: Annotated[float, tyro.conf.arg(help="Share of the steps after which parm begins to look.")] = 0.0
    json: Json = False

    def run(self) -> int:
        """Evaluate and print the table."""
        if self.verify is not None:
            return _verified(self)
        from limner.request import Request

        Request("generate", "any", True, self.steps, self.guidance)  # steps and guidance are possible
        catalog.find(self.model)
        from limner.answer import Limner
        from limner.bench import world

        limner = Limner.load(self.model, device=self.device)
        bar = Bar(self.json)
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
                workers=self.workers,
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
        "questions_thinking": "questions answered after a thought",
        "captions": "captions exact",
    }
    for name, label in notes.items():
        table.add_row(label, _share(report[name]))
    readers = {
        "unknown": "pictures the exact reader cannot read",
        "unknown_trained": "pictures the trained reader cannot read",
        "alike": "read by both: read alike",
    }
    table.add_section()
    for name, label in readers.items():
        value = report["readers"][name]
        table.add_row(label, "" if value is None else f"{value:.2f}")
    Console(width=100).print(table)


def _share(value: dict[str, Any] | None) -> str:
    return "" if value is None else f"{value['mean']:.2f} [{value['low']:.2f}, {value['high']:.2f}]"


def _verified(command: EvalWorld) -> int:
    """`limner eval world --verify`: how often the chosen picture is right, and what choosing costs."""
    from limner.algorithms.verify.run import method
    from limner.judges.named import SCENES, find_verifier
    from limner.request import Request

    assert command.verify is not None
    Request("generate", "any", command.think, command.steps, command.guidance)  # steps and guidance are possible
    if command.number < 1:
        raise ValueError(f"-n {command.number}: give 1 candidate or more")
    how = method(command.verify, command.number, seconds(command.budget), begin=command.begin)
    catalog.find(command.model)
    from limner.answer import Limner
    from limner.bench import verified
    from limner.world import lessons

    judge = SCENES if command.verify == "oracle" and command.judge == "self" else command.judge
    label = f"{command.model}, judged by {judge}, {command.steps or 'own'} steps, {command.guidance} guidance"
    prompts, outputs = (10, 1) if command.quick else (command.prompts, command.outputs)
    groups = command.groups or lessons.EXPLICIT
    trial = verified.Trial(label, groups, command.split, prompts, outputs, command.test_seed)
    model = Limner.load(command.model, device=command.device).model
    if command.think and model.thinks:
        trial = replace(trial, label=f"{label}, thinking", groups=command.groups or lessons.GROUPS)
    verifier = find_verifier(judge, model, device=command.device) if how.policy.questions or how.rounds else None
    *before, picture = model.plan(model.kinds("image", command.think))
    guidance = picture.guidance if command.guidance is None else command.guidance
    plan = (*before, replace(picture, steps=command.steps or picture.steps, guidance=guidance))
    bar = Bar(command.json)
    try:
        report = verified.evaluate(model, plan, verifier, how, trial, out=command.out, progress=bar)
    finally:
        bar.stop()
    unjudged(report["looks"], report["unjudged"], report["unjudged_why"])
    if report["warning"]:
        print(f"limner: {report['warning']}", file=sys.stderr)
    if command.json:
        json_line({"model": command.model, **report, "path": str(command.out / "report.json")})
        return 0
    title = f"{command.model}, {command.verify} of {command.number}, {trial.split}, test seed {trial.test_seed}"
    line("measured", f"{title}: {trial.prompts} prompts a group, {trial.outputs} pictures a prompt")
    for row in report["rows"]:
        line(row["group"], _whole_share(row["success"]))
    line("overall", _whole_share(report["overall"]))
    cost = report["cost_per_picture"]
    line("a picture", f"{cost['row_steps']:.0f} row-steps, {cost['looks']:.1f} looks, {cost['wall_seconds']:.2f} s")
    for question, rows in report["calibration"].items():
        for row in rows:
            area = "" if row["auc"] is None else f", ROC area {row['auc']:.2f}"
            line(f"step {row['step']}", f"{question}: {row['looks']} looks, ECE {row['ece']:.2f}{area}")
    line("numbers", str(command.out / "report.json"))
    return 0


def _whole_share(value: dict[str, Any]) -> str:
    return f"{value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
