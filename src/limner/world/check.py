"""Strict judging of pictures that were read back, and of thoughts: the same rules as GenEval, but exact.

Facts are JSON values. ``include``: clauses ``{kind, count, colour?}``, where a list means any of these; exactly so
many must be there, and nothing that no clause asks for. ``exclude``: things that must not be there. ``relation``:
``{a, b, is}`` between the things of clauses ``a`` and ``b``. ``background``: a name or a list of allowed names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from itertools import product
from typing import Any

from limner.world import say
from limner.world.content import Content
from limner.world.scene import Scene

_LAYOUTS = {
    "left of": {("row", False), ("trio", False)},
    "right of": {("row", True), ("trio", True)},
    "above": {("column", False)},
    "below": {("column", True)},
    "beside": {("row", False), ("row", True), ("trio", False), ("trio", True)},
    "inside": {("inside", True)},
}
_EQUATION = re.compile(r"(-?\d+(?:[+-]\d+)+)=(-?\d+)")


def facts_hold(facts: dict[str, Any], what: Scene | Content) -> tuple[bool, list[str]]:
    """Whether a picture's reading shows exactly what was asked, and a line for everything that is wrong."""
    content = Content.of(what) if isinstance(what, Scene) else what
    wrong: list[str] = []
    background = facts.get("background")
    if background is not None and content.background not in _names(background):
        wrong.append(f"background is {content.background}, wanted {' or '.join(_names(background))}")
    for clause in facts.get("exclude", ()):
        if any(_matches(clause, thing) for thing in content.things):
            wrong.append(f"there is {_said(clause)}, which was not wanted")
    clauses = facts.get("include", [])
    fits = [assignment for assignment in _assignments(clauses, content.things)]
    if not fits:
        wrong += _counts(clauses, content.things)
    relations = facts.get("relation", ())
    if fits and relations and not any(all(_related(content, owners, rel) for rel in relations) for owners in fits):
        told = "; ".join(f"{_said(clauses[r['a']])} {r['is']} {_said(clauses[r['b']])}" for r in relations)
        wrong.append(f"position is wrong, wanted {told}")
    return not wrong, wrong


def thought_holds(thought: str, content: Content) -> tuple[bool, list[str]]:
    """Whether a thought's equations are true and its plan says exactly ``content``."""
    wrong = false_equations(thought)
    planned = say.plan_of(thought)
    if planned is None:
        wrong.append("the thought does not end in a plan")
    elif planned != content:
        there = say.plan(content) if content.layout != "other" else "something else"
        wrong.append(f"the plan says {say.plan(planned)!r}, the picture shows {there!r}")
    return not wrong, wrong


def false_equations(text: str) -> list[str]:
    """A line for every equation in ``text`` that is not true."""
    wrong = []
    for left, right in _EQUATION.findall(say.join(say.words(text))):
        total = sum(int(term) for term in re.findall(r"[+-]?\d+", left))
        if total != int(right):
            wrong.append(f"{left} is {total}, not {right}")
    return wrong


def _names(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _matches(clause: dict[str, Any], thing: tuple[str, str]) -> bool:
    kind, colour = thing
    if "kind" in clause and kind not in _names(clause["kind"]):
        return False
    return clause.get("colour") is None or colour in _names(clause["colour"])


def _assignments(clauses: list[dict[str, Any]], things: tuple[tuple[str, str], ...]) -> Iterable[tuple[int, ...]]:
    """All ways to give every thing to a clause it matches such that every clause gets exactly its count of one kind."""
    options = [[i for i, clause in enumerate(clauses) if _matches(clause, thing)] for thing in things]
    for owners in product(*options):
        counts = Counter(owners)
        if any(counts[i] != clause.get("count", 1) for i, clause in enumerate(clauses)):
            continue
        if all(len({things[t][0] for t, owner in enumerate(owners) if owner == i}) <= 1 for i in counts):
            yield owners


def _related(content: Content, owners: tuple[int, ...], relation: dict[str, Any]) -> bool:
    a, b = owners.index(relation["a"]), owners.index(relation["b"])
    return (content.layout, a > b) in _LAYOUTS[relation["is"]]


def _said(clause: dict[str, Any]) -> str:
    colour = "/".join(_names(clause["colour"])) + " " if clause.get("colour") else ""
    return colour + "/".join(_names(clause["kind"])) if "kind" in clause else f"something {colour.strip()}"


def _counts(clauses: list[dict[str, Any]], things: tuple[tuple[str, str], ...]) -> list[str]:
    wrong = []
    for clause in clauses:
        found, count = sum(_matches(clause, thing) for thing in things), clause.get("count", 1)
        if found != count:
            wrong.append(f"found {found} {_said(clause)}, wanted {count}")
    extra = [thing for thing in things if not any(_matches(clause, thing) for clause in clauses)]
    wrong += [f"there is {say.single(kind, colour)}, which was not asked for" for kind, colour in extra]
    return wrong or ["the things cannot be matched with what was asked"]
