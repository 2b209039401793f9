"""Small sums as prompts write them and as thoughts work them out, one step at a time."""

from __future__ import annotations

import random
from dataclasses import dataclass

from limner.world.say import NUMBERS


@dataclass(frozen=True)
class Sum:
    """``terms`` are signed numbers, the first one positive; no partial result is negative."""

    terms: tuple[int, ...]

    @property
    def value(self) -> int:
        """The result."""
        return sum(self.terms)

    @property
    def digits(self) -> str:
        """``2+3-1``."""
        return str(self.terms[0]) + "".join(f"{'+' if t >= 0 else '-'}{abs(t)}" for t in self.terms[1:])

    @property
    def bracketed(self) -> str:
        """``(2+3-1)``."""
        return f"({self.digits})"

    @property
    def spelled(self) -> str:
        """``two plus three minus one``; the numbers must be at most twelve."""
        rest = (f" {'plus' if t >= 0 else 'minus'} {NUMBERS[abs(t)]}" for t in self.terms[1:])
        return NUMBERS[self.terms[0]] + "".join(rest)

    @property
    def steps(self) -> tuple[str, ...]:
        """``2+3=5`` and ``5-1=4``: one equation for every sign."""
        out, total = [], self.terms[0]
        for term in self.terms[1:]:
            out.append(f"{total}{'+' if term >= 0 else '-'}{abs(term)}={total + term}")
            total += term
        return tuple(out)


def one_step(rng: random.Random, value: int) -> Sum:
    """A sum or a difference of numbers 0-9 with this value (0-12); a zero among the numbers is rare."""
    while True:
        if value > 9 or rng.random() < 0.5:
            first = rng.randint(max(0, value - 9), min(9, value))
            terms = (first, value - first)
        else:
            last = rng.randint(0, 9 - value)
            terms = (value + last, -last)
        if 0 not in terms or rng.random() < 0.1:
            return Sum(terms)


def two_steps(rng: random.Random, value: int) -> Sum:
    """Two steps with numbers 1-9 and results between 1 and 9, ending in this value (0-9)."""
    while True:
        middle = rng.randint(1, 9)
        first = one_step(rng, middle)
        last = value - middle
        if last != 0 and 0 not in first.terms:
            return Sum((*first.terms, last))


def a_sum(rng: random.Random, value: int, two: float = 0.4) -> Sum:
    """One step, or with probability ``two`` two steps."""
    return two_steps(rng, value) if value <= 9 and rng.random() < two else one_step(rng, value)
