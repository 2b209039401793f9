"""Exact savings change no value; fast ways keep what every process promises, in fewer passes."""

from dataclasses import dataclass, field

import pytest
import torch

from limner.process.base import WAYS, Fast
from limner.process.masked import MaskedBlocks, MaskedCanvas, Values
from limner.process.noise import Noise
from limner.process.reveal import first, how_many, sureness
from limner.process.schedules import shares

V, MASK, OFFSET, LENGTH = 7, 90, 20, 12
HOW = Values(MASK, OFFSET)


@dataclass
class Pattern:
    """A network that sees through padding: logits of a place follow from it and from all that is shown."""

    sharpness: float = 2.0
    seen: list = field(default_factory=list)

    def __call__(self, ids, kept, at, begin):
        self.seen.append((ids.clone(), at.clone()))
        return self.everywhere(ids, kept, begin)[at]

    def everywhere(self, ids, kept, begin):
        table = self.sharpness * Noise.of([3]).normal("table", 0, 64 * V).reshape(64, V)
        place = torch.arange(ids.shape[1]) - begin
        shown = (ids * (kept & (ids != MASK))).sum(dim=1, keepdim=True)
        return table[(shown + 5 * place).remainder(64)]


def run(process, context, settings, seeds):
    states = [process.start(context, settings, Noise.of(seeds))]
    while not states[-1].done.all():
        states.append(process.step(states[-1]))
    return states


def slowly(net, context, settings, seeds):
    """Words as the exact rule says, everything computed everywhere: softmax in float64, noise for all places."""
    noise, B, N = Noise.of(seeds), context.num_rows, settings.length
    values, hidden = torch.zeros(B, N, dtype=torch.int64), torch.ones(B, N, dtype=torch.bool)
    per_block = settings.steps * settings.block // N
    for step in range(settings.steps):
        low = step // per_block * settings.block
        sides = []
        for tokens in (context.given, context.dropped):
            ids, kept, where = tokens.around(HOW.ids(values, hidden))
            sides.append(net.everywhere(ids, kept, where.start)[:, where])
        logits = (1 + settings.guidance) * sides[0] - settings.guidance * sides[1]
        choice = noise.choose("word", step, logits, settings.temperature)
        sure = logits.double().softmax(-1).gather(2, choice[..., None])[..., 0]
        open_ = hidden.clone()
        open_[:, :low] = open_[:, low + settings.block :] = False
        count = torch.tensor([shares(settings.block, per_block)[step % per_block]] * B)
        now = first(torch.where(open_, sure, -torch.inf), count) & open_
        values, hidden = torch.where(now, choice, values), hidden & ~now
    return values


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("guidance", [0.0, 1.5])
def test_the_exact_way_makes_the_words_of_the_slow_one(context, settings, temperature, guidance):
    for seeds in ([1, 2, 3], [4, 5, 6], [7, 8, 9]):
        wish = settings(LENGTH, 6, block=4, temperature=temperature, guidance=guidance)
        made = run(MaskedBlocks(Pattern(), HOW), context([4, 1, 3]), wish, seeds)[-1]
        assert torch.equal(made.values, slowly(Pattern(), context([4, 1, 3]), wish, seeds))


def test_the_network_is_asked_for_the_hidden_places_of_the_block_alone(context, settings):
    net = Pattern()
    run(MaskedBlocks(net, HOW), context([4, 2]), settings(LENGTH, LENGTH, block=4), [1, 2])
    for step, (ids, at) in enumerate(net.seen):
        low = 4 + step // 4 * 4
        block = torch.zeros_like(at)
        block[:, low : low + 4] = True
        assert torch.equal(at, block & (ids == MASK)) and int(at.sum()) == 2 * (4 - step % 4)


@pytest.mark.parametrize("make", [MaskedBlocks, MaskedCanvas])
@pytest.mark.parametrize("lengths", [[4, 1, 3], [1, 1], [3, 2]])
def test_guidance_in_one_batch_makes_the_same(context, settings, make, lengths):
    wish, seeds = settings(24, 12, block=8, guidance=1.5), range(len(lengths))
    apart, together = Pattern(), Pattern()
    one = run(make(apart, HOW), context(lengths), wish, seeds)
    other = run(make(together, HOW, together=True), context(lengths), wish, seeds)
    assert all(torch.equal(a.values, b.values) for a, b in zip(one, other, strict=True))
    assert len(together.seen) == len(apart.seen) // 2
    # a canvas runs equal rows as one in its first step
    alike = len(set(lengths)) if make is MaskedCanvas else len(lengths)
    assert [len(ids) for ids, _ in together.seen] == [2 * alike] + [2 * len(lengths)] * (len(together.seen) - 1)


def test_much_shorter_rows_without_the_condition_are_not_padded_for_one_batch(context, settings):
    net = Pattern()
    run(MaskedCanvas(net, HOW, together=True), context([9]), settings(12, 3, guidance=1.5), [1])
    assert {ids.shape for ids, _ in net.seen} == {(1, 22), (1, 14)}


