"""What a run tells: lines of numbers and of validation, and one line of progress."""

import json
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

from limner.algorithms.sft import Piece
from limner.process.base import Context, Draw, Tokens
from limner.train.fit import Interrupted, fit
from limner.train.report import Numbers, told, values_in

sys.path.insert(0, str(Path(__file__).parent))
from toy import objective, stopped_at, toy  # noqa: E402


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def weight(model, step):
    """A validation that says which weights it saw, and in which mode."""
    return {"loss": float(model.inner.weight.detach().sum()), "training": float(model.training)}


def test_validation_has_lines_of_its_own_with_the_averaged_weights(tmp_path):
    run = replace(toy(), validate=weight, validate_every=10, steps=25)
    result = fit(run, tmp_path, progress=False)
    found = lines(tmp_path / "validation.jsonl")
    assert [line["step"] for line in found] == [10, 20, 25]
    assert all(line["training"] == 0 for line in found)
    assert found[-1]["loss"] == pytest.approx(weight(result.model, 25)["loss"])  # what is released


def test_validation_changes_no_weight_and_a_resumed_run_has_its_lines_once(tmp_path):
    plain = fit(toy(), tmp_path / "plain", progress=False)
    run = replace(toy(), validate=weight, validate_every=4)
    with pytest.raises(Interrupted):
        fit(stopped_at(run, 17, 2), tmp_path / "seen", progress=False)
    result = fit(run, tmp_path / "seen", progress=False)
    assert [line["step"] for line in lines(tmp_path / "seen" / "validation.jsonl")] == [4, 8, 12, 16, 20, 24, 28, 30]
    for one, other in zip(plain.model.parameters(), result.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_validation_killed_before_its_checkpoint_is_cut_off(tmp_path):
    numbers = Numbers(tmp_path / "numbers.jsonl")
    for step in (5, 10, 15):
        numbers.validate(step, {"loss": step})
    numbers.cut(10)
    assert [line["step"] for line in lines(numbers.validated)] == [5, 10]


def piece(rows, values):
    given = Tokens(torch.zeros(rows, 1), torch.ones(rows, 1), torch.zeros(rows, 1))
    draw = Draw(torch.ones(rows, values, dtype=torch.bool), torch.ones(rows))
    return Piece("x", "text", Context(given, given), torch.zeros(rows, values), draw)


def test_values_are_counted_in_batches_of_pieces(tmp_path):
    assert values_in([[piece(2, 3)], {"a": piece(1, 5)}, torch.zeros(9)]) == 11
    numbers = Numbers(tmp_path / "numbers.jsonl")
    numbers.add({"loss": 1.0}, [piece(2, 3)])
    numbers.add({"loss": 3.0, "tokens": 14.0}, [piece(2, 3)])  # the objective knows better
    numbers.seconds["wall_seconds"] = 4.0
    numbers.write(2, 0.1, 8)
    assert numbers.last["tokens_per_second"] == 5.0 and numbers.last["loss"] == 2.0 and "tokens" not in numbers.last


@pytest.mark.parametrize(
    ("last", "shown"),
    [
        ({"loss": 1.0}, ""),
        ({"reward": 0.5, "kl": 0.01234567, "tokens_per_second": 12345.6}, "reward 0.5  kl 0.01235  12,346 tokens/s"),
        ({"draw_reward": 1.0, "draw_kl_text": 0.25}, "reward 1  kl 0.25"),
        ({"validation_loss": 2.0}, "validation loss 2"),
    ],
)
def test_the_line_of_progress_has_what_a_run_knows(last, shown):
    assert told(last) == shown


def test_progress_shows_reward_and_time_left(tmp_path):
    def rewarded(model, batch, rng):
        loss, numbers = objective(model, batch, rng)
        return loss, {**numbers, "reward": 0.75}

    text = StringIO()
    run = replace(toy(), objective=rewarded, validate=weight, validate_every=10)
    fit(run, tmp_path, console=Console(file=text, width=200))
    assert "step 30/30" in text.getvalue() and "reward 0.75" in text.getvalue()
    assert "validation loss" in text.getvalue() and "min left" in text.getvalue()


def test_trackers_are_told_what_the_lines_hold(tmp_path, monkeypatch):
    from limner.train import track

    heard = []
    monkeypatch.setattr(
        track.Trackers, "log", lambda self, step, values, prefix="": heard.append((step, prefix, dict(values)))
    )
    fit(replace(toy(), validate=weight, validate_every=30), tmp_path, progress=False)
    assert [values for _, prefix, values in heard if not prefix] == lines(tmp_path / "numbers.jsonl")
    assert [step for step, prefix, _ in heard if prefix == "validation/"] == [30]
