from dataclasses import dataclass, field, replace

import pytest
import torch

from limner.process.masked import MaskedBlocks, MaskedCanvas, Values
from limner.process.noise import Noise
from limner.process.schedules import SCHEDULES, cosine, shares

V, MASK, OFFSET = 7, 90, 20
HOW = Values(MASK, OFFSET)


@dataclass
class Perfect:
    """A network that knows the data (B, N) and how many places stand before it; it keeps what it was shown."""

    data: torch.Tensor
    before: int
    sure: float = 50.0
    seen: list = field(default_factory=list)

    def __call__(self, ids, kept, at, begin):
        self.seen.append((ids.clone(), kept.clone(), at.clone()))
        # rows that are complete are not run; numbered prompts tell which ones are
        rows = slice(None) if len(ids) == len(self.data) else ids[:, 0]
        truth = torch.zeros_like(ids)
        truth[:, self.before : self.before + self.data.shape[1]] = self.data[rows]
        return self.sure * torch.nn.functional.one_hot(truth[at], V).float()


@dataclass
class Patterned:
    """A network with fixed logits of its own for every place and row-dependent context, without knowing the data."""

    before: int
    seed: int = 0

    def __call__(self, ids, kept, at, begin):
        B, T = ids.shape
        table = Noise.of([self.seed]).normal("table", 0, 64 * V).reshape(64, V)
        mixed = (ids * kept).sum(dim=1, keepdim=True) + 3 * torch.arange(T)[None, :] - 3 * self.before
        return table[mixed.remainder(64)][at]


def data(rows, length, seed=0):
    return (Noise.of(range(seed, seed + rows)).uniform("data", 0, length) * V).long()


def numbered(context):
    """The same context with every prompt's first id replaced by the number of its row."""
    before = context.given.before.clone()
    before[:, 0] = torch.arange(len(before))
    return replace(context, given=replace(context.given, before=before))


def run(process, context, settings, seeds):
    states = [process.start(context, settings, Noise.of(seeds))]
    while not states[-1].done.all():
        states.append(process.step(states[-1]))
    return states


ORDERS = ["confidence", "random"]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("guidance", [0.0, 2.0])
@pytest.mark.parametrize("steps", [3, 6, 12, 24])
def test_words_of_a_perfect_network_are_the_data(context, settings, order, guidance, steps):
    truth = data(3, 12)
    process = MaskedBlocks(Perfect(truth, 4), HOW, order=order)
    given = context([4, 1, 3])
    # the dropped condition is shorter, and the network stands elsewhere: a guided run needs equal lengths
    given = replace(given, dropped=given.given)
    states = run(process, given, settings(12, steps, block=4, guidance=guidance), [1, 2, 3])
    assert torch.equal(process.view(states[-1]), truth)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("steps", [3, 6, 9, 12, 24])
def test_every_step_reveals_its_share_of_one_block(context, settings, order, steps):
    process = MaskedBlocks(Patterned(4), HOW, order=order)
    states = run(process, context([4, 2]), settings(12, steps, block=4), [1, 2])
    per_block = steps // 3
    assert len(states) == max(1, min(steps, 2 * per_block + min(per_block, 4))) + 1
    for index, (old, new) in enumerate(zip(states, states[1:], strict=False)):
        block, i = divmod(index, per_block)
        revealed = old.hidden & ~new.hidden
        assert (revealed.sum(dim=1) == shares(4, per_block)[i]).all()
        assert not revealed[:, : 4 * block].any() and not revealed[:, 4 * (block + 1) :].any()
        assert torch.equal(new.values[~old.hidden], old.values[~old.hidden]), "what was revealed never changes"


def test_the_surest_words_come_first(context, settings):
    sureness = torch.tensor([[1.0, 5.0, 3.0, 4.0, 2.0, 6.0]])

    def net(ids, kept, at, begin):
        logits = torch.zeros(*ids.shape, V)
        logits[:, 4:10, 2] = sureness
        return logits[at]

    states = run(MaskedBlocks(net, HOW), context([4]), settings(6, 6, temperature=0.0), [1])
    order = [int((old.hidden & ~new.hidden)[0].nonzero()) for old, new in zip(states, states[1:], strict=False)]
    assert order == [5, 1, 3, 2, 4, 0]


