"""Two kinds of reasoning in one prompt."""

from __future__ import annotations

from limner.world import facts as known
from limner.world import say
from limner.world.lessons.base import Draft, Pen, one_sort
from limner.world.lessons.nature import hour_steps, ph_hint
from limner.world.lessons.riddles import Hint, chase_hint, clue_hint, hinted_colour, trait_hint
from limner.world.lessons.sums import one_step


def composition(pen: Pen) -> Draft:
    """A hinted thing with a hinted colour, number, or time."""
    style = pen.choice(("thing_colour", "thing_number", "number_colour", "thing_time", "number_litmus"))
    if style == "thing_time" and pen.split == "text_only":
        style = "thing_number"
    count, number, key = 1, "", ""
    steps: list[str] = []
    background, stated = "plain", None
    if "number" in style:
        count = pen.rng.randint(1, say.MOST)
        total = one_step(pen.rng, count)
        number, key = total.bracketed, total.digits
        steps += total.steps
    if "thing" in style:
        hint, kind = _hint(pen, style == "thing_number")
        kinds = hint.kinds
        steps += hint.steps
        key += f"|{hint.key}"
        body = f"{number} copies of the {hint.noun} {hint.rest}" if number else hint.said(1, None)
    else:
        kind = pen.kind_name()
        kinds = (kind,)
        key += f"|{kind}"
        body = f"{number} {say.noun(kind, 2)}"
    hue = None
    if style.endswith("litmus"):
        hue, said, more, extra = ph_hint(pen)
        body, key = f"{body} {said}", f"{key}|{extra}"
        steps += more
    elif style.endswith("colour"):
        hue, said, step = hinted_colour(pen)
        if number:
            said = said.replace("that has", "that have")
        body, key = f"{body} {said}", f"{key}|{step}"
        steps.append(step)
    elif style == "thing_time":
        start, shift = pen.choice(tuple(known.CLOCK)), pen.rng.randint(1, 9)
        hour, equation = hour_steps(start, shift)
        background = stated = known.light(hour)
        gap = f"{say.NUMBERS[shift]} {'hour' if shift == 1 else 'hours'}"
        body = pen.wording(
            (f"{body}, {gap} after {known.CLOCK[start]}",), (f"{gap} after {known.CLOCK[start]}, {body}",)
        )
        steps += [equation, f"{hour} is {background}"]
        key += f"|{start}+{shift}"
    content, facts = one_sort(pen, count, [kind], hue, background, stated)
    facts["include"][0]["kind"] = kinds[0] if len(kinds) == 1 else list(kinds)
    return Draft(pen.frame(body), content, facts, tuple(steps), key)


def _hint(pen: Pen, definite: bool) -> tuple[Hint, str]:
    if not definite and pen.split != "text_only" and pen.chance(0.4):
        return trait_hint(pen)
    hint = chase_hint(pen) if pen.chance(0.2) else clue_hint(pen)
    return hint, hint.kinds[0]
