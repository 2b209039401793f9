"""What moves the weights: schedules, Muon with AdamW, gradient clipping and averaged weights.

A schedule is a function from the step (0 for the first update) to a factor on the learning rate in [0, 1].

Muon follows Jordan et al. (2024) with the update size of "Muon is Scalable for LLM Training" (arXiv 2502.16982, section
2.2), as `torch.optim.Muon` does with `match_rms_adamw`. Ours differs in one point: the Newton-Schulz iteration runs in
float32 unless bfloat16 is asked for. torch's runs in bfloat16, which a CPU without such instructions emulates: on one
such core, 42 matrices of width 256 took 16.8 s an update with torch's and 0.48 s in float32.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from limner.train.tensors import full, like

Schedule = Callable[[int], float]

# ---- schedules


def _warm(step: int, warmup: int) -> float:
    return min(1.0, (step + 1) / warmup) if warmup else 1.0


def hold_then_decay(steps: int, *, warmup: int, hold: float, floor: float) -> Schedule:
    """Full rate until the share `hold` of `steps` is done, then a straight line to `floor`, reached after the last."""
    start = hold * steps
    length = max(1.0, steps - start)
    return lambda step: _warm(step, warmup) * (1.0 - (1.0 - floor) * min(1.0, max(0.0, step - start) / length))


def cosine(steps: int, *, warmup: int, hold: float, floor: float) -> Schedule:
    """Half a cosine from 1 after the warm-up to `floor` after the last step; `hold` is not used."""
    length = max(1, steps - warmup)

    def factor(step: int) -> float:
        share = min(1.0, max(0.0, (step - warmup) / length))
        return _warm(step, warmup) * (floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * share)))

    return factor


def constant(steps: int, *, warmup: int, hold: float, floor: float) -> Schedule:
    """The full rate after the warm-up; `hold` and `floor` are not used."""
    return lambda step: _warm(step, warmup)


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "hold_then_decay": hold_then_decay,
    "cosine": cosine,
    "constant": constant,
}

# ---- Muon


def orthogonalised(matrix_MN: Tensor, iterations: int = 5, dtype: torch.dtype = torch.float32) -> Tensor:
    """Much the same matrix with all singular values about 1 (0.5 to 1.5): quintic Newton-Schulz in ``dtype``."""
    a, b, c = 3.4445, -4.7750, 2.0315  # slope at zero as large as it gets: few iterations suffice
    tall = matrix_MN.shape[0] > matrix_MN.shape[1]
    x = (matrix_MN.mT if tall else matrix_MN).float()
    x = (x / x.norm().clamp(min=1e-7)).to(dtype)
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum for hidden matrices, sized like AdamW's update, so that its learning rates carry over.

    A convolution's kernel counts as the matrix of its filters: (out, in * height * width).
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        iterations: int = 5,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "iterations": iterations}
        )
        self.dtype = dtype
        for parameter in (p for group in self.param_groups for p in group["params"]):
            if parameter.ndim < 2:
                shape = tuple(parameter.shape)
                raise ValueError(f"Muon takes matrices, and was given a parameter of shape {shape}; leave it to AdamW")

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient; no closure is taken."""
        if closure is not None:
            raise ValueError("Muon.step takes no closure; compute the gradients first")
        for group in self.param_groups:
            lr, momentum = group["lr"], group["momentum"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter.grad)
                buffer = state["momentum"].lerp_(parameter.grad, 1 - momentum)
                # a matrix that is cut over processes is put together: its singular values are those of the whole
                matrix = full(parameter.grad.lerp(buffer, momentum)).flatten(1)
                update = like(orthogonalised(matrix, group["iterations"], self.dtype).view(parameter.shape), parameter)
                parameter.mul_(1 - lr * group["weight_decay"])
                parameter.add_(update.to(parameter.dtype), alpha=-lr * 0.2 * math.sqrt(max(matrix.shape)))


