"""`limner eval suite`, `limner score`, `limner gate`: samples first, then their judgement, then the comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from limner import catalog
from limner.app.console import OWN, Bar, Device, Json, ModelName, json_line, line

if TYPE_CHECKING:
    from limner.bench.score import Axis
    from limner.parts import PartKind

Folder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER", help="A run folder.")]
Policy = Annotated[
    Literal["zero", "skip", "error"], tyro.conf.arg(help="What a sample that is missing is worth; always counted.")
]


@dataclass(frozen=True)
class EvalSuite:
    """Make a benchmark's samples, resumably, and judge them: geneval, world, or questions from a local file."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="BENCHMARK", help="Such as geneval or mmmu.")]
    model: ModelName = catalog.DEFAULT
    data: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="(default: the package's)")] = None
    """The prompts or questions: a JSON-lines file."""
    device: Device = "cpu"
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("out/eval-suite")
    """The run folder; a run that was stopped goes on."""
    seeds: int = 1
    """Samples a prompt."""
    limit: int = 0
    """At most so many prompts of every tag; 0 takes all."""
    think: bool = False
    """Think before drawing or answering."""
    steps: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint=OWN)] = None
    guidance: Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint=OWN)] = None
    batch: int = 16
    """Samples made together, and written together."""
    rank: int = 0
    """Which of the --ranks this is; each makes its share of the batches, then `limner score` judges all."""
    ranks: int = 1
    baseline: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER", help_behavior_hint="(default: none)")] = None
    """A scored run to compare with, on the same prompts and seeds."""
    json: Json = False

    def run(self) -> int:
        """Make, judge, print."""
        from limner.bench import run, suites

        for what, value in (("seeds", self.seeds), ("batch", self.batch), ("ranks", self.ranks)):
            if value < 1:
                raise ValueError(f"--{what} {value}: give 1 or more")
        suite = suites.find_suite(self.name)
        items = suite.items(self.data, self.limit)
        folder = catalog.find(self.model)
        from limner.answer import Limner

        model = Limner.load(self.model, device=self.device).model
        kinds: tuple[PartKind, ...] = ("thinking", suite.kind) if self.think else (suite.kind,)
        plan = run.wish(model, kinds, steps=self.steps, guidance=self.guidance)
        manifest = run.Manifest(
            suite.name,
            run.digest_of_items(items),
            self.model,
            run.digest_of_weights(folder),
            self.seeds,
            self.think,
            run.described(plan),
            len(items),
            self.batch,
        )
        bar = Bar(self.json)
        try:
            run.make(model, items, manifest, plan, self.out, rank=self.rank, ranks=self.ranks, progress=bar)
        finally:
            bar.stop()
        if self.ranks > 1:
            line("made", f"rank {self.rank} of {self.ranks}; when all are done: limner score {self.out}")
            return 0
        return _scored(self.out, "zero", self.baseline, self.json)


@dataclass(frozen=True)
class Score:
    """Judge a run folder again, without the model."""

    folder: Folder
    missing: Policy = "zero"
    baseline: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER", help_behavior_hint="(default: none)")] = None
    """A scored run to compare with, on the same prompts and seeds."""
    json: Json = False

    def run(self) -> int:
        """Judge and print."""
        return _scored(self.folder, self.missing, self.baseline, self.json)


@dataclass(frozen=True)
class Gate:
    """Refuse a run (exit status 1) in which any group of prompts fell beyond its interval against a baseline."""

    folder: Folder
    against: Annotated[Path, tyro.conf.arg(metavar="FOLDER", help="The scored run to compare with.")]
    json: Json = False

    def run(self) -> int:
        """Compare and say which axes fell."""
        from limner.bench import score

        axes = score.gate(self.folder, self.against)
        fell = [axis.name for axis in axes if axis.fell]
        if self.json:
            json_line({"passed": not fell, "fell": fell, "axes": [axis.to_json() for axis in axes]})
        else:
            _compared(axes, self.against)
            line("gate", f"refused: {', '.join(fell)} fell" if fell else "passed: nothing fell beyond its interval")
        return 1 if fell else 0


def _scored(folder: Path, missing: Policy, baseline: Path | None, silent: bool) -> int:
    from limner.bench import page, score

    report = score.score(folder, missing=missing)
    axes = score.gate(folder, baseline) if baseline is not None else []
    page.write(folder, baseline)
    if silent:
        json_line({**report, "axes": [axis.to_json() for axis in axes], "path": str(folder / "report.json")})
        return 0
    _print(report)
    if baseline is not None:
        _compared(axes, baseline)
    line("numbers", str(folder / "report.json"))
    line("page", str(folder / "report.html"))
    return 0


def _print(report: dict[str, Any]) -> None:
    manifest, counts = report["manifest"], report["counts"]
    title = f"{manifest['model']} on {report['benchmark']}: {manifest['count']} prompts, {manifest['seeds']} each"
    rows = [
        (tag, f"{v['mean']:.3f} [{v['low']:.3f}, {v['high']:.3f}]", str(v["prompts"]))
        for tag, v in report["tags"].items()
    ]
    _table(title, ("group", "mean", "prompts"), rows)
    line("protocol", report["protocol"])
    line("judged", f"{counts['judged']}; {counts['missing']} missing, {counts['unparsed']} unparsed, both worth 0")
    figures = {k: v for k, v in (report["official"] or {}).items() if isinstance(v, float | int)}
    if figures:
        line("its own", ", ".join(f"{name} {value:.4g}" for name, value in figures.items()))
    if report["cost"]["seconds"]:
        line("cost", f"{report['cost']['seconds']:.1f} s, {report['cost']['seconds_per_sample']:.3f} s a sample")


def _compared(axes: Sequence[Axis], baseline: Path) -> None:
    rows = [
        (a.name, f"{a.now:.3f}", f"{a.before:.3f}", f"{a.change:+.3f} [{a.low:+.3f}, {a.high:+.3f}]", str(a.prompts))
        for a in axes
    ]
    title = f"against {baseline}: paired on prompts and seeds, joint 95% intervals"
    _table(title, ("group", "now", "before", "change", "prompts"), rows)


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
