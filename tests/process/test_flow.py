"""Flows: what the sampler does with a network whose answer is known, and what its likelihoods are."""

import json
import math
from dataclasses import replace

import pytest
import torch

from limner.process.base import Context, Rows, Settings, Tokens
from limner.process.flow import (
    Flow,
    FlowDraw,
    FlowState,
    gaussian_divergence,
    gaussian_log_prob,
    level_divergence,
    time_grid,
    to_latents,
    to_values,
    velocity_divergence,
)
from limner.process.noise import Noise

N = 6


class Toy:
    """The velocity towards a picture that the condition names: its last id in every number."""

    def __init__(self):
        self.weight = torch.tensor(1.0, requires_grad=True)
        self.firsts = []

    def __call__(self, sides, latents, time, first):
        self.firsts.append(first)
        return [self.one(side, latents, time) for side in sides]

    def one(self, side: Tokens, latents, time):
        wanted = self.weight * side.before[:, -1:].float().expand_as(latents)
        return (wanted - latents) / (1 - time[:, None]).clamp(min=1e-3)

    def levels(self, side, latents, time):
        velocity = self.one(side, latents, time)
        return velocity, torch.stack([latents, velocity], dim=1)[:, :, None]


@pytest.fixture
def toy():
    return Toy()


def run(process, context, settings, seeds):
    state = process.start(context, settings, Noise.of(seeds))
    states = [state]
    while not state.done.all():
        state = process.step(state)
        states.append(state)
    return states


def test_pictures_and_words_are_guided_apart():
    def net(sides, latents, time, first):
        return [side.before[:, -1:].float().expand_as(latents) for side in sides]

    def side(value):
        ids = torch.tensor([[value]])
        return Tokens(ids, torch.ones_like(ids, dtype=torch.bool), ids[:, :0])

    everything, nothing, pictures = 7.0, 1.0, 4.0
    context = Context(side(7), side(1), side(4))
    settings = Settings(N, 1, 1.5, 1.0, N)
    noise = Noise.of([0]).normal("flow", 0, N)
    process = Flow(net, picture_guidance=1.6)
    moved = run(process, context, settings, [0])[-1].latents - noise
    wanted = nothing + 1.6 * (pictures - nothing) + 2.5 * (everything - pictures)
    torch.testing.assert_close(moved, torch.full((1, N), wanted))
    # without the pictures' side, and without guidance, it does not count
    plain = run(process, replace(context, shown=None), settings, [0])[-1].latents - noise
    torch.testing.assert_close(plain, torch.full((1, N), nothing + 2.5 * (everything - nothing)))
    unguided = run(process, context, replace(settings, guidance=0.0), [0])[-1].latents - noise
    torch.testing.assert_close(unguided, torch.full((1, N), everything))
    assert Rows.unpack(*context.pack()) is not None and context[[0, 0]].shown.num_rows == 2


def test_values_are_the_bits_of_latents():
    latents = torch.tensor([[0.0, -0.0, 1.5, -3.25e-20, 7e30]])
    values = to_values(latents)
    assert values.dtype == torch.int64
    assert torch.equal(to_latents(values).view(torch.int32), latents.view(torch.int32))
    assert torch.equal(torch.tensor(json.loads(json.dumps(values.tolist()))), values)


def test_times_run_from_noise_to_the_picture():
    assert torch.equal(time_grid(4), torch.linspace(0, 1, 5))
    shifted = time_grid(10, 3.0)
    assert shifted[0] == 0 and shifted[-1] == 1 and (shifted.diff() > 0).all()
    assert (shifted[1:-1] < time_grid(10)[1:-1]).all()


def test_the_sampler_arrives_where_the_velocity_leads(toy, context, settings):
    states = run(Flow(toy), context([3, 5]), settings(N, 4), [1, 2])
    assert toy.firsts == [True, False, False, False]
    torch.testing.assert_close(states[-1].latents.detach(), torch.tensor([[3.0], [5.0]]).expand(2, N))
    # a complete guess from the first step on
    torch.testing.assert_close(states[1].guess.detach(), states[-1].latents.detach())
    assert torch.equal(Flow(toy).view(states[-1]), to_values(states[-1].latents))


def test_guidance_goes_away_from_the_dropped_condition(toy, context, settings):
    with torch.no_grad():
        states = run(Flow(toy), context([3]), settings(N, 1, guidance=2.0), [1])
    # (1 + 2) 3 - 2 1, the dropped condition is one id long
    torch.testing.assert_close(states[-1].latents, torch.full((1, N), 7.0))


def test_a_row_depends_on_its_own_seed_alone(toy, context, settings):
    with torch.no_grad():
        together = run(Flow(toy), context([3, 4]), settings(N, 3), [1, 2])
        alone = run(Flow(toy), context([3, 4])[[1]], settings(N, 3), [2])
    for both, one in zip(together, alone, strict=True):
        assert torch.equal(both.latents[[1]], one.latents)


@pytest.mark.parametrize("chance", [0.0, 0.7])
def test_a_saved_state_goes_on_to_the_same_picture(toy, context, settings, chance):
    process = Flow(toy, chance=chance)
    with torch.no_grad():
        states = run(process, context([3, 4]), settings(N, 3), [1, 2])
        for state in states:
            tensors, about = state.pack()
            again = Rows.unpack(tensors, json.loads(json.dumps(about)))
            assert isinstance(again, FlowState)
            assert torch.equal(process.finish(again).latents, states[-1].latents)
            assert torch.equal(process.finish(state[[1]]).latents, states[-1].latents[[1]])


