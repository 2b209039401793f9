"""What docs/data.md shows is true: its rows are rows, its commands and calls run."""

import json
import re
import shlex
from pathlib import Path

import pytest

from limner.app.cli import main, parse
from limner.data.messages import Place, read_row

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def test_the_rows_are_rows():
    tasks = [read_row(json.loads(block), Place("data.md", 1), Path("x")).task for block in blocks("json")]
    assert tasks == ["edit", "edit"]


def test_commands_and_calls_run_in_their_order(tmp_path, monkeypatch, capsys):
    pytest.importorskip("pyarrow")
    monkeypatch.chdir(tmp_path)
    commands = [shlex.split(line[2:])[1:] for block in blocks("console") for line in block.splitlines()]
    assert {" ".join(command[:2]) for command in commands} >= {
        f"data {n}" for n in ("validate", "stats", "show", "import")
    }
    for command in commands:
        parse(command)
        if command[0] != "train":  # tests/recipes/test_messages.py trains
            assert main(command) == 0, capsys.readouterr().err
    names = {}
    for block in blocks("python"):
        exec(compile(block, "data.md", "exec"), names)
    assert names["example"].row.task == "draw" and names["state"]["slot"] == 1
