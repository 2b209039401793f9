"""Contexts and settings for processes without a model."""

from collections.abc import Callable

import pytest
import torch

from limner.process.base import Context, Settings, Tokens


def _tokens(lengths: list[int], after: int) -> Tokens:
    P = max(lengths)
    before = torch.zeros(len(lengths), P, dtype=torch.int64)
    kept = torch.arange(P)[None, :] >= P - torch.tensor(lengths)[:, None]
    for row, length in enumerate(lengths):
        before[row, P - length :] = torch.arange(1, length + 1)
    return Tokens(before, kept, torch.full((len(lengths), after), 9, dtype=torch.int64))


@pytest.fixture
def context() -> Callable[..., Context]:
    """Rows with prompts of these lengths; the dropped condition is one id long."""
    return lambda lengths, after=1: Context(_tokens(lengths, after), _tokens([1] * len(lengths), after))


@pytest.fixture
def settings() -> Callable[..., Settings]:
    """Settings with plain defaults."""

    def build(length: int, steps: int, **others: object) -> Settings:
        plain: dict = {"guidance": 0.0, "temperature": 1.0, "block": length} | others
        return Settings(length, steps, **plain)

    return build
