"""`limner plan`, through the command line."""

import json
import re
import shlex
from pathlib import Path

import pytest

from limner.app.cli import main, parse

PAGE = (Path(__file__).parents[2] / "docs" / "plan.md").read_text(encoding="utf-8")


def test_the_page_shows_what_is_printed(capsys):
    blocks = re.findall(r"^```console\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    (first, *shown), *others = [block.splitlines() for block in blocks]
    assert main(shlex.split(first)[2:]) == 0
    out = capsys.readouterr().out
    assert len(shown) > 10 and out.startswith("\n".join(shown))
    call = re.search(r"limner\.load\((.*?)\)", PAGE, flags=re.DOTALL)
    assert call is not None and " ".join(call[0].split()) in out
    for (command,) in others:
        parse(shlex.split(command)[2:])


def test_a_plan_says_parts_ways_and_how_to_load(capsys):
    assert main(["plan", "tiny-mmada", "--device", "cuda:8GB"]) == 0
    out = capsys.readouterr().out
    assert "network" in out and "bfloat16, int8" in out and "RTX 4060" in out
    assert out.rstrip().endswith("""limner.load("tiny-mmada", device="cuda", dtype='bfloat16')""")


def test_a_plan_as_json(capsys):
    assert main(["plan", "tiny-mmada", "--device", "cpu:0.001GB", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["load"] is None and not any(way["fits"] for way in found["ways"])
    assert found["parts"]["network"]["bytes"] == 4 * found["parts"]["network"]["parameters"]
    assert found["ways"][0]["peak_bytes"] > found["parts"]["network"]["bytes"]


def test_training_is_planned_by_a_recipe(capsys):
    assert main(["plan", "tiny-mmada", "--train", "mmada.tiny_stage_one", "--gpus", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["fits"] and found["bytes"]["weights"] == 2 * found["trained_parameters"]
    assert found["total"] == sum(found["bytes"].values()) and found["seconds_a_step"] > 0
    assert main(["plan", "tiny-mmada", "--train", "mmada.tiny_stage_one"]) == 0
    assert "optimiser" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nobody"], "no model called 'nobody' can be planned"),
        (["tiny-mmada", "--device", "cuda"], "say how much memory there is"),
        (["tiny-mmada", "--gpus", "2"], "--gpus is for training"),
        (["tiny-mmada", "--rows", "0"], "give 1 or more"),
    ],
)
def test_bad_wishes_are_one_line_and_status_two(capsys, arguments, reason):
    assert main(["plan", *arguments]) == 2
    told = capsys.readouterr().err
    assert reason in told and told.count("\n") == 1
