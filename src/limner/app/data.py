"""`limner data`: rows of messages checked, counted, looked at, and made from other people's rows."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from limner.app.console import Json, json_line, line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from limner.data.messages import Row
    from limner.data.stream import Report

_FILES = "Files (.jsonl, .tar, .parquet, .arrow), folders, patterns in quotes, or hub:OWNER/NAME[:SPLIT]."
Files = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE...", help=_FILES)]
_FORM = "How the rows are written; auto tells it by their keys."
Form = Annotated[Literal["auto", "messages", "llava", "edits", "questions", "captions"], tyro.conf.arg(help=_FORM)]
Pictures = Annotated[
    Literal["there", "read", "named"],
    tyro.conf.arg(help="Look whether pictures are there, open each, or leave them alone."),
]
Prompts = Annotated[
    tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(help="Rows may end with the user: prompts without answers.")
]


def _every(files: tuple[str, ...]) -> None:
    if not files:
        raise ValueError("give at least one file of rows")


@dataclass(frozen=True)
class DataValidate:
    """Check every row; each error names file, row and field. Exit status 2 where a row is broken."""

    files: Files
    pictures: Pictures = "there"
    prompts: Prompts = False
    most: Annotated[int, tyro.conf.arg(help="How many errors are printed; all are counted.")] = 20
    json: Json = False

    def run(self) -> int:
        """Go through the files."""
        from limner.data.files import open_source
        from limner.data.messages import BadRow
        from limner.data.survey import rows_of

        _every(self.files)
        rows = broken = 0
        for source in [open_source(name) for name in self.files]:
            for row in rows_of(source, pictures=self.pictures, answered=not self.prompts):
                rows += 1
                if not isinstance(row, BadRow):
                    continue
                broken += 1
                if self.json:
                    json_line(row.to_json())
                elif broken <= self.most:
                    print(row)
        if self.json:
            json_line({"rows": rows, "broken": broken})
        else:
            if broken > self.most:
                print(f"... and {broken - self.most} more")
            line("rows", f"{rows}, of which {broken} are broken")
        return 2 if broken else 0


@dataclass(frozen=True)
class DataStats:
    """Count what is there: tasks, turns, parts, words, sources."""

    files: Files
    sizes: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(help="Open the pictures, and count sizes.")] = (
        False
    )
    json: Json = False

    def run(self) -> int:
        """Go through the files."""
        from limner.data.files import open_source
        from limner.data.survey import Stats, rows_of

        _every(self.files)
        stats = Stats()
        for source in [open_source(name) for name in self.files]:
            for row in rows_of(source, pictures="read" if self.sizes else "named", answered=False):
                stats.add(row, sizes=self.sizes)
        found = stats.to_json()
        if self.json:
            json_line(found)
            return 0
        line(
            "rows", f"{found['rows']}" + (f" and {stats.broken} broken; see limner data validate" * bool(stats.broken))
        )
        for name, counts in found.items():
            if isinstance(counts, dict) and counts:
                line(name, ", ".join(f"{key} {number}" for key, number in counts.items()))
        return 0


@dataclass(frozen=True)
class DataShow:
    """Print rows, and put their pictures on a sheet."""

    files: Files
    row: Annotated[int, tyro.conf.arg(help="The first row, counted as in errors: from 1.")] = 1
    number: Annotated[int, tyro.conf.arg(aliases=["-n"], help="How many rows.")] = 3
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="PATH", help="A sheet ending in .png.")] = None
    json: Json = False

    def run(self) -> int:
        """Print, and save the sheet if one is wanted."""
        from limner.data.files import open_source
        from limner.data.messages import BadRow
        from limner.data.survey import told

        _every(self.files)
        if self.out is not None and self.out.suffix.lower() != ".png":
            raise ValueError(f"-o {self.out}: a sheet is saved as PNG; give a file name ending in .png")
        if self.row < 1 or self.number < 1:
            raise ValueError(f"--row {self.row} -n {self.number}: give 1 or more")
        pictures, labels, shown = [], [], 0
        for raw in (raw for name in self.files for raw in open_source(name)):
            if raw.place.row < self.row:
                continue
            if shown == self.number:
                break
            shown += 1
            try:
                row = raw.row(answered=False)
                for turn in row.conversation() if self.out else ():
                    for part in turn.parts:
                        if part.kind == "image":
                            pictures.append(part.image)
                            labels.append(f"row {raw.place.row}, {turn.role}")
                if self.json:
                    json_line(row.to_json())
                else:
                    print("\n".join(told(row)))
            except BadRow as bad:
                print(f"limner: {bad}", file=sys.stderr)
        if not shown:
            raise ValueError(f"there is no row {self.row}; the files end before it")
        if self.out is not None:
            from limner.world.sheet import draw_sheet

            self.out.parent.mkdir(parents=True, exist_ok=True)
            beside = self.out.with_name(f".{self.out.name}.part")
            draw_sheet(pictures, labels).save(beside, format="PNG")
            beside.replace(self.out)
            if not self.json:
                line("sheet", str(self.out))
        return 0


@dataclass(frozen=True)
class DataImport:
    """Turn other people's rows into rows of messages with typed content."""

    files: Files
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], help="A new .jsonl, .tar or .parquet file.")]
    form: Form = "auto"
    source: Annotated[str, tyro.conf.arg(help="What rows without a source are said to come from.",
                                         help_behavior_hint="(default: nothing)")] = ""  # fmt: skip
    copy: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(help="Copy pictures beside the new file.")] = (
        False
    )
    broken: Annotated[
        Literal["stop", "skip"], tyro.conf.arg(help="A broken row ends the import, or is left out and reported.")
    ] = "stop"
    json: Json = False

    def run(self) -> int:
        """Read, turn, write."""
        from limner.data.stream import Report
        from limner.data.survey import write_rows

        _every(self.files)
        path = self.out.with_name(f"{self.out.name}.broken.jsonl")
        report = Report(self.broken, path)
        number = write_rows(self._rows(report), self.out, copy=self.copy)
        skipped = len(report.seen)
        if self.json:
            json_line({"path": str(self.out), "rows": number, "broken": skipped})
        else:
            line("data", f"{number} rows in {self.out}")
            if skipped:
                line("broken", f"{skipped} rows, in {path}")
        return 0

    def _rows(self, report: Report) -> Iterator[Row]:
        from dataclasses import replace

        from limner.data.files import open_source
        from limner.data.messages import BadRow
        from limner.data.survey import rows_of

        for source in [open_source(name) for name in self.files]:
            for row in rows_of(source, form="" if self.form == "auto" else self.form):
                if isinstance(row, BadRow):
                    report.note(row)
                else:
                    yield replace(row, source=row.source or self.source)
