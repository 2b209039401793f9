"""ImgEdit-Bench (arXiv 2505.20275) and GEdit-Bench (arXiv 2504.17761): a judge's replies, read and averaged.

What a reply does not say is None here, never a random number; the number of such replies is part of every result.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

IMGEDIT_TYPES = ("add", "adjust", "extract", "replace", "remove", "background", "style", "compose", "action")
GEDIT_GROUPS = (
    "background_change",
    "color_alter",
    "material_alter",
    "motion_change",
    "ps_human",
    "style_change",
    "subject-add",
    "subject-remove",
    "subject-replace",
    "text_change",
    "tone_transfer",
)
_FENCE = "||V^=^V||"
LIMIT = "rate_limit_exceeded"


def imgedit_reply(reply: str) -> float | None:
    """The mean grade of an ImgEdit judge's reply, to two decimals; None if no line holds one.

    QUIRKS: a line counts if ``": "`` splits it into two and the second is all digits, so 5/5 and 4.5 drop out of the
    mean, an extra ``Average: 4`` enters it, and no range is checked. Raises ValueError for digits that are no number.
    """
    grades = []
    for line in reply.split("\n"):
        parts = line.strip().split(": ")
        if len(parts) == 2 and parts[1].isdigit():
            grades.append(int(parts[1]))
    return round(sum(grades) / len(grades), 2) if grades else None


def imgedit(rows: Sequence[tuple[str, float | None]]) -> dict[str, Any]:
    """Means by edit type (two decimals) and their plain mean, from (type, grade); None is counted, not averaged."""
    types: dict[str, list[float]] = {}
    for kind, grade in rows:
        if grade is not None:
            types.setdefault(kind, []).append(grade)
    if not types:
        raise ValueError(f"none of the {len(rows)} replies could be read; look at what the judge answers")
    means = {kind: round(float(np.mean(grades)), 2) for kind, grades in types.items()}
    unparsed = sum(grade is None for _, grade in rows)
    return {"types": means, "overall": float(np.mean(list(means.values()))), "unparsed": unparsed}


def gedit_reply(reply: str) -> list[Any] | None:
    """The ``score`` list of a GEdit judge's reply; None if the reply has no score at all.

    Raises ValueError for a reply that is no JSON, no ``[a, b]`` and no number of 0 to 10 (the original then draws a
    random number), and for a judge that says it is over its rate limit.
    """
    text = reply.strip()
    if text == LIMIT:
        raise ValueError("the judge was over its rate limit; ask again")
    if text.count(_FENCE) >= 2:
        text = text.split(_FENCE)[1]
    text = text.replace(_FENCE, "").replace("\n", " ").strip()
    pairs = re.findall(r"\[\s*\d+\s*,\s*\d+\s*\]", text)
    if "{" in text:
        text = text[text.index("{") : text.rindex("}") + 1] if "}" in text else text
    elif len(pairs) == 1:
        text = f'{{"score": {pairs[0]}}}'
    elif re.fullmatch(r"\d+", text) and int(text) <= 10:
        text = f'{{"score": [{text}]}}'
    try:
        value = json.loads(text)
    except ValueError:
        raise ValueError(f"the reply {reply[:60]!r} holds no score that can be read") from None
    if value == {}:
        return None
    if not isinstance(value, dict) or "score" not in value:
        raise ValueError(f"the reply {reply[:60]!r} has no field 'score'")
    score = value["score"]
    return score if isinstance(score, list) else [score]


def viescore(semantic: Sequence[float], quality: Sequence[float]) -> tuple[float, float, float]:
    """(SC, PQ, O) of one edit: the least grade of each reply, and the root of their product."""
    sc, pq = min(semantic), min(quality)
    return sc, pq, math.sqrt(sc * pq)


def gedit(rows: Sequence[Mapping[str, Any]], language: str) -> dict[str, Any]:
    """Averages over the eleven groups for a language, from rows of group, language, sc, pq and common (bool: all
    compared systems answered it). Groups without a row are named in ``missing`` and left out."""
    own = [row for row in rows if row["language"] == language]
    groups = {group: [row for row in own if row["group"] == group] for group in GEDIT_GROUPS}
    filled = [some for some in groups.values() if some]
    if not filled:
        raise ValueError(f"there is no row of the language {language!r} in a known group")

    def over(value: str, common: bool = False) -> float | None:
        made = []
        for some in filled:
            chosen = [row for row in some if row["common"] or not common]
            made += [float(np.mean([_value(row, value) for row in chosen]))] if chosen else []
        return float(np.mean(made)) if made else None

    return {
        "semantics": over("sc"),
        "quality": over("pq"),
        "overall": over("o"),
        "overall_intersection": over("o", common=True),
        "missing": [group for group, some in groups.items() if not some],
    }


def _value(row: Mapping[str, Any], name: str) -> float:
    return math.sqrt(row["sc"] * row["pq"]) if name == "o" else float(row[name])
