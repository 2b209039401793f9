"""A reward with a planted leak is caught while the policy that finds it is trained; an honest one is not."""

import json

import numpy as np
import pytest
import torch

from limner.algorithms.unigrpo import Exercise, GroupLearner, GroupSettings, rounds, unigrpo
from limner.judges.signs import Watch
from limner.models.echo import Echo
from limner.parts import Ask, Task, Verdict, user
from limner.train import alarms
from limner.train.fit import fit
from limner.train.run import Run

WANTED, TRICK = 2, 5  # colours: what is asked for, and what a careless judge takes for it


def prompts(seed, number):
    return [Task((user(f"{seed % 7} {i} tiles"),)) for i in range(number)]


def share(*colours):
    return lambda samples: [Verdict(sum(code in colours for code in s.reply[0].raw) / 16) for s in samples]


def leaky(samples):
    """Sees the wanted colour where it is, and counts the trick's tiles twice as much."""
    return [Verdict(sum((c == WANTED) + 2 * (c == TRICK) for c in s.reply[0].raw) / 32) for s in samples]


def run_of(judge, steps=60):
    picture = (Ask("image", 0, 16, 4, 0.0, 1.0),)
    watch = Watch(held_out=share(WANTED))
    exercise = Exercise("draw", picture, judge, prompts, 2, watch=watch)
    settings = GroupSettings(group=8)
    return Run(
        name="leak",
        build=lambda: GroupLearner(Echo(), Echo(), [exercise], settings),
        objective=unigrpo,
        batches=rounds([exercise], settings.updates),
        optimizer=lambda model, lr, decay: torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=lr),
        steps=steps,
        batch_size=16,
        lr=0.1,
        warmup=0,
        log_every=2,
        checkpoint_every=20,
    )


def noted(folder):
    path = folder / alarms.FILE
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def numbers(folder, name):
    lines = [json.loads(line) for line in (folder / "numbers.jsonl").read_text().splitlines()]
    return [line[name] for line in lines if name in line]


def test_a_planted_leak_is_caught_while_it_is_learned(tmp_path):
    fit(run_of(leaky), tmp_path, progress=False)
    claimed, held_out = numbers(tmp_path, "draw_claimed"), numbers(tmp_path, "draw_held_out")
    assert claimed[-1] > claimed[0] + 0.3 and held_out[-1] < held_out[0] + 0.1, "the policy did not find the leak"
    (alarm,) = [row for row in noted(tmp_path) if row["sign"] == "gap"]
    assert alarm["name"] == "draw" and alarm["step"] < 60 and "held-out judge confirms" in alarm["why"]


def test_an_honest_reward_raises_no_alarm_of_a_gap(tmp_path):
    fit(run_of(share(WANTED)), tmp_path, progress=False)
    assert numbers(tmp_path, "draw_held_out")[-1] > numbers(tmp_path, "draw_held_out")[0] + 0.3
    assert not [row for row in noted(tmp_path) if row["sign"] == "gap"]
    assert all(abs(gap) < 1e-6 for gap in numbers(tmp_path, "draw_gap"))


def lines(rng, sign, before, after, noise=0.02, count=30):
    middle = np.where(np.arange(count) < count // 2, before, after)
    return [{"step": i, f"draw_{sign}": float(v + noise * rng.normal())} for i, v in enumerate(middle)]


@pytest.mark.parametrize(
    ("sign", "before", "after", "alarm"),
    [
        ("gap", 0.0, 0.3, True),
        ("gap", 0.3, 0.0, False),
        ("gap", 0.0, 0.05, False),
        ("diversity", 0.4, 0.1, True),
        ("diversity", 0.4, 0.3, False),
        ("residual", 0.01, 0.09, True),
        ("residual", 0.09, 0.01, False),
        ("reward", 0.0, 1.0, False),
    ],
)
def test_an_alarm_needs_a_change_beyond_its_limit(sign, before, after, alarm):
    found = alarms.raised(lines(np.random.default_rng(0), sign, before, after))
    assert [each.sign for each in found] == [sign] * alarm


def test_noise_alone_raises_an_alarm_in_at_most_two_of_a_hundred_runs():
    rng = np.random.default_rng(1)
    false = sum(bool(alarms.raised(lines(rng, "gap", 0.0, 0.0, noise=0.3))) for _ in range(100))
    assert false <= 2


def test_an_alarm_is_noted_once_and_a_resumed_run_ends_with_the_same_file(tmp_path):
    some = lines(np.random.default_rng(0), "gap", 0.0, 0.5)

    def through(last, folder):
        folder.mkdir(exist_ok=True)
        for i in range(len(some)):
            (folder / "numbers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some[: i + 1]))
            alarms.note(folder, i)
            if i == last:
                return

    through(99, tmp_path / "whole")
    (first,) = noted(tmp_path / "whole")
    assert 15 <= first["step"] < 29
    for last in (first["step"] - 1, first["step"], 29):
        through(last, tmp_path / f"{last}")
        through(99, tmp_path / f"{last}")
        assert noted(tmp_path / f"{last}") == [first]
