"""What docs/evaluation.md shows is true: its commands run in their order, its pictures are there and small."""

import re
import shlex
from pathlib import Path

from limner.app.cli import main
from limner.bench import suites

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "evaluation.md").read_text(encoding="utf-8")


def test_the_commands_run_in_their_order(capsys):
    shown = [shlex.split(line[2:]) for line in PAGE.splitlines() if line.startswith("$ limner ")]
    assert [command[1] for command in shown] == ["eval", "score", "eval", "gate"]
    for command in shown:
        status = main(command[1:])
        told = capsys.readouterr()
        # fewer steps may make worse pictures, and then the gate says so
        assert status == 0 or (command[1] == "gate" and "refused" in told.out), told.err


def test_every_benchmark_and_suite_is_named():
    for name in (*suites.names(), *suites.GROUPS):
        assert f"`{name}`" in PAGE, name


def test_pictures_and_links_are_there_and_small():
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", PAGE) if "://" not in target]
    assert "evaluation/report.png" in targets
    for target in targets:
        path = DOCS / target
        assert path.is_file(), target
        assert path.suffix != ".png" or path.stat().st_size < 200_000, target
