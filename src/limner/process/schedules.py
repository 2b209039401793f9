"""Masking schedules: the share still hidden when the share r of the steps is done; gamma(0) = 1, gamma(1) = 0.

MaskGIT (2202.04200) section 3.3 for cosine; MMaDA's four choices. A schedule is a function that you pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

Schedule = Callable[[float], float]


def cosine(r: float) -> float:
    """cos(pi r / 2)."""
    return math.cos(math.pi * r / 2) if r < 1 else 0.0


def cosine_single(r: float) -> float:
    """cos(pi r / 2) in float32, as published samplers compute it: 36 cos(60 degrees) is a little less than 18 there."""
    return float(torch.cos(torch.tensor(r) * math.pi * 0.5))


def linear(r: float) -> float:
    """1 - r."""
    return 1.0 - r


def power(exponent: float) -> Schedule:
    """1 - r^exponent."""
    return lambda r: min(1.0, max(1e-6, 1.0 - r**exponent))


def sigmoid(r: float) -> float:
    """A logistic curve from 1 to 0, rescaled to touch both; never below 1e-6."""
    v = [1 / (1 + math.exp(-(6 * t - 3))) for t in (0.0, r, 1.0)]
    return min(1.0, max(1e-6, (v[2] - v[1]) / (v[2] - v[0])))


SCHEDULES: dict[str, Schedule] = {"cosine": cosine, "linear": linear, "sigmoid": sigmoid, "square": power(2.0)}


def shares(total: int, steps: int) -> list[int]:
    """``total`` values shared by ``steps`` steps, the remainder going to the first ones (LLaDA's rule)."""
    if steps < 1:
        raise ValueError(f"steps={steps} must be at least 1")
    return [total // steps + (1 if i < total % steps else 0) for i in range(steps)]
