"""The words of the picture world: splitting and joining, noun phrases, captions, and the canonical plan.

A plan is the one sentence that says what a picture holds; every thought ends in one, after the last ``;``:

    three red apples, plain                 copies
    a blue cat left of a red car, night     row
    a blue cat above a red car, day         column
    a red star inside a blue box, snow      inside
    a red cat, a blue dog, a green car, sea trio
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from limner.world.content import Content
from limner.world.scene import BACKGROUNDS, COLOURS, CONTAINER, KINDS, Scene
from limner.world.vocabulary import WORDS

NUMBERS: tuple[str, ...] = (
    *("zero", "one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve"),
)
MOST = 6  # the most copies a picture holds

_PIECE = re.compile(r"[a-z]+|\d+|[^\sa-z\d]")
_NO_SPACE_BEFORE = frozenset([")", ",", ";", ".", "?", ":", "'", "+", "-", "="])
_NO_SPACE_AFTER = frozenset(["(", "+", "-", "=", "'"])

# How a background is said: wordings for training, then wordings kept for tests.
PLACES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "plain": (("on a plain background",), ()),
    "day": (("by day", "on a sunny day"), ("in the day",)),
    "night": (("at night", "under the night sky"), ("by night",)),
    "sunrise": (("at sunrise", "at dawn"), ("in the light of dawn",)),
    "snow": (("in the snow", "on snow"), ("in snow",)),
    "sea": (("at sea", "in the sea"), ("on the sea",)),
    "desert": (("in the desert", "on desert sand"), ("in the desert sand",)),
    "room": (("in a room", "indoors"), ("in the room",)),
    "forest": (("in the forest", "in a forest"), ("in the green forest",)),
    "rain": (("in the rain", "on a rainy day"), ("under the rain",)),
}
FRAMES: tuple[tuple[str, ...], tuple[str, ...]] = (
    ("{}", "{}", "{}", "draw {}", "a picture of {}", "please draw {}"),
    ("draw a picture of {}", "please, a picture of {}"),
)
# Relations as they are said, and the relation after the two things change places.
INVERSE: dict[str, str] = {
    "left of": "right of",
    "right of": "left of",
    "above": "below",
    "below": "above",
    "beside": "beside",
}
CAPTION_QUESTIONS: tuple[str, ...] = ("what is in the picture?", "what is in this picture?", "say what is drawn.")
_JOINTS = {"row": "left of", "column": "above"}
_NAMES = {word: (kind, one) for kind, k in KINDS.items() for word, one in ((k.plural, False), (kind, True))}


def words(text: str) -> list[str]:
    """Split into lower-case words, numbers and single signs: ``(3+6)`` and ``( 3 + 6 )`` are the same five."""
    return _PIECE.findall(text.lower())


def join(pieces: Sequence[str]) -> str:
    """Write words as a readable line, the inverse of ``words`` up to spaces and case."""
    out: list[str] = []
    for piece in pieces:
        if out and piece not in _NO_SPACE_BEFORE and out[-1] not in _NO_SPACE_AFTER:
            out.append(" ")
        out.append(piece)
    return "".join(out)


def vocabulary() -> tuple[str, ...]:
    """Every word that any lesson, caption, question or edit of any split can use; sorted and stable."""
    return WORDS


def unknown(text: str) -> list[str]:
    """The words of ``text`` that the picture world does not know, in order, each once."""
    known = frozenset(WORDS)
    return list(dict.fromkeys(word for word in words(text) if word not in known))


def article(phrase: str) -> str:
    """Put ``a`` or ``an`` before a phrase."""
    return f"an {phrase}" if phrase[0] in "aeiou" else f"a {phrase}"


def noun(kind: str, count: int) -> str:
    """The kind's name, singular for one."""
    return kind if count == 1 else KINDS[kind].plural


def counted(count: int, kind: str, colour: str | None = None) -> str:
    """``three red apples``; a missing colour is left out."""
    return f"{NUMBERS[count]} {colour + ' ' if colour else ''}{noun(kind, count)}"


def single(kind: str, colour: str | None = None) -> str:
    """``a red apple``, ``an apple``."""
    return article(f"{colour} {kind}" if colour else kind)


