"""What docs/image-generation-cot.md shows is true: its commands and calls run, its recipes exist."""

import re
import shlex
from pathlib import Path

import pytest

from limner.app.cli import main, parse
from limner.app.train import Train
from limner.recipes import RECIPES, ROUNDS

PAGE = (Path(__file__).parents[2] / "docs" / "image-generation-cot.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def commands():
    return [shlex.split(line[2:])[1:] for block in blocks("console") for line in block.splitlines() if line[:2] == "$ "]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("command", [c for c in commands() if c[0] != "train"], ids=lambda c: " ".join(c)[:60])
def test_every_command_runs(command, capsys):
    assert main(command) == 0, capsys.readouterr().err


def test_every_recipe_that_is_named_exists():
    for command in commands():
        if command[0] == "train":
            parsed = parse(command)
            assert isinstance(parsed, Train) and parsed.recipe in {*RECIPES, ROUNDS}
    assert set(re.findall(r"`(cot\.\w+)`", PAGE)) <= {*RECIPES, ROUNDS}


def test_the_calls_run_in_their_order():
    names = {}
    for block in blocks("python"):
        exec(compile(block, "image-generation-cot.md", "exec"), names)
    assert names["answer"].request["verify"]["method"] == "orm" and Path("survey.jsonl").is_file()


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert "://" in target or (Path(__file__).parents[2] / "docs" / target).is_file(), target
