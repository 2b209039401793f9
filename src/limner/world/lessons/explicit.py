"""Prompts that say plainly what to draw: objects, counts, colours, positions, bound colours, places."""

from __future__ import annotations

from limner.world import say
from limner.world.content import Content
from limner.world.lessons.base import Draft, Pen, clause, one_sort, wanted
from limner.world.scene import COLOURS, CONTAINER, KINDS

_ROWS = ("left of", "right of", "beside")
_COLUMNS = ("above", "below")
SWAPPED = 0.15  # share of pictures that take two things in the other order than the prompt, where either will do


def single(pen: Pen) -> Draft:
    """One thing: ``a cat``, ``a picture of a red boat at sea``."""
    kind, hue = pen.kind_name(), pen.colour() if pen.chance(0.4) else None
    background, stated, where = pen.place(0.15)
    content, facts = one_sort(pen, 1, [kind], hue, background, stated)
    name = f"{hue} {kind}" if hue else kind
    body = pen.wording((say.article(name), say.article(name), f"one {name}"), (f"just one {name}",))
    return Draft(pen.frame(body + where), content, facts)


def colour(pen: Pen) -> Draft:
    """One thing in a stated colour."""
    kind, hue = pen.kind_name(), pen.colour()
    background, stated, where = pen.place(0.15)
    content, facts = one_sort(pen, 1, [kind], hue, background, stated)
    body = pen.wording(
        (say.single(kind, hue), say.single(kind, hue), f"{say.single(kind)} in {hue}"),
        (f"{say.single(kind)} that is {hue}",),
    )
    return Draft(pen.frame(body + where), content, facts)


def counting(pen: Pen) -> Draft:
    """One to six equal things, with or without a colour."""
    kind, count = pen.kind_name(), pen.choice((1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6))
    hue = pen.colour() if pen.chance(0.7) else None
    background, stated, where = pen.place(0.15)
    content, facts = one_sort(pen, count, [kind], hue, background, stated)
    counted, things = say.counted(count, kind, hue), f"{hue + ' ' if hue else ''}{say.noun(kind, count)}"
    body = pen.wording(
        (counted, counted, f"{count} {things}", f"just {counted}" if count > 1 else counted),
        (f"{things}, {say.NUMBERS[count]} of them", f"{things}, {count} of them")
        if count > 1
        else (f"just 1 {things}",),
    )
    return Draft(pen.frame(body + where), content, facts)


def place(pen: Pen) -> Draft:
    """One or a few things in a stated place."""
    kind = pen.kind_name()
    count = 1 if pen.chance(0.7) else pen.rng.randint(2, 4)
    hue = pen.colour() if pen.chance(0.7) else None
    background = pen.background()
    content, facts = one_sort(pen, count, [kind], hue, background, background)
    body = say.single(kind, hue) if count == 1 else say.counted(count, kind, hue)
    if pen.chance(0.6):
        said = f"{body} {pen.where(background)}"
    elif pen.chance(0.5):
        said = f"{pen.where(background)}, {body}"
    else:
        said = pen.wording((f"{body}, {background}",), (f"{background}, {body}",))
    return Draft(pen.frame(said), content, facts)


def two(pen: Pen) -> Draft:
    """Two kinds without a stated relation, side by side or one above the other."""
    a, b = _two_kinds(pen)
    coloured = pen.chance(0.6)
    hue_a, hue_b = (pen.colour(), pen.colour()) if coloured else (None, None)
    background, stated, where = pen.place(0.15)
    pair = [(a, hue_a or pen.colour()), (b, hue_b or pen.colour())]
    if pen.chance(SWAPPED):
        pair.reverse()
    content = Content("row" if pen.chance(0.7) else "column", tuple(pair), background)
    first, second = say.single(a, hue_a), say.single(b, hue_b)
    body = pen.wording((f"{first} and {second}", f"{first} with {second}"), (f"{_one(a, hue_a)} and {_one(b, hue_b)}",))
    return Draft(pen.frame(body + where), content, wanted([clause(a, 1, hue_a), clause(b, 1, hue_b)], stated))


