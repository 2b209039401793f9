import pytest
import torch

from limner.algorithms.noising import Noising, hide
from limner.models.echo import FILLER, STOP, Echo
from limner.process.noise import Noise

MODEL = Echo()
WORDS = torch.tensor([[5, 6, 7, STOP, FILLER, FILLER, FILLER, FILLER], [5, 6, 7, 8, 9, 10, 11, 12]])
CODES = torch.zeros(4, 16, dtype=torch.int64)


def shares(noising, start, updates, group=4):
    return [noising.shares(torch.tensor(start), n, updates, group).tolist() for n in range(updates)]


def test_even_shares_go_round_from_the_start():
    found = shares(Noising("even"), [0.1, 0.5], 5)
    assert [row[0] for row in found] == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])
    assert [row[1] for row in found] == pytest.approx([0.5, 0.7, 0.9, 0.1, 0.3])


def test_the_papers_formula_ends_with_everything_hidden():
    found = shares(Noising("to_end"), [0.1], 4)
    assert [row[0] for row in found] == pytest.approx([0.1, 0.4, 0.7, 1.0])
    assert shares(Noising("to_end"), [0.3], 1)[0] == pytest.approx([0.3])


def test_a_grid_is_the_same_for_every_group_and_start():
    found = shares(Noising("grid", 0.2, 0.8), [0.9] * 8, 1)[0]
    assert found == pytest.approx([0.2, 0.4, 0.6, 0.8] * 2)


def test_a_range_bounds_every_share():
    start = torch.rand(50, generator=torch.Generator().manual_seed(0))
    for n in range(3):
        found = Noising("even", 0.6, 1.0).shares(start, n, 3, 2)
        assert found.min() >= 0.6 and found.max() <= 1.0


def test_at_least_one_value_is_hidden_and_at_most_all():
    assert Noising().counts(torch.tensor([0.0, 0.5, 1.0]), torch.tensor([8, 8, 8])).tolist() == [1, 4, 8]
    cosine = Noising(curve="cosine").counts(torch.tensor([0.0, 1.0]), torch.tensor([12, 12])).tolist()
    assert cosine[0] == 12 and cosine[1] == 2


def test_an_answer_ends_with_its_first_end_value():
    for kind in ("text", "thinking"):
        assert MODEL.process(kind).meant(WORDS).sum(dim=1).tolist() == [4, 8]
    assert MODEL.process("image").meant(CODES).all()


def test_just_so_many_answer_values_are_counted_and_what_follows_the_end_is_hidden():
    draw, counted = hide(MODEL.process("thinking"), WORDS, Noise.of([1, 2]), torch.tensor([0.5, 0.5]), Noising())
    assert counted.sum(dim=1).tolist() == [2, 4]
    assert draw.hidden[0, 4:].all() and not counted[0, 4:].any()
    assert torch.equal(draw.hidden & MODEL.process("thinking").meant(WORDS), counted)


def test_words_from_left_to_right_are_scored_whole():
    draw, counted = hide(MODEL.process("text"), WORDS, Noise.of([1, 2]), torch.tensor([0.1, 0.1]), Noising())
    assert torch.equal(draw.hidden, counted) and counted.sum(dim=1).tolist() == [4, 8]


def test_a_rows_mask_does_not_depend_on_its_neighbours():
    process, share = MODEL.process("image"), torch.tensor([0.3, 0.5, 0.7, 0.9])
    together, _ = hide(process, CODES, Noise.of([1, 2, 3, 4]), share, Noising())
    alone, _ = hide(process, CODES[:1], Noise.of([3]), share[2:3], Noising())
    assert torch.equal(together.hidden[2:3], alone.hidden)


def test_later_values_may_be_hidden_more_often():
    values, rows = torch.full((400, 10), 5), Noise.of(range(400))
    how = {later: Noising(later=later) for later in (False, True)}
    often = {
        later: hide(MODEL.process("thinking"), values, rows, torch.full((400,), 0.3), how[later])[1].float().mean(dim=0)
        for later in (False, True)
    }
    assert often[False].min() > 0.2 and often[False].max() < 0.4
    assert often[True][-3:].mean() > 2 * often[True][:3].mean()


@pytest.mark.parametrize(
    "change, message",
    [({"low": 0.5, "high": 0.5}, "low=0.5"), ({"spacing": "odd"}, "spacing is one of"), ({"masks": 0}, "masks=0")],
)
def test_settings_that_mean_nothing_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Noising(**change)
    with pytest.raises(ValueError, match="update 2"):
        Noising().shares(torch.zeros(1), 2, 2, 2)