def test_in_random_order_every_place_is_as_likely_to_come_first(context, settings):
    rows = 3000
    process = MaskedBlocks(Perfect(data(rows, 6), 1), HOW, order="random")
    state = process.start(context([1] * rows), settings(6, 6), Noise.of(range(rows)))
    first = (~process.step(state).hidden).double().sum(dim=0)
    statistic = float(((first - rows / 6) ** 2 / (rows / 6)).sum())
    assert statistic < 20.5, "chi-square with 5 degrees of freedom: a fair order fails once in 1,000"


def test_a_row_ends_after_the_block_that_holds_a_stop(context, settings):
    truth = torch.tensor([[1, 2, 3, 4, 1, 6, 2, 2, 3, 3, 3, 3], [1, 6, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3], [1] * 12])
    process = MaskedBlocks(Perfect(truth, 2), HOW, stop=frozenset({6}), filler=5)
    states = run(process, numbered(context([2, 2, 2])), settings(12, 6, block=4), [1, 2, 3])
    assert process.view(states[-1]).tolist() == [
        [1, 2, 3, 4, 1, 6, 2, 2, 5, 5, 5, 5],
        [1, 6, 1, 1, 5, 5, 5, 5, 5, 5, 5, 5],
        [1] * 12,
    ]
    assert [next(i for i, state in enumerate(states) if state.done[row]) for row in range(3)] == [4, 2, 6]


def test_without_a_stop_a_row_goes_on_to_the_end(context, settings):
    truth = torch.tensor([[1, 6, 1, 1, 2, 2, 2, 2]])
    process = MaskedBlocks(Perfect(truth, 2), HOW)
    states = run(process, context([2]), settings(8, 4, block=4), [1])
    assert torch.equal(process.view(states[-1]), truth) and len(states) == 5


def test_a_known_stop_in_a_later_block_does_not_end_a_row_before_it(context, settings):
    truth = torch.tensor([[1, 2, 3, 4, 1, 1, 2, 2, 3, 6, 5, 5]])
    known = torch.where(torch.arange(12) >= 9, truth, 0)
    process = MaskedBlocks(Perfect(truth, 2), HOW, stop=frozenset({6}), filler=0)
    hole = settings(12, 6, block=4, known=known, free=(torch.arange(12) < 9)[None])
    states = run(process, context([2]), hole, [1])
    assert torch.equal(process.view(states[-1]), truth)


def test_a_gap_in_front_of_known_values_never_ends_the_text(context, settings):
    keen = torch.tensor([[1, 6, 0, 4, 6, 0, 6, 0]])  # it would like to end in every gap
    process = MaskedBlocks(Perfect(keen, 2), HOW, stop=frozenset({6}), filler=0, marks=frozenset({0, 6}))
    for temperature in (0.0, 1.0):
        for last_free in (True, False):
            free = torch.tensor([[False, True, True, False, True, True, True, last_free]])
            hole = settings(8, 8, block=4, known=keen, free=free, temperature=temperature)
            values = process.view(run(process, context([2]), hole, [1])[-1])[0].tolist()
            assert not {0, 6} & set(values[1:3]) and (values[0], values[3]) == (1, 4)
            # nothing is known behind the last gap, so the text may end in it; before a known end it goes on
            assert (values[4] == 6) is last_free


@pytest.mark.parametrize("make", [lambda net: MaskedBlocks(net, HOW), lambda net: MaskedCanvas(net, HOW)])
def test_filling_in_keeps_what_is_known_and_finds_the_rest(context, settings, make):
    truth = data(3, 12)
    free = Noise.of([1, 2, 3]).uniform("free", 0, 12) < 0.5
    free[2] = False
    known = torch.where(free, 0, truth)
    process = make(Perfect(truth, 4))
    states = run(process, numbered(context([4, 1, 3])), settings(12, 6, block=4, known=known, free=free), [1, 2, 3])
    assert torch.equal(process.view(states[-1]), truth)
    assert states[0].done.tolist() == [False, False, True]
    for state in states:
        assert torch.equal(process.view(state)[~free], truth[~free])
        assert not (state.hidden & ~free).any()


