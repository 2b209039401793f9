"""Questions about a picture with exact answers: what, which colour, how many, where, and yes or no, balanced."""

from __future__ import annotations

import random
from collections.abc import Callable

from limner.world import say
from limner.world.content import Content
from limner.world.scene import BACKGROUNDS, COLOURS, KINDS, Scene

_RELATIONS = {"row": ("left of", "right of"), "trio": ("left of", "right of"), "column": ("above", "below")}


def ask(what: Scene | Content, rng: random.Random, topic: str | None = None) -> tuple[str, str]:
    """A question and its answer. ``topic`` is one of ``TOPICS``; topics that do not fit the picture raise ValueError.

    Without a topic one of those that fit is chosen. Yes/no questions are answered yes half of the time.
    """
    content = Content.of(what) if isinstance(what, Scene) else what
    if content.layout == "other" or not content.things:
        raise ValueError("questions want a picture with a known layout, but this arrangement has none")
    if topic is not None:
        if topic not in TOPICS:
            raise ValueError(f"no topic called {topic!r}; there are: {', '.join(TOPICS)}")
        asked = TOPICS[topic](content, rng)
        if asked is None:
            raise ValueError(f"no question on {topic!r} fits this picture: {say.plan(content)}")
        return asked
    names = list(TOPICS)
    while True:
        asked = TOPICS[rng.choice(names)](content, rng)
        if asked is not None:
            return asked


def _what(content: Content, rng: random.Random) -> tuple[str, str] | None:
    kind, _ = content.things[0]
    if content.layout == "copies":
        count = len(content.things)
        return ("what is it?", say.single(kind)) if count == 1 else ("what are they?", say.noun(kind, count))
    if content.layout == "inside":
        return f"what is inside {_the(content, 0)}?", say.single(*content.things[1])
    i = rng.randrange(len(content.things) - 1)
    first, second = _RELATIONS[content.layout]
    if rng.random() < 0.5:
        if content.layout == "trio" and i > 0:
            return None
        return f"what is {first} {_the(content, i + 1)}?", say.single(*content.things[i])
    if content.layout == "trio" and i < 1:
        return None
    return f"what is {second} {_the(content, i)}?", say.single(*content.things[i + 1])


def _colour(content: Content, rng: random.Random) -> tuple[str, str] | None:
    i = rng.randrange(len(content.things))
    kind, colour = content.things[i]
    if content.layout != "copies" and sum(name == kind for name, _ in content.things) > 1:
        return None
    return f"what colour {_is(content)} the {_named(content, kind)}?", colour


def _how_many(content: Content, rng: random.Random) -> tuple[str, str] | None:
    kind = _absent(content, rng) if rng.random() < 0.2 else rng.choice(content.things)[0]
    count = sum(name == kind for name, _ in content.things)
    return f"how many {say.noun(kind, 2)} are there?", say.NUMBERS[count]


def _where(content: Content, rng: random.Random) -> tuple[str, str] | None:
    if content.layout == "copies":
        return None
    i = rng.randrange(len(content.things))
    if content.layout == "inside":
        return f"where is {_the(content, 1)}?", f"inside {_the(content, 0)}"
    last = len(content.things) - 1
    j = i - 1 if i == last or (i > 0 and rng.random() < 0.5) else i + 1
    if content.layout == "trio" and i == 1:
        return f"where is {_the(content, 1)}?", f"right of {_the(content, 0)}"
    if content.layout == "trio":
        j = 1
    return f"where is {_the(content, i)}?", f"{_RELATIONS[content.layout][i > j]} {_the(content, j)}"


def _background(content: Content, rng: random.Random) -> tuple[str, str] | None:
    return "what is the background?", content.background


def _is_there(content: Content, rng: random.Random) -> tuple[str, str] | None:
    yes = rng.random() < 0.5
    kind = rng.choice(content.things)[0] if yes else _absent(content, rng)
    if len(content.things) > 1 and content.layout == "copies":
        return f"are there {say.noun(kind, 2)}?", _yes(yes)
    return f"is there {say.single(kind)}?", _yes(yes)


def _is_coloured(content: Content, rng: random.Random) -> tuple[str, str] | None:
    kind, colour = rng.choice(content.things)
    if content.layout != "copies" and sum(name == kind for name, _ in content.things) > 1:
        return None
    yes = rng.random() < 0.5
    if not yes:
        others = [other for _, other in content.things if other != colour]
        wrong = others if others and rng.random() < 0.5 else [other for other in COLOURS if other != colour]
        colour = rng.choice(wrong)
    return f"{_is(content)} the {_named(content, kind)} {colour}?", _yes(yes)


def _is_placed(content: Content, rng: random.Random) -> tuple[str, str] | None:
    if content.layout == "copies":
        return None
    if content.layout == "inside":
        yes = rng.random() < 0.5
        return f"is {_the(content, int(yes))} inside {_the(content, int(not yes))}?", _yes(yes)
    i = rng.randrange(len(content.things) - 1)
    first, second = _RELATIONS[content.layout]
    yes, turned = rng.random() < 0.5, rng.random() < 0.5
    a, b = (i + 1, i) if turned else (i, i + 1)
    return f"is {_the(content, a)} {second if turned == yes else first} {_the(content, b)}?", _yes(yes)


def _is_background(content: Content, rng: random.Random) -> tuple[str, str] | None:
    yes = rng.random() < 0.5
    name = content.background if yes else rng.choice([other for other in BACKGROUNDS if other != content.background])
    return f"is the background {name}?", _yes(yes)


def _more_than(content: Content, rng: random.Random) -> tuple[str, str] | None:
    count = len(content.things)
    if content.layout != "copies":
        return None
    yes = rng.random() < 0.5
    limit = rng.randint(max(0, count - 2), count - 1) if yes else rng.randint(count, min(count + 1, say.MOST))
    return f"are there more than {say.NUMBERS[limit]} {say.noun(content.things[0][0], 2)}?", _yes(yes)


def _same_colour(content: Content, rng: random.Random) -> tuple[str, str] | None:
    if content.layout not in ("row", "column") or content.things[0][0] == content.things[1][0]:
        return None
    (a, hue_a), (b, hue_b) = content.things
    if hue_a != hue_b and rng.random() > 0.12:  # equal colours are rare in pictures; this evens the answers out
        return None
    return f"are the {a} and the {b} of one colour?", _yes(hue_a == hue_b)


TOPICS: dict[str, Callable[[Content, random.Random], tuple[str, str] | None]] = {
    "what": _what,
    "colour": _colour,
    "how_many": _how_many,
    "where": _where,
    "background": _background,
    "is_there": _is_there,
    "is_coloured": _is_coloured,
    "is_placed": _is_placed,
    "is_background": _is_background,
    "more_than": _more_than,
    "same_colour": _same_colour,
}


def _the(content: Content, i: int) -> str:
    kind, colour = content.things[i]
    if sum(name == kind for name, _ in content.things) > 1:
        return f"the {colour} {kind}"
    return f"the {kind}"


def _named(content: Content, kind: str) -> str:
    return say.noun(kind, len(content.things) if content.layout == "copies" else 1)


def _is(content: Content) -> str:
    return "are" if content.layout == "copies" and len(content.things) > 1 else "is"


def _absent(content: Content, rng: random.Random) -> str:
    present = {kind for kind, _ in content.things}
    return rng.choice([kind for kind in KINDS if kind not in present])


def _yes(answer: bool) -> str:
    return "yes" if answer else "no"
