from dataclasses import replace
from itertools import islice

import pytest
import torch

from limner.algorithms.noising import Noising
from limner.algorithms.policy_gradient import Clipped
from limner.algorithms.unigrpo import (
    PAPER,
    TRAINER,
    Exercise,
    GroupLearner,
    GroupSettings,
    Scoring,
    maskgrpo,
    rounds,
    unigrpo,
)
from limner.judges.base import weigh
from limner.models.echo import Echo
from limner.parts import Ask, Task, Verdict, user

WORDS = ("a red cat", "hi", "two dogs", "seven")
ANY = torch.Generator()


def prompts(seed, number):
    return [Task((user(WORDS[(seed + i) % len(WORDS)]),)) for i in range(number)]


def colour(code):
    """The share of tiles of one colour."""
    return lambda samples: [Verdict(s.first("image").raw.count(code) / 16) for s in samples]


def letter(samples):
    return [Verdict(s.text.count("a") / 8 if s.text else 0.0) for s in samples]


PICTURE = Exercise("draw", (Ask("image", temperature=1.0),), colour(4), prompts, 2)
ALL = Exercise(
    "all",
    (Ask("thinking", 16, temperature=1.0), Ask("text", 8, temperature=1.0), Ask("image", temperature=1.0)),
    weigh(colour=(colour(4), 1.0), letter=(letter, 0.5)),
    prompts,
    2,
)


def learner(exercise=ALL, settings=None, **changes):
    settings = replace(settings or GroupSettings(), **{"group": 4, **changes})
    return GroupLearner(Echo(seed=0), Echo(seed=0), [exercise], settings)


def some_rounds(student, seed=0):
    return rounds(student.exercises, student.settings.updates)(seed, 0, 1)


def practise(student, steps, lr, seed=0):
    optimizer = torch.optim.Adam([p for p in student.parameters() if p.requires_grad], lr=lr)
    found = []
    for now in islice(some_rounds(student, seed), steps):
        optimizer.zero_grad()
        loss, numbers = unigrpo(student, now, ANY)
        loss.backward()
        optimizer.step()
        found.append(numbers)
    return found


@pytest.mark.parametrize("settings", [GroupSettings(), PAPER, TRAINER, maskgrpo(GroupSettings())])
def test_with_unchanged_weights_every_ratio_is_exactly_one(settings):
    student = learner(settings=replace(settings, updates=3))
    for now in islice(some_rounds(student), 3):
        _, numbers = unigrpo(student, now, ANY)
        for part, ask in enumerate(ALL.plan):
            draws = student.draws(ALL, now, part)
            old = student.get_buffer(f"all_old_{part}")
            for place, (draw, counted) in enumerate(draws):
                new = student._score(student.policy, ALL, now, part, draw, list(range(8)))
                assert torch.equal(new.detach(), old[place]) and counted.any(dim=1).all()
                assert torch.equal(((new - old[place]).exp() * counted)[counted], torch.ones(int(counted.sum())))
            assert numbers[f"all_{ask.kind}_kl"] == 0 and numbers[f"all_{ask.kind}_clip_fraction"] == 0


def test_equal_rewards_leave_the_weights_alone():
    student = learner(replace(ALL, judge=lambda samples: [Verdict(1.0)] * len(samples)))
    loss, numbers = unigrpo(student, next(some_rounds(student)), ANY)
    loss.backward()
    assert all(p.grad is None or not p.grad.any() for p in student.policy.parameters())
    assert numbers["all_telling_groups"] == 0 and numbers["all_reward"] == 1.0


def test_every_named_reward_and_every_part_is_reported():
    student = learner()
    _, numbers = unigrpo(student, next(some_rounds(student)), ANY)
    wanted = {"reward", "colour", "letter", "unjudged", "telling_groups"}
    wanted |= {f"{k}_{n}" for k in ("thinking", "text", "image") for n in ("kl", "clip_fraction", "ratio")}
    assert set(numbers) == {f"all_{name}" for name in wanted}
    assert numbers["all_reward"] == pytest.approx(numbers["all_colour"] + 0.5 * numbers["all_letter"])


def test_the_second_update_uses_the_same_replies_and_leaves_ratio_one():
    student = learner(PICTURE)
    first, second = practise(student, 2, lr=0.3)
    assert "draw_reward" in first and "draw_reward" not in second
    assert first["draw_image_ratio"] == pytest.approx(1.0) and second["draw_image_ratio"] != pytest.approx(1.0)
    assert second["draw_image_kl"] > 0 and second["draw_image_clip_fraction"] > 0


@pytest.mark.parametrize("emerge", [False, True])
def test_a_bandit_of_colours_is_learned(emerge):
    settings = maskgrpo(GroupSettings()) if emerge else GroupSettings()
    student = learner(PICTURE, settings, group=8)
    rewards = [n["draw_reward"] for n in practise(student, 60, lr=0.1) if "draw_reward" in n]
    assert rewards[0] < 0.3 and sum(rewards[-3:]) / 3 > 0.6


def test_words_from_left_to_right_and_in_blocks_are_learned():
    for kind in ("text", "thinking"):
        exercise = Exercise(
            "say",
            (Ask(kind, 8, temperature=1.0),),
            lambda samples: [Verdict(sum(v == ord("z") for v in s.reply[0].raw) / 8) for s in samples],
            prompts,
            2,
        )
        student = learner(exercise, group=8)
        with torch.no_grad():
            student.policy.strength.fill_(0.0)
        rewards = [n["say_reward"] for n in practise(student, 60, lr=0.2) if "say_reward" in n]
        assert rewards[0] < 0.1 and sum(rewards[-3:]) / 3 > 0.3, (kind, rewards)


