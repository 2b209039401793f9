"""The README is true: its commands run in the order in which they stand, and print what it shows."""

import re
import shlex
from pathlib import Path

import pytest

from limner.app.cli import main, parse
from limner.recipes import RECIPES, ROUNDS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# the ordinary test only reads these
LONG = ("limner train", "limner eval", "limner world export", "limner data")
ENDLESS = ("limner serve",)  # read here; what docs/serving.md shows runs against a live server


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def commands():
    """Each command with the lines that are shown below it."""
    found = []
    for block in blocks("console"):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def run(command, shown, capsys):
    capsys.readouterr()
    assert main(shlex.split(command)[1:]) == 0, capsys.readouterr().err
    out = capsys.readouterr().out.splitlines()
    assert not shown or out == shown, command


def test_the_commands_run_and_print_what_is_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    short = [each for each in commands() if each[0].startswith("limner ") and not each[0].startswith(LONG + ENDLESS)]
    assert len(short) >= 4
    for command, shown in short:
        run(command, shown, capsys)


@pytest.mark.slow
def test_the_long_commands_run_too(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for command, shown in commands():
        if command.startswith(LONG):
            run(command, shown, capsys)


def test_the_long_commands_are_understood():
    from limner.recipes import RECIPES

    for command, _ in commands():
        if command.startswith(LONG + ENDLESS):
            parsed = parse(shlex.split(command)[1:])
            assert getattr(parsed, "recipe", "") in ("", *RECIPES)


def test_every_target_named_is_in_the_makefile():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [command.split()[1] for command, _ in commands() if command.startswith("make ")]
    assert {"demo", "test"} <= set(targets)
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)


def test_every_command_is_of_a_known_sort():
    assert all(command.startswith(("limner ", "make ")) for command, _ in commands())


def test_the_python_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    examples = blocks("python")
    assert examples
    for example in examples:
        exec(compile(example, "README.md", "exec"), {"__name__": "example"})


def test_links_and_pictures_are_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_recipe_that_a_page_names_is_there():
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    named = {name for page in pages for name in re.findall(r"limner train ([a-z]+\.[a-z_]*[a-z])\b", page.read_text())}
    assert len(named) > 30 and named <= RECIPES.keys() | {ROUNDS}
