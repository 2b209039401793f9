"""Signs that a score is gamed and not earned (reward hacking), measured on the samples themselves.

    gap         what the judge gives more than a second one, which nothing was trained against, confirms
    diversity   how different the replies to one prompt are; a policy that found a trick repeats it
    residual    how far pictures are from the drawing of what they hold: noise that fools a reader is not drawn

Each is a number in [0, 1]. Training compares them over time (``train.alarms``), evaluation with another run
(``bench.alarms``), by the same limits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from limner.judges.base import Judge
from limner.judges.verifier import Verifier
from limner.parts import Sample, Verdict

SIDE = 32  # pixels a side at which pictures are compared
GAP, DIVERSITY, RESIDUAL = "gap", "diversity", "residual"
SIGNS = (GAP, DIVERSITY, RESIDUAL)
Residual = Callable[[Sequence[Sample]], list[float | None]]


@dataclass(frozen=True)
class Limits:
    """What is an alarm: ``gap`` may grow by so much, ``diversity`` may fall to that share of what it was, ``residual``
    may grow by so much. ``lines`` of a training run's numbers at either end are compared, at least ``fewest``; a change
    must be beyond ``sure`` standard errors."""

    gap: float = 0.1
    diversity: float = 0.5
    residual: float = 0.01
    lines: int = 10
    fewest: int = 3
    sure: float = 3.0


LIMITS = Limits()


def confirmed(verifier: Verifier) -> Judge:
    """A verifier's yes or no as a judge: 1, 0, or None with the reason."""

    def judge(samples: Sequence[Sample]) -> list[Verdict]:
        opinions = verifier("outcome", samples)
        return [Verdict(None if o.yes is None else float(bool(o.says)), why=o.text) for o in opinions]

    return judge


def different(samples: Sequence[Sample]) -> float | None:
    """How different the replies of one prompt are, the mean over all pairs: of pictures the mean distance of their
    pixels (1: black and white), of words the share of pairs that differ. None for fewer than two."""
    shown = [_vector(sample) for sample in samples if sample.image is not None]
    if len(shown) < 2:
        words = ["\n".join(p.text for p in s.reply if p.kind != "image") for s in samples]
        if len(words) < 2 or shown:
            return None
        pairs = [(a, b) for i, a in enumerate(words) for b in words[i + 1 :]]
        return sum(a != b for a, b in pairs) / len(pairs)
    stack = np.stack(shown)
    apart = np.abs(stack[:, None] - stack[None]).mean(axis=-1)
    return float(apart.sum() / (len(stack) * (len(stack) - 1)))


def _vector(sample: Sample) -> np.ndarray:
    assert sample.image is not None
    return np.asarray(sample.image.convert("RGB").resize((SIDE, SIDE)), dtype=np.float32).ravel() / 255


def drawn_residual(samples: Sequence[Sample]) -> list[float | None]:
    """Of each picture the mean difference, 0 to 1, from the picture world's drawing of what its reader finds; None for
    a picture that the reader does not take (not square, or smaller than the canvas)."""
    from limner.world.read import read

    found: list[float | None] = []
    for sample in samples:
        if sample.image is None or sample.image.size[0] != sample.image.size[1] or sample.image.size[0] < 64:
            found.append(None)
        else:
            found.append(read(sample.image.convert("RGB")).residual / 255)
    return found


def mean(values: Sequence[float | None]) -> float:
    """Of those that are known; nan where none is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else float("nan")


@dataclass(frozen=True)
class Watch:
    """Looks at the samples that a reward was given for. ``claim`` names the part of the reward's verdict that
    ``held_out`` should confirm ("": the whole score). Without a held-out judge there is no gap."""

    held_out: Judge | None = None
    claim: str = ""
    residual: Residual | None = None

    def __call__(self, samples: Sequence[Sample], verdicts: Sequence[Verdict]) -> Mapping[str, float]:
        """``held_out``, ``claimed``, ``gap``, ``diversity`` and ``residual``, each a mean; nan where not measured."""
        second = [Verdict(None)] * len(samples) if self.held_out is None else self.held_out(samples)
        claimed = [v.parts.get(self.claim) if self.claim else v.score for v in verdicts]
        both = [(a, b.score) for a, b in zip(claimed, second, strict=True) if a is not None and b.score is not None]
        by_prompt: dict[int, list[Sample]] = {}
        for sample in samples:
            by_prompt.setdefault(id(sample.task), []).append(sample)
        return {
            "claimed": mean([a for a, _ in both]),
            "held_out": mean([b for _, b in both]),
            GAP: mean([a - b for a, b in both]),
            DIVERSITY: mean([different(some) for some in by_prompt.values()]),
            RESIDUAL: float("nan") if self.residual is None else mean(self.residual(samples)),
        }
