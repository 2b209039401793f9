"""Which compositions are kept for tests, decided by stable hashes of names, the same in every process and version.

Held out of every training picture, plan and caption: for most kinds one colour; for many kinds one number of
copies; some (number, kind, colour) triples; some pairs of kinds in one picture; and a share of all whole contents
(things, arrangement and background together), whose pieces may all be known. Reasoning prompts have a key (such as
riddle, sum and colour together) of which a share is held out too. ``FORBIDDEN`` never occurs in training at all.
"""

from __future__ import annotations

import random
from functools import cache
from hashlib import blake2s
from typing import Any

from limner.world.content import Content, random_content
from limner.world.scene import COLOURS

SPLITS: tuple[str, ...] = ("train", "new_compositions", "new_wordings", "text_only")
FORBIDDEN = "( 3 + 6 ) lives"  # as words joined by spaces; the riddle that the demonstration asks
KEY_SHARE = 0.12
SCENE_SHARE = 0.15


@cache
def share(*names: object) -> float:
    """A stable number in [0, 1) for a tuple of names."""
    digest = blake2s("|".join(str(name) for name in names).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") / 2**32


@cache
def held_colour(kind: str) -> str | None:
    """The colour in which training never shows this kind; None for about one kind in five."""
    if share("has colour", kind) >= 0.8:
        return None
    return COLOURS[int(share("colour", kind) * len(COLOURS))]


@cache
def held_count(kind: str) -> int | None:
    """The number (2-6) of copies in which training never shows this kind; None for about three kinds in five."""
    if share("has count", kind) >= 0.4:
        return None
    return 2 + int(share("count", kind) * 5)


@cache
def held_triple(count: int, kind: str, colour: str) -> bool:
    """Whether training never shows so many things of this kind and colour together (two or more)."""
    return count > 1 and share("triple", count, kind, colour) < 0.08


@cache
def held_pair(a: str, b: str) -> bool:
    """Whether training never shows these two kinds in one picture; the order does not matter."""
    return a != b and share("pair", *sorted((a, b))) < 0.08


def held_key(group: str, key: str) -> bool:
    """Whether a reasoning prompt's key is kept for tests. An empty key never is."""
    return bool(key) and share("key", group, key) < KEY_SHARE


def novelty(clauses: list[dict[str, Any]]) -> tuple[str, ...]:
    """What is unseen in the stated clauses (``kind`` and ``colour`` are names, lists of names, or missing)."""
    found = set()
    kinds = [clause["kind"] for clause in clauses if isinstance(clause.get("kind"), str)]
    for clause in clauses:
        kind, colour, count = clause.get("kind"), clause.get("colour"), clause.get("count", 1)
        if not isinstance(kind, str):
            continue
        if isinstance(colour, str) and held_colour(kind) == colour:
            found.add("unseen_colour")
        if held_count(kind) == count:
            found.add("unseen_count")
        if isinstance(colour, str) and held_triple(count, kind, colour):
            found.add("unseen_triple")
    if any(held_pair(a, b) for i, a in enumerate(kinds) for b in kinds[i + 1 :]):
        found.add("unseen_pair")
    return tuple(sorted(found))


@cache
def novelty_of(content: Content) -> tuple[str, ...]:
    """What is unseen in a whole content; empty for contents that training may show."""
    if content.layout == "copies":
        kind, colour = content.things[0]
        return novelty([{"kind": kind, "colour": colour, "count": len(content.things)}])
    return novelty([{"kind": kind, "colour": colour} for kind, colour in content.things])


def held_scene(content: Content) -> bool:
    """Whether this whole content is kept for tests, although its pieces may be known."""
    return share("scene", content.layout, content.things, content.background) < SCENE_SHARE


def may_train(content: Content) -> bool:
    """Whether training may show this content as a picture or a plan."""
    return not novelty_of(content) and not held_scene(content)


def known_content(rng: random.Random) -> Content:
    """A random content that training may show."""
    while True:
        content = random_content(rng)
        if may_train(content):
            return content
