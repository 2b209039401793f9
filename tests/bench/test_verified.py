"""The verified benchmark on a model without a network."""

import json

import pytest

from limner.algorithms.verify.policies import orm
from limner.algorithms.verify.run import method
from limner.algorithms.verify.search import Event
from limner.algorithms.verify.trace import replay
from limner.bench.verified import Trial, evaluate
from limner.judges.named import find_verifier
from limner.judges.verifier import About, Opinion, unjudged
from limner.models.echo import Echo
from limner.parts import Image


class Large(Echo):
    """Echo with pictures that are large enough to be read."""

    def decode(self, kind, values):
        parts = super().decode(kind, values)
        return [Image(p.image.resize((64, 64)), p.raw) for p in parts] if kind == "image" else parts


MODEL = Large()
PLAN = MODEL.plan(["image"])
TRIAL = Trial("echo", ("single", "two"), prompts=3, outputs=2)


class Verifier:
    about = About("odd", prompts="world")

    def __init__(self, stops=10**9):
        self.looks, self.stops = 0, stops

    def __call__(self, question, samples):
        self.looks += len(samples)
        if self.looks > self.stops:
            raise KeyboardInterrupt
        return [unjudged("late") if s.seed % 7 == 1 else Opinion((sum(s.reply[0].raw) % 10) / 10) for s in samples]


def test_a_trial_reports_success_cost_calibration_and_dependence(tmp_path):
    report = evaluate(MODEL, PLAN, Verifier(), method("orm", 4), TRIAL, out=tmp_path)
    assert [row["group"] for row in report["rows"]] == ["single", "two"]
    assert report["overall"]["mean"] == 0.0 and report["overall"]["high"] > 0
    assert report["cost_per_picture"]["row_steps"] == 16 and report["cost_per_picture"]["looks"] == 4
    assert report["looks"] == 48 and report["unjudged"] > 0 and report["unjudged_why"] == "late"
    assert report["calibration"]["outcome"][0]["step"] == 4 and "same source" in report["warning"]
    assert json.loads((tmp_path / "report.json").read_text()) == report
    lines = [json.loads(line) for line in (tmp_path / "trace.jsonl").read_text().splitlines()]
    events = [Event.from_json(line) for line in lines]
    assert {key: value.choice.path for key, value in replay(events, orm()).items()} == {
        (row["job"], row["output"]): row["path"]
        for row in map(json.loads, (tmp_path / "results.jsonl").read_text().splitlines())
    }


def test_without_verification_an_output_is_what_its_seed_makes():
    report = evaluate(MODEL, PLAN, None, method("none", 1), TRIAL)
    assert report["cost_per_picture"]["row_steps"] == 4 and report["warning"] == ""


def test_a_stopped_trial_goes_on_and_asks_nothing_twice(tmp_path):
    whole = evaluate(MODEL, PLAN, Verifier(), method("parm", 3), TRIAL, out=tmp_path / "whole", rows=6)
    first = Verifier(stops=25)
    with pytest.raises(KeyboardInterrupt):
        evaluate(MODEL, PLAN, first, method("parm", 3), TRIAL, out=tmp_path / "cut", rows=6)
    results = tmp_path / "cut" / "results.jsonl"
    results.write_text(results.read_text() + '{"half')
    again = evaluate(MODEL, PLAN, Verifier(), method("parm", 3), TRIAL, out=tmp_path / "cut", rows=6)
    for name in ("rows", "overall"):
        assert again[name] == whole[name]
    paths = []
    for folder in ("whole", "cut"):
        lines = (tmp_path / folder / "results.jsonl").read_text().splitlines()
        paths.append([json.loads(line)["path"] for line in lines])
    assert paths[0] == paths[1]
    with pytest.raises(ValueError, match="n was 3 and is now 4"):
        evaluate(MODEL, PLAN, Verifier(), method("parm", 4), TRIAL, out=tmp_path / "cut")


def test_the_oracle_is_told_to_be_the_metric():
    report = evaluate(MODEL, PLAN, find_verifier("scenes"), method("oracle", 2), TRIAL)
    assert "metric itself" in report["warning"]


def test_impossible_trials_are_refused():
    with pytest.raises(ValueError, match="no group called 'cats'"):
        Trial("x", ("cats",))
    with pytest.raises(ValueError, match="prompts=0"):
        Trial("x", prompts=0)
