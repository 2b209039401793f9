"""GenEval's rules (arXiv 2310.11513) on detections, whoever made them: a trained detector or an exact reader.

The rules need only (class, box, score) of every detection and somebody to ask for a colour, so both come from outside.
Boxes are (left, top, right, bottom) with an exclusive right and lower edge. GenEval 2 (arXiv 2512.16853), which asks a
model about every atom of a prompt, is arithmetic here too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")
TAGS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")


class Detection(NamedTuple):
    """One thing that was found. ``mark`` is the detector's own note (a mask, a colour) for whoever names the colour."""

    box: tuple[float, float, float, float]
    score: float
    mark: Any = None


Objects = Mapping[str, Sequence[Detection]]  # by class, best first
ColourOf = Callable[[str, Detection], str]


@dataclass(frozen=True)
class Rules:
    """The thresholds of a run; these are the published ones. ``overlap`` below 1 drops doubles of a class."""

    score: float = 0.3
    counting_score: float = 0.9
    most: int = 16
    overlap: float = 1.0
    margin: float = 0.1

    def for_tag(self, tag: str) -> float:
        """What a detection's score must be above."""
        return self.counting_score if tag == "counting" else self.score


@dataclass(frozen=True)
class Outcome:
    """Whether a picture shows what was asked, and a line for everything that it does not."""

    correct: bool
    reasons: tuple[str, ...] = ()