def plan(what: Scene | Content) -> str:
    """The canonical sentence of a scene's content; ``read_plan`` reads it back."""
    content = Content.of(what) if isinstance(what, Scene) else what
    things = content.things
    if content.layout == "copies":
        kind, colour = things[0]
        body = counted(len(things), kind, colour)
    elif content.layout in _JOINTS:
        body = f"{single(*things[0])} {_JOINTS[content.layout]} {single(*things[1])}"
    elif content.layout == "inside":
        body = f"{single(*things[1])} inside {single(*things[0])}"
    elif content.layout == "trio":
        body = ", ".join(single(*thing) for thing in things)
    else:
        raise ValueError(f"a content with layout {content.layout!r} has no plan; give one of the named layouts")
    return f"{body}, {content.background}"


def read_plan(text: str) -> Content | None:
    """The content that a plan says, or None where ``text`` is not exactly a plan (spaces and case do not matter)."""
    parts = [part.split() for part in " ".join(words(text)).split(" , ")]
    if len(parts) not in (2, 4) or len(parts[-1]) != 1 or parts[-1][0] not in BACKGROUNDS:
        return None
    background = parts[-1][0]
    if len(parts) == 4:
        trio = [_single(part) for part in parts[:3]]
        return None if None in trio else Content("trio", tuple(thing for thing in trio if thing), background)
    body = parts[0]
    if body and body[0] in NUMBERS:
        return _copies(body, background)
    for layout, joint in (("row", ["left", "of"]), ("column", ["above"]), ("inside", ["inside"])):
        for i in range(1, len(body) - len(joint)):
            if body[i : i + len(joint)] == joint:
                first, second = _single(body[:i]), _single(body[i + len(joint) :])
                if first is None or second is None:
                    return None
                if layout != "inside":
                    return None if layout == "row" and first == second else Content(layout, (first, second), background)
                fits = second[0] == CONTAINER != first[0]
                return Content("inside", (second, first), background) if fits else None
    return None


def plan_of(thought: str) -> Content | None:
    """The content of the plan at a thought's end, or None where the thought does not end in a plan."""
    return read_plan(thought.rsplit(";", 1)[-1])


def place(background: str, rng: random.Random, *, test: bool = False) -> str:
    """One way to say a background, such as ``in the snow``."""
    train, held = PLACES[background]
    return rng.choice(held) if test and held else rng.choice(train)


def caption(content: Content, rng: random.Random, *, test: bool = False) -> str:
    """A full description in one of many wordings; ``test`` uses those that no training text has.

    Nothing is left open except the plain background, which is seldom mentioned.
    """
    things = content.things
    if content.layout == "copies":
        kind, colour = things[0]
        count = len(things)
        body = single(kind, colour) if count == 1 else counted(count, kind, colour)
        if count > 1 and rng.random() < 0.3:
            body = f"{count} {colour} {noun(kind, count)}"
    elif content.layout in _JOINTS:
        body = related(things[0], _JOINTS[content.layout], things[1], rng)
    elif content.layout == "inside":
        body = f"{single(*things[1])} {rng.choice(('inside', 'in'))} {single(*things[0])}"
    else:
        first, second, third = (single(*thing) for thing in things)
        body = f"{first}, {second} and {third} side by side"
    where = f"{body} {place(content.background, rng)}"
    if content.background == "plain":
        where = body
    elif rng.random() < 0.25:
        where = f"{body}, {content.background}"
    elif rng.random() < 0.15:
        where = f"{place(content.background, rng)}, {body}"
    return rng.choice(FRAMES[test]).format(where)


def related(a: tuple[str, str | None], relation: str, b: tuple[str, str | None], rng: random.Random) -> str:
    """``a`` standing in ``relation`` to ``b``, said from either side."""
    if rng.random() < 0.5:
        a, relation, b = b, INVERSE[relation], a
    joint = {"left of": "to the left of", "right of": "to the right of", "below": "under", "beside": "next to"}
    said = joint.get(relation, relation) if rng.random() < 0.3 else relation
    return f"{single(*a)} {said} {single(*b)}"


def _single(body: Sequence[str]) -> tuple[str, str] | None:
    if len(body) < 3 or body[1] not in COLOURS or body[0] != article(body[1]).split()[0]:
        return None
    kind = " ".join(body[2:])
    return (kind, body[1]) if kind in KINDS else None


def _copies(body: Sequence[str], background: str) -> Content | None:
    count = NUMBERS.index(body[0])
    if len(body) < 3 or not 1 <= count <= MOST or body[1] not in COLOURS:
        return None
    name = " ".join(body[2:])
    if name not in _NAMES:
        return None
    kind, _ = _NAMES[name]
    if noun(kind, count) != name:
        return None
    return Content("copies", ((kind, body[1]),) * count, background)
