"""What the families' pages show is true: their commands run, with the models inside the package."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from limner.app.cli import main

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {name: (DOCS / name).read_text(encoding="utf-8") for name in ("showo.md", "nexus-gen.md")}


def commands(page):
    blocks = re.findall(r"^```console\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


COMMANDS = [command for page in PAGES.values() for command in commands(page)]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command.split()[1:3]))
def test_every_command_runs(command, tmp_path, monkeypatch, capsys):
    shutil.copytree(DOCS / "mmada", tmp_path / "docs" / "mmada")
    monkeypatch.chdir(tmp_path)
    program, *arguments = shlex.split(command)
    assert program == "limner" and main(arguments) == 0, capsys.readouterr().err
    for name in re.findall(r" -o (\S+)", command):
        assert Path(name).is_file()


@pytest.mark.parametrize("name", PAGES)
def test_links_and_files_lead_somewhere(name):
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", PAGES[name]) if "://" not in target]
    assert all((DOCS / target).is_file() for target in targets)
    paths = re.findall(r"python ((?:tests|benchmarks)/\S+\.py)", PAGES[name])
    assert paths and all((DOCS.parent / path).is_file() for path in paths)
