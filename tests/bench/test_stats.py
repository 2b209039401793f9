import random

import pytest

from limner.bench.stats import paired, share


def test_a_share_is_the_mean_over_prompts_and_lies_in_its_interval():
    found = share([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    assert found.mean == pytest.approx(0.5) and found.low < 0.5 < found.high
    assert (found.prompts, found.total, found.unjudged) == (3, 6, 0)


def test_what_was_not_judged_is_left_out_and_counted():
    found = share([[1.0, None], [None, None], [0.0, 0.0]])
    assert found.mean == 0.5 and found.prompts == 2 and found.unjudged == 3
    with pytest.raises(ValueError, match="nothing was judged"):
        share([[None]])


def test_the_interval_of_a_perfect_score_is_not_a_point():
    found = share([[1.0]] * 20)
    assert found.mean == 1.0 and 0.8 < found.low < 0.9


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = random.Random(0)
    inside = 0
    for trial in range(200):
        rows = [[float(rng.random() < 0.7)] for _ in range(60)]
        found = share(rows, draws=500, seed=trial)
        inside += found.low <= 0.7 <= found.high
    assert inside >= 180, "95% intervals: fewer than 180 of 200 happens about once in 1,000"


def test_a_paired_difference_sees_what_two_shares_apart_would_not():
    a = [0.9, 0.5, 0.1, 0.7] * 25
    mean, low, high = paired(a, [x - 0.05 for x in a])
    assert mean == pytest.approx(0.05) and low > 0.04 and high < 0.06
    with pytest.raises(ValueError, match="equally long"):
        paired([1.0], [])


def test_a_few_prompts_that_differ_prove_nothing():
    for several, proven in ((1, False), (5, False), (6, True)):  # 0.5^6 < 2.5% < 0.5^5
        change, low, high = paired([0.0] * several + [1.0] * 20, [1.0] * (several + 20))
        assert change == -several / (several + 20) and low < 0 and (high < 0) == proven
    assert paired([0.0] * 6, [1.0] * 6, level=0.99)[2] == 0.0