def keep(raw: Objects, tag: str, rules: Rules = Rules()) -> dict[str, list[Detection]]:
    """Of every class the detections that count: above the tag's threshold (strictly, in float32), best first."""
    kept: dict[str, list[Detection]] = {}
    for name, found in raw.items():
        scores = np.array([one.score for one in found], dtype=np.float32)
        order = np.argsort(scores)[::-1]
        order = order[scores[order] > np.float32(rules.for_tag(tag))][: rules.most]
        rest, chosen = [found[i] for i in order], []
        while rest:
            best = rest.pop(0)
            chosen.append(best)
            if rules.overlap < 1:
                rest = [one for one in rest if _overlap(best.box, one.box) < rules.overlap]
        if chosen:
            kept[name] = chosen
    return kept


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes whose last pixel counts."""

    def area(box: Sequence[float]) -> float:
        return max(box[2] - box[0] + 1, 0) * max(box[3] - box[1] + 1, 0)

    both = area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    union = area(a) + area(b) - both
    return both / union if union else 0.0


def relations(a: Sequence[float], b: Sequence[float], margin: float = 0.1) -> set[str]:
    """How box ``a`` stands to ``b``: none, one or (on a diagonal) two of left of, right of, above, below.

    The way between the centres is shortened on each axis by ``margin`` times both sizes, then divided by its full
    length; more than half of it on an axis is a relation. So large things close together have none.
    """
    first, second = np.asarray(a[:4], dtype=np.float64).reshape(2, 2), np.asarray(b[:4], dtype=np.float64).reshape(2, 2)
    way = first.mean(axis=0) - second.mean(axis=0)
    sizes = np.abs(np.diff(first, axis=0))[0] + np.abs(np.diff(second, axis=0))[0]
    short = np.maximum(np.abs(way) - margin * sizes, 0) * np.sign(way)
    if np.all(np.abs(short) < 1e-3):
        return set()
    x, y = short / np.linalg.norm(way)
    named = {"left of": x < -0.5, "right of": x > 0.5, "above": y < -0.5, "below": y > 0.5}
    return {name for name, holds in named.items() if holds}


def judge(wanted: Mapping[str, Any], objects: Objects, colour_of: ColourOf, rules: Rules = Rules()) -> Outcome:
    """Whether ``objects`` (kept, best first) fulfil a prompt's ``include`` and ``exclude`` clauses.

    A clause looks at its ``count`` best detections alone; without ``exclude`` more of them do not matter.
    """
    reasons: list[str] = []
    matched: list[list[Detection] | None] = []
    for clause in wanted.get("include", ()):
        name, count = clause["class"], clause["count"]
        found = list(objects.get(name, ()))[:count]
        wrong = _clause(clause, found, matched, colour_of, rules)
        matched.append(None if wrong else found)
        reasons += wrong
    for clause in wanted.get("exclude", ()):
        number = len(objects.get(clause["class"], ()))
        if number >= clause["count"]:
            reasons.append(f"expected {clause['class']}<{clause['count']}, found {number}")
    return Outcome(not reasons, tuple(reasons))


def _clause(
    clause: Mapping[str, Any],
    found: list[Detection],
    matched: list[list[Detection] | None],
    colour_of: ColourOf,
    rules: Rules,
) -> list[str]:
    name, count = clause["class"], clause["count"]
    if len(found) < count:
        return [f"expected {name}>={count}, found {len(found)}"]
    if "color" in clause:
        colour = clause["color"]
        seen = [colour_of(name, one) for one in found]
        if seen.count(colour) < count:
            told = ", ".join(f"{seen.count(c)} {c}" for c in COLOURS if c in seen)
            return [f"expected {colour} {name}>={count}, found {seen.count(colour)} {colour}; and {told}"]
    if "position" not in clause:
        return []
    relation, target = clause["position"]
    others = matched[target]
    if others is None:
        return [f"no target for {name} to be {relation}"]
    for one in found:
        for other in others:
            there = relations(one.box, other.box, rules.margin)
            if relation not in there:
                return [f"expected {name} {relation} target, found {' and '.join(sorted(there))} target"]
    return []


def summary(rows: Sequence[tuple[str, str, bool]]) -> dict[str, Any]:
    """The published figures from (tag, prompt, correct) of every picture. ``overall`` is the mean of the tags' shares.

    A tag without pictures is left out of that mean, as in the original; ``missing`` names such tags.
    """
    if not rows:
        raise ValueError("no pictures to summarise; judge at least one")
    tags: dict[str, list[bool]] = {}
    prompts: dict[tuple[str, str], bool] = {}
    for tag, prompt, right in rows:
        tags.setdefault(tag, []).append(right)
        prompts[tag, prompt] = prompts.get((tag, prompt), False) or right
    return {
        "images": len(rows),
        "prompts": len(prompts),
        "image_share": float(np.mean([right for _, _, right in rows])),
        "prompt_share": float(np.mean(list(prompts.values()))),
        "tags": {tag: float(np.mean(rights)) for tag, rights in tags.items()},
        "counts": {tag: (sum(rights), len(rights)) for tag, rights in tags.items()},
        "overall": float(np.mean([np.mean(rights) for rights in tags.values()])),
        "missing": [tag for tag in TAGS if tag not in tags],
    }


def atoms(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """GenEval 2's Soft-TIFA x 100 from rows of ``scores`` (one an atom, 0 to 1) and ``skills`` (one an atom)."""
    skills: dict[str, list[float]] = {}
    for row in rows:
        for skill, score in zip(row["skills"], row["scores"], strict=True):
            skills.setdefault(skill, []).append(score)
    with np.errstate(divide="ignore"):
        geometric = [float(np.exp(np.mean(np.log(np.asarray(row["scores"], dtype=float))))) for row in rows]
    return {
        "soft_tifa_am": 100 * float(np.mean([np.mean(row["scores"]) for row in rows])),
        "soft_tifa_gm": 100 * float(np.mean(geometric)),
        "per_skill": {skill: 100 * float(np.mean(scores)) for skill, scores in skills.items()},
    }


def marked(_name: str, one: Detection) -> str:
    """The colour that the detector noted itself."""
    return str(one.mark)


def strictly(rules: Rules) -> Rules:
    """The same rules for an exact reader: whatever it found counts, in every tag."""
    return replace(rules, score=0.0, counting_score=0.0)
