"""`limner eval MODEL`, `limner score`, `limner gate`: samples first, then their judgement, then the comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from limner import catalog
from limner.app.console import OWN, Bar, Device, Json, json_line, line
from limner.app.verifying import CANDIDATES, Ways

if TYPE_CHECKING:
    from limner.bench.judging import Judging
    from limner.bench.run import Item, Manifest
    from limner.bench.score import Axis
    from limner.bench.suites import Suite
    from limner.judges.verifier import Verifier
    from limner.models.base import Model
    from limner.parts import Plan

Folder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER", help="A run folder.")]
Policy = Annotated[
    Literal["zero", "skip", "error"], tyro.conf.arg(help="What a sample that is missing is worth; always counted.")
]
NONE = "(default: none)"
_SUITE = "gen-core, und-core, text, edit, world, or one benchmark such as geneval, dpg, wise-legacy, mmmu."
_JUDGE = (
    "Who judges, where it is not the benchmark's own reader: URL#MODEL, local, local:MODEL, replay, replay:FILE; for "
    "geneval mask2former[:NAME]."
)
_HELD = "A second judge for the alarms, such as scenes, detector, clip, llava:FOLDER, URL#MODEL or a model's name."


@dataclass(frozen=True, kw_only=True)
class Judged:
    """How samples are judged: what making and judging again have in common."""

    judge: Annotated[str, tyro.conf.arg(metavar="JUDGE", help=_JUDGE, help_behavior_hint="(default: its own)")] = ""
    protocol: Literal["fixed", "official"] = "fixed"
    """official repeats the defects of the published scripts."""
    rubric: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="(default: limner's)")] = None
    """The texts put to a judge, as a JSON list."""
    held_out: Annotated[str, tyro.conf.arg(metavar="JUDGE", help=_HELD, help_behavior_hint=NONE)] = ""
    missing: Policy = "zero"
    baseline: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER", help_behavior_hint=NONE)] = None
    """A scored run to compare with, on the same prompts and seeds."""
    device: Device = "cpu"
    json: Json = False

    def judging(self) -> Judging:
        """Whoever judges."""
        from limner.bench.judging import Judging

        return Judging(self.judge, self.protocol, self.rubric, self.device)

    def second(self) -> Verifier | None:
        """The judge that is held out."""
        from limner.judges.named import find_verifier

        return find_verifier(self.held_out, device=self.device) if self.held_out else None

    def scored(self, folder: Path, judging: Judging, baseline: Path | None, held_out: Verifier | None) -> None:
        """Judge a run folder, write its page, and print both with the comparison."""
        from limner.bench import alarms, page, score

        report = score.score(folder, missing=self.missing, judging=judging, held_out=held_out)
        axes = score.gate(folder, baseline) if baseline is not None else []
        page.write(folder, baseline)
        raised = list(report.get("signs", {}).get("alarms", []))
        if baseline is not None:
            raised += alarms.against(report.get("signs", {}), score.report_of(baseline).get("signs", {}))
        if self.json:
            paths = {"path": str(folder / "report.json"), "page": str(folder / "report.html")}
            json_line({**report, "axes": [axis.to_json() for axis in axes], "alarms": raised, **paths})
            return
        _print(report)
        if baseline is not None:
            _compared(axes, baseline, report["cost"])
        for words in raised:
            line("alarm", words)
        line("numbers", str(folder / "report.json"))
        line("page", str(folder / "report.html"))


@dataclass(frozen=True, kw_only=True)
class EvalModel(Judged):
    """Make a benchmark's samples, resumably, and judge them."""

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")] = catalog.DEFAULT
    """A model inside the package (limner models), or a checkpoint folder."""
    suite: Annotated[str, tyro.conf.arg(metavar="NAME", help=_SUITE)]
    data: Annotated[str | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="(default: the package's)")] = None
    """The prompts or questions: a file, a folder with a file NAME.jsonl, .json or .csv a benchmark, or a hub id."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("out/eval")
    """The run folder (of several benchmarks: a folder each in it); a run that was stopped goes on."""
    seeds: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: the usual number)")] = None
    """Samples a prompt."""
    limit: int = 0
    """At most so many prompts of every tag; 0 takes all."""
    think: bool = False
    """Think before drawing or answering."""
    steps: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint=OWN)] = None
    guidance: Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint=OWN)] = None
    verify: Ways = None
    number: Annotated[int, tyro.conf.arg(aliases=["-n"], help="Candidates to choose from, with --verify.")] = CANDIDATES
    verifier: Annotated[str, tyro.conf.arg(metavar="JUDGE", help="Who chooses, with --verify.")] = "self"
    batch: int = 16
    """Samples made together, and written together."""
    rank: int = 0
    """Which of the --ranks this is; each makes its share of the batches, then `limner score` judges all."""
    ranks: int = 1

    def run(self) -> int:
        """Make, judge, print."""
        from limner.bench import score, suites
        from limner.bench.hub import data_of
        from limner.bench.judging import check

        for what, value in (("seeds", self.seeds), ("batch", self.batch), ("ranks", self.ranks), ("n", self.number)):
            if value is not None and value < 1:
                raise ValueError(f"--{what} {value}: give 1 or more")
        several = self.suite in suites.GROUPS
        chosen = [suites.find_suite(name) for name in suites.in_group(self.suite)]
        for suite in chosen:
            judging = self._judging_of(suite, several)
            if judging.judge or not suite.asked:
                check(suite, judging)
            if self.baseline is not None:
                score.report_of(self.baseline / suite.name if several else self.baseline)
        prompts = [suite.items(data_of(self.data, suite.name), self.limit) for suite in chosen]
        weights = catalog.find(self.model)
        from limner.answer import Limner

        model, held_out = Limner.load(self.model, device=self.device).model, self.second()
        for suite, items in zip(chosen, prompts, strict=True):
            folder = self.out / suite.name if several else self.out
            self._make(model, suite, items, folder, weights)
            judging = self._judging_of(suite, several)
            if self.ranks > 1 or (suite.asked and not judging.judge):
                why = f"rank {self.rank} of {self.ranks}; when all are done" if self.ranks > 1 else "judge them"
                told = "" if not suite.asked else " --judge URL#MODEL"
                line("made", f"{why}: limner score {folder}{told}")
                continue
            baseline = self.baseline / suite.name if several and self.baseline is not None else self.baseline
            self.scored(folder, judging, baseline, held_out)
        return 0

    def _judging_of(self, suite: Suite, several: bool) -> Judging:
        """In a group, a judge and a rubric are for the benchmarks that they fit."""
        whole = self.judging()
        fits = suite.name == "geneval" if self.judge.startswith("mask2former") else suite.asked
        return whole if fits or not several else replace(whole, judge="", rubric=None)

    def _make(self, model: Model, suite: Suite, items: Sequence[Item], folder: Path, weights: Path) -> None:
        from limner.bench import run

        kinds = model.kinds(suite.kind, self.think)
        plan = run.wish(model, kinds, steps=self.steps, guidance=self.guidance)
        maker, about = self._maker(model, plan)
        manifest: Manifest = run.Manifest(
            suite.name,
            run.digest_of_items(items),
            self.model,
            run.digest_of_weights(weights),
            self.seeds or suite.seeds,
            self.think and model.thinks,
            run.described(plan),
            len(items),
            self.batch,
            "original" if self.data is None else Path(self.data).name,
            **about,
        )
        bar = Bar(self.json)
        try:
            run.make(maker, items, manifest, folder, rank=self.rank, ranks=self.ranks, progress=bar)
        finally:
            bar.stop()

    def _maker(self, model: Model, plan: Plan) -> tuple[Any, dict[str, Any]]:
        """Who makes samples, and what the manifest says of it."""
        from limner.bench import run

        if self.verify is None:
            return run.plain(model, plan), {}
        from limner.algorithms.verify.run import method
        from limner.judges.named import SCENES, find_verifier

        how = method(self.verify, self.number)
        name = SCENES if self.verify == "oracle" and self.verifier == "self" else self.verifier
        needed = bool(how.policy.questions or how.rounds)
        verifier = find_verifier(name, model, device=self.device) if needed else None
        about = {"candidates": self.number, "verify": self.verify, "verifier": name if needed else ""}
        return run.chosen(model, plan, verifier, how), about


@dataclass(frozen=True, kw_only=True)
class Score(Judged):
    """Judge a run folder again, without the model."""

    folder: Folder

    def run(self) -> int:
        """Judge and print."""
        self.scored(self.folder, self.judging(), self.baseline, self.second())
        return 0


@dataclass(frozen=True)
class Gate:
    """Refuse a run (exit status 1) in which any group of prompts fell beyond its interval against a baseline."""

    folder: Folder
    against: Annotated[Path, tyro.conf.arg(metavar="FOLDER", help="The scored run to compare with.")]
    json: Json = False

    def run(self) -> int:
        """Compare and say which axes fell."""
        from limner.bench import run, score

        axes = score.gate(self.folder, self.against)
        fell = [axis.name for axis in axes if axis.fell]
        if self.json:
            json_line({"passed": not fell, "fell": fell, "axes": [axis.to_json() for axis in axes]})
        else:
            _compared(axes, self.against, run.cost_of(self.folder))
            line("gate", f"refused: {', '.join(fell)} fell" if fell else "passed: nothing fell beyond its interval")
        return 1 if fell else 0


def _print(report: dict[str, Any]) -> None:
    manifest, counts, cost = report["manifest"], report["counts"], report["cost"]
    title = f"{manifest['model']} on {report['benchmark']}: {manifest['count']} prompts, {manifest['seeds']} each"
    rows = [
        (tag, f"{v['mean']:.3f} [{v['low']:.3f}, {v['high']:.3f}]", str(v["prompts"]), _passes(report["passes"][tag]))
        for tag, v in report["tags"].items()
    ]
    _table(title, ("group", "mean", "prompts", "passes"), rows)
    line("protocol", report["protocol"])
    lost = ", ".join(f"{counts[state]} {state}" for state in ("missing", "unparsed", "unanswered"))
    worth = "left out" if report["missing_policy"] == "skip" else "worth 0"
    line("judged", f"{counts['judged']}; {lost}; what is missing is {worth}, the rest of these 0")
    if report["replies"]:
        line("replies", ", ".join(f"{number} {name}" for name, number in report["replies"].items()))
    figures = {k: v for k, v in (report["official"] or {}).items() if isinstance(v, float | int)}
    if figures:
        line("its own", ", ".join(f"{name} {value:.4g}" for name, value in figures.items()))
    signs = {k: v["mean"] for k, v in report.get("signs", {}).items() if isinstance(v, dict) and "mean" in v}
    if signs:
        line("signs", ", ".join(f"{name} {value:.4g}" for name, value in signs.items()))
    line("cost", f"{_passes(cost['passes_per_sample'])} passes and {cost['seconds_per_sample']:.3f} s a sample, "
         f"{cost['seconds']:.1f} s in all")  # fmt: skip


def _passes(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _compared(axes: Sequence[Axis], baseline: Path, cost: dict[str, float]) -> None:
    from limner.bench.run import cost_of

    rows = [
        (
            *(axis.name, f"{axis.now:.3f}", f"{axis.before:.3f}"),
            f"{axis.change:+.3f} [{axis.low:+.3f}, {axis.high:+.3f}]",
            *(str(axis.prompts), _passes(axis.passes), _passes(axis.passes_before)),
        )
        for axis in axes
    ]
    title = f"against {baseline}: paired on prompts and seeds, joint 95% intervals"
    _table(title, ("group", "now", "before", "change", "prompts", "passes", "before"), rows)
    before = cost_of(baseline)
    line("compute", f"{_passes(cost['passes_per_sample'])} passes and {cost['seconds_per_sample']:.3f} s a sample, "
         f"before {_passes(before['passes_per_sample'])} and {before['seconds_per_sample']:.3f} s")  # fmt: skip


def _table(title: str, names: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for number, name in enumerate(names):
        table.add_column(name, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    Console(width=100).print(table)
