"""Lessons without end: prompts of every group with worked thoughts, plans, and facts for the judge.

``lesson`` makes one from a ``random.Random``; ``stream`` makes them for ever from a seed. In the training split a
picture lesson never shows a held-out composition, wording or text-only fact (``limner.world.splits``).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping

from limner.world import say, splits
from limner.world.lessons import explicit, mixed, nature, numbers, riddles, texts
from limner.world.lessons.base import PROMPT_LIMIT, THOUGHT_LIMIT, Draft, Lesson, Pen

__all__ = ["EXPLICIT", "GROUPS", "REASONING", "TEXT", "TEXT_ONLY", "Lesson", "lesson", "stream"]

_MAKERS: dict[str, Callable[[Pen], Draft]] = {
    "single": explicit.single,
    "two": explicit.two,
    "counting": explicit.counting,
    "colour": explicit.colour,
    "position": explicit.position,
    "binding": explicit.binding,
    "place": explicit.place,
    "arithmetic": numbers.arithmetic,
    "word_problem": numbers.word_problem,
    "negation": numbers.negation,
    "comparison": numbers.comparison,
    "sequence": numbers.sequence,
    "riddle": riddles.riddle,
    "time_zone": nature.time_zone,
    "season": nature.season,
    "physics": nature.physics,
    "chemistry": nature.chemistry,
    "composition": mixed.composition,
    "sums": texts.sums,
    "knowledge": texts.knowledge,
}
EXPLICIT: tuple[str, ...] = ("single", "two", "counting", "colour", "position", "binding", "place")
SEVERAL: tuple[str, ...] = ("two", "counting", "position", "binding")  # explicit, with several things in the picture
TEXT: tuple[str, ...] = ("sums", "knowledge")  # words only: a thought and an answer, never a picture
REASONING: tuple[str, ...] = tuple(group for group in _MAKERS if group not in EXPLICIT + TEXT)
GROUPS: tuple[str, ...] = EXPLICIT + REASONING
TEXT_ONLY: tuple[str, ...] = ("riddle", "time_zone", "chemistry", "composition")  # groups with facts seen only as text


def lesson(group: str, rng: random.Random, split: str = "train", kind: str = "picture") -> Lesson:
    """One lesson of a group of ``GROUPS`` (or ``TEXT``, which are always words only).

    ``kind`` ``text`` makes the same prompts as practice without a picture; in training these also teach the
    text-only facts. ``split`` is one of ``splits.SPLITS``; explicit groups have no ``text_only`` lessons.
    """
    if group not in _MAKERS:
        raise ValueError(f"no group called {group!r}; there are: {', '.join(_MAKERS)}")
    if split not in splits.SPLITS:
        raise ValueError(f"no split called {split!r}; there are: {', '.join(splits.SPLITS)}")
    if kind not in ("picture", "text"):
        raise ValueError(f"kind is {kind!r}, but a lesson is a 'picture' or a 'text'")
    if split == "text_only" and group not in TEXT_ONLY:
        raise ValueError(f"group {group!r} has no facts that are only text; these have: {', '.join(TEXT_ONLY)}")
    if group in TEXT:
        kind = "text"
        if split == "new_compositions":
            raise ValueError(f"group {group!r} has no compositions; choose one of: {', '.join(GROUPS)}")
    make = _MAKERS[group]
    while True:
        pen = Pen(rng, split, kind)
        draft = make(pen)
        tags = _tags(group, draft, pen)
        if tags is not None:
            return draft.lesson(group, kind, split, tags)


def stream(
    seed: int,
    split: str = "train",
    weights: Mapping[str, float] | None = None,
    *,
    text: float = 0.0,
) -> Iterator[Lesson]:
    """Lessons for ever. ``weights`` gives groups and their shares (default: all of ``GROUPS`` alike).

    ``text`` is the share of reasoning lessons that are made without a picture.
    """
    rng = random.Random(seed)
    table = dict(weights) if weights is not None else {group: 1.0 for group in GROUPS}
    if split == "text_only" and weights is None:
        table = {group: 1.0 for group in TEXT_ONLY}
    names, shares = list(table), list(table.values())
    while True:
        for group in rng.choices(names, shares, k=64):
            kind = "text" if group in REASONING and rng.random() < text else "picture"
            yield lesson(group, rng, split, kind)


def _tags(group: str, draft: Draft, pen: Pen) -> tuple[str, ...] | None:
    """The tags of a draft that its split accepts; None to try again."""
    prompt = say.words(draft.prompt)
    if len(prompt) > PROMPT_LIMIT or len(say.words(draft.thought)) > THOUGHT_LIMIT:
        return None
    forbidden = splits.FORBIDDEN in " ".join(prompt)
    held = splits.held_key(group, draft.key) or forbidden
    seen = draft.content is None or splits.may_train(draft.content)
    number = ("by_number",) if pen.by_number else ()
    if pen.split == "new_compositions":
        unseen = splits.novelty(draft.facts.get("include", [])) + _unseen_scene(draft)
        if not unseen and not held:
            return None
        return (*unseen, "unseen_key", *number) if held else (*unseen, *number)
    if not seen or (pen.split == "text_only") != held:
        return None
    if pen.split == "new_wordings":
        return ("new_wording", *number) if pen.new_wording else None
    if pen.split == "text_only":
        return ("text_fact", *number) if pen.text_fact else None
    return ("text_fact", *number) if pen.text_fact else number


def _unseen_scene(draft: Draft) -> tuple[str, ...]:
    """The tag of a draft whose prompt fixes a whole content that training never shows."""
    clauses = draft.facts.get("include", [])
    fixed = all(isinstance(c.get("kind"), str) and isinstance(c.get("colour"), str) for c in clauses)
    relations = [relation["is"] for relation in draft.facts.get("relation", ())]
    arranged = len(clauses) == 1 or (bool(relations) and "beside" not in relations)
    held = draft.content is not None and splits.held_scene(draft.content)
    return ("unseen_scene",) if clauses and fixed and arranged and held else ()
