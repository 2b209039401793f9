"""Prompts in which a number must be worked out: sums, little stories, comparisons, sequences, and exceptions."""

from __future__ import annotations

from limner.world import facts as known
from limner.world import say
from limner.world.content import copies
from limner.world.lessons.base import Draft, Pen, clause, one_sort, wanted
from limner.world.lessons.sums import Sum, a_sum
from limner.world.scene import BACKGROUNDS, COLOURS, KINDS

_SHAPES = ("triangle", "square", "hexagon", "heart", "star", "moon", "cloud")
_NAMES = ("ana", "tom")


def arithmetic(pen: Pen) -> Draft:
    """``(2+3-1) red apples``."""
    count = pen.rng.randint(1, say.MOST)
    total = a_sum(pen.rng, count, two=0.5)
    kind = pen.kind_name()
    hue = pen.colour() if pen.chance(0.7) else None
    background, stated, where = pen.place(0.15)
    content, facts = one_sort(pen, count, [kind], hue, background, stated)
    many = f"{hue + ' ' if hue else ''}{say.noun(kind, 2)}"
    body = pen.wording(
        (
            f"{total.bracketed} {many}",
            f"{total.bracketed} {many}",
            f"{total.spelled} {many}",
            f"as many {many} as {total.digits}",
        ),
        (f"{many}, {total.bracketed} of them", f"as many {many} as {total.spelled}"),
    )
    return Draft(pen.frame(body + where), content, facts, total.steps, f"{total.digits}|{kind}")


def word_problem(pen: Pen) -> Draft:
    """``ana has five red apples and eats two. draw her apples.``"""
    rng = pen.rng
    count = rng.randint(1, say.MOST)
    kind, hue = pen.kind_name(), pen.colour() if pen.chance(0.7) else None
    name = pen.choice(_NAMES)
    her = "her" if name == "ana" else "his"
    other = _NAMES[1 - _NAMES.index(name)]
    content, facts = one_sort(pen, count, [kind], hue)
    style = pen.choice(("change", "change", "change", "twice", "more", "together"))
    if style == "twice" and count % 2 == 0:
        half = count // 2
        total = Sum((half, half))
        story = f"{other} has {say.counted(half, kind, hue)} and {name} has twice as many"
    elif style == "together" and count > 1:
        mine = rng.randint(1, count - 1)
        total = Sum((mine, count - mine))
        story = f"{name} has {say.counted(mine, kind, hue)} and {other} has {say.NUMBERS[count - mine]}"
    elif style == "more":
        total = _positive(pen, count, 1)
        sign = "more" if total.terms[1] > 0 else "fewer"
        first, second = say.counted(total.terms[0], kind, hue), say.NUMBERS[abs(total.terms[1])]
        story = f"{other} has {first} and {name} has {second} {sign}"
    else:
        style = "change"
        total = _positive(pen, count, 1 if pen.chance(0.5) else 2)
        changes = [f"{_verb(pen, term)} {say.NUMBERS[abs(term)]}" for term in total.terms[1:]]
        changes[0] += " more" if total.terms[1] > 0 else ""
        joined = f", {changes[0]} and {changes[1]}" if len(changes) == 2 else f" and {changes[0]}"
        story = f"{name} has {say.counted(total.terms[0], kind, hue)}{joined}"
    things = say.noun(kind, 2)
    if style == "together":
        ending = pen.wording((f"draw the {things} they have together",), (f"please draw the {things} of ana and tom",))
    else:
        ending = pen.wording((f"draw {her} {things}", f"draw the {things} of {name}"), (f"please draw {her} {things}",))
    key = f"{style}|{total.digits}|{kind}"
    return Draft(f"{story}. {ending}.", content, facts, total.steps, key)


