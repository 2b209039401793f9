"""Rounds of mining and alignment on a small scale, stopped and gone on with."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from limner import catalog
from limner.app.cli import main
from limner.judges.asked import save_about
from limner.judges.verifier import About
from limner.recipes.cot_rounds import Rounds, iterative_dpo
from limner.recipes.tiny_verifier import WORLD
from limner.train.mining import Mining, read_pairs

SMALL = Rounds(prompts=2, mining=Mining(3), steps=2, batch=2, judge="self", lr=1e-3)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """The shipped model with few steps, as a verifier of its own pictures."""
    folder = tmp_path_factory.mktemp("start") / "run" / "released"
    model = catalog.load_model(catalog.DEFAULT)
    model.config = replace(model.config, defaults=replace(model.config.defaults, picture_steps=2))
    model.save(folder)
    save_about(folder, WORLD, About("start"))
    return folder


def quick(run):
    return replace(run, log_every=1, prefetch=0, checkpoint_every=1, ema=0.0)


@pytest.fixture
def judged(start, monkeypatch):
    return replace(SMALL, judge=str(start))


def test_a_series_stopped_in_the_middle_ends_with_the_same_weights(start, judged, tmp_path):
    told = []
    whole = iterative_dpo(tmp_path / "whole", 2, start, judged, told=told.append, change=quick)
    assert whole == tmp_path / "whole" / "round-2" / "run" / "released"
    first = iterative_dpo(tmp_path / "cut", 1, start, judged, change=quick)

    def dies(run):
        def objective(model, batch, rng):
            raise InterruptedError

        return replace(quick(run), objective=objective)

    with pytest.raises(InterruptedError):
        iterative_dpo(tmp_path / "cut", 2, start, judged, change=dies)
    assert iterative_dpo(tmp_path / "cut", 2, start, judged, change=quick) != first
    one, other = (
        load_file(tmp_path / f / "round-2" / "run" / "released" / "model.safetensors") for f in ("whole", "cut")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
    before = load_file(start / "model.safetensors")
    assert any(not torch.equal(one[name].float(), before[name].float()) for name in one)
    pairs = [read_pairs(tmp_path / "whole" / f"round-{r}" / "pairs" / "pairs.jsonl") for r in (1, 2)]
    assert pairs[0] and {p.task.id for p in pairs[0]}.isdisjoint(p.task.id for p in pairs[1])
    numbers = json.loads((tmp_path / "whole" / "round-1" / "run" / "numbers.jsonl").read_text().splitlines()[0])
    assert {"accuracy", "margin", "ties"} <= numbers.keys()
    assert numbers["loss"] - numbers["sft"] == pytest.approx(0.6931, abs=1e-3)
    assert told[0].startswith("round 1:") and "pairs of 2 prompts" in told[0]


@pytest.mark.parametrize("guide", ["a model", "self"])
def test_a_guide_is_asked_while_training_and_may_be_the_policy_itself(start, judged, tmp_path, guide):
    guided = replace(judged, guide=str(start) if guide == "a model" else guide, steps=1)
    iterative_dpo(tmp_path, 1, start, guided, change=quick)
    numbers = json.loads((tmp_path / "round-1" / "run" / "numbers.jsonl").read_text().splitlines()[0])
    assert 0 <= numbers["guide"] <= 1 and numbers["guide_unjudged"] == 0


def test_the_command_line_knows_rounds(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "cot.tiny_orm", "--rounds", "2"]) == 2
    assert "--rounds" in capsys.readouterr().err
    assert main(["train", "cot.iterative_dpo", "--rounds", "0"]) == 2
    assert "0 rounds" in capsys.readouterr().err