def test_temperature_zero_leaves_nothing_to_chance(toy, context, settings):
    process = Flow(toy, chance=0.7)
    with torch.no_grad():
        one, other = (run(process, context([3]), settings(N, 3, temperature=0.0), [seed]) for seed in (1, 2))
    assert one[0].latents.std() > 0.1
    assert all(torch.equal(a.latents, b.latents) for a, b in zip(one, other, strict=True))


def test_a_score_is_minus_the_squared_error_at_the_drawn_time(toy, context):
    process, values = Flow(toy), to_values(torch.full((2, N), 3.0))
    draw = process.draw(values, Noise.of([5, 6]))
    right, wrong = process.log_prob(context([3, 4]), values, draw).tokens
    torch.testing.assert_close(right, torch.zeros(N), atol=1e-9, rtol=0)
    torch.testing.assert_close(wrong, -((1 / (1 - draw.time[1])) ** 2).expand(N), rtol=1e-4, atol=0)
    assert draw.hidden.all() and (draw.time > 0).all() and (draw.time < 1).all()
    level = process.draw(values, Noise.of([5, 6]), torch.tensor([0.25, 1.0]))
    assert torch.equal(level.time, torch.tensor([0.75, 0.0]))


def test_scores_carry_gradients_and_need_their_own_draw(toy, context):
    process, values = Flow(toy), to_values(torch.full((1, N), 3.0))
    draw = process.draw(values, Noise.of([5]))
    process.log_prob(context([4]), values, draw).total.sum().backward()
    assert toy.weight.grad is not None and toy.weight.grad != 0
    with pytest.raises(ValueError, match="draw of this process"):
        process.log_prob(context([4]), values[:, :2], draw)


def test_a_stochastic_step_has_the_density_it_was_drawn_from(toy, context, settings):
    process, wish, some = Flow(toy, chance=0.7), settings(N, 4), context([3, 4])
    with torch.no_grad():
        states = run(process, some, wish, [1, 2])
        for n, (before, after) in enumerate(zip(states, states[1:], strict=False)):
            mean, deviation = process.transition(some, wish, before.latents, n)
            push = Noise.of([1, 2]).normal("push", n, N)
            torch.testing.assert_close(after.latents, mean + deviation * push)
            density, _ = process.step_log_prob(some, wish, before.latents, after.latents, n)
            exact = torch.distributions.Normal(mean, deviation).log_prob(after.latents).sum(dim=1)
            torch.testing.assert_close(density, exact)
    with pytest.raises(ValueError, match="chance"):
        Flow(toy).step_log_prob(some, wish, states[0].latents, states[1].latents, 0)


def test_chance_keeps_the_marginals(context, settings):
    """Data are normal numbers of deviation 2, whose velocity is known in closed form."""

    def exact(sides, latents, time, first):
        t = time[:, None]
        return [latents * (4 * t - (1 - t)) / (4 * t**2 + (1 - t) ** 2) for _ in sides]

    wish = settings(20_000, 60)
    for chance in (0.0, 0.5):
        (row,) = run(Flow(exact, chance=chance), context([1]), wish, [1])[-1].latents
        assert abs(float(row.std()) - 2) < 0.06 and abs(float(row.mean())) < 0.06


def test_rounding_keeps_latents_in_the_smaller_type(toy, context, settings):
    with torch.no_grad():
        states = run(Flow(toy, rounding=torch.bfloat16), context([3]), settings(N, 3), [1])
    for state in states:
        assert state.latents.dtype == torch.float32
        assert torch.equal(state.latents, state.latents.bfloat16().float())


def test_levels_are_told_where_the_network_tells_them(toy, context):
    values = to_values(torch.full((1, N), 3.0))
    process = Flow(toy, levels=toy.levels)
    draw = process.draw(values, Noise.of([5]))
    velocity, levels = process.traced(context([4]), values, draw)
    assert velocity.shape == (1, N) and levels.shape == (1, 2, 1, N)
    with pytest.raises(ValueError, match="levels"):
        Flow(toy).traced(context([4]), values, draw)


def test_known_values_and_impossible_settings_are_refused(toy, context, settings):
    known, free = torch.zeros(1, N, dtype=torch.int64), torch.zeros(1, N, dtype=torch.bool)
    with pytest.raises(ValueError, match="known"):
        Flow(toy).start(context([3]), settings(N, 2, known=known, free=free), Noise.of([1]))
    with pytest.raises(ValueError, match="shift"):
        Flow(toy, shift=0.0).start(context([3]), settings(N, 2), Noise.of([1]))


def test_divergences_vanish_for_the_same_and_are_positive_otherwise():
    torch.manual_seed(0)
    policy, reference = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    assert torch.equal(level_divergence(policy, policy), torch.zeros(2))
    assert (level_divergence(policy, reference) > 0).all()
    assert (level_divergence(policy, reference, 2.0) < level_divergence(policy, reference)).all()
    assert torch.equal(velocity_divergence(policy, policy), torch.zeros(2))
    a, b = torch.zeros(1, 4), torch.ones(1, 4)
    assert float(gaussian_divergence(a, b, 2.0)) == pytest.approx(0.5)
    assert float(gaussian_log_prob(a, a, 1.0)) == pytest.approx(-2 * math.log(2 * math.pi))


def test_a_draw_can_be_packed():
    draw = Flow(Toy()).draw(to_values(torch.zeros(2, N)), Noise.of([1, 2]))
    tensors, about = draw.pack()
    again = Rows.unpack(tensors, about)
    assert isinstance(again, FlowDraw) and torch.equal(again.noise, draw.noise)