def comparison(pen: Pen) -> Draft:
    """More, fewer, larger, smaller: of two numbers or of two things."""
    roll = pen.rng.random()
    if roll < 0.3:
        return _sizes(pen)
    a, b = pen.rng.sample(range(1, say.MOST + 1), 2)
    more = pen.chance(0.5)
    count = max(a, b) if more else min(a, b)
    kind, hue = pen.kind_name(), pen.colour()
    many = f"{hue} {say.noun(kind, 2)}"
    step = f"{max(a, b)} is more than {min(a, b)}"
    if roll < 0.7:
        content, facts = one_sort(pen, count, [kind], hue)
        words = ("more", "larger") if more else ("fewer", "smaller")
        body = pen.wording(
            (f"as many {many} as the {words[1]} of {a} and {b}", f"{a} or {b} {many}, the {words[1]} number"),
            (f"{many}, as many as the {words[1]} of {a} and {b}",),
        )
        return Draft(pen.frame(body), content, facts, (step,), f"{a}|{b}|{more}|{kind}")
    hues = pen.rng.sample(COLOURS, 2)
    content, facts = one_sort(pen, count, [kind], hues[0] if count == a else hues[1])
    word = "more" if more else "fewer"
    story = f"ana has {say.counted(a, kind, hues[0])} and tom has {say.counted(b, kind, hues[1])}"
    name = "ana" if count == a else "tom"
    ending = pen.wording(
        ("draw what the one with {} has", "who has {}? draw it"), ("please draw what the one with {} has",)
    )
    key = f"story|{a}|{b}|{word}|{kind}"
    return Draft(f"{story}. {ending.format(word)}.", content, facts, (step, f"{name} has {word}"), key)


def sequence(pen: Pen) -> Draft:
    """The next of repeating shapes or colours, or the next number of a row."""
    roll = pen.rng.random()
    if roll < 0.4:
        return _number_row(pen)
    if roll < 0.75:
        period = 2 if pen.chance(0.6) else 3
        row = pen.rng.sample(_SHAPES, period)
        shown = [row[i % period] for i in range(pen.rng.randint(period + 1, 2 * period))]
        after = row[len(shown) % period]
        hue = pen.colour() if pen.chance(0.5) else None
        content, facts = one_sort(pen, 1, [after], hue)
        said = ", ".join(shown)
        tint = f" in {hue}" if hue else ""
        body = pen.wording(
            (f"the next shape after {said}{tint}", f"what comes after {said}{tint}?"),
            (f"the shape after {said}{tint}",),
        )
        steps = (f"{' '.join(row)} repeats", f"after {shown[-1]} comes {after}")
        return Draft(body, content, facts, steps, f"{said}|{hue}")
    kind, hues = pen.kind_name(), pen.rng.sample(COLOURS, 2)
    shown = [hues[i % 2] for i in range(pen.choice((3, 4)))]
    after = hues[len(shown) % 2]
    content, facts = one_sort(pen, 1, [kind], after)
    said = ", ".join(shown)
    body = pen.wording(
        (f"{said}: {say.single(kind)} in the next colour", f"{say.single(kind)} in the next colour after {said}"),
        (f"the next colour after {said}, for {say.single(kind)}",),
    )
    steps = (f"{' '.join(hues)} repeats", f"after {shown[-1]} comes {after}")
    return Draft(body, content, facts, steps, f"{said}|{kind}")


def negation(pen: Pen) -> Draft:
    """What must not be: a colour, a place, or all kinds but one."""
    roll = pen.rng.random()
    kind = pen.kind_name()
    if roll < 0.4:
        count = 1 if pen.chance(0.4) else pen.rng.randint(2, say.MOST)
        banned = pen.colour()
        hue = pen.choice([name for name in COLOURS if name != banned])
        facts = wanted([clause(kind, count)])
        facts["exclude"] = [{"kind": kind, "colour": banned}]
        if count == 1:
            body = pen.wording(
                (f"{say.single(kind)}, not {banned}", f"{say.single(kind)} that is not {banned}"),
                (f"{say.single(kind)}, but not {banned}",),
            )
        else:
            things = say.counted(count, kind)
            body = pen.wording(
                (f"{things}, none of them {banned}", f"{things}, not {banned}"),
                (f"{things}, but none of them {banned}",),
            )
        steps = (f"not {banned} but {hue}",)
        return Draft(pen.frame(body), copies(count, kind, hue), facts, steps, f"{count}|{kind}|{banned}")
    if roll < 0.65:
        banned = pen.choice(("day", "night", "snow", "sea", "rain", "forest", "desert"))
        background = {"day": "night", "night": "day"}.get(banned, "plain")
        hue = pen.colour()
        allowed = [background] if background != "plain" else [name for name in BACKGROUNDS if name != banned]
        facts = wanted([clause(kind, 1, hue)], allowed if len(allowed) > 1 else allowed[0])
        where = pen.where(banned)
        thing = say.single(kind, hue)
        body = pen.wording((f"{thing}, not {where}", f"{thing} but not {where}"), (f"not {where}, {thing}",))
        step = f"not {banned} but {background}"
        return Draft(pen.frame(body), copies(1, kind, hue, background), facts, (step,), f"{kind}|{hue}|{banned}")
    kinds = pen.rng.sample(tuple(KINDS), 3 if pen.chance(0.6) else 2)
    left = kinds[0]
    banned_kinds = kinds[1:]
    hue_or_none = pen.colour() if pen.chance(0.5) else None
    content, facts = one_sort(pen, 1, [left], hue_or_none)
    listed = pen.rng.sample(kinds, len(kinds))
    names = [say.single(name) for name in listed]
    row = f"{', '.join(names[:-1])} or {names[-1]}"
    nots = " and ".join(f"not the {name}" for name in banned_kinds)
    tint = f" in {hue_or_none}" if hue_or_none else ""
    body = pen.wording((f"{row}, {nots}{tint}",), (f"{row}{tint}, but {nots}",))
    key = f"{'|'.join(sorted(kinds))}|{left}"
    return Draft(pen.frame(body), content, facts, (f"the {left} is left",), key)


