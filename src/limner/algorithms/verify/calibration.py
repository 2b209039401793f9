"""Can a verifier be believed? Expected calibration error and the ROC of its answers, step by step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from limner.algorithms.verify.search import Event


def ece(chances: Sequence[float], truths: Sequence[bool], bins: int = 10) -> float:
    """The mean distance between how sure the answers were and how often they were right, over equally wide bins
    weighted by what falls into them."""
    p, y = _pair(chances, truths)
    place = np.minimum((p * bins).astype(int), bins - 1)
    total = 0.0
    for b in range(bins):
        some = place == b
        if some.any():
            total += float(some.mean()) * abs(float(p[some].mean()) - float(y[some].mean()))
    return total


def roc(chances: Sequence[float], truths: Sequence[bool]) -> tuple[list[tuple[float, float]], float]:
    """(points (false positive rate, true positive rate) from (0, 0) to (1, 1), area). The area is the probability
    that a true one is ranked above a false one, ties counting half; nan where only one kind is there."""
    p, y = _pair(chances, truths)
    positive, negative = int(y.sum()), int((1 - y).sum())
    points = [(0.0, 0.0)]
    for threshold in sorted(set(p.tolist()), reverse=True):
        passed = p >= threshold
        false, true = float((passed * (1 - y)).sum()), float((passed * y).sum())
        points.append((false / max(negative, 1), true / max(positive, 1)))
    if not positive or not negative:
        return points, float("nan")
    area = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in zip(points, points[1:], strict=False))
    return points, area


def by_step(
    events: Sequence[Event], fates: Mapping[tuple[str, int, int], bool], question: str = "potential"
) -> list[dict[str, Any]]:
    """One row a step: how many looks, their mean, ``ece`` and ``auc`` against the fates of their paths (``auc`` None
    where all have the same).

    ``fates`` says by (job, output, path) whether the finished picture was right. Looks that were not judged, or whose
    fate is not known, are left out.
    """
    rows: dict[int, list[tuple[float, bool]]] = {}
    for e in events:
        fate = None if e.path is None else fates.get((e.job, e.output, e.path))
        judged = e.kind == "look" and e.question == question and e.opinion is not None and e.round == 0
        if judged and fate is not None and e.step is not None and e.opinion is not None and e.opinion.yes is not None:
            rows.setdefault(e.step, []).append((e.opinion.yes, fate))
    found = []
    for step in sorted(rows):
        chances, truths = [p for p, _ in rows[step]], [t for _, t in rows[step]]
        area = roc(chances, truths)[1]
        found.append(
            {
                "step": step,
                "looks": len(chances),
                "mean": round(float(np.mean(chances)), 4),
                "right": round(float(np.mean(truths)), 4),
                "ece": round(ece(chances, truths), 4),
                "auc": None if math.isnan(area) else round(area, 4),
            }
        )
    return found


def _pair(chances: Sequence[float], truths: Sequence[bool]) -> tuple[np.ndarray, np.ndarray]:
    if len(chances) != len(truths) or not len(chances):
        raise ValueError(f"{len(chances)} answers and {len(truths)} truths: give as many, and at least one")
    return np.asarray(chances, dtype=np.float64), np.asarray(truths, dtype=np.float64)
