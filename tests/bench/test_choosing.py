"""Ways of choosing compared on one recording, with a model without a network and a truth that is made up."""

import json
from dataclasses import replace

import pytest

from limner.bench.choosing import Prices, Recorded, looked_again, record, worth
from limner.bench.verified import Trial
from limner.judges.verifier import About, Opinion
from limner.models.echo import Echo
from limner.parts import Image


class Large(Echo):
    """Echo with pictures that are large enough to be read."""

    def decode(self, kind, values):
        return [Image(p.image.resize((64, 64)), p.raw) for p in super().decode(kind, values)]


MODEL = Large()
PLAN = MODEL.plan(["image"])
TRIAL = Trial("echo", ("single", "two"), prompts=3, outputs=2)


class Knowing:
    """Clear from half of the steps on; what it knows of a candidate is its seed."""

    about = About("made up")

    def __init__(self, chance):
        self.chance, self.looks = chance, 0

    def __call__(self, question, samples):
        self.looks += len(samples)
        if question == "clarity":
            return [Opinion(float(s.progress >= 0.5)) for s in samples]
        return [Opinion(self.chance(s.seed)) for s in samples]


def good(seed):
    return seed % 5 == 3


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    out = tmp_path_factory.mktemp("survey")
    found = record(MODEL, PLAN, Knowing(lambda seed: 0.9 if good(seed) else 0.05), TRIAL, 5, out)
    seeds = {(e.job, e.output, e.path): e.seed for e in found.events if e.kind == "look"}
    truth = {where: [good(seeds[*where, path]) for path in range(5)] for where in found.fates}
    return out, Recorded(found.trial, 5, found.events, truth, Prices(1.0, 0.1, 0.01))


def test_a_knowing_verifier_is_worth_what_the_oracle_is_and_every_way_is_paid(recorded):
    _, found = recorded
    rows = {(w.way, w.n): w for w in worth(found, numbers=(2, 5))}
    steps = 4
    for n in (2, 5):
        none, chance, orm, parm, oracle = (rows[way, n] for way in ("none", "random", "orm", "parm", "oracle"))
        assert orm.success.mean == parm.success.mean == oracle.success.mean
        assert none.success.mean <= oracle.success.mean and chance.value == 0.0
        assert orm.value == parm.value == 1.0
        assert none.row_steps == steps and orm.row_steps == n * steps and orm.looks == n
        assert parm.row_steps < orm.row_steps
        assert orm.seconds == pytest.approx(orm.row_steps + 0.1 * n + 0.01)
    assert rows["oracle", 5].success.mean > rows["oracle", 2].success.mean
    gain = rows["orm", 5].success.mean - rows["none", 5].success.mean
    assert rows["orm", 5].removed == pytest.approx(gain / (1 - rows["none", 5].success.mean))


def test_a_misled_verifier_is_worth_less_than_chance(recorded):
    _, found = recorded
    misled = [e if e.opinion is None else _turned(e) for e in found.events]
    turned = Recorded(found.trial, 5, misled, found.fates, found.prices)
    rows = {w.way: w for w in worth(turned, numbers=(5,))}
    assert rows["orm"].success.mean < rows["random"].success.mean and rows["orm"].value < 0


def _turned(event):
    if event.question == "clarity":
        return event
    return replace(event, opinion=Opinion(1 - event.opinion.yes))


def test_what_was_recorded_is_not_made_again(recorded):
    out, _ = recorded
    judge = Knowing(lambda seed: 1.0)
    again = record(MODEL, PLAN, judge, TRIAL, 5, out)
    assert judge.looks == 0
    assert [[j, o, r] for (j, o), r in again.fates.items()] == json.loads((out / "fates.json").read_text())


def test_more_candidates_than_were_recorded_are_refused(recorded):
    _, found = recorded
    with pytest.raises(ValueError, match="5 candidates were recorded, 8"):
        worth(found, numbers=(8,))


def test_another_judge_looks_at_the_recorded_pictures_and_nothing_is_made_again(recorded):
    _, found = recorded
    seen = []

    class Other(Knowing):
        def __call__(self, question, samples):
            seen.extend((question, sample.progress, sample.reply[0].raw) for sample in samples)
            return super().__call__(question, samples)

    blind = looked_again(found, MODEL, Other(lambda seed: 0.5))
    looks = [e for e in found.events if e.kind == "look"]
    assert sorted(seen) == sorted((e.question, e.step / e.steps, e.view) for e in looks)
    (row,) = worth(blind, ("orm",), (5,))
    assert row.success.mean < worth(found, ("orm",), (5,))[0].success.mean
    same = looked_again(blind, MODEL, Knowing(lambda seed: 0.9 if good(seed) else 0.05))
    assert [e.opinion for e in same.events] == [e.opinion for e in found.events]
    assert same.prices.row_step == found.prices.row_step and same.prices.look != found.prices.look
