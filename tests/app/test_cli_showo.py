"""What docs/showo.md shows is true: its commands run, with the model inside the package."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from limner.app.cli import main

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "showo.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```console\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [line[2:] for block in BLOCKS for line in block.splitlines()]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command.split()[1:3]))
def test_every_command_runs(command, tmp_path, monkeypatch, capsys):
    shutil.copytree(DOCS / "mmada", tmp_path / "docs" / "mmada")
    monkeypatch.chdir(tmp_path)
    program, *arguments = shlex.split(command)
    assert program == "limner" and main(arguments) == 0, capsys.readouterr().err
    for name in re.findall(r" -o (\S+)", command):
        assert Path(name).is_file()


def test_links_lead_somewhere():
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", PAGE) if "://" not in target]
    assert targets and all((DOCS / target).is_file() for target in targets)


def test_names_of_recipes_and_files_are_right():
    for path in re.findall(r"python ((?:tests|benchmarks)/\S+\.py)", PAGE):
        assert (DOCS.parent / path).is_file()
