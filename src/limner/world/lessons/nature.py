"""Prompts about the real world: time zones, seasons, physics, chemistry."""

from __future__ import annotations

from limner.world import facts as known
from limner.world import say
from limner.world.content import Content
from limner.world.lessons.base import Draft, Pen, clause, one_sort, wanted
from limner.world.lessons.sums import Sum, one_step

_HOURS = tuple(known.CLOCK)


def hour_steps(start: int, shift: int) -> tuple[int, str]:
    """The hour ``shift`` hours after ``start`` (both in hours), and the equation, brought back into 0-23."""
    end = start + shift
    wrap = -24 if end >= 24 else 24 if end < 0 else 0
    total = Sum((start, shift, wrap) if wrap else (start, shift))
    return total.value, f"{total.digits}={total.value}"


def time_zone(pen: Pen) -> Draft:
    """A landmark's sky at another city's hour; a thing some hours after noon."""
    if pen.split != "text_only" and pen.chance(0.35):
        return _later(pen)
    landmark = pen.choice(tuple(known.LANDMARKS))
    there = known.LANDMARKS[landmark]
    city = pen.fact([city for city in known.CITIES if city is not there])
    start, shift = pen.choice(_HOURS), there.hours - city.hours
    hour, equation = hour_steps(start, shift)
    background = known.light(hour)
    hue = pen.colour() if pen.chance(0.5) else None
    content, facts = one_sort(pen, 1, [landmark], hue, background, background)
    sign = "+" if shift >= 0 else "-"
    steps = (f"{there.name} is {city.name}{sign}{abs(shift)}", equation, f"{hour} is {background}")
    thing = f"the {hue + ' ' if hue else ''}{landmark}"
    clock = known.CLOCK[start]
    body = pen.wording(
        (f"{thing} when it is {clock} in {city.name}", f"it is {clock} in {city.name}: {thing}"),
        (f"when it is {clock} in {city.name}, {thing}",),
    )
    return Draft(
        body if body.startswith("it") else pen.frame(body),
        content,
        facts,
        steps,
        f"{landmark}|{city.name}|{start}|{hue}",
    )


def _later(pen: Pen) -> Draft:
    kind, hue = pen.kind_name(), pen.colour()
    start, shift = pen.choice(_HOURS), pen.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 9)) * pen.choice((1, -1))
    hour, equation = hour_steps(start, shift)
    background = known.light(hour)
    content, facts = one_sort(pen, 1, [kind], hue, background, background)
    clock, thing = known.CLOCK[start], say.single(kind, hue)
    if shift == 0:
        body = f"{thing} at {clock}"
        steps: tuple[str, ...] = (f"{clock} is {hour}",) if not clock.endswith(" am") else ()
    else:
        word, gap = ("after", shift) if shift > 0 else ("before", -shift)
        gap_said = f"{gap if pen.chance(0.5) else say.NUMBERS[gap]} {'hour' if gap == 1 else 'hours'}"
        body = pen.wording(
            (f"{thing}, {gap_said} {word} {clock}", f"{thing} {gap_said} {word} {clock}"),
            (f"{gap_said} {word} {clock}, {thing}",),
        )
        steps = (equation,)
    return Draft(pen.frame(body), content, facts, (*steps, f"{hour} is {background}"), f"{kind}|{start}|{shift}")


def season(pen: Pen) -> Draft:
    """The weather of a month, in the north or in the south, or some months later."""
    while True:
        month = pen.rng.randint(1, 12)
        city = pen.choice([city for city in known.CITIES if not city.text_only])
        style = pen.choice(("month", "city", "later"))
        name = known.season(month, south=city.south and style == "city")
        if name in known.SEASONS:
            break
    background = known.SEASONS[name]
    kind, hue = pen.kind_name(), pen.colour() if pen.chance(0.7) else None
    if style == "city" and city.landmark and pen.chance(0.4):
        kind = city.landmark
    content, facts = one_sort(pen, 1, [kind], hue, background, background)
    thing, said = say.single(kind, hue), known.MONTHS[month - 1]
    weather = f"{name} is {background}"
    if style == "month":
        body = pen.wording((f"{thing} in {said}", f"in {said}, {thing}"), (f"{thing}, {said}",))
        return Draft(pen.frame(body), content, facts, (f"{said} is {name}", weather), f"{said}|{kind}|{hue}")
    if style == "city":
        body = pen.wording(
            (f"{thing} in {city.name} in {said}", f"{said} in {city.name}: {thing}"),
            (f"in {city.name} in {said}, {thing}",),
        )
        half = "south" if city.south else "north"
        steps: tuple[str, ...] = (f"{city.name} is in the {half}", f"{said} is {name} there", weather)
        return Draft(pen.frame(body) if ":" not in body else body, content, facts, steps, f"{said}|{city.name}|{kind}")
    gap = pen.rng.randint(1, 6)
    start = (month - gap - 1) % 12 + 1
    total = Sum((start, gap, -12) if start + gap > 12 else (start, gap))
    gap_said = f"{say.NUMBERS[gap]} {'month' if gap == 1 else 'months'}"
    first = known.MONTHS[start - 1]
    body = pen.wording(
        (f"{thing}, {gap_said} after {first}", f"{thing} {gap_said} after {first}"),
        (f"{gap_said} after {first}, {thing}",),
    )
    steps = (f"{first} is {start}", f"{total.digits}={month}", f"{month} is {said}", f"{said} is {name}", weather)
    return Draft(pen.frame(body), content, facts, steps, f"{first}|{gap}|{kind}")


