"""Preference pairs: estimators, controls, and that training does what it should, for words and pictures alike."""

import copy
import math
from dataclasses import replace

import pytest
import torch

from limner.algorithms.dpo import (
    OFFICIAL,
    Aligner,
    DpoSettings,
    Preference,
    align,
    dpo,
    guidance,
    official_guidance,
    preference_loss,
)
from limner.judges.verifier import About, Opinion, unjudged
from limner.models.echo import Echo
from limner.parts import Ask, Sample, Task, user
from limner.turn import draws, log_prob, rollout


def pairs_of(model, kinds, number=3, gap=None):
    tasks = [Task((user(text),)) for text in ("a red cat", "hi", "two dogs")][:number]
    plan = tuple(replace(ask, temperature=1.0 if ask.kind == "image" else 4.0) for ask in model.plan(kinds))
    good, bad = (rollout(model, tasks, plan, range(s, s + len(tasks))) for s in (0, 50))
    return [Preference(t, g.reply, b.reply, gap) for t, g, b in zip(tasks, good, bad, strict=True)]


KINDS = [("image",), ("text",), ("thinking",), ("thinking", "image", "text")]


@pytest.mark.parametrize("kinds", KINDS, ids=lambda kinds: "-".join(kinds))
def test_unchanged_weights_give_the_loss_of_no_opinion(kinds):
    model = Echo()
    loss, numbers = dpo(model, copy.deepcopy(model), pairs_of(model, kinds), 0)
    assert float(loss.detach()) == pytest.approx(math.log(2), abs=1e-6)
    assert numbers["margin"] == 0.0 and numbers["ties"] == 0.0


@pytest.mark.parametrize("kinds", KINDS, ids=lambda kinds: "-".join(kinds))
def test_training_makes_the_chosen_replies_likelier_than_the_rejected(kinds):
    model = Echo()
    aligner = Aligner(model, copy.deepcopy(model), DpoSettings(draws=2))
    pairs = pairs_of(model, kinds)
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    rng = torch.Generator().manual_seed(0)
    for _ in range(25):
        optimizer.zero_grad()
        loss, numbers = align(aligner.train(), pairs, rng)
        loss.backward()
        optimizer.step()
    assert numbers["accuracy"] == 1.0 and numbers["margin"] > 0.5 and float(loss.detach()) < 0.5
    assert not any(p.requires_grad for p in aligner.reference.parameters())


def test_the_loss_is_the_log_sigmoid_of_four_log_probabilities():
    torch.manual_seed(0)
    policy, reference = Echo(0), Echo(1)
    pairs = pairs_of(policy, ("text",))
    loss, numbers = dpo(policy, reference, pairs, 3, DpoSettings(beta=0.3, draws=1))

    def score(model, side):
        samples = [replace(s, reply=getattr(p, side)) for s, p in zip(_samples(pairs), pairs, strict=True)]
        return log_prob(model, samples, draws(model, samples, [0] * len(samples)))[0].total.detach()

    ratio = {side: score(policy, side) - score(reference, side) for side in ("chosen", "rejected")}
    wanted = -torch.nn.functional.logsigmoid(0.3 * (ratio["chosen"] - ratio["rejected"])).mean()
    torch.testing.assert_close(loss.detach(), wanted)
    assert numbers["margin"] == pytest.approx(float(0.3 * (ratio["chosen"] - ratio["rejected"]).mean()), rel=1e-4)


def _samples(pairs):
    return [Sample(pair.task, pair.chosen) for pair in pairs]


def spread(how, times=40):
    """The variance of the loss over draws, for a policy near its reference."""
    policy, reference = Echo(0), Echo(0)
    with torch.no_grad():
        for p in policy.parameters():
            torch.manual_seed(p.numel())
            p.add_(0.2 * torch.randn_like(p))
    pairs = pairs_of(reference, ("image",))
    losses = [float(dpo(policy, reference, pairs, seed, how)[1]["margin"]) for seed in range(times)]
    return torch.tensor(losses).var()


def test_shared_masks_and_several_draws_are_less_noisy_than_the_published_estimator():
    published = spread(replace(OFFICIAL, table=False))
    shared = spread(DpoSettings(draws=1))
    averaged = spread(DpoSettings(draws=8))
    assert averaged < shared < published and averaged < 0.3 * published


def test_length_is_no_advantage_where_it_is_divided_away():
    policy, reference = Echo(0), Echo(1)
    (pair,) = pairs_of(policy, ("text",), 1)
    for length in ("sum", "mean"):
        _, numbers = dpo(policy, reference, [pair], 0, DpoSettings(length=length, draws=1))
        sides = {}
        for side in ("chosen", "rejected"):
            sample = [Sample(pair.task, getattr(pair, side))]
            drawn = draws(policy, sample, [0])
            with torch.no_grad():
                ours, theirs = (log_prob(model, sample, drawn)[0] for model in (policy, reference))
            name = {"sum": "total", "mean": "mean"}[length]
            sides[side] = float(getattr(ours, name) - getattr(theirs, name))
        assert numbers["chosen"] == pytest.approx(0.1 * sides["chosen"], rel=1e-4)
        assert numbers["margin"] == pytest.approx(0.1 * (sides["chosen"] - sides["rejected"]), rel=1e-3, abs=1e-6)