@pytest.mark.parametrize("name", sorted(SCHEDULES))
@pytest.mark.parametrize("steps", [1, 2, 5, 8, 16])
def test_pictures_of_a_perfect_network_are_the_data(context, settings, name, steps):
    truth = data(3, 16)
    process = MaskedCanvas(Perfect(truth, 4), HOW, SCHEDULES[name])
    states = run(process, context([4, 1, 3]), settings(16, steps), [1, 2, 3])
    assert torch.equal(process.view(states[-1]), truth)


@pytest.mark.parametrize("compounding", [False, True])
@pytest.mark.parametrize("steps", [1, 3, 8, 12])
def test_as_many_codes_stay_hidden_as_the_schedule_says(context, settings, compounding, steps):
    process = MaskedCanvas(Patterned(4), HOW, compounding=compounding)
    states = run(process, context([4, 2]), settings(64, steps), [1, 2])
    counts = [state.hidden.sum(dim=1).tolist() for state in states]
    expected = [64] + [max(1, int(64 * cosine(k / steps))) for k in range(1, steps)] + [0]
    assert counts == [[n, n] for n in expected]
    for old, new in zip(states, states[1:], strict=False):
        assert (new.hidden <= old.hidden).all(), "a code that was kept is never hidden again"
        assert torch.equal(new.values[~old.hidden], old.values[~old.hidden])


def test_more_steps_than_codes_end_in_time(context, settings):
    process = MaskedCanvas(Patterned(4), HOW)
    states = run(process, context([4]), settings(4, 12), [1])
    counts = [int(state.hidden.sum()) for state in states]
    assert counts[0] == 4 and counts[-1] == 0 and counts == sorted(counts, reverse=True) and len(states) <= 13


@pytest.mark.parametrize(("over_all", "expected"), [(False, [8, 7, 5, 3, 0]), (True, [8, 7, 6, 5, 0])])
def test_a_hole_is_filled_by_its_own_size_or_by_the_canvas(context, settings, over_all, expected):
    free = torch.arange(16)[None] < 8
    process = MaskedCanvas(Patterned(1), HOW, over_all=over_all)
    hole = settings(16, 4, known=data(1, 16), free=free)
    counts = [int(state.hidden.sum()) for state in run(process, context([1]), hole, [1])]
    assert counts == expected


def test_cold_pictures_keep_the_surest_codes(context, settings):
    sureness = torch.tensor([[1.0, 5.0, 3.0, 4.0, 2.0, 6.0, 7.0, 8.0]])

    def net(ids, kept, at, begin):
        logits = torch.zeros(*ids.shape, V)
        logits[:, 1:9, 2] = sureness
        return logits[at]

    states = run(MaskedCanvas(net, HOW), context([1]), settings(8, 4, temperature=0.0), [1])
    for state in states[1:-1]:
        assert state.hidden[0].nonzero().flatten().tolist() == sorted(
            sureness[0].argsort()[: int(state.hidden.sum())].tolist()
        )
    assert states[-1].values.tolist() == [[2] * 8]


def test_guidance_pushes_away_from_the_dropped_condition(context, settings):
    def net(ids, kept, at, begin):
        conditional = ids.shape[1] > 6
        logits = torch.tensor([0.0, 1.0, 0.9, 0, 0, 0, 0]) if conditional else torch.tensor([0.0, 1.0, 0, 0, 0, 0, 0])
        return logits.expand(int(at.sum()), V)

    for make in (MaskedBlocks, MaskedCanvas):
        plain = run(make(net, HOW), context([4]), settings(4, 2, temperature=0.0), [1])[-1]
        guided = run(make(net, HOW), context([4]), settings(4, 2, temperature=0.0, guidance=1.0), [1])[-1]
        assert plain.values.tolist() == [[1] * 4] and guided.values.tolist() == [[2] * 4]


def test_the_network_sees_ids_with_an_offset_and_is_asked_for_hidden_places_alone(context, settings):
    truth = data(2, 8)
    net = Perfect(truth, 3)
    run(MaskedCanvas(net, HOW), context([3, 1]), settings(8, 4), [1, 2])
    for ids, kept, at in net.seen:
        assert torch.equal(at, ids == MASK)
        shown = ids[:, 3:11]
        assert torch.equal(shown[shown != MASK], (truth + OFFSET)[shown != MASK])
        assert kept[:, 3:].all() and kept[1, :3].tolist() == [False, False, True]


