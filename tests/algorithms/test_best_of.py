import pytest

from limner.algorithms.best_of import best_of
from limner.models.echo import Echo
from limner.parts import Ask, Task, Verdict, user

MODEL = Echo(seed=0)
TASKS = [Task((user("a red cat"),)), Task((user("hi"),)), Task((user("two dogs"),))]
PLAN = (Ask("image"),)


def brightness(samples):
    return [Verdict(float(sum(sample.image.convert("L").tobytes()))) for sample in samples]


def test_the_best_of_more_is_never_worse():
    scores = [[v.score for _, v in best_of(MODEL, TASKS, PLAN, brightness, n, seed=3)] for n in (1, 2, 4, 8)]
    for fewer, more in zip(scores, scores[1:], strict=False):
        assert all(b >= a for a, b in zip(fewer, more, strict=True))
    assert sum(scores[-1]) > sum(scores[0])


def test_the_winner_has_the_highest_score_of_its_own_task():
    seen = []

    def judge(samples):
        seen.extend(zip(samples, brightness(samples), strict=True))
        return [verdict for _, verdict in seen]

    winners = best_of(MODEL, TASKS, PLAN, judge, 5)
    assert len(seen) == 15
    for task, (sample, verdict) in zip(TASKS, winners, strict=True):
        assert sample.task == task
        assert verdict.score == max(v.score for s, v in seen if s.task == task)


def test_the_first_of_equals_wins():
    first = best_of(MODEL, TASKS, PLAN, lambda samples: [Verdict(1.0)] * len(samples), 4)
    alone = best_of(MODEL, TASKS, PLAN, lambda samples: [Verdict(1.0)] * len(samples), 1)
    assert [sample for sample, _ in first] == [sample for sample, _ in alone]


def test_what_could_not_be_judged_loses_even_to_a_negative_score():
    def judge(samples):
        return [Verdict(-5.0) if i % 4 == 2 else Verdict(None) for i in range(len(samples))]

    assert [verdict.score for _, verdict in best_of(MODEL, TASKS, PLAN, judge, 4)] == [-5.0] * 3
    nothing = best_of(MODEL, TASKS, PLAN, lambda samples: [Verdict(None)] * len(samples), 2)
    assert [verdict.score for _, verdict in nothing] == [None] * 3


def test_seeds_are_reproducible_and_apart():
    def pictures(seed):
        return [sample.reply for sample, _ in best_of(MODEL, TASKS, PLAN, brightness, 2, seed=seed, batch=5)]

    assert pictures(0) == pictures(0) and pictures(0) != pictures(1)


def test_zero_samples_and_missing_verdicts_are_refused():
    with pytest.raises(ValueError, match="n=0"):
        best_of(MODEL, TASKS, PLAN, brightness, 0)
    with pytest.raises(ValueError, match="1 verdicts for 6 samples"):
        best_of(MODEL, TASKS, PLAN, lambda samples: [Verdict(1.0)], 2)
