"""What docs/mindomni.md shows is true: its commands and calls run, with the reference's small model for ``MODEL``."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image as pil

from limner.app.cli import main
from limner.models.mindomni.model import MindOmni
from limner.recipes import RECIPES

DOCS = Path(__file__).parents[2] / "docs"
DATA = Path(__file__).parents[1] / "parity" / "data" / "mindomni" / "checkpoint"
PAGE = (DOCS / "mindomni.md").read_text(encoding="utf-8")
CONSOLE = re.findall(r"^```console\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [line[2:] for block in CONSOLE for line in block.splitlines()]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The reference's model with small pictures as its default."""
    folder = tmp_path_factory.mktemp("small")
    model = MindOmni.load(DATA)
    defaults = replace(model.config.defaults, size=64, steps=2, thinking_limit=4, text_limit=4)
    model.config = replace(model.config, defaults=defaults)
    model.save(folder)
    return folder


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    for name in ("scene", "omni"):
        pil.new("RGB", (64, 64), "red").save(tmp_path / f"{name}.png")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command.split()[-4:]))
def test_every_command_runs(command, small, capsys):
    program, *arguments = shlex.split(command.replace("MODEL", str(small)))
    assert program == "limner" and main(arguments) == 0, capsys.readouterr().err
    for name in re.findall(r"-o (\S+)", command):
        with pil.open(name) as drawn:
            assert drawn.size == (64, 64)


def test_the_calls_run(small):
    import limner

    _, calls = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    cat, room = (pil.new("RGB", (56, 56), colour) for colour in ("grey", "blue"))
    names = {"limner": limner, "MODEL": small, "cat": cat, "room": room}
    exec(compile(calls, "mindomni.md", "exec"), names)
    assert [len(sample.reply) for sample in names["pictures"]] == [2, 2, 2]
    assert len(names["cascade"][0].reply) == 3 and names["words"][0].text is not None


def test_the_options_are_those_that_loading_takes(small):
    table = re.search(r"\| option \|.*?\n\n", PAGE, flags=re.DOTALL)[0]
    named = re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)
    taken = {"first_step": "full", "condition": "answer", "rounded": True, "shift": 2.0, "max_pixels": 3136}
    taken |= {"quantise": "int8", "offload": "model", "vae": small / "vae", "picture_guidance": 1.6}
    assert set(named) == taken.keys()
    assert MindOmni.load(small, **taken).config.defaults.shift == 2.0


def test_the_recipes_that_the_page_names_exist():
    assert set(re.findall(r"mindomni\.\w+_\w+", PAGE)) <= RECIPES.keys()