@pytest.mark.parametrize("make", [MaskedBlocks, MaskedCanvas])
def test_a_likelihood_is_that_of_the_hidden_values_given_the_shown(context, make):
    truth = data(3, 8)
    net = Patterned(4)
    process, given = make(net, HOW), context([4, 1, 3])
    drawn = process.draw(truth, Noise.of([1, 2, 3]))
    scored = process.log_prob(given, truth, drawn)
    for row in range(3):
        for place in range(8):
            if not drawn.hidden[row, place]:
                assert scored.tokens[row, place] == 0
                continue
            ids, kept, where = given.given.around(HOW.ids(truth, drawn.hidden))
            at = torch.zeros_like(kept)
            at[row, where.start + place] = True
            expected = net(ids, kept, at, 0).log_softmax(dim=-1)[0, truth[row, place]]
            assert scored.tokens[row, place] == pytest.approx(float(expected), abs=1e-6)
    assert torch.allclose(scored.total, scored.tokens.sum(dim=1) * drawn.weight)


def test_a_perfect_network_finds_the_data_certain(context):
    truth = data(2, 8)
    for process in (MaskedBlocks(Perfect(truth, 3), HOW), MaskedCanvas(Perfect(truth, 3), HOW)):
        drawn = process.draw(truth, Noise.of([1, 2]))
        assert process.log_prob(context([3, 1]), truth, drawn).total.abs().max() < 1e-6


@pytest.mark.parametrize("suffix", [0.0, 0.5, 1.0])
def test_the_weighted_words_estimate_the_bound_without_bias(suffix):
    """E[weight * number hidden] = N: where every word is equally likely, N log(1/V) comes out on average."""
    rows = 40_000
    values = torch.zeros(rows, 8, dtype=torch.int64)
    drawn = MaskedBlocks(Patterned(1), HOW, suffix=suffix).draw(values, Noise.of(range(rows)))
    weighted = (drawn.hidden.sum(dim=1) * drawn.weight).double()
    assert drawn.hidden.any(dim=1).all() and drawn.weight.max() <= 8
    assert abs(float(weighted.mean()) - 8.0) < 4 * float(weighted.std()) / rows**0.5, "four standard errors"


@pytest.mark.parametrize("p", [0.05, 0.3, 0.9])
def test_some_words_are_hidden_as_if_empty_draws_had_been_thrown_away(p):
    rows, N = 40_000, 4
    level = torch.full((rows,), (p - 1e-3) / (1 - 1e-3))
    drawn = MaskedBlocks(Patterned(1), HOW).draw(torch.zeros(rows, N).long(), Noise.of(range(rows)), level)
    patterns = torch.bincount((drawn.hidden.long() * torch.tensor([8, 4, 2, 1])).sum(dim=1), minlength=16).double()
    size = torch.tensor([bin(i).count("1") for i in range(16)]).double()
    expected = p**size * (1 - p) ** (N - size) * rows / (1 - (1 - p) ** N)
    statistic = float(((patterns - expected) ** 2 / expected)[1:].sum())
    assert patterns[0] == 0 and statistic < 36.1, "chi-square, 14 degrees of freedom: a fair draw fails once in 1,000"
    assert torch.allclose(drawn.weight, torch.tensor((1 - (1 - p) ** N) / p), rtol=1e-5)


def test_a_level_fixes_the_share_that_is_hidden():
    values = torch.zeros(2000, 64, dtype=torch.int64)
    levels = torch.full((2000,), 0.25)
    words = MaskedBlocks(Patterned(1), HOW).draw(values, Noise.of(range(2000)), levels)
    assert abs(float(words.hidden.float().mean()) - 0.25) < 4 * (0.25 * 0.75 / 128_000) ** 0.5 + 1e-3
    assert torch.allclose(words.weight, torch.full((2000,), 1 / (0.999 * 0.25 + 0.001)))
    shaped = MaskedBlocks(Patterned(1), HOW, suffix=1.0).draw(values, Noise.of(range(2000)), levels)
    assert torch.equal(shaped.hidden, words.hidden), "a fixed level is not shaped"
    codes = MaskedCanvas(Patterned(1), HOW).draw(values, Noise.of(range(2000)), levels)
    assert (codes.hidden.sum(dim=1) == 16).all()
    assert abs(codes.hidden.float().mean(dim=0) - 0.25).max() < 5 * (0.25 * 0.75 / 2000) ** 0.5


