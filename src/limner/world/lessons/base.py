"""A lesson, the draft a generator writes, and the pen it writes with (its random choices under a split's rules)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2s
from typing import Any, Protocol, TypeVar

from limner.world import say
from limner.world.content import Content, copies
from limner.world.scene import BACKGROUNDS, COLOURS, KINDS

PROMPT_LIMIT = 24  # words in a prompt
THOUGHT_LIMIT = 28  # words in a thought, its plan included

_PLACES = tuple(name for name in BACKGROUNDS if name != "plain")
_KINDS = tuple(KINDS)
_LEADS = frozenset(["at", "by", "in", "indoors", "it", "not", "of", "on", "under", "when"]) | frozenset(BACKGROUNDS)


@dataclass(frozen=True)
class Lesson:
    """One prompt with its worked thought and what it asks for.

    ``kind`` is ``picture`` (draw ``content``) or ``text`` (words only: think, or give ``answer``). ``facts`` is what
    ``check.facts_hold`` judges: only what the prompt asked, not what the plan chose freely.
    """

    group: str
    kind: str
    prompt: str
    thought: str
    content: Content | None
    answer: str | None
    facts: dict[str, Any]
    split: str
    tags: tuple[str, ...]
    id: str

    @property
    def plan(self) -> str | None:
        """The canonical plan, which also ends the thought; None for lessons without a picture's content."""
        return None if self.content is None else say.plan(self.content)

    def to_json(self) -> dict[str, Any]:
        """The lesson as plain JSON values."""
        value = asdict(self)
        value["content"] = None if self.content is None else self.content.to_json()
        value["tags"] = list(self.tags)
        return value

    @staticmethod
    def from_json(value: dict[str, Any]) -> Lesson:
        """The lesson that ``to_json`` wrote."""
        content = None if value["content"] is None else Content.from_json(value["content"])
        return Lesson(**{**value, "content": content, "tags": tuple(value["tags"])})


@dataclass
class Draft:
    """What a generator writes. ``key`` names what the prompt asks, free of wording; ``answer`` is for text only."""

    prompt: str
    content: Content | None
    facts: dict[str, Any] = field(default_factory=dict)
    steps: tuple[str, ...] = ()
    key: str = ""
    answer: str | None = None

    @property
    def thought(self) -> str:
        """The steps and the plan, joined by ``; ``."""
        steps = self.steps if self.content is None else (*self.steps, say.plan(self.content))
        return "; ".join(steps)

    def lesson(self, group: str, kind: str, split: str, tags: tuple[str, ...]) -> Lesson:
        """The finished lesson."""
        thought = self.thought
        mark = blake2s(f"{self.prompt}|{thought}|{self.answer}".encode(), digest_size=6).hexdigest()
        prompt = say.join(say.words(self.prompt))
        return Lesson(
            group, kind, prompt, thought, self.content, self.answer, self.facts, split, tags, f"{group}-{mark}"
        )


class _Fact(Protocol):
    @property
    def text_only(self) -> bool: ...


F = TypeVar("F", bound=_Fact)
T = TypeVar("T")


class Pen:
    """Random choices for one draft, and a record of whether held-out wordings or text-only facts were used, and of
    whether a number decides what is meant."""

    def __init__(self, rng: random.Random, split: str, kind: str) -> None:
        self.rng, self.split, self.kind = rng, split, kind
        self.new_wording = False
        self.text_fact = False
        self.by_number = False

    def choice(self, options: Sequence[T]) -> T:
        """One of the options."""
        return options[int(self.rng.random() * len(options))]

    def chance(self, share: float) -> bool:
        """True with this probability."""
        return self.rng.random() < share

    def wording(self, train: Sequence[T], test: Sequence[T] = ()) -> T:
        """A training wording, or in the split of new wordings often a held-out one."""
        if test and self._fresh():
            self.new_wording = True
            return self.choice(test)
        return self.choice(train)

    def fact(self, table: Sequence[F]) -> F:
        """A fact that this split and kind of lesson may use; text-only facts never reach a picture in training."""
        text_only = [fact for fact in table if fact.text_only]
        if text_only and (
            (self.split == "text_only" and not self.text_fact) or (self.kind == "text" and self.chance(0.5))
        ):
            self.text_fact = True
            return self.choice(text_only)
        return self.choice([fact for fact in table if not fact.text_only])

    def frame(self, phrase: str) -> str:
        """The phrase alone, or asked for: ``draw ...``, ``a picture of ...``; only phrases that name a thing first."""
        if phrase.split(" ", 1)[0] in _LEADS:
            return phrase
        return self.wording(*say.FRAMES).format(phrase)

    def kind_name(self) -> str:
        """Any kind."""
        return self.choice(_KINDS)

    def colour(self) -> str:
        """Any colour."""
        return self.choice(COLOURS)

    def background(self) -> str:
        """Any background but the plain one."""
        return self.choice(_PLACES)

    def place(self, share: float = 0.2) -> tuple[str, str | None, str]:
        """(background, the background where the prompt states it, `` in the snow`` or nothing)."""
        if not self.chance(share):
            return "plain", None, ""
        background = self.background()
        return background, background, " " + self.where(background)

    def where(self, background: str) -> str:
        """One way to say the background."""
        return self.wording(*say.PLACES[background])

    def _fresh(self) -> bool:
        return self.split == "new_wordings" and self.chance(0.6)


def clause(kind: str | Sequence[str], count: int = 1, colour: str | Sequence[str] | None = None) -> dict[str, Any]:
    """One wanted sort of thing; lists mean any of these, no colour means any colour."""
    out: dict[str, Any] = {"kind": kind if isinstance(kind, str) else one_or_list(kind), "count": count}
    if colour is not None:
        out["colour"] = colour if isinstance(colour, str) else one_or_list(colour)
    return out


def one_or_list(names: Sequence[str]) -> str | list[str]:
    """The only name, or all of them as a list."""
    return names[0] if len(names) == 1 else list(names)


def wanted(include: list[dict[str, Any]], background: str | Sequence[str] | None = None) -> dict[str, Any]:
    """Facts from clauses and an optional background (a list means any of these)."""
    facts: dict[str, Any] = {"include": include}
    if background is not None:
        facts["background"] = background if isinstance(background, str) else list(background)
    return facts


def one_sort(
    pen: Pen,
    count: int,
    kinds: Sequence[str],
    colour: str | None,
    background: str = "plain",
    stated: str | Sequence[str] | None = None,
) -> tuple[Content, dict[str, Any]]:
    """``count`` equal things of one of ``kinds`` in ``colour`` (any, if None), and the facts that judge them."""
    kind = pen.choice(kinds)
    content = copies(count, kind, colour or pen.colour(), background)
    return content, wanted([clause(kinds, count, colour)], stated)
