"""What docs/mmada.md shows is true: its commands and calls run, its pictures are there and small."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from limner.app.cli import main, parse

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "mmada.md").read_text(encoding="utf-8")
MODES = ("generate", "inpaint", "extend", "ask", "say", "fill")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def commands():
    return [shlex.split(line[2:]) for block in blocks("console") for line in block.splitlines() if line[:2] == "$ "]


@pytest.fixture(autouse=True)
def copied(tmp_path, monkeypatch):
    shutil.copytree(DOCS / "mmada", tmp_path / "docs" / "mmada")
    monkeypatch.chdir(tmp_path)


def test_every_mode_has_a_command_that_runs(capsys):
    shown = [command for command in commands() if command[0] == "limner"]
    assert {command[1] for command in shown} >= set(MODES)
    for command in shown:
        parse(command[1:])
        if command[1] in MODES:
            assert main(command[1:]) == 0, capsys.readouterr().err


def test_the_calls_run_in_their_order():
    names = {}
    for block in blocks("python"):
        exec(compile(block, "mmada.md", "exec"), names)
    assert names["answer"].request["model"] == "tiny-mmada"


def test_pictures_and_links_are_there_and_small():
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", PAGE) if "://" not in target]
    assert len(targets) > 9
    for target in targets:
        path = DOCS / target
        assert path.is_file(), target
        assert path.suffix != ".png" or path.stat().st_size < 60_000, target
