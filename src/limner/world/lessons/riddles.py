"""Things and colours that are hinted at: by a number of legs, by what they do, by who chases them, by what is green."""

from __future__ import annotations

from dataclasses import dataclass

from limner.world import facts as known
from limner.world import say
from limner.world.lessons.base import Draft, Pen, one_sort
from limner.world.lessons.sums import a_sum


@dataclass(frozen=True)
class Hint:
    """A riddling name for one of ``kinds``: ``the``/``a`` + ``noun`` + ``rest``, or with a colour before the noun."""

    noun: str
    plural: str | None
    rest: str
    kinds: tuple[str, ...]
    steps: tuple[str, ...]
    key: str

    @property
    def definite(self) -> bool:
        """Whether it is said with ``the`` (one kind fits) and not with ``a``."""
        return self.plural is None

    def said(self, count: int, colour: str | None) -> str:
        """``a red animal with (2+2) legs``, ``three copies of the animal that barks in red``."""
        if self.definite:
            thing = f"the {self.noun} {self.rest}"
            tint = f" in {colour}" if colour else ""
            return f"{thing}{tint}" if count == 1 else f"{say.NUMBERS[count]} copies of {thing}{tint}"
        hue = f"{colour} " if colour else ""
        if count == 1:
            return f"{say.article(hue + self.noun)} {self.rest}"
        return f"{say.NUMBERS[count]} {hue}{self.plural} {self.rest.replace('that has', 'that have')}"


def trait_hint(pen: Pen) -> tuple[Hint, str]:
    """A hint in which only the number decides, and the kind it is solved with."""
    pen.by_number = True
    name = pen.choice(("legs", "legs", "legs", "sides", "points", "wheels", "wheels", "strings", "wings", "lives"))
    trait = known.TRAITS[name]
    value = pen.choice(tuple(trait.values))
    kinds = trait.values[value]
    kind = pen.choice(kinds)
    count = f"{say.NUMBERS[value]} {trait.one if value == 1 else trait.many}"
    steps: tuple[str, ...] = ()
    if pen.chance(0.12):
        said, key = pen.wording((f"with {count}",), (f"that has {count}",)), str(value)
    else:
        total = a_sum(pen.rng, value, two=0.3)
        number = f"{total.bracketed} {trait.many}"
        said = pen.wording((f"with {number}",), (f"that has {number}",))
        steps, key = total.steps, total.digits
    if len(kinds) == 1:
        solved = f"the {trait.noun} with {count} is the {kind}"
    else:
        solved = f"{say.article(trait.noun)} with {count} is {say.article(kind)}"
    return Hint(trait.noun, f"{trait.noun}s", said, kinds, (*steps, solved), f"{name}|{key}"), kind


def clue_hint(pen: Pen) -> Hint:
    """A hint by what a thing does: ``the animal that barks``."""
    clue = pen.fact(known.CLUES)
    step = f"the {clue.noun} that {clue.clause} is the {clue.kind}"
    return Hint(clue.noun, None, f"that {clue.clause}", (clue.kind,), (step,), clue.clause)


def chase_hint(pen: Pen) -> Hint:
    """Two hops: ``the animal that chases the animal that loves cheese``."""
    chaser = pen.choice(tuple(known.CHASES))
    chased = known.CHASES[chaser]
    forward = pen.chance(0.5)
    inner, outer = (chased, chaser) if forward else (chaser, chased)
    clue = pen.fact([clue for clue in known.CLUES if clue.kind == inner])
    verb = "chases" if forward else "runs from"
    steps = (f"the animal that {clue.clause} is the {inner}", f"the {outer} {verb} the {inner}")
    return Hint("animal", None, f"that {verb} the animal that {clue.clause}", (outer,), steps, f"{verb}|{clue.clause}")


def riddle(pen: Pen) -> Draft:
    """A thing by a hint, or a plain thing in a hinted colour."""
    roll = pen.rng.random()
    if roll < 0.2:
        return _hinted_colour(pen)
    kind = None
    if pen.split != "text_only" and roll < 0.6:
        hint, kind = trait_hint(pen)
    elif roll < 0.75:
        hint = chase_hint(pen)
    else:
        hint = clue_hint(pen)
    hue = pen.colour() if pen.chance(0.35) else None
    background, stated, where = pen.place(0.2)
    count = pen.rng.randint(2, 4) if pen.chance(0.15) else 1
    content, facts = one_sort(pen, count, [kind] if kind else hint.kinds, hue, background, stated)
    facts["include"][0]["kind"] = hint.kinds[0] if len(hint.kinds) == 1 else list(hint.kinds)
    key = f"{hint.key}|{count}|{hue}|{stated}"
    return Draft(pen.frame(hint.said(count, hue) + where), content, facts, hint.steps, key)


def hinted_colour(pen: Pen) -> tuple[str, str, str]:
    """(a colour, how it is hinted at, the step that solves it)."""
    hue = pen.fact(known.HUES)
    said = pen.wording(
        (f"in the colour of {hue.name}", f"with the colour of {hue.name}"), (f"that has the colour of {hue.name}",)
    )
    return hue.colour, said, hue.statement


def _hinted_colour(pen: Pen) -> Draft:
    hue, said, step = hinted_colour(pen)
    kind = pen.kind_name()
    count = pen.rng.randint(2, 4) if pen.chance(0.2) else 1
    background, stated, where = pen.place(0.2)
    content, facts = one_sort(pen, count, [kind], hue, background, stated)
    thing = say.single(kind) if count == 1 else say.counted(count, kind)
    if count > 1:
        said = said.replace("that has", "that have")
    return Draft(pen.frame(f"{thing} {said}{where}"), content, facts, (step,), f"{step}|{kind}|{count}|{stated}")
