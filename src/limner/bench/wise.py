"""WISE (arXiv 2503.07265): does the picture show what the prompt means? A judge's replies read, and averaged.

Two protocols go by the name and give different numbers: ``legacy`` (three grades of 0 to 2, the papers until early
2026) and ``verified`` (one bit, a changed prompt list). Both weigh the means of six categories by their sizes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np

Protocol = Literal["legacy", "verified"]
METRICS = ("consistency", "realism", "aesthetic_quality")
WEIGHTS = (0.7, 0.2, 0.1)
PROMPTS = 1000
NAMES = ("CULTURE", "TIME", "SPACE", "BIOLOGY", "PHYSICS", "CHEMISTRY")
LAST: dict[Protocol, tuple[int, ...]] = {  # the last prompt of each category
    "legacy": (400, 567, 700, 800, 900, 1000),
    "verified": (400, 520, 640, 760, 880, 1000),
}
OVERALL: dict[Protocol, tuple[float, ...]] = {
    "legacy": (0.4, 0.167, 0.133, 0.1, 0.1, 0.1),
    "verified": (0.4, 0.12, 0.12, 0.12, 0.12, 0.12),
}
PARTS = {"all": NAMES, "culture": NAMES[:1], "space-time": NAMES[1:3], "science": NAMES[3:]}
_GRADE = re.compile(r"(consistency|realism|aesthetic quality)\*{0,2}\s*:?\s*(\d)", re.IGNORECASE)
_THOUGHT, _END = re.compile(r"<(?:think)>.*?</(?:think)>", re.DOTALL), re.compile(r"</(?:think)>")
_BIT = re.compile(r"score\*{0,2}\s*:?\s*([01])\b", re.IGNORECASE)


def grades(reply: str) -> dict[str, float]:
    """The legacy judge's grades that a reply names, by metric.

    QUIRKS: a metric named twice counts the last time; one digit is read, so 10 is 1; nothing checks the range; three
    lines of one digit 0 to 2 are read in order if no metric is named.
    """
    found = {name.lower().replace(" ", "_"): float(digit) for name, digit in _GRADE.findall(reply)}
    if not found:
        alone = [line.strip() for line in reply.splitlines() if line.strip() in ("0", "1", "2")]
        if len(alone) >= len(METRICS):
            found = dict(zip(METRICS, map(float, alone), strict=False))
    return found


def wiscore(scores: Mapping[str, Any]) -> float | None:
    """0.35 consistency + 0.1 realism + 0.05 aesthetic quality; None if one of them is missing."""
    values = [scores.get(name) for name in METRICS]
    if any(value is None for value in values):
        return None
    return sum(weight * float(value) for weight, value in zip(WEIGHTS, values, strict=True) if value is not None) / 2


def cleaned(reply: str) -> str:
    """A reply without the judge's own thoughts."""
    return _END.sub("", _THOUGHT.sub("", reply)).strip()


def bit(reply: str) -> float | None:
    """The verified judge's 0 or 1, or None: the first score named, else the one line that is nothing but a bit."""
    text = cleaned(reply)
    named = _BIT.search(text)
    if named:
        return float(named[1])
    alone = [line.strip() for line in text.splitlines() if line.strip() in ("0", "1")]
    return float(alone[0]) if len(alone) == 1 else None


def category(prompt: int, protocol: Protocol) -> str | None:
    """The category of a prompt id, None outside 1 to 1000."""
    if not 1 <= prompt <= PROMPTS:
        return None
    return next(name for name, last in zip(NAMES, LAST[protocol], strict=True) if prompt <= last)


def _score(row: Mapping[str, Any], protocol: Protocol) -> float | None:
    if protocol == "legacy":
        return wiscore(row)
    value = row.get("score")
    return float(value) if value in (0, 1) else None


def benchmark(rows: Iterable[Mapping[str, Any]], protocol: Protocol, part: str = "all") -> dict[str, Any]:
    """Means by category and, for all 1,000 prompts, the weighted overall (None if any is missing).

    Rows have ``prompt_id`` and the grades; a null grade counts as present and is left out of its mean (``unparsed``).
    A part (culture, space-time, science) with a gap has no means at all, as in the original.
    """
    if part not in PARTS:
        raise ValueError(f"part={part!r} is none of {', '.join(PARTS)}")
    values: dict[str, list[float]] = {}
    present: set[int] = set()
    unparsed = 0
    for row in rows:
        prompt = row.get("prompt_id")
        name = category(prompt, protocol) if isinstance(prompt, int) else None
        if name is None or not isinstance(prompt, int):
            continue
        present.add(prompt)
        score = _score(row, protocol)
        if score is None:
            unparsed += 1
        else:
            values.setdefault(name, []).append(score)
    wanted = {p for p in range(1, PROMPTS + 1) if category(p, protocol) in PARTS[part]}
    missing = sorted(wanted - present)
    if missing and part != "all":
        values = {}
    means = {name: float(np.mean(scores)) for name, scores in values.items()}
    overall = None
    if part == "all" and not missing and len(means) == len(NAMES):
        overall = sum(weight * means[name] for weight, name in zip(OVERALL[protocol], NAMES, strict=True))
    counts = {name: len(scores) for name, scores in values.items()}
    return {"mean": means, "n": counts, "overall": overall, "missing": missing, "unparsed": unparsed}
