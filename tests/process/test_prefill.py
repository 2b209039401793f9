"""A block comes from one pass or vector by vector, and is scored by its embeddings' error."""

import pytest
import torch

from limner.process.base import Context, Settings, Tokens
from limner.process.flow import to_latents, to_values
from limner.process.noise import Noise
from limner.process.prefill import Prefill, embedding_error

N, D = 4, 3


def context(rows=2):
    tokens = Tokens(torch.arange(rows)[:, None], torch.ones(rows, 1, dtype=torch.bool), torch.zeros(rows, 0).long())
    return Context(tokens, tokens)


def truth(given):
    return given.before[:, :1, None] + torch.arange(N * D, dtype=torch.float32).view(1, N, D)


class Net:
    """Predicts a ramp that begins with the row's id; fed vectors are added to what follows them."""

    def __init__(self):
        self.calls = 0

    def __call__(self, given, fed):
        self.calls += 1
        found = truth(given)
        return found if fed is None else found + torch.cat([torch.zeros_like(fed[:, :1]), fed], dim=1)

    def following(self, given, last, memory):
        self.calls += 1
        k = 0 if memory is None else int(memory[0, 0]) + 1
        vector = truth(given)[:, k] + (0 if last is None else last)
        return vector, torch.full((given.before.shape[0], 1), k)


def finish(process, rows=2):
    return process.finish(process.start(context(rows), process.settings(N), Noise.of(range(rows))))


def test_a_block_is_one_pass():
    net = Net()
    state = finish(Prefill(net, D))
    assert net.calls == 1 and state.step == 1 and state.done.all()
    assert torch.equal(to_latents(Prefill(net, D).view(state)), truth(context().given).flatten(1))


def test_vector_by_vector_feeds_each_one_back():
    net = Net()
    state = finish(Prefill(net, D, net.following, True))
    assert net.calls == N
    assert torch.equal(state.vectors.unflatten(1, (N, D)), truth(context().given).cumsum(dim=1))


def test_a_state_half_way_can_be_cut_to_some_rows():
    net = Net()
    process = Prefill(net, D, net.following, True)
    state = process.start(context(), process.settings(N), Noise.of([0, 1]))
    half = process.step(process.step(state))
    assert not half.done.any()
    rest = process.finish(half[[1]])
    assert torch.equal(rest.vectors, finish(process).vectors[[1]])


def test_the_likelihood_is_minus_the_published_loss():
    torch.manual_seed(0)
    wanted = torch.randn(2, N, D)
    process = Prefill(Net(), D)
    values = to_values(wanted.flatten(1))
    draw = process.draw(values, None)
    scored = process.log_prob(context(), values, draw)
    found = truth(context().given)
    cosine = torch.nn.functional.cosine_similarity(found, wanted, dim=-1)
    loss = 0.5 * ((found - wanted) ** 2).mean(dim=(1, 2)) + 0.5 * (1 - cosine).mean(dim=1)
    torch.testing.assert_close(-scored.mean, loss)
    exact = process.log_prob(context(), to_values(found.flatten(1)), draw)
    assert exact.tokens.abs().max() < 1e-6


def test_a_fed_back_network_is_scored_on_the_true_vectors():
    wanted = truth(context().given)
    process = Prefill(Net(), D, fed_back=True)
    scored = process.log_prob(context(), to_values(wanted.flatten(1)), process.draw(to_values(wanted.flatten(1)), None))
    given = torch.cat([torch.zeros(2, 1, D), wanted[:, :-1]], dim=1)
    torch.testing.assert_close(-scored.tokens.unflatten(1, (N, D)), embedding_error(wanted + given, wanted))


def test_what_cannot_be_a_block_is_refused():
    process = Prefill(Net(), D)
    with pytest.raises(ValueError, match="no vectors of 3"):
        process.start(context(), Settings(10, 1, 0.0, 0.0, 3), Noise.of([0, 1]))
    values = torch.zeros(2, 12, dtype=torch.int64)
    with pytest.raises(ValueError, match="known"):
        process.start(context(), Settings(12, 1, 0.0, 0.0, 3, values, values.bool()), Noise.of([0, 1]))
