"""What docs/page-and-chat.md shows is true: calls run in order, commands are understood, pictures are there."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from limner.app.chat import HELP
from limner.app.cli import parse

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "page-and-chat.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def test_the_calls_run_in_their_order(tmp_path, monkeypatch):
    shutil.copytree(DOCS / "mmada", tmp_path / "docs" / "mmada")
    monkeypatch.chdir(tmp_path)
    (block,) = blocks("python")
    names = {}
    exec(compile(block, "page-and-chat.md", "exec"), names)
    turns = names["chat"].turns
    assert [turn.request["command"] for turn in turns] == ["generate", "ask", "generate", "extend", "ask", "inpaint"]
    assert (tmp_path / "edited.png").is_file()


@pytest.mark.parametrize("line", [line for block in blocks("console") for line in block.splitlines()])
def test_the_commands_are_understood(line):
    words = shlex.split(line.removeprefix("$ ").partition(" <")[0])
    if words[0] == "limner":
        parse(words[1:])
    else:
        assert words[0] in ("pip", "python")


def test_every_word_with_a_slash_is_one_that_there_is():
    named = set(re.findall(r"`/([a-z]+)", PAGE))
    assert len(named) > 10 and named == set(re.findall(r"/([a-z]+)", HELP)) & named
    assert set(re.findall(r"^/([a-z]+)", HELP, flags=re.MULTILINE)) <= named


def test_pictures_and_links_are_there_and_small():
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", PAGE) if "://" not in target]
    assert len(targets) > 5
    for target in targets:
        assert (DOCS / target).is_file(), target
        assert not target.endswith(".png") or (DOCS / target).stat().st_size < 200_000, target
