import itertools
from dataclasses import replace

import pytest
import torch

from limner.process.autoregressive import Autoregressive
from limner.process.noise import Noise

V, STOP, FILLER = 4, 3, 0


def net(ids, kept, given=None):
    """Logits for the value after each place, from the sum of everything up to there that is kept."""
    table = Noise.of([4]).normal("table", 0, 16 * V).reshape(16, V)
    return table[(3 * ids * kept).cumsum(dim=1).remainder(16)]


PROCESS = Autoregressive(net, STOP, FILLER)


def whole_sequences(length):
    """All replies of at most ``length`` values, filled up behind the stop."""
    for values in itertools.product(range(V), repeat=length):
        first = values.index(STOP) if STOP in values else length
        if all(value == FILLER for value in values[first + 1 :]):
            yield list(values)


@pytest.mark.parametrize("length", [1, 2, 4])
def test_the_probabilities_of_all_replies_sum_to_one(context, length):
    values = torch.tensor(list(whole_sequences(length)))
    assert len(values) == sum(3**n for n in range(length)) + 3**length
    given = context([2] * len(values))
    scored = PROCESS.log_prob(given, values, PROCESS.draw(values, Noise.of([0] * len(values))))
    assert float(scored.total.double().exp().sum()) == pytest.approx(1.0, abs=1e-6)


def test_replies_come_as_often_as_their_likelihood_says(context, settings):
    rows = 20_000
    given = context([2] * rows)
    end = PROCESS.finish(PROCESS.start(given, settings(3, 3), Noise.of(range(rows))))
    every = torch.tensor(list(whole_sequences(3)))
    likely = PROCESS.log_prob(context([2] * len(every)), every, PROCESS.draw(every, None)).total.double().exp()
    counts = (PROCESS.view(end)[:, None, :] == every[None]).all(dim=2).sum(dim=0).double()
    assert counts.sum() == rows
    common = likely * rows > 5
    statistic = float(((counts - likely * rows)[common] ** 2 / (likely * rows)[common]).sum())
    freedom = int(common.sum()) - 1
    assert statistic < freedom + 4 * (2 * freedom) ** 0.5, "a fair sampler fails less than once in 1,000"


def test_a_row_ends_with_its_first_stop(context, settings):
    end = PROCESS.finish(PROCESS.start(context([2] * 50), settings(6, 6), Noise.of(range(50))))
    for row in PROCESS.view(end).tolist():
        assert STOP not in row or all(value == FILLER for value in row[row.index(STOP) + 1 :])


def test_what_stands_behind_the_stop_is_not_scored(context):
    values = torch.tensor([[1, STOP, 0, 0], [1, 2, 1, 2], [STOP, 0, 0, 0]])
    drawn = PROCESS.draw(values, Noise.of([1, 2, 3]))
    assert drawn.hidden.tolist() == [[True, True, False, False], [True] * 4, [True, False, False, False]]
    assert torch.equal(drawn.weight, torch.ones(3))
    scored = PROCESS.log_prob(context([2, 1, 2]), values, drawn)
    assert torch.equal(scored.tokens == 0, ~drawn.hidden)
    other = PROCESS.log_prob(context([2, 1, 2]), torch.where(drawn.hidden, values, 2), drawn)
    assert torch.equal(scored.tokens, other.tokens)


def test_what_stands_after_a_part_is_never_looked_at(context):
    values = torch.tensor([[1, 2, STOP]])
    drawn = PROCESS.draw(values, None)
    few, many = (PROCESS.log_prob(context([2], after=n), values, drawn).tokens for n in (0, 3))
    assert torch.equal(few, many)


def test_greedy_words_are_the_likeliest_one_by_one(context, settings):
    end = PROCESS.finish(PROCESS.start(context([2]), settings(4, 4, temperature=0.0), Noise.of([1])))
    ids = context([2]).given.before
    for value in PROCESS.view(end)[0].tolist():
        if ids[0, -1] == STOP and ids.shape[1] > 2:
            break
        assert value == int(net(ids, torch.ones_like(ids, dtype=torch.bool))[0, -1].argmax())
        ids = torch.cat([ids, torch.tensor([[value]])], dim=1)


def test_a_complete_state_is_not_stepped_any_further(context, settings):
    end = PROCESS.finish(PROCESS.start(context([2, 1]), settings(3, 3), Noise.of([1, 2])))
    again = PROCESS.step(end)
    assert torch.equal(again.values, end.values) and again.done.all()


def test_a_part_goes_on_from_known_values_and_is_not_filled_in_between(context, settings):
    known, free = torch.tensor([[2, 1, 0, 0]]), torch.tensor([[False, False, True, True]])
    begun = PROCESS.start(context([2]), replace(settings(4, 4), known=known, free=free), Noise.of([1]))
    end = PROCESS.finish(begun)
    assert PROCESS.view(end)[0, :2].tolist() == [2, 1] and end.step - begun.step <= 2
    whole = PROCESS.start(context([2]), replace(settings(4, 4), known=known, free=known < 0), Noise.of([1]))
    assert whole.done.all() and torch.equal(PROCESS.view(whole), known)
    with pytest.raises(ValueError, match="left to right"):
        PROCESS.start(context([2]), replace(settings(4, 4), known=known, free=~free), Noise.of([1]))


def test_what_is_made_comes_from_the_network_that_remembers(context, settings):
    asked = []

    def making(ids, kept, given):
        asked.append(given)
        return net(ids, kept)[:, -1:]

    given = context([2, 1])
    ends = [
        p.finish(p.start(given, settings(4, 4), Noise.of([1, 2]))) for p in (PROCESS, replace(PROCESS, making=making))
    ]
    assert torch.equal(ends[0].values, ends[1].values) and all(tokens is given.given for tokens in asked)