def physics(pen: Pen) -> Draft:
    """Freezing rain, coloured light, what floats, what rises."""
    roll = pen.rng.random()
    if roll < 0.35:
        return _freezing(pen)
    if roll < 0.6:
        return _coloured_light(pen)
    hue = pen.colour() if pen.chance(0.6) else None
    if roll < 0.8:
        floating, sinking = pen.choice(known.FLOATS), pen.choice(known.SINKS)
        floats = pen.chance(0.5)
        kind = floating if floats else sinking
        content, facts = one_sort(pen, 1, [kind], hue, "sea", "sea")
        names = [say.single(floating), say.single(sinking)]
        if pen.chance(0.5):
            names.reverse()
        verb = "floats" if floats else "sinks"
        tint = f", in {hue}" if hue else ""
        body = pen.wording(
            (f"{names[0]} or {names[1]}, the one that {verb} at sea{tint}",),
            (f"of {names[0]} and {names[1]}, the one that {verb} at sea{tint}",),
        )
        step = f"{say.single(floating)} floats and {say.single(sinking)} sinks"
        return Draft(pen.frame(body), content, facts, (step,), f"{floating}|{sinking}|{verb}|{hue}")
    rising, other = "balloon", pen.kind_name()
    while other == rising:
        other = pen.kind_name()
    first, second = hue or pen.colour(), pen.colour()
    content = Content("column", ((rising, first), (other, second)), "plain")
    facts = wanted([clause(rising, 1, hue), clause(other, 1, second)])
    facts["relation"] = [{"a": 0, "b": 1, "is": "above"}]
    thing = say.single(rising, hue)
    body = pen.wording(
        (f"{thing} that rises from {say.single(other, second)}", f"{say.single(other, second)} and {thing} that rises"),
        (f"{thing} rises from {say.single(other, second)}",),
    )
    return Draft(pen.frame(body), content, facts, ("what rises is above",), f"{other}|{second}|{hue}")


def _freezing(pen: Pen) -> Draft:
    kind, hue = pen.kind_name(), pen.colour()
    freezing = pen.chance(0.5)
    total = _below(pen) if freezing else one_step(pen.rng, pen.rng.randint(1, 9))
    background = "snow" if freezing else "rain"
    content, facts = one_sort(pen, 1, [kind], hue, background, background)
    thing = say.single(kind, hue)
    steps: tuple[str, ...] = (f"{total.digits}={total.value}",)
    number = total.bracketed
    if pen.chance(0.25):
        number, steps = (f"minus {say.NUMBERS[-total.value]}" if freezing else say.NUMBERS[total.value]), ()
    sign = "below zero rain is snow" if freezing else "above zero rain is rain"
    body = pen.wording(
        (f"{thing} in the rain at {number} degrees", f"it rains at {number} degrees: {thing}"),
        (f"{thing}, it rains at {number} degrees",),
    )
    return Draft(body if body.startswith("it") else pen.frame(body), content, facts, (*steps, sign), f"{number}|{kind}")


def _below(pen: Pen) -> Sum:
    low = pen.rng.randint(0, 8)
    return Sum((low, -pen.rng.randint(low + 1, 9)))


def _coloured_light(pen: Pen) -> Draft:
    kind, light = pen.kind_name(), pen.choice(("red", "green", "blue"))
    body_colour = "white" if pen.chance(0.6) else pen.choice([hue for hue in ("red", "green", "blue") if hue != light])
    seen = light if body_colour == "white" else "black"
    content, facts = one_sort(pen, 1, [kind], seen)
    thing = say.single(kind, body_colour)
    body = pen.wording((f"{thing} in {light} light", f"{thing} under {light} light"), (f"in {light} light, {thing}",))
    step = f"{body_colour} in {light} light looks {seen}"
    return Draft(pen.frame(body), content, facts, (step,), f"{kind}|{light}|{body_colour}")


def chemistry(pen: Pen) -> Draft:
    """Colours of flames, rust and litmus; the number of a ph decides."""
    kind = pen.kind_name()
    background, stated, where = pen.place(0.15)
    count = pen.rng.randint(2, 4) if pen.chance(0.2) else 1
    thing = say.single(kind) if count == 1 else say.counted(count, kind)
    if pen.split != "text_only" and pen.chance(0.5):
        hue, said, steps, key = ph_hint(pen)
    else:
        substance = pen.fact(known.SUBSTANCES)
        hue, said = (
            substance.colour,
            pen.wording((f"in the colour of {substance.name}",), (f"with the colour of {substance.name}",)),
        )
        steps, key = (f"{substance.name} is {hue}",), substance.name
    content, facts = one_sort(pen, count, [kind], hue, background, stated)
    return Draft(pen.frame(f"{thing} {said}{where}"), content, facts, steps, f"{key}|{kind}|{count}|{stated}")


def ph_hint(pen: Pen) -> tuple[str, str, tuple[str, ...], str]:
    """(colour, how it is said, steps, key) of litmus at a ph that must be worked out."""
    ph = pen.choice((1, 2, 3, 4, 5, 6, 7, 7, 7, 8, 9, 10, 11, 12))
    total = one_step(pen.rng, ph)
    state, hue = known.litmus(ph)
    said = pen.wording(
        (f"in the colour of litmus at ph {total.bracketed}",), (f"with the colour of litmus at ph {total.bracketed}",)
    )
    return hue, said, (*total.steps, f"ph {ph} is {state}", f"litmus is {hue}"), total.digits