def test_scoring_a_few_rows_at_a_time_gives_the_same_gradient():
    grads, losses = [], []
    for rows in (0, 3):
        student = learner(rows=rows)
        loss, _ = unigrpo(student, next(some_rounds(student)), ANY)
        loss.backward()
        grads.append(torch.cat([p.grad.flatten() for p in student.policy.parameters() if p.grad is not None]))
        losses.append(float(loss.detach()))
    assert losses[0] == pytest.approx(losses[1], abs=1e-6) and torch.allclose(*grads, atol=1e-6)
    assert grads[0].abs().sum() > 0


def odd(samples):
    """Rewards the first prompt's replies alike and the second's by chance."""
    half = len(samples) // 2
    return [Verdict(1.0 if i < half else float(sum(s.first("image").raw) % 2)) for i, s in enumerate(samples)]


@pytest.mark.parametrize("updates", [1, 2])
def test_scoring_the_telling_groups_alone_gives_the_same_gradient_of_the_reward(updates):
    free = Scoring(Clipped(beta=0.0))
    grads, scored = [], []
    for telling in (False, True):
        student = learner(
            replace(PICTURE, judge=odd), words=free, pictures=free, telling=telling, group=8, updates=updates
        )
        for now in islice(some_rounds(student), updates):
            loss, numbers = unigrpo(student, now, ANY)
            loss.backward()
        assert numbers["draw_image_ratio"] == pytest.approx(1.0)
        grads.append(torch.cat([p.grad.flatten() for p in student.policy.parameters() if p.grad is not None]))
        scored.append(sum(map(len, student._batches(student.exercises[0]))))
    assert torch.allclose(*grads, atol=1e-6) and grads[0].abs().sum() > 0
    assert scored == [16, 8]


def test_a_round_that_teaches_nothing_still_has_a_loss():
    student = learner(replace(PICTURE, judge=lambda samples: [Verdict(1.0)] * len(samples)), telling=True)
    loss, numbers = unigrpo(student, next(some_rounds(student)), ANY)
    loss.backward()
    assert float(loss.detach()) == 0 and numbers["draw_telling_groups"] == 0


def test_a_run_stopped_between_two_updates_goes_on_to_the_same_weights():
    whole, begun = learner(), learner()
    practise(whole, 2, lr=0.1)
    # the optimiser is plain here, so that its state is nothing
    for student in (whole, begun):
        student.load_state_dict(learner().state_dict())
    results = []
    for stops in (False, True):
        student = learner()
        for now in islice(some_rounds(student), 2):
            student.zero_grad()
            unigrpo(student, now, ANY)[0].backward()
            with torch.no_grad():
                for p in student.policy.parameters():
                    p.sub_(p.grad * 0.1 if p.grad is not None else 0.0)
            if stops:
                state, student = student.state_dict(), learner()
                student.load_state_dict(state)
        results.append(student.policy.state_dict())
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


def test_rounds_depend_on_seed_and_step_alone():
    student = learner()
    from_start = list(islice(rounds(student.exercises, 2)(7, 0, 1), 6))
    assert list(islice(rounds(student.exercises, 2)(7, 3, 1), 3)) == from_start[3:]
    assert [now.update for now in from_start] == [0, 1] * 3
    assert from_start[0].seed == from_start[1].seed != from_start[2].seed
    assert from_start[0].tasks == from_start[1].tasks


def test_unjudged_replies_are_counted_and_teach_nothing():
    student = learner(replace(PICTURE, judge=lambda samples: [Verdict(None)] * len(samples)))
    loss, numbers = unigrpo(student, next(some_rounds(student)), ANY)
    assert numbers["draw_unjudged"] == 1.0 and numbers["draw_telling_groups"] == 0 and float(loss.detach()) == 0


def test_a_learner_never_trains_its_reference_nor_drops_out():
    student = learner().train()
    assert not student.policy.training and not any(p.requires_grad for p in student.reference.parameters())
    none = Scoring(Clipped(beta=0.0), Noising())
    assert GroupLearner(Echo(), None, [ALL], GroupSettings(words=none, pictures=none)).reference is None


def test_what_cannot_be_learned_is_refused():
    with pytest.raises(ValueError, match="needs a reference"):
        GroupLearner(Echo(), None, [ALL], GroupSettings())
    with pytest.raises(ValueError, match="temperature 0"):
        learner(replace(PICTURE, plan=(Ask("text", 8),)))
    with pytest.raises(ValueError, match="group=1"):
        GroupSettings(group=1)
    with pytest.raises(ValueError, match="name of its own"):
        GroupLearner(Echo(), Echo(), [ALL, ALL], GroupSettings())
    wrong = learner(replace(PICTURE, judge=lambda samples: [Verdict(1.0)]))
    with pytest.raises(ValueError, match="1 verdicts for 8 samples"):
        unigrpo(wrong, next(some_rounds(wrong)), ANY)


def test_a_policy_that_scores_differently_from_its_replies_is_caught():
    student = learner(PICTURE)
    score, calls = student._score, []

    def noisy(*args):
        calls.append(0)
        return score(*args) + 0.01 * len(calls)

    student._score = noisy
    with pytest.raises(ValueError, match="ratios are not 1 at the first update"):
        unigrpo(student, next(some_rounds(student)), ANY)