def test_a_choice_is_as_sure_as_its_probability_in_float64():
    logits = torch.cat([Noise.of([1]).normal("l", 0, 40 * 50).reshape(40, 50) * s for s in (0.1, 3.0, 12.0)])
    logits[:, 7] = -torch.inf
    best = logits.argmax(dim=-1)
    for choice in (best, torch.arange(len(logits)) % 7):
        exact = logits.double().softmax(-1).gather(1, choice[:, None])[:, 0]
        assert torch.allclose(sureness(logits, best, choice).double(), exact, rtol=1e-6, atol=0)
    sure = torch.zeros(4, 50)
    sure[:, 0] = torch.tensor([13.0, 14.0, 15.0, 60.0])
    found = sureness(sure, sure.argmax(-1), sure.argmax(-1))
    assert torch.equal(found, sure.double().softmax(-1)[:, 0].float()) and bool((found[1:] > found[:-1]).all())


def test_a_place_gets_its_number_whatever_else_is_wanted():
    noise, logits = Noise.of([1, 2]), Noise.of([5]).normal("l", 0, 2 * 9 * 6).reshape(2, 9, 6)
    wanted = Noise.of([3, 4]).uniform("w", 0, 9) < 0.5
    for temperature in (0.0, 0.7):
        everywhere = noise.choose("word", 2, logits, temperature)
        assert torch.equal(noise.choose("word", 2, logits[wanted], temperature, wanted), everywhere[wanted])


CONFIDENCE = torch.tensor([[0.95, 0.2, -torch.inf, 0.9, 0.5], [0.1, 0.3, 0.2, -torch.inf, -torch.inf]])


@pytest.mark.parametrize(
    "fast, count",
    [
        (Fast(threshold=0.9), [2, 1]),
        (Fast(threshold=0.2), [4, 2]),
        # 0.95, 0.9 >= 1 - 1/3, but 0.5 < 1 - 1/4; then 0.3, and 0.2 < 1 - 1/3
        (Fast(factor=1.0), [2, 1]),
        # 0.5 >= 1 - 2/4, 0.2 < 1 - 2/5 is the last and goes with the rest; 0.2 < 1 - 2/3, then
        (Fast(factor=2.0), [4, 1]),
        (Fast(cache="dual"), [1, 1]),
    ],
)
def test_a_rule_says_how_many_are_revealed(fast, count):
    assert how_many(CONFIDENCE, torch.tensor([1, 1]), fast).tolist() == count
    assert how_many(CONFIDENCE, torch.tensor([3, 3]), fast).tolist() == [max(3, n) for n in count]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_threshold_reveals_what_is_sure_enough_and_leaves_finished_blocks_at_once(context, settings, temperature):
    for threshold, least in ((1e-9, 3), (0.6, 4)):
        net = Pattern(4.0)
        wish = settings(LENGTH, LENGTH, block=4, temperature=temperature, fast=Fast(threshold=threshold))
        states = run(MaskedBlocks(net, HOW), context([4, 2]), wish, [1, 2])
        assert least <= len(net.seen) == len(states) - 1 < LENGTH and not states[-1].hidden.any()
        for old, new in zip(states, states[1:], strict=False):
            assert torch.equal(new.values[~old.hidden], old.values[~old.hidden]), "what was revealed never changes"
    everything = settings(LENGTH, LENGTH, block=4, temperature=temperature, fast=Fast(threshold=1.0))
    exact = settings(LENGTH, LENGTH, block=4, temperature=temperature)
    ends = [run(MaskedBlocks(Pattern(), HOW), context([4, 2]), wish, [1, 2])[-1].values for wish in (everything, exact)]
    assert torch.equal(*ends), "where nothing is certain, a threshold of one is the exact way"


@pytest.mark.parametrize("steps", [3, 6, 12])
@pytest.mark.parametrize("fast", [Fast(threshold=0.99), Fast(factor=0.1)])
def test_a_fast_way_never_takes_more_passes_than_the_exact_one(context, settings, steps, fast):
    nets = [Pattern(), Pattern()]
    for net, way in zip(nets, (None, fast), strict=True):
        run(MaskedBlocks(net, HOW), context([4, 2]), settings(LENGTH, steps, block=4, fast=way), [1, 2])
    assert len(nets[1].seen) <= len(nets[0].seen) == steps


@dataclass
class Told:
    """A network that is certain of some values and finds any other as likely as the next."""

    certain: dict[int, int]
    seen: list = field(default_factory=list)

    def __call__(self, ids, kept, at, begin):
        self.seen.append((ids.clone(), at.clone()))
        logits = torch.zeros(*ids.shape, V)
        for place, value in self.certain.items():
            logits[:, begin + place, value] = 50.0
        return logits[at]