def test_margins_are_asked_on_top_and_ties_are_dropped_or_kept_even():
    zero = torch.zeros(2)
    losses, _ = preference_loss(zero, zero, zero, zero, 0.1, torch.tensor([0.0, 2.0]))
    assert losses[1] > losses[0] == pytest.approx(math.log(2))
    losses, logits = preference_loss(zero + 30, zero, zero, zero, 0.1, 0.0, torch.tensor([False, True]))
    assert losses[1] > losses[0] and float(logits[0]) == pytest.approx(3.0)
    even, _ = preference_loss(zero, zero, zero, zero, 0.1, 0.0, torch.tensor([True, True]))
    assert float(even[0]) == pytest.approx(math.log(2))
    model = Echo()
    pairs = pairs_of(model, ("image",))
    mixed = [replace(pairs[0], gap=0.0), replace(pairs[1], gap=0.4), pairs[2]]
    _, numbers = dpo(model, Echo(1), mixed, 0, DpoSettings(draws=1))
    assert numbers["ties"] == pytest.approx(1 / 3)
    loss, numbers = dpo(model, Echo(1), [replace(p, gap=0.0) for p in pairs], 0)
    assert float(loss.detach()) == 0.0 and numbers["ties"] == 1.0 and loss.requires_grad
    loss, _ = dpo(model, model, [replace(p, gap=0.1) for p in pairs], 0, DpoSettings(least=0.2, ties="even"))
    assert float(loss.detach()) == pytest.approx(math.log(2), abs=1e-6)


def test_some_parts_may_be_scored_alone_and_the_chosen_reply_taught():
    policy, reference = Echo(0), Echo(1)
    pairs = pairs_of(policy, ("thinking", "image"))
    _, both = dpo(policy, reference, pairs, 0)
    _, alone = dpo(policy, reference, pairs, 0, DpoSettings(kinds=("image",)))
    assert both["margin"] != alone["margin"]
    loss, numbers = dpo(policy, reference, pairs, 0, DpoSettings(dpo=0.0, sft=1.0))
    assert float(loss.detach()) == pytest.approx(numbers["sft"]) and numbers["sft"] > 0


def test_dropped_conditions_are_scored_apart_and_change_nothing_else():
    policy, reference = Echo(0), Echo(1)
    pairs = pairs_of(policy, ("image",))
    whole = [dpo(policy, reference, [pair], 0, DpoSettings(draws=1))[1]["margin"] for pair in pairs[:1]]
    again = [dpo(policy, reference, [pair], 0, DpoSettings(draws=1, drop=0.5))[1]["margin"] for pair in pairs[:1]]
    some = {round(dpo(policy, reference, pairs, s, DpoSettings(draws=1, drop=0.5))[1]["margin"], 6) for s in range(4)}
    assert len(some) > 1 and len(whole) == len(again)


class Likes:
    about = About("likes")

    def __call__(self, question, samples):
        return [unjudged("") if s.seed % 5 == 0 else Opinion(float(s.reply[-1].raw.count(3)) / 16) for s in samples]


def test_the_published_guidance_is_a_number_and_ours_teaches():
    assert official_guidance([0.5, 0.25]) == pytest.approx(0.1 * (math.log(2) + math.log(4)) / 2)
    model, plan = Echo(), (Ask("image", temperature=1.0),)
    tasks = [Task((user("a red cat"),)), Task((user("hi"),))]
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    seen = []
    for step in range(30):
        optimizer.zero_grad()
        loss, numbers = guidance(model, tasks, plan, Likes(), step, group=8, weight=1.0)
        loss.backward()
        optimizer.step()
        seen.append(numbers["guide"])
    assert sum(seen[-5:]) > 2 * sum(seen[:5]) and 0 <= numbers["guide_unjudged"] < 0.6
    with pytest.raises(ValueError, match="group=1"):
        guidance(model, tasks, plan, Likes(), 0, group=1)


def test_impossible_settings_are_refused():
    for options, said in (({"beta": 0.0}, "beta=0"), ({"draws": 0}, "draws=0"), ({"drop": 1.0}, "drop=1")):
        with pytest.raises(ValueError, match=said):
            DpoSettings(**options)
    with pytest.raises(ValueError, match="empty reply"):
        dpo(Echo(), Echo(), [Preference(Task((user("x"),)), (), ())], 0)