def _positive(pen: Pen, count: int, steps: int) -> Sum:
    """A sum without zeros whose numbers and partial results stay between 1 and 9."""
    while True:
        terms = [pen.rng.randint(1, 9)]
        for _ in range(steps - 1):
            terms.append(pen.choice((1, 2, 3, 4)) * pen.choice((1, -1)))
        terms.append(count - sum(terms))
        partial = [sum(terms[: i + 1]) for i in range(len(terms))]
        if terms[-1] != 0 and all(1 <= total <= 9 for total in partial):
            return Sum(tuple(terms))


def _verb(pen: Pen, term: int) -> str:
    return pen.choice(("finds", "gets")) if term > 0 else pen.choice(("loses", "gives away"))


def _sizes(pen: Pen) -> Draft:
    low, high = sorted(pen.rng.sample(range(len(known.SIZES)), 2))
    small, large = pen.choice(known.SIZES[low]), pen.choice(known.SIZES[high])
    bigger = pen.chance(0.5)
    kind = large if bigger else small
    hue = pen.colour() if pen.chance(0.5) else None
    content, facts = one_sort(pen, 1, [kind], hue)
    names = [say.single(small), say.single(large)]
    if pen.chance(0.5):
        names.reverse()
    word = "larger" if bigger else "smaller"
    tint = f", in {hue}" if hue else ""
    body = pen.wording(
        (f"the {word} of {names[0]} and {names[1]}{tint}", f"{names[0]} or {names[1]}, the {word} one{tint}"),
        (f"of {names[0]} and {names[1]}, the {word} one{tint}",),
    )
    step = f"{say.single(large)} is larger than {say.single(small)}"
    return Draft(pen.frame(body), content, facts, (step,), f"{small}|{large}|{word}|{hue}")


def _number_row(pen: Pen) -> Draft:
    step = pen.choice((1, 2, -1, -2))
    length = 3 if abs(step) == 1 or pen.chance(0.5) else 2
    after = pen.rng.randint(1, say.MOST)
    row = [after - step * (length - i) for i in range(length)]
    while min(row) < 0 or max(row) > 12:
        after = pen.rng.randint(1, say.MOST)
        row = [after - step * (length - i) for i in range(length)]
    kind, hue = pen.kind_name(), pen.colour() if pen.chance(0.7) else None
    content, facts = one_sort(pen, after, [kind], hue)
    many = f"{hue + ' ' if hue else ''}{say.noun(kind, 2)}"
    said = ", ".join(str(n) for n in row)
    body = pen.wording(
        (f"{said}: the next number of {many}", f"{many}, the next number after {said}"),
        (f"the next number after {said} of {many}",),
    )
    sign = "+" if step > 0 else "-"
    steps = tuple(f"{n}{sign}{abs(step)}={n + step}" for n in row[-2:])
    return Draft(body, content, facts, steps, f"{said}|{kind}")
