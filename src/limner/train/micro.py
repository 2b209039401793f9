"""A step in pieces: rows that do not fit at once run through the model a few at a time, and their gradients add up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

Row = TypeVar("Row")


def micro_steps(
    loss_of: Callable[[Sequence[Row]], tuple[Tensor, dict[str, float]]], rows: Sequence[Row], size: int
) -> tuple[Tensor, dict[str, float]]:
    """(Mean loss over micro-batches of ``size`` rows by their shares, means of the numbers that each reports).

    All but the last micro-batch run backward here; the caller runs backward what is returned.
    """
    total, sums, shares = torch.zeros(()), dict[str, float](), dict[str, float]()
    for begin in range(0, len(rows), size):
        some = rows[begin : begin + size]
        share = len(some) / len(rows)
        loss, found = loss_of(some)
        loss = share * loss
        if begin + size < len(rows):
            loss.backward()
            loss = loss.detach()
        total = total.to(loss.device) + loss
        for name, value in found.items():
            sums[name] = sums.get(name, 0.0) + share * value
            shares[name] = shares.get(name, 0.0) + share
    return total, {name: value / shares[name] for name, value in sums.items()}
