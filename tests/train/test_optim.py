from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from limner.train.optim import EMA, SCHEDULES, Muon, Optimizers, adamw, clip_gradient, muon_with_adamw, orthogonalised


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(10, 12), nn.Linear(12, 24), nn.Tanh(), nn.Linear(24, 12), nn.LayerNorm(12))


@pytest.mark.parametrize("name", sorted(SCHEDULES))
@pytest.mark.parametrize(("warmup", "hold", "floor"), [(0, 0.0, 0.0), (10, 0.5, 0.1), (1, 1.0, 0.0), (7, 0.05, 0.5)])
def test_every_schedule_warms_up_peaks_at_one_and_never_rises_again(
    name: str, warmup: int, hold: float, floor: float
) -> None:
    factors = [SCHEDULES[name](100, warmup=warmup, hold=hold, floor=floor)(step) for step in range(100)]
    assert all(0.0 < factor <= 1.0 for factor in factors)
    peak = factors.index(max(factors))
    assert max(factors) == pytest.approx(1.0, abs=0.06)
    assert factors[:peak] == sorted(factors[:peak])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)
    assert max(abs(a - b) for a, b in zip(factors, factors[1:], strict=False)) <= max(1.0 / max(1, warmup), 0.03) + 1e-9


def test_hold_then_decay_holds_then_falls_straight_to_the_floor() -> None:
    factor = SCHEDULES["hold_then_decay"](100, warmup=4, hold=0.5, floor=0.2)
    assert [factor(step) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert factor(50) == 1.0
    assert factor(75) == pytest.approx(0.6)
    assert factor(100) == pytest.approx(0.2)


def test_cosine_is_half_way_down_in_the_middle() -> None:
    assert SCHEDULES["cosine"](110, warmup=10, hold=0.0, floor=0.0)(60) == pytest.approx(0.5)


def test_the_iteration_in_bfloat16_gives_nearly_the_same_update() -> None:
    matrix = torch.randn(24, 40, generator=torch.Generator().manual_seed(0))
    exact, rough = orthogonalised(matrix), orthogonalised(matrix, dtype=torch.bfloat16)
    assert rough.dtype == torch.bfloat16 and exact.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(exact.flatten(), rough.float().flatten(), dim=0) > 0.999


@pytest.mark.parametrize("shape", [(16, 16), (8, 40), (40, 8)])
def test_orthogonalised_keeps_the_directions_and_levels_the_sizes(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    levelled = u.mT @ orthogonalised(matrix, 7) @ v.mT
    assert torch.allclose(levelled, torch.diag(levelled.diag()), atol=1e-3)
    assert levelled.diag().min() > 0.5 and levelled.diag().max() < 1.5


def test_muon_agrees_with_torch_up_to_its_bfloat16() -> None:
    torch.manual_seed(0)
    ours, theirs = (nn.Parameter(torch.ones(12, 20)) for _ in range(2))
    a = Muon([ours], 0.1, weight_decay=0.01)
    b = torch.optim.Muon([theirs], 0.1, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    for _ in range(5):
        ours.grad = torch.randn(12, 20)
        theirs.grad = ours.grad.clone()
        a.step()
        b.step()
    moved = (ours - 1).norm()
    assert (ours - theirs).norm() < 0.02 * moved


def test_muon_reduces_a_loss() -> None:
    model = net()
    optimizers = muon_with_adamw(model, 0.02, 0.01, 0.0, lambda name, _: name in ("1.weight", "3.weight"))
    target = torch.randn(10, 12, generator=torch.Generator().manual_seed(2))
    losses = []
    for _ in range(60):
        optimizers.zero_grad()
        loss = (model(torch.arange(10)) - target).square().mean()
        loss.backward()
        optimizers.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.2 * losses[0]


def test_muon_takes_the_matrices_and_adamw_the_rest() -> None:
    model = net()
    muon, rest = muon_with_adamw(model, 0.1, 0.01, 0.5, lambda name, _: name == "1.weight").optimizers
    assert [tuple(p.shape) for g in muon.param_groups for p in g["params"]] == [(24, 12)]
    assert {tuple(p.shape): g["weight_decay"] for g in rest.param_groups for p in g["params"]} == {
        (10, 12): 0.5,
        (12, 24): 0.5,
        (24,): 0.0,
        (12,): 0.0,
    }


def test_muon_refuses_what_is_not_a_matrix_and_nothing_at_all() -> None:
    with pytest.raises(ValueError, match=r"shape \(24,\)"):
        muon_with_adamw(net(), 0.1, 0.1, 0.0, lambda name, _: name == "1.bias")
    with pytest.raises(ValueError, match="picked no trainable parameter"):
        muon_with_adamw(net(), 0.1, 0.1, 0.0, lambda name, _: False)


def test_scaling_starts_from_the_rates_given() -> None:
    optimizers = muon_with_adamw(net(), 0.1, 0.01, 0.0, lambda name, _: name == "1.weight")
    for _ in range(3):
        optimizers.scale(0.5)
    assert [group["lr"] for each in optimizers.optimizers for group in each.param_groups] == [0.05, 0.005, 0.005]


def test_optimizers_go_on_from_their_state() -> None:
    def step(model: nn.Module, optimizers: Optimizers) -> None:
        optimizers.zero_grad()
        model(torch.arange(10)).square().sum().backward()
        optimizers.step()

    model = net()
    optimizers = adamw(model, 0.01, 0.1)
    step(model, optimizers)
    twin = copy.deepcopy(model)
    resumed = adamw(twin, 0.01, 0.1)
    resumed.load_state_dict(copy.deepcopy(optimizers.state_dict()))
    step(model, optimizers)
    step(twin, resumed)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


def test_averages_follow_the_formula_and_swapping_gives_everything_back() -> None:
    model = nn.Linear(1, 1, bias=False)
    ema, expected = EMA(model, 0.5), float(model.weight.detach())
    for n in range(20):
        with torch.no_grad():
            model.weight.fill_(n)
        ema.update(model)
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * n
    assert float(ema.averages["weight"]) == pytest.approx(expected, rel=1e-6)
    with ema.swapped(model) as averaged:
        assert float(averaged.weight.detach()) == pytest.approx(expected, rel=1e-6)
        assert not averaged.training
    assert float(model.weight.detach()) == 19.0
    assert model.training


def test_averages_of_narrow_weights_are_kept_in_float32() -> None:
    model = nn.Linear(4, 4).to(torch.bfloat16)
    ema = EMA(model, 0.9)
    ema.update(model)
    assert {average.dtype for average in ema.averages.values()} == {torch.float32}


def test_clipping_bounds_the_norm_and_reports_the_one_before() -> None:
    model = nn.Linear(3, 1)
    (1000 * model(torch.ones(1, 3))).sum().backward()
    before = clip_gradient(model, 0.0)
    assert clip_gradient(model, 2.0) == before > 1000
    after = math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters()))
    assert after == pytest.approx(2.0, rel=1e-4)


@pytest.mark.parametrize("channels", [(4, 8), (64, 3)])
def test_muon_moves_a_kernel_as_the_matrix_of_its_filters(channels: tuple[int, int]) -> None:
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.zeros(*channels, 3, 3))
    matrix = nn.Parameter(torch.zeros(channels[0], channels[1] * 9))
    kernel.grad = torch.randn_like(kernel)
    matrix.grad = kernel.grad.flatten(1)
    Muon([kernel, matrix], 0.1).step()
    assert torch.equal(kernel.flatten(1), matrix)
    assert matrix.abs().max() > 0