@pytest.mark.parametrize("blocks, passes", [(1, 6), (2, 5), (3, 4), (7, 4)])
def test_blocks_that_are_worked_on_at_once_wait_for_none(context, settings, blocks, passes):
    """Of twelve values in blocks of four three are uncertain: two in the first block, one in the second."""
    net = Told({place: place % V for place in range(LENGTH) if place not in (1, 2, 5)})
    wish = settings(LENGTH, LENGTH, block=4, fast=Fast(threshold=0.9, blocks=blocks))
    states = run(MaskedBlocks(net, HOW), context([4, 2]), wish, [1, 2])
    assert len(net.seen) == passes and not states[-1].hidden.any()
    assert all(states[-1].values[:, place].eq(value).all() for place, value in net.certain.items())
    for old, new in zip(states, states[1:], strict=False):
        assert torch.equal(new.values[~old.hidden], old.values[~old.hidden])


def test_a_stop_ends_a_row_after_a_block_that_is_left_early(context, settings):
    truth = torch.tensor([[1, 2, 3, 4, 1, 6, 2, 2, 3, 3, 3, 3], [1, 6, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]])

    def net(ids, kept, at, begin):
        rows = ids[:, 0] - 50
        return 50.0 * torch.nn.functional.one_hot(truth[rows][at[:, begin : begin + 12]], V).float()

    given = context([2, 2])
    given.given.before[:, 0] = torch.tensor([50, 51])
    wish = settings(12, 12, block=4, fast=Fast(threshold=0.9))
    states = run(MaskedBlocks(net, HOW, stop=frozenset({6}), filler=5), given, wish, [1, 2])
    assert states[-1].values.tolist() == [[1, 2, 3, 4, 1, 6, 2, 2, 5, 5, 5, 5], [1, 6, 1, 1, *[5] * 8]]
    assert [state.done.tolist() for state in states] == [[False, False], [False, True], [True, True]]


@dataclass
class Doubter(Pattern):
    """Finds some values impossible wherever they are shown."""

    wrong = (1, 2, 3)

    def doubt(self, ids, kept, at, begin, block, doubted):
        self.seen.append((ids.clone(), at.clone()))
        logits = self.everywhere(ids, kept, begin)
        beside = torch.zeros(*ids.shape, V)
        beside[..., list(self.wrong)] = -50.0
        return logits[at], beside[:, block][doubted]


@pytest.mark.parametrize("guidance", [0.0, 1.0])
def test_revoked_values_are_hidden_again_and_every_block_ends(context, settings, guidance):
    net, free = Doubter(1.0), torch.ones(8, LENGTH, dtype=torch.bool)
    free[:, ::5] = False
    known = torch.full((8, LENGTH), 2)
    process = MaskedBlocks(net, HOW, doubting=net.doubt)
    fast = Fast(threshold=0.3, revoke=0.1)
    wish = settings(LENGTH, LENGTH, block=6, guidance=guidance, fast=fast, known=known, free=free)
    states = run(process, context([4, 2] * 4), wish, range(8))
    back = 0
    for old, new in zip(states, states[1:], strict=False):
        revoked = new.hidden & ~old.hidden
        assert set(old.values[revoked].tolist()) <= set(net.wrong) and not (revoked & ~free).any()
        assert (new.values[~free] == 2).all(), "known values are never revoked"
        back += int(revoked.sum())
    assert back > 0 and not states[-1].hidden.any() and len(states) <= LENGTH + 1


def test_what_a_network_cannot_do_is_refused(context, settings):
    for fast, match in ((Fast(cache="dual"), "cache='dual'"), (Fast(threshold=0.5, revoke=0.5), "revoke=0.5")):
        with pytest.raises(ValueError, match=match):
            MaskedBlocks(Pattern(), HOW).start(context([1]), settings(4, 4, fast=fast), Noise.of([1]))
    with pytest.raises(ValueError, match="random"):
        wish = settings(4, 4, fast=Fast(threshold=0.5))
        MaskedBlocks(Pattern(), HOW, order="random").start(context([1]), wish, Noise.of([1]))
    alone = (Fast(revoke=0.5), Fast(blocks=2), Fast(threshold=0.5, blocks=0))
    for wrong in (Fast(threshold=1.5), Fast(factor=-1.0), Fast(threshold=0.5, factor=1.0), *alone):
        with pytest.raises(ValueError):
            settings(4, 4, fast=wrong).check()


def test_ways_are_named_joined_and_given_numbers():
    alone = {name: values for name, values in WAYS.items() if name != "blocks"}
    assert {name: Fast.of(name) for name in alone} == {name: Fast(**values) for name, values in alone.items()}
    assert Fast.of("blocks+threshold=0.7") == Fast(threshold=0.7, blocks=2)
    assert Fast.of("threshold=0.8 + dual") == Fast(threshold=0.8, cache="dual")
    assert Fast.of("revoke+threshold=0.7") == Fast.of("threshold=0.7+revoke") == Fast(threshold=0.7, revoke=0.9)
    unlike = ("prefix+dual", "threshold+factor", "revoke+dual", "blocks=2")
    for wrong in ("", "fast", "dual=2", "threshold=x", "threshold=2", "factor+blocks=1.5", *unlike):
        with pytest.raises(ValueError):
            Fast.of(wrong)