def position(pen: Pen) -> Draft:
    """Two things in a stated relation."""
    roll = pen.rng.random()
    relation = "inside" if roll < 0.15 else pen.choice(_ROWS + _COLUMNS)
    a, b = _two_kinds(pen)
    if relation == "inside":
        a, b = (a if a != CONTAINER else b), CONTAINER
    coloured = pen.chance(0.7)
    hue_a, hue_b = (pen.colour(), pen.colour()) if coloured else (None, None)
    return _related(pen, (a, hue_a), relation, (b, hue_b))


def binding(pen: Pen) -> Draft:
    """Two or three things whose colours must not change places."""
    a, b = _two_kinds(pen)
    hue_a = pen.colour()
    hue_b = pen.choice([hue for hue in COLOURS if hue != hue_a])
    if pen.chance(0.15):
        kinds = [a, b, pen.choice([kind for kind in KINDS if kind not in (a, b)])]
        hues = [hue_a, hue_b, pen.colour()]
        things = tuple(zip(kinds, hues, strict=True))
        background, stated, where = pen.place(0.15)
        first, second, third = (say.single(*thing) for thing in things)
        body = pen.wording((f"{first}, {second} and {third} side by side", f"{first}, {second}, {third} in a row"))
        facts = wanted([clause(kind, 1, hue) for kind, hue in things], stated)
        facts["relation"] = [{"a": 0, "b": 1, "is": "left of"}, {"a": 1, "b": 2, "is": "left of"}]
        return Draft(pen.frame(body + where), Content("trio", things, background), facts)
    if pen.chance(0.5):
        return _related(pen, (a, hue_a), pen.choice(_ROWS + _COLUMNS), (b, hue_b))
    background, stated, where = pen.place(0.15)
    content = Content("row" if pen.chance(0.7) else "column", ((a, hue_a), (b, hue_b)), background)
    first, second = say.single(a, hue_a), say.single(b, hue_b)
    body = pen.wording(
        (f"{first} and {second}", f"{hue_a} {a}, {hue_b} {b}"),
        (f"{say.single(a)} in {hue_a}, {say.single(b)} in {hue_b}",),
    )
    return Draft(pen.frame(body + where), content, wanted([clause(a, 1, hue_a), clause(b, 1, hue_b)], stated))


def _two_kinds(pen: Pen) -> tuple[str, str]:
    a, b = pen.kind_name(), pen.kind_name()
    while a == b:
        b = pen.kind_name()
    return a, b


def _related(pen: Pen, a: tuple[str, str | None], relation: str, b: tuple[str, str | None]) -> Draft:
    background, stated, where = pen.place(0.15)
    said = {
        "left of": ("left of", "to the left of", "on the left of"),
        "right of": ("right of", "to the right of", "on the right of"),
        "above": ("above", "above", "right above"),
        "below": ("below", "under", "right under"),
        "beside": ("beside", "next to", "right beside"),
        "inside": ("inside", "in", "right inside"),
    }[relation]
    body = f"{say.single(*a)} {pen.wording(said[:2], said[2:])} {say.single(*b)}"
    first, second = (a[0], a[1] or pen.colour()), (b[0], b[1] or pen.colour())
    swap = relation in ("right of", "below") or (relation == "beside" and pen.chance(SWAPPED))
    things = (second, first) if swap or relation == "inside" else (first, second)
    layout = "inside" if relation == "inside" else "row" if relation in _ROWS else "column"
    facts = wanted([clause(a[0], 1, a[1]), clause(b[0], 1, b[1])], stated)
    facts["relation"] = [{"a": 0, "b": 1, "is": relation}]
    return Draft(pen.frame(body + where), Content(layout, things, background), facts)


def _one(kind: str, colour: str | None) -> str:
    return f"one {colour} {kind}" if colour else f"one {kind}"