class Optimizers:
    """Several torch optimizers as one, whose learning rates can be scaled together. `rates` holds the unscaled ones."""

    def __init__(self, *optimizers: torch.optim.Optimizer) -> None:
        self.optimizers = optimizers
        self.rates = [[float(group["lr"]) for group in each.param_groups] for each in optimizers]

    def spread(self, model: nn.Module, rates: Mapping[str, float]) -> None:
        """Give each parameter the factor on its learning rate that the first pattern matching its name says (regular
        expressions, from the beginning; 1 where none does). Raises ValueError for a pattern that no name matches."""
        if not rates:
            return
        names = [name for name, _ in _trainable(model)]
        for pattern in rates:
            if not any(re.match(pattern, name) for name in names):
                raise ValueError(
                    f"no trainable weight is called like {pattern!r} of rates; there are {names[0]!r}, ..."
                )
        factors = {
            p: next((factor for pattern, factor in rates.items() if re.match(pattern, name)), 1.0)
            for name, p in _trainable(model)
        }
        for each, given in zip(self.optimizers, self.rates, strict=True):
            groups = list(zip(each.param_groups, given, strict=True))
            each.param_groups.clear()
            given.clear()
            for group, rate in groups:
                for factor in dict.fromkeys(factors[p] for p in group["params"]):
                    some = [p for p in group["params"] if factors[p] == factor]
                    each.param_groups.append({**group, "params": some, "lr": rate * factor})
                    given.append(rate * factor)

    def scale(self, factor: float) -> None:
        """Set every learning rate to `factor` times its unscaled value."""
        for each, rates in zip(self.optimizers, self.rates, strict=True):
            for group, rate in zip(each.param_groups, rates, strict=True):
                group["lr"] = rate * factor

    def step(self) -> None:
        for each in self.optimizers:
            each.step()

    def zero_grad(self) -> None:
        for each in self.optimizers:
            each.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        """One state dict per optimizer, in the order given."""
        return [each.state_dict() for each in self.optimizers]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        for each, state in zip(self.optimizers, states, strict=True):
            each.load_state_dict(state)


def _trainable(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


def adamw(model: nn.Module, lr: float, weight_decay: float, *, betas: tuple[float, float] = (0.9, 0.95)) -> Optimizers:
    """AdamW for everything trainable; matrices and kernels decay, vectors (norms, biases) do not."""
    return Optimizers(_adamw([p for _, p in _trainable(model)], lr, weight_decay, betas))


def _adamw(
    parameters: list[nn.Parameter], lr: float, weight_decay: float, betas: tuple[float, float]
) -> torch.optim.Optimizer:
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=lr, betas=betas)


def muon_with_adamw(
    model: nn.Module,
    lr: float,
    adamw_lr: float,
    weight_decay: float,
    is_matrix: Callable[[str, nn.Parameter], bool],
    *,
    betas: tuple[float, float] = (0.9, 0.95),
    iterations: int = 5,
    dtype: torch.dtype = torch.float32,
) -> Optimizers:
    """Muon for what `is_matrix(name, parameter)` picks (hidden, 2-D or more), AdamW for the rest (embeddings, heads).

    ``dtype`` is that of Muon's iteration: bfloat16 where the machine multiplies in it. Raises ValueError where nothing
    is picked, or something that is no matrix.
    """
    named = _trainable(model)
    hidden = [parameter for name, parameter in named if is_matrix(name, parameter)]
    rest = [parameter for name, parameter in named if not is_matrix(name, parameter)]
    if not hidden:
        raise ValueError("is_matrix picked no trainable parameter for Muon; use adamw, or pick the hidden 2-D weights")
    muon = Muon(hidden, lr, weight_decay, iterations=iterations, dtype=dtype)
    return Optimizers(muon, _adamw(rest, adamw_lr, weight_decay, betas)) if rest else Optimizers(muon)


def clip_gradient(model: nn.Module, limit: float) -> Tensor:
    """Scale all gradients so that their joint norm is at most `limit` (0: only measure); returns the norm before."""
    return full(nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], limit or math.inf))


# ---- averaged weights


class EMA:
    """Running averages of the trainable weights in float32: average <- d average + (1 - d) weight.

    d = min(decay, (1 + n) / (10 + n)) after n updates, so that the random start is soon forgotten. With decay 0 the
    averages are the weights themselves.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0.0 <= decay < 1.0:
            raise ValueError(
                f"decay={decay} is not in [0, 1); 0.998 suits a run of some thousand steps, 0 switches averaging off"
            )
        self.decay = decay
        self.updates = 0
        self.averages = {name: parameter.detach().float().clone() for name, parameter in _trainable(model)}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take the model's present weights into the averages."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, parameter in _trainable(model):
            self.averages[name].lerp_(parameter.float(), 1.0 - decay)
        self.updates += 1

    @torch.no_grad()
    def load_into(self, model: nn.Module) -> None:
        """Overwrite the model's trainable weights with their averages."""
        for name, parameter in _trainable(model):
            parameter.copy_(self.averages[name])

    @contextmanager
    def swapped(self, model: nn.Module) -> Iterator[nn.Module]:
        """The model with averaged weights and in evaluation mode; afterwards exactly as it was."""
        kept = [(parameter, parameter.detach().clone()) for _, parameter in _trainable(model)]
        modes = [(module, module.training) for module in model.modules()]
        self.load_into(model)
        model.eval()
        try:
            yield model
        finally:
            with torch.no_grad():
                for parameter, weight in kept:
                    parameter.copy_(weight)
            for module, mode in modes:
                module.training = mode
