"""A verifier answers yes or no about candidates, finished or half made; a judge's score is one way to answer.

Questions are names, so that a policy says what it wants to know and a verifier says how that is asked:

    clarity     can this half-made picture be judged yet?
    potential   may it still become what was asked for?
    step        how well does a half-made picture fit so far (PRM)
    outcome     does the finished picture show what was asked for?
    reflection  the same, and if not: what is wrong, in words (``Opinion.text``)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from limner.judges.base import Judge
from limner.parts import Sample

Question = Literal["clarity", "potential", "step", "outcome", "reflection"]
JOIN = "+"  # between the metrics, and the sources of prompts, of verifiers that are asked together
QUESTIONS: tuple[Question, ...] = ("clarity", "potential", "step", "outcome", "reflection")


@dataclass(frozen=True)
class Opinion:
    """One answer. ``yes`` is the probability of yes (or a judge's score); None: could not be judged, and ``text`` says
    why. ``no`` and ``says`` follow from it unless they are given, as a sampled answer gives them."""

    yes: float | None
    no: float | None = None
    says: bool | None = None
    text: str = ""

    def __post_init__(self) -> None:
        if self.yes is not None and self.no is None:
            object.__setattr__(self, "no", 1.0 - self.yes)
        if self.yes is not None and self.says is None:
            object.__setattr__(self, "says", self.yes >= 0.5)

    @property
    def judged(self) -> bool:
        """Whether there was an answer at all."""
        return self.yes is not None


def unjudged(why: str) -> Opinion:
    """No answer, and why."""
    return Opinion(None, text=why)


@dataclass(frozen=True)
class About:
    """What a verifier is and what it learned from, so that nobody praises it for what it was taught: the ``metric`` it
    computes, or that labelled its training pictures, and the source of its training ``prompts`` ("" for none)."""

    name: str
    metric: str = ""
    prompts: str = ""


class Verifier(Protocol):
    """Answers one question about many candidates."""

    @property
    def about(self) -> About:
        """What it is."""
        ...

    def __call__(self, question: Question, samples: Sequence[Sample]) -> list[Opinion]:
        """One opinion a sample; the last picture of a reply is meant, ``progress`` below 1 is half made."""
        ...


# A share of the steps. Pictures of small generators are clear early: a look tells as much then as after half of them.
EARLY = 0.25


def clear_from(share: float, samples: Sequence[Sample]) -> list[Opinion]:
    """Clarity by the share of the steps that were taken, for verifiers that do not look for it."""
    return [Opinion(float(sample.progress >= share)) for sample in samples]


@dataclass(frozen=True)
class Judged:
    """A judge of whole pictures as a verifier: half-made ones are judged as they stand, from the share ``clear_from``
    of the steps on. A score of at least ``threshold`` is a yes, and the judge's reason is the critique. ``chances`` are
    the probabilities of yes that scores of 0 and 1 stand for, where a judge's word is known to be worth less."""

    judge: Judge
    about: About = field(default_factory=lambda: About("a judge"))
    clear_from: float = 0.5
    threshold: float = 0.5
    chances: tuple[float, float] = (0.0, 1.0)

    def __call__(self, question: Question, samples: Sequence[Sample]) -> list[Opinion]:
        if question == "clarity":
            return clear_from(self.clear_from, samples)
        low, high = self.chances
        verdicts = self.judge(samples)
        if len(verdicts) != len(samples):
            raise ValueError(f"the judge gave {len(verdicts)} verdicts for {len(samples)} samples")
        return [
            unjudged(v.why or "the judge gave no score")
            if v.score is None
            else Opinion(low + (high - low) * v.score, says=v.score >= self.threshold, text=v.why)
            for v in verdicts
        ]


@dataclass(frozen=True)
class Together:
    """Several verifiers as one: their log-odds are added, as if each had seen something else, and their texts joined.
    What one of them cannot judge is not judged: odds of fewer looks would not compare with the others'."""

    verifiers: tuple[Verifier, ...]

    @property
    def about(self) -> About:
        """All of them, with every metric and every source of prompts that any of them has."""
        every = [each.about for each in self.verifiers]
        metric = JOIN.join(dict.fromkeys(about.metric for about in every if about.metric))
        prompts = JOIN.join(dict.fromkeys(about.prompts for about in every if about.prompts))
        return About(" and ".join(about.name for about in every), metric, prompts)

    def reads_codes(self, model: Any) -> bool:
        """Whether all of them need nothing of this generator's pictures but their codes."""
        readers = [getattr(each, "reads_codes", None) for each in self.verifiers]
        return all(reads is not None and bool(reads(model)) for reads in readers)

    def __call__(self, question: Question, samples: Sequence[Sample]) -> list[Opinion]:
        return [_joined(some) for some in zip(*(each(question, samples) for each in self.verifiers), strict=True)]


def _joined(opinions: Sequence[Opinion]) -> Opinion:
    lost = [opinion for opinion in opinions if opinion.yes is None]
    text = "; ".join(opinion.text for opinion in lost or opinions if opinion.text)
    if lost:
        return unjudged(text)
    return Opinion(chance_of(sum(_odds(opinion.yes) for opinion in opinions if opinion.yes is not None)), text=text)


def _odds(chance: float) -> float:
    inside = min(max(chance, 1e-9), 1 - 1e-9)
    return math.log(inside / (1 - inside))


def chance_of(odds: float) -> float:
    """The probability of log-odds."""
    return 1 / (1 + math.exp(-odds))


@dataclass(frozen=True)
class Guarded:
    """A verifier whose failures are answers: what it raises, opinions that are missing, and numbers that are none leave
    candidates unjudged, with the reason."""

    verifier: Verifier

    @property
    def about(self) -> About:
        """The verifier's."""
        return self.verifier.about

    def reads_codes(self, model: Any) -> bool:
        """Whether the verifier needs nothing of this generator's pictures but their codes."""
        reads = getattr(self.verifier, "reads_codes", None)
        return reads is not None and bool(reads(model))

    def __call__(self, question: Question, samples: Sequence[Sample]) -> list[Opinion]:
        try:
            opinions = self.verifier(question, samples)
        except Exception as error:  # whatever a judge's code raises, the pictures are not lost
            return [unjudged(f"{self.about.name} failed: {type(error).__name__}: {error}")] * len(samples)
        if len(opinions) != len(samples):
            why = f"{self.about.name} gave {len(opinions)} opinions on {len(samples)} candidates"
            return [unjudged(why)] * len(samples)
        return [self._checked(opinion) for opinion in opinions]

    def _checked(self, opinion: Opinion) -> Opinion:
        if opinion.yes is None or math.isfinite(opinion.yes):
            return opinion
        return unjudged(f"{self.about.name} gave the score {opinion.yes}")


def coincidence(about: About, metric: str, prompts: str) -> str:
    """A warning where verifier and measurement are not independent, "" where they are.

    ``metric`` names the judge that measures, ``prompts`` the source of the test prompts.
    """
    same = []
    if metric and metric in about.metric.split(JOIN):
        same.append(f"its answers come from the metric itself ({metric})")
    if prompts and prompts in about.prompts.split(JOIN):
        same.append(f"it was trained on prompts of the same source ({prompts})")
    if not same:
        return ""
    why = " and ".join(same)
    return f"the verifier {about.name} is not independent of this measurement: {why}; gains may not carry over"
