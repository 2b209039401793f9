"""Which hidden values are revealed, and how sure a choice is.

Shape letters: B rows, N values of a part, M wanted places of all rows, V possible values.
"""

from __future__ import annotations

import torch
from torch import Tensor

from limner.process.base import Fast


def sureness(logits: Tensor, best: Tensor, choice: Tensor) -> Tensor:
    """(M,) float32 probabilities of choices (M,) under logits (M, V); best (M,) are the likeliest values.

    The best value's own term of the sum is 1: the others are added up beside it, so that near-certain choices keep
    their order without the vocabulary in float64.
    """
    most = logits.gather(1, best[:, None])
    others = (logits - most).exp().scatter(1, best[:, None], 0.0).sum(dim=-1)
    picked = (logits.gather(1, choice[:, None]).double() - most.double())[:, 0].exp()
    return (picked / (1 + others.double())).float()


def first(ranks: Tensor, count: Tensor) -> Tensor:
    """(B, N) bool: the count (B,) highest of ranks (B, N); among equals those that stand first."""
    return ranks.argsort(dim=1, descending=True, stable=True).argsort(dim=1) < count[:, None]


def how_many(confidence: Tensor, least: Tensor, fast: Fast) -> Tensor:
    """(B,) how many values a fast way reveals: confidence (B, N) is minus infinity where there is no candidate, least
    (B,) is what the exact way would reveal."""
    if fast.threshold:
        return torch.maximum(least, (confidence >= fast.threshold).sum(dim=1))
    if not fast.factor:
        return least
    candidates = (confidence > -torch.inf).sum(dim=1)
    rank = torch.arange(1, confidence.shape[1] + 1, device=confidence.device)
    ordered = confidence.sort(dim=1, descending=True).values
    fails = (ordered < 1 - fast.factor / (rank + 1)) & (rank > 1) & (rank <= candidates[:, None])
    count = torch.where(fails.any(dim=1), fails.long().argmax(dim=1), candidates)
    # as published: where only the very last one fails, it is revealed with the rest
    return torch.maximum(least, torch.where(count == candidates - 1, candidates, count))
