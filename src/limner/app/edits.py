"""`limner eval edits`: how often edits are right, and whether the rest stayed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from limner import catalog
from limner.app.console import Bar, Device, Json, ModelName, json_line, line


@dataclass(frozen=True)
class EvalEdits:
    """Measure edits of the picture world: what was asked is there, every other pixel stayed; and stories of edits."""

    model: ModelName = catalog.DEFAULT
    edits: Annotated[int, tyro.conf.arg(help="Edits of each kind.")] = 20
    stories: int = 20
    """Stories of three instructions, each about the model's own last picture."""
    test_seed: int = 0
    """Draws the test set; any number gives a fresh one of the same kinds."""
    split: Literal["new_compositions", "train"] = "new_compositions"
    """Whether the scenes that edits lead to are kept from training."""
    decoder: Annotated[str, tyro.conf.arg(help_behavior_hint="(default: the model's own)")] = ""
    """A decoder by name, for models that have several."""
    device: Device = "cpu"
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("out/eval-edits")
    """Folder for the numbers (report.json) and the pictures (sheet.png)."""
    json: Json = False

    def run(self) -> int:
        """Evaluate and print the table."""
        if self.edits < 1 or self.stories < 0:
            raise ValueError(f"--edits {self.edits} --stories {self.stories}: give 1 edit of each kind or more")
        catalog.find(self.model)
        from limner.answer import Limner
        from limner.bench import edits

        options = {"decoder": self.decoder} if self.decoder else {}
        limner = Limner.load(self.model, device=self.device, **options)
        bar = Bar(self.json)
        wish: dict[str, Any] = {"seed": self.test_seed, "split": self.split, "out": self.out, "progress": bar}
        try:
            report = edits.evaluate(limner.model, self.edits, self.stories, **wish)
        finally:
            bar.stop()
        if self.json:
            json_line({"model": self.model, **report, "path": str(self.out / "report.json")})
            return 0
        for kind, row in [*report["kinds"].items(), ("all", report["all"])]:
            line(kind, f"strict {_share(row['strict'])}, scene {_share(row['scene'])}, pixels off {row['off']:.3f}, "
                 f"{row['distance']:.1f} levels")  # fmt: skip
        for number, step in enumerate(report["stories"]["steps"], start=1):
            line(f"turn {number}", f"scene {_share(step)}")
        line("numbers", str(self.out / "report.json"))
        line("sheet", str(self.out / "sheet.png"))
        return 0


def _share(value: dict[str, Any]) -> str:
    return f"{value['mean']:.2f} [{value['low']:.2f}, {value['high']:.2f}]"
