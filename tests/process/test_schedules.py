import pytest
from hypothesis import given
from hypothesis import strategies as st

from limner.process.schedules import SCHEDULES, cosine, power, shares


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_everything_is_hidden_at_first_and_nothing_at_last(name):
    gamma = SCHEDULES[name]
    assert gamma(0.0) == pytest.approx(1.0, abs=1e-12)
    assert gamma(1.0) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_less_is_hidden_as_time_goes_on(name):
    gamma = SCHEDULES[name]
    path = [gamma(i / 200) for i in range(201)]
    assert all(0.0 <= value <= 1.0 for value in path)
    assert all(later <= earlier for earlier, later in zip(path, path[1:], strict=False))
    assert path[0] > path[100] > path[200]


def test_schedules_have_their_papers_values():
    assert cosine(1 / 3) == pytest.approx(0.8660254037844387)
    assert power(2.0)(0.5) == 0.75 and power(0.5)(0.25) == 0.5


@given(st.integers(0, 2000), st.integers(1, 300))
def test_shares_add_up_and_differ_by_one_at_most(total, steps):
    parts = shares(total, steps)
    assert sum(parts) == total and len(parts) == steps
    assert parts == sorted(parts, reverse=True) and parts[0] - parts[-1] <= 1


def test_no_steps_cannot_share_anything():
    with pytest.raises(ValueError, match="steps=0"):
        shares(5, 0)
