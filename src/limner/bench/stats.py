"""Means with honest intervals. Pictures of one prompt are not independent, so prompts are resampled, not pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True)
class Share:
    """A mean in [0, 1] with its 95% interval; ``total`` answers to ``prompts`` were judged, ``unjudged`` left out."""

    mean: float
    low: float
    high: float
    prompts: int
    total: int
    unjudged: int = 0

    def to_json(self) -> dict[str, float | int]:
        """Plain values, rounded to four digits."""
        return {k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(self).items()}

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


def share(scores: Sequence[Sequence[float | None]], *, draws: int = 10_000, seed: int = 0) -> Share:
    """The mean over prompts of each prompt's mean, with a percentile bootstrap over prompts (``draws`` times).

    ``scores[p]`` are the scores of prompt p; None was not judged and is left out. With few prompts, or scores that are
    all equal, the bootstrap is blind, so the interval is never narrower than Wilson's for that many answers.
    """
    known = [[score for score in row if score is not None] for row in scores]
    unjudged = sum(len(row) - len(kept) for row, kept in zip(scores, known, strict=True))
    means = np.array([np.mean(kept) for kept in known if kept], dtype=np.float64)
    if not len(means):
        raise ValueError("no score to average: nothing was judged")
    rng = np.random.default_rng(seed)
    resampled = means[rng.integers(0, len(means), size=(draws, len(means)))].mean(axis=1)
    low, high = np.percentile(resampled, [2.5, 97.5])
    mean = float(means.mean())
    wilson_low, wilson_high = _wilson(mean, sum(len(kept) for kept in known))
    return Share(
        mean, float(min(low, wilson_low)), float(max(high, wilson_high)), len(means), sum(map(len, known)), unjudged
    )


def _wilson(p: float, n: int) -> tuple[float, float]:
    z = 1.959964
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def paired(
    a: Sequence[float], b: Sequence[float], *, draws: int = 10_000, seed: int = 0, level: float = 0.95
) -> tuple[float, float, float]:
    """(mean difference a - b, low, high): a bootstrap interval of that level over prompts answered by both.

    With few prompts the bootstrap is blind. So the interval holds 0 unless more prompts differ than would by chance all
    differ the same way (the sign test: ``k`` of them do so with probability 0.5^k).
    """
    if len(a) != len(b) or not len(a):
        raise ValueError(f"a paired comparison needs two equally long lists, got {len(a)} and {len(b)}")
    difference = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    rng = np.random.default_rng(seed)
    resampled = difference[rng.integers(0, len(difference), size=(draws, len(difference)))].mean(axis=1)
    low, high = np.percentile(resampled, [50 * (1 - level), 50 * (1 + level)])
    if 0.5 ** np.count_nonzero(difference) > (1 - level) / 2:
        low, high = min(low, 0.0), max(high, 0.0)
    return float(difference.mean()), float(low), float(high)
