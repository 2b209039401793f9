"""`limner batch`: the rows of a manifest, done by several workers."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from limner import catalog
from limner.app.console import Bar, Device, Json, ModelName, json_line, line

_RAY = "Workers on the Ray cluster at HOST:PORT; auto finds one that runs here, local begins one."


@dataclass(frozen=True)
class Batch:
    """Generate, verify, judge and mine by a manifest. A stopped job goes on with the same command."""

    manifest: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MANIFEST")]
    """A file with one JSON object a line: {"do": "generate", "prompt": "a cat"}."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("out/batch")
    """Folder for journal.jsonl, results.jsonl and pictures."""
    workers: Annotated[int, tyro.conf.arg(help="How many workers, each with the model.")] = 1
    ray: Annotated[str, tyro.conf.arg(metavar="ADDRESS", help=_RAY, help_behavior_hint="(default: this host)")] = ""
    retry: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(help="Do rows that failed again.")] = False
    threads: Annotated[int, tyro.conf.arg(help="CPU threads of a worker; another number may round otherwise.")] = 1
    model: ModelName = catalog.DEFAULT
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: Device = "cpu"
    json: Json = False

    def run(self) -> int:
        """Do the rows. Exit status 1 where some failed."""
        from limner.batch.run import run
        from limner.batch.work import Setup

        if self.threads < 1:
            raise ValueError(f"--threads {self.threads}: give 1 or more")
        catalog.find(self.model)
        bar = Bar(self.json)

        def on_row(number: int, rows: int, result: dict[str, Any]) -> None:
            bar(f"row {number} of {rows}", number / rows)
            if self.json:
                json_line(result)
            elif "error" in result:
                print(f"limner: row {result['id']}: {result['error']}", file=sys.stderr)

        setup = Setup(self.model, self.device, self.dtype, self.threads)
        try:
            found = run(
                self.manifest, self.out, setup, workers=self.workers, ray=self.ray, retry=self.retry, on_row=on_row
            )
        except KeyboardInterrupt:
            print(f"limner: stopped; the same command goes on from {self.out}", file=sys.stderr)
            return 130
        finally:
            bar.stop()
        if not self.json:
            line("results", f"{found['rows']} rows in {self.out / 'results.jsonl'}")
            if found["failed"]:
                line("failed", f"{found['failed']} rows; --retry does them again")
        return 1 if found["failed"] else 0
