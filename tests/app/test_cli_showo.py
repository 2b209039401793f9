"""What docs/showo.md shows is true: its commands run, with an untrained model of the recipe's shape."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch

from limner.app.cli import main
from limner.codecs.magvit import TINY, MagvitCodec
from limner.recipes.tiny_showo import new_model

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "showo.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```console\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [line[2:] for block in BLOCKS for line in block.splitlines()]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("small")
    new_model(MagvitCodec(TINY)).save(folder)
    return folder


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command.split()[1:3]))
def test_every_command_runs(command, small, tmp_path, monkeypatch, capsys):
    shutil.copytree(DOCS / "mmada", tmp_path / "docs" / "mmada")
    shutil.copytree(small, tmp_path / "runs" / "cot.tiny_showo" / "released")
    monkeypatch.chdir(tmp_path)
    program, *arguments = shlex.split(command)
    assert program == "limner" and main(arguments) == 0, capsys.readouterr().err
    for name in re.findall(r"-o (\S+)", command):
        assert Path(name).is_file()


def test_links_lead_somewhere():
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", PAGE) if "://" not in target]
    assert targets and all((DOCS / target).is_file() for target in targets)


def test_names_of_recipes_and_files_are_right():
    for path in re.findall(r"python ((?:tests|benchmarks)/\S+\.py)", PAGE):
        assert (DOCS.parent / path).is_file()
