"""Whether a verifier's answers can be believed."""

import math

import pytest

from limner.algorithms.verify.calibration import by_step, ece, roc
from limner.algorithms.verify.search import Event
from limner.judges.verifier import Opinion


def test_the_calibration_error_is_the_gap_between_saying_and_being():
    assert ece([0.75] * 4, [True, True, True, False]) == pytest.approx(0.0)
    assert ece([0.9] * 10, [True] * 5 + [False] * 5) == pytest.approx(0.4)
    assert ece([0.05, 0.95], [True, False]) == pytest.approx(0.95)
    assert ece([1.0, 0.0], [True, False]) == 0.0


def test_the_area_is_the_chance_of_a_right_order():
    points, area = roc([0.9, 0.8, 0.3, 0.1], [True, False, True, False])
    assert area == pytest.approx(0.75) and points[0] == (0.0, 0.0) and points[-1] == (1.0, 1.0)
    assert roc([0.5, 0.5], [True, False])[1] == pytest.approx(0.5)
    assert roc([0.2, 0.9], [False, True])[1] == 1.0
    assert math.isnan(roc([0.2, 0.9], [True, True])[1])
    with pytest.raises(ValueError, match="2 answers and 1 truths"):
        roc([0.2, 0.9], [True])


def test_steps_are_told_apart_and_unknown_fates_left_out():
    def look(path, step, yes, question="potential"):
        opinion = Opinion(yes) if yes is not None else Opinion(None, text="late")
        return Event("look", "cat", 0, 0, path, 1, step, 4, question, opinion)

    events = [look(0, 1, 0.6), look(1, 1, 0.4), look(0, 2, 0.9), look(1, 2, 0.2), look(2, 2, 0.5), look(0, 3, None)]
    rows = by_step([*events, look(0, 1, 0.1, "clarity")], {("cat", 0, 0): True, ("cat", 0, 1): False})
    assert [(row["step"], row["looks"], row["auc"]) for row in rows] == [(1, 2, 1.0), (2, 2, 1.0)]
    assert rows[0]["ece"] == pytest.approx(0.4) and rows[1]["mean"] == pytest.approx(0.55)
