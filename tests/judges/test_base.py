import pytest

from limner.judges.base import weigh
from limner.parts import Sample, Task, Text, Verdict, user


def sample(text):
    return Sample(Task((user("x"),)), (Text(text),))


def length(samples):
    return [Verdict(float(len(s.text)), why=f"{len(s.text)} letters") for s in samples]


def shy(samples):
    return [Verdict(1.0) if "a" in s.text else Verdict(None, why="cannot read it") for s in samples]


def test_scores_are_weighed_and_kept_by_name():
    (verdict,) = weigh(length=(length, 2.0), shy=(shy, -0.5))([sample("banana")])
    assert verdict.score == 11.5 and verdict.parts == {"length": 6.0, "shy": 1.0} and verdict.why == "length: 6 letters"


def test_what_could_not_be_judged_is_never_a_zero():
    (verdict,) = weigh(length=(length, 2.0), shy=(shy, 1.0))([sample("moon")])
    assert verdict.score is None and verdict.parts == {"length": 4.0, "shy": None}
    assert verdict.why == "length: 4 letters; shy: cannot read it"


def test_samples_are_judged_in_one_batch_each_and_in_order():
    batches = []

    def counting(samples):
        batches.append(len(samples))
        return length(samples)

    verdicts = weigh(a=(counting, 1.0), b=(counting, 1.0))([sample("x" * n) for n in (3, 1, 2)])
    assert batches == [3, 3] and [verdict.score for verdict in verdicts] == [6.0, 2.0, 4.0]


def test_judges_can_be_nested():
    inner = weigh(length=(length, 1.0))
    assert weigh(all=(inner, 3.0))([sample("ab")])[0].score == 6.0


def test_no_judges_are_refused():
    with pytest.raises(ValueError, match="at least one named judge"):
        weigh()


def test_a_judge_that_leaves_samples_out_is_refused():
    with pytest.raises(ValueError, match="'lazy' gave 1 verdicts for 2 samples"):
        weigh(lazy=(lambda samples: length(samples)[:1], 1.0))([sample("a"), sample("b")])