def test_picture_draws_follow_the_schedule():
    values = torch.zeros(4000, 64, dtype=torch.int64)
    count = MaskedCanvas(Patterned(1), HOW).draw(values, Noise.of(range(4000))).hidden.sum(dim=1)
    assert count.min() >= 1 and count.max() == 64
    # the mean of cos(pi t / 2) is 2 / pi, its standard deviation 0.308
    assert abs(float(count.float().mean()) / 64 - 2 / torch.pi) < 4 * 0.308 / 4000**0.5 + 1e-3


def test_block_shaped_draws_leave_the_beginning_shown():
    values = torch.zeros(3000, 32, dtype=torch.int64)
    drawn = MaskedBlocks(Patterned(1), HOW, suffix=1.0).draw(values, Noise.of(range(3000)))
    begin = drawn.hidden.float().argmax(dim=1)
    counts = torch.bincount(begin, minlength=32).double()
    # chi-square with 31 degrees of freedom: a fair draw fails once in 1,000
    assert float(((counts - 3000 / 32) ** 2 / (3000 / 32)).sum()) < 61.1
    beyond = torch.arange(32)[None, :] > begin[:, None]
    share = float((drawn.hidden & beyond).sum() / beyond.sum())
    assert abs(share - 0.9) < 4 * (0.09 / float(beyond.sum())) ** 0.5


def test_settings_that_cannot_be_followed_are_refused(context, settings):
    process = MaskedBlocks(Patterned(1), HOW)
    for wrong in ({"block": 5}, {"block": 4, "steps": 5}, {"block": 0}, {"length": 0, "block": 4}, {"steps": 0}):
        with pytest.raises(ValueError):
            process.start(context([1]), settings(**({"length": 12, "steps": 6, "block": 4} | wrong)), Noise.of([1]))
    known = torch.zeros(1, 8, dtype=torch.int64)
    for wrong in ({"known": known}, {"free": known > 0}, {"known": known, "free": torch.zeros(1, 9) > 0}):
        with pytest.raises(ValueError):
            MaskedCanvas(Patterned(1), HOW).start(context([1]), settings(8, 4, **wrong), Noise.of([1]))
    with pytest.raises(ValueError, match="8 values"):
        long = settings(9, 3, known=known, free=known > 0)
        MaskedCanvas(Patterned(1), HOW).start(context([1]), long, Noise.of([1]))


def test_values_and_draws_of_different_shapes_are_refused(context):
    process = MaskedCanvas(Patterned(1), HOW)
    drawn = process.draw(data(1, 8), Noise.of([1]))
    with pytest.raises(ValueError, match=r"\(1, 9\)"):
        process.log_prob(context([1]), data(1, 9), drawn)


@pytest.mark.parametrize("guidance", [0.0, 1.5])
def test_candidates_of_one_prompt_are_one_row_in_their_first_step_and_end_as_they_would_alone(
    context, settings, guidance
):
    shown = []

    def net(ids, kept, at, begin):
        shown.append(len(ids))
        return Patterned(begin)(ids, kept, at, begin)

    process, lengths, seeds = MaskedCanvas(net, HOW), [3, 1, 3, 3], [7, 8, 9, 10]
    together = run(process, context(lengths), settings(16, 4, guidance=guidance), seeds)[-1]
    sides = 2 if guidance else 1
    assert shown[:sides] == [2] * sides and shown[sides : 2 * sides] == [4] * sides
    for row, seed in enumerate(seeds):
        alone = run(process, context(lengths)[[row]], settings(16, 4, guidance=guidance), [seed])[-1]
        assert torch.equal(together.values[row], alone.values[0])


def test_rows_that_keep_other_values_are_not_taken_for_one(context, settings):
    known = torch.tensor([[1, 2, 3, 4, 5, 6, 1, 2]] * 3)
    known[2, 7] = 3
    free = torch.arange(8).expand(3, -1) < 4
    shown = []

    def net(ids, kept, at, begin):
        shown.append(len(ids))
        return Patterned(begin)(ids, kept, at, begin)

    how = settings(8, 2, known=known, free=free)
    run(MaskedCanvas(net, HOW), context([2, 2, 2]), how, [1, 2, 3])
    assert shown == [2, 3]
