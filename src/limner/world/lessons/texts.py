"""Words without pictures: sums, facts, and questions about what the picture world knows."""

from __future__ import annotations

from limner.world import facts as known
from limner.world import say
from limner.world.lessons.base import Draft, Pen
from limner.world.lessons.nature import hour_steps
from limner.world.lessons.sums import one_step, two_steps


def sums(pen: Pen) -> Draft:
    """``3+6=`` or ``what is 2+3-1?``; the steps are the thought, the number is the answer."""
    if pen.chance(0.15):
        start, shift = pen.choice(tuple(known.CLOCK)), pen.rng.randint(1, 15) * pen.choice((1, -1))
        hour, equation = hour_steps(start, shift)
        return Draft(f"{equation.rpartition('=')[0]}=", None, {}, (equation,), "", str(hour))
    if pen.chance(0.1):
        low = pen.rng.randint(0, 8)
        high = pen.rng.randint(low + 1, 9)
        return Draft(f"{low}-{high}=", None, {}, (f"{low}-{high}={low - high}",), "", f"-{high - low}")
    total = one_step(pen.rng, pen.rng.randint(0, 12)) if pen.chance(0.5) else two_steps(pen.rng, pen.rng.randint(0, 9))
    asked = pen.wording(
        (f"{total.digits}=", f"what is {total.digits}?", f"what is {total.spelled}?"),
        (f"what number is {total.digits}?",),
    )
    return Draft(asked, None, {}, total.steps, "", str(total.value))


def knowledge(pen: Pen) -> Draft:
    """A question about a fact, text-only facts included, and its answer."""
    kind = pen.choice(
        ("clue", "clue", "clue", "hue", "hue", "trait", "trait", "substance", "city", "season", "ph", "chase")
    )
    if kind == "clue":
        clue = pen.fact(known.CLUES)
        step = f"the {clue.noun} that {clue.clause} is the {clue.kind}"
        return _asked(f"which {clue.noun} {clue.clause}?", step, f"the {clue.kind}")
    if kind == "hue":
        hue = pen.fact(known.HUES)
        asked = f"what colour {hue.verb} {hue.name}?"
        return _asked(asked, hue.statement, hue.colour)
    if kind == "trait":
        trait = pen.choice(tuple(known.TRAITS.values()))
        value = pen.choice(tuple(trait.values))
        name = pen.choice(trait.values[value])
        count = trait.said(say.NUMBERS[value], value)
        article = "the" if len(trait.values[value]) == 1 else say.article(trait.noun).split()[0]
        solved = f"the {name}" if article == "the" else say.single(name)
        step = f"{article} {trait.noun} with {count} is {solved}"
        if pen.chance(0.5):
            return _asked(f"which {trait.noun} has {count}?", step, solved)
        return _asked(f"how many {trait.many} has {say.single(name)}?", step, say.NUMBERS[value])
    if kind == "substance":
        substance = pen.fact(known.SUBSTANCES)
        return _asked(f"what colour is {substance.name}?", f"{substance.name} is {substance.colour}", substance.colour)
    if kind == "city":
        there = pen.choice(tuple(known.LANDMARKS.values()))
        if pen.chance(0.3):
            return _asked(f"where is the {there.landmark}?", f"the {there.landmark} is in {there.name}", there.name)
        city = pen.fact([city for city in known.CITIES if city is not there])
        shift = there.hours - city.hours
        relation = f"{city.name}{'+' if shift >= 0 else '-'}{abs(shift)}"
        return _asked(f"what is the hour in {there.name} from {city.name}?", f"{there.name} is {relation}", relation)
    if kind == "season":
        month = pen.rng.randint(1, 12)
        name = known.season(month)
        return _asked(f"what season is {known.MONTHS[month - 1]}?", f"{known.MONTHS[month - 1]} is {name}", name)
    if kind == "ph":
        ph = pen.rng.randint(1, 12)
        state, hue_name = known.litmus(ph)
        return _asked(f"what colour is litmus at ph {ph}?", f"ph {ph} is {state}; litmus is {hue_name}", hue_name)
    chaser = pen.choice(tuple(known.CHASES))
    chased = known.CHASES[chaser]
    if pen.chance(0.5):
        return _asked(f"which animal chases the {chased}?", f"the {chaser} chases the {chased}", f"the {chaser}")
    return _asked(f"which animal runs from the {chaser}?", f"the {chased} runs from the {chaser}", f"the {chased}")


def _asked(question: str, step: str, answer: str) -> Draft:
    return Draft(question, None, {}, (step,), "", answer)
