"""What happens to a job, told to whoever asked: plain values, in the order in which they happen.

`Engine` tells them from threads of its own. Every row of a job ends with one `Done`; a job that cannot be finished ends
with one `Failed` in place of what is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

    from limner.algorithms.verify.search import Event as Search
    from limner.answer import Answer
    from limner.parts import Part


@dataclass(frozen=True)
class Words:
    """Words of a row as far as no later step changes them: ``text`` is all of them, each time more. ``over`` is true
    once the part is complete."""

    row: int
    kind: Literal["thinking", "text"]
    text: str
    over: bool = False


@dataclass(frozen=True)
class Preview:
    """A row's picture as it stands after ``step`` of ``steps``."""

    row: int
    image: Picture
    step: int
    steps: int


@dataclass(frozen=True)
class Looked:
    """A verifier looked at a candidate, or something was decided."""

    event: Search


@dataclass(frozen=True)
class Done:
    """A row is complete: all that was made for it, and the answer. ``prompt_tokens`` and ``tokens`` are the values that
    the model read and made, by kind of part; ``ended`` says that the last words came to an end by themselves."""

    row: int
    answer: Answer
    reply: tuple[Part, ...]
    prompt_tokens: int = 0
    tokens: tuple[tuple[str, int], ...] = ()
    ended: bool = True


@dataclass(frozen=True)
class Failed:
    """The job cannot be finished. ValueError: what was asked is impossible."""

    error: Exception


Event = Words | Preview | Looked | Done | Failed
