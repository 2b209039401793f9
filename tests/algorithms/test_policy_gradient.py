import math

import pytest
import torch

from limner.algorithms.policy_gradient import Clipped, averaging, clipped_objective, group_advantages, held_back

GENERATOR = torch.Generator().manual_seed(0)


def rand(*shape):
    return torch.randn(*shape, generator=GENERATOR)


def everything(*shape):
    return torch.ones(*shape, dtype=torch.bool)


def test_unchanged_weights_have_ratio_one_and_the_plain_policy_gradient():
    new = rand(3, 5).requires_grad_()
    advantages = torch.tensor([1.0, -2.0, 0.5])
    parts = clipped_objective(new, new.detach(), None, advantages, everything(3, 5), Clipped())
    parts.loss(0.0).backward()
    assert float(parts.ratio) == pytest.approx(1.0, abs=1e-6) and float(parts.clipped) == 0.0
    assert torch.allclose(new.grad, -advantages[:, None].expand(3, 5) / 15)


def test_zero_advantage_gives_no_policy_gradient():
    new = rand(2, 4).requires_grad_()
    clipped_objective(new, rand(2, 4), None, torch.zeros(2), everything(2, 4), Clipped()).loss(0.0).backward()
    assert torch.equal(new.grad, torch.zeros(2, 4))


@pytest.mark.parametrize(
    "ratio, advantage, moves", [(1.5, 1.0, False), (1.5, -1.0, True), (0.5, 1.0, True), (0.5, -1.0, False)]
)
def test_the_clip_stops_only_what_went_too_far_the_wanted_way(ratio, advantage, moves):
    new = torch.full((1, 1), math.log(ratio), requires_grad=True)
    old, advantages = torch.zeros(1, 1), torch.tensor([advantage])
    parts = clipped_objective(new, old, None, advantages, everything(1, 1), Clipped())
    parts.loss(0.0).backward()
    assert (new.grad.abs().item() > 0) == moves and bool(parts.clipped) == (not moves)
    assert bool(held_back(torch.tensor([[ratio]]), advantages, 0.2, 0.2)) == (not moves)
    bounded = min(ratio * advantage, min(max(ratio, 0.8), 1.2) * advantage)
    assert float(parts.gain.detach()) == pytest.approx(bounded)


def test_the_upper_clip_may_be_wider():
    new, old = torch.full((1, 1), math.log(1.25)), torch.zeros(1, 1)
    parts = clipped_objective(new, old, None, torch.ones(1), everything(1, 1), Clipped(low=0.2, high=0.28))
    assert float(parts.clipped) == 0.0 and float(parts.gain) == pytest.approx(1.25)


@pytest.mark.parametrize("ratio", ["token", "sequence"])
def test_the_divergence_is_not_negative_and_zero_for_equals(ratio):
    new, reference = rand(4, 6), rand(4, 6)
    settings = Clipped(ratio=ratio)
    apart = clipped_objective(new, new, reference, torch.zeros(4), everything(4, 6), settings)
    same = clipped_objective(new, new, new.clone(), torch.zeros(4), everything(4, 6), settings)
    assert float(apart.divergence) > 0 and float(same.divergence) == 0


def test_a_beta_pulls_towards_the_reference():
    new = torch.zeros(1, 3, requires_grad=True)
    reference = torch.tensor([[0.5, -0.5, 0.0]])
    clipped_objective(new, new.detach(), reference, torch.zeros(1), everything(1, 3), Clipped()).loss(1.0).backward()
    assert new.grad[0, 0] < 0 < new.grad[0, 1] and new.grad[0, 2] == 0


def test_averages_count_rows_or_values():
    counted = torch.tensor([[True, True, True, True], [True, False, False, False]])
    values = torch.tensor([[1.0, 1.0, 1.0, 1.0], [3.0, 9.0, 9.0, 9.0]])
    found = {how: float((averaging(counted, how) * values).sum()) for how in ("rows", "tokens", "length")}
    assert found == pytest.approx({"rows": 2.0, "tokens": 7 / 5, "length": 7 / 8})


def test_rows_scored_apart_add_up_to_the_whole():
    new, old, reference, advantages = rand(4, 5), rand(4, 5), rand(4, 5), rand(4)
    counted = torch.rand(4, 5, generator=GENERATOR) < 0.6
    for average in ("rows", "tokens", "length"):
        settings = Clipped(average=average)
        whole = clipped_objective(new, old, reference, advantages, counted, settings)
        weights = averaging(counted, average)
        some = [
            clipped_objective(new[r], old[r], reference[r], advantages[r], counted[r], settings, weights[r])
            for r in (slice(0, 1), slice(1, 4))
        ]
        assert float(sum(p.gain for p in some)) == pytest.approx(float(whole.gain), rel=1e-5)
        assert float(sum(p.divergence for p in some)) == pytest.approx(float(whole.divergence), rel=1e-5)


def test_what_is_not_counted_has_no_gradient():
    new = rand(2, 4).requires_grad_()
    counted = torch.tensor([[True, False, True, False], [False, False, True, True]])
    clipped_objective(new, rand(2, 4), rand(2, 4), rand(2), counted, Clipped()).loss(0.1).backward()
    assert torch.equal(new.grad != 0, counted)


def test_advantages_are_standardised_in_their_group():
    found = group_advantages([1.0, 0.0, 0.0, 1.0, 5.0, 5.0, 5.0, 5.0], 4, spread="population", delta=0.0)
    assert found.tolist() == [1, -1, -1, 1, 0, 0, 0, 0]
    sample = group_advantages([1.0, 0.0, 0.0, 1.0], 4, delta=0.0)
    assert sample.std() == pytest.approx(1.0) and sample.mean() == pytest.approx(0.0)
    assert group_advantages([3.0, 1.0], 2, spread="none").tolist() == [1.0, -1.0]


def test_what_could_not_be_judged_takes_no_part():
    found = group_advantages([1.0, None, 0.0, None], 4, spread="none")
    assert found.tolist() == [0.5, 0.0, -0.5, 0.0]
    assert group_advantages([1.0, None], 2).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"low": 0.0}, "low=0.0"),
        ({"beta": -1.0}, "beta=-1.0"),
        ({"ratio": "word"}, "ratio is one of token, sequence"),
        ({"average": "all"}, "average is one of"),
    ],
)
def test_settings_that_mean_nothing_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Clipped(**change)


def test_rewards_that_are_no_whole_groups_are_refused():
    with pytest.raises(ValueError, match="5 rewards are no groups of 4"):
        group_advantages([0.0] * 5, 4)
    with pytest.raises(ValueError, match="do not belong together"):
        clipped_objective(rand(2, 3), rand(2, 3), None, torch.zeros(3), everything(2, 3), Clipped())
