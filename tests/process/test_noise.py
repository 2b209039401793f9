"""Statistical checks have fixed seeds and never flicker; the odds say how rarely a fair generator fails them."""

import math

import pytest
import torch

from limner.process.noise import Noise

MANY = 200_000


def test_a_rows_numbers_depend_on_its_seed_alone():
    together = Noise.of([5, 6, 7])
    for row, seed in enumerate([5, 6, 7]):
        alone = Noise.of([seed])
        assert torch.equal(alone.uniform("a", 3, 50), together.uniform("a", 3, 50)[[row]])
        assert torch.equal(alone.normal("a", 3, 50), together.normal("a", 3, 50)[[row]])
        assert torch.equal(alone.fork("b", 2).seed, together.fork("b", 2).seed[[row]])
    assert torch.equal(together[[2, 0]].uniform("a", 3, 5), together.uniform("a", 3, 5)[[2, 0]])


def test_a_places_number_does_not_depend_on_how_many_are_drawn():
    noise = Noise.of([1])
    assert torch.equal(noise.uniform("a", 0, 10), noise.uniform("a", 0, 1000)[:, :10])


def test_numbers_are_the_same_for_ever():
    bits = (Noise.of([0, 1, 2**62]).uniform("word", 3, 2) * 2**24).long().tolist()
    assert bits == [[7129908, 10940442], [12199711, 7159413], [6852278, 5755991]]


def test_uniform_numbers_are_uniform():
    u = Noise.of([3]).uniform("a", 0, MANY)[0].double()
    assert u.min() >= 0 and u.max() < 1
    # four standard errors: one fair generator in 16,000 would fail each
    assert abs(float(u.mean()) - 0.5) < 4 * math.sqrt(1 / 12 / MANY)
    assert abs(float(u.var()) - 1 / 12) < 4 * math.sqrt(1 / 180 / MANY)
    counts = torch.histc(u.float(), bins=256, min=0, max=1).double()
    statistic = float(((counts - MANY / 256) ** 2 / (MANY / 256)).sum())
    assert statistic < 255 + 4 * math.sqrt(2 * 255)


def test_first_numbers_of_consecutive_seeds_are_uniform_and_unrelated():
    u = Noise.of(range(50_000)).uniform("a", 0, 2).double()
    assert (u.mean(dim=0) - 0.5).abs().max() < 4 * math.sqrt(1 / 12 / 50_000)
    neighbours = torch.corrcoef(torch.stack([u[:-1, 0], u[1:, 0], u[1:, 1]]))
    assert neighbours.fill_diagonal_(0).abs().max() < 4 / math.sqrt(50_000)


def test_normal_numbers_are_normal():
    z = Noise.of([4]).normal("a", 0, MANY)[0].double()
    assert torch.isfinite(z).all()
    assert abs(float(z.mean())) < 4 / math.sqrt(MANY)
    assert abs(float(z.var()) - 1) < 4 * math.sqrt(2 / MANY)
    assert abs(float((z**3).mean())) < 4 * math.sqrt(15 / MANY)
    assert abs(float((z**4).mean()) - 3) < 4 * math.sqrt(96 / MANY)


def test_names_steps_and_seeds_never_share_a_stream():
    streams = {}
    for seed in (0, 1, 2, -1, 2**40):
        for name in ("word", "code", "order", "again", "level", "mask", "begin", "shape", "draw"):
            for step in range(50):
                first = tuple((Noise.of([seed]).uniform(name, step, 4)[0] * 2**24).long().tolist())
                assert first not in streams, f"{(seed, name, step)} repeats {streams[first]}"
                streams[first] = (seed, name, step)


def test_forks_are_independent_of_each_other_and_of_their_parent():
    parent = Noise.of(range(20_000))
    kinds = [
        parent,
        parent.fork("text"),
        parent.fork("image"),
        parent.fork("text", 1),
        parent.fork("text").fork("text"),
    ]
    table = torch.corrcoef(torch.stack([noise.uniform("a", 0, 1)[:, 0].double() for noise in kinds]))
    assert table.fill_diagonal_(0).abs().max() < 4 / math.sqrt(20_000)
    seeds = torch.cat([noise.seed for noise in kinds])
    assert len(seeds.unique()) == len(seeds)


def test_a_fork_may_have_another_index_in_every_row():
    noise = Noise.of([8, 9])
    mixed = noise.fork("part", [0, 3])
    assert mixed.seed.tolist() == [int(noise.fork("part", 0).seed[0]), int(noise.fork("part", 3).seed[1])]


def test_choices_follow_the_probabilities():
    logits = torch.tensor([2.0, -1.0, 0.5, -torch.inf, 1.0, 0.0])
    for temperature in (0.5, 1.0, 2.0):
        choice = Noise.of([6]).choose("word", 0, logits.expand(1, MANY, 6), temperature)[0]
        counts = torch.bincount(choice, minlength=6).double()
        expected = (logits.double() / temperature).softmax(dim=0) * MANY
        assert counts[3] == 0
        fair = expected > 0
        statistic = float(((counts - expected)[fair] ** 2 / expected[fair]).sum())
        assert statistic < 20.5, "chi-square with 4 degrees of freedom: a fair generator fails 4 times in 10,000"


def test_extreme_numbers_never_choose_the_impossible():
    class Edge(Noise):
        def uniform(self, name: str, step: int, n: int) -> torch.Tensor:
            return torch.tensor([[0.0, 1 - 2**-24]])

    logits = torch.tensor([-torch.inf, 0.3, 0.1, -torch.inf]).expand(1, 2, 4)
    assert Edge(torch.zeros(1, dtype=torch.int64)).choose("word", 0, logits, 1.0).tolist() == [[1, 2]]


@pytest.mark.parametrize("temperature", [0.0, 1e-38])
def test_no_temperature_takes_the_likeliest_the_first_among_equals(temperature):
    logits = torch.tensor([[[1.0, 3.0, 2.0], [0.0, 0.5, 0.5], [-80.0, -90.0, -99.0]]])
    chosen = Noise.of([1]).choose("word", 0, logits, temperature)[0].tolist()
    assert chosen[0] == 1 and chosen[2] == 0
    assert chosen[1] == 1 or temperature > 0


def test_a_choice_costs_one_number_whatever_the_vocabulary():
    noise = Noise.of([2])
    small, large = torch.zeros(1, 5, 3), torch.full((1, 5, 9), -torch.inf)
    large[..., :3] = 0
    assert torch.equal(noise.choose("word", 0, small, 1.0), noise.choose("word", 0, large, 1.0))
