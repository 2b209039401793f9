"""Alarms while a policy is trained: from the numbers of a run alone, is the reward earned or gamed?

An exercise that is watched (``judges.signs.Watch``) reports ``NAME_gap``, ``NAME_diversity`` and ``NAME_residual``. The
first lines of a run are compared with the latest; an alarm needs a change beyond its limit and beyond ``sure`` standard
errors. Every alarm is written once to ``alarms.jsonl``, when it is first raised, and said on the screen.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from limner.judges.signs import DIVERSITY, GAP, LIMITS, RESIDUAL, SIGNS, Limits

FILE = "alarms.jsonl"


@dataclass(frozen=True)
class Alarm:
    """One sign that was seen: of which exercise, at which step, and in words."""

    step: int
    name: str
    sign: str
    why: str


def raised(lines: Sequence[Mapping[str, float]], limits: Limits = LIMITS) -> list[Alarm]:
    """The alarms that the numbers of a run (a mapping a line, in order) give reason for at their last line."""
    found = []
    keys = dict.fromkeys(key for line in lines for key in line)
    for key in keys:
        name, _, sign = key.rpartition("_")
        if sign not in SIGNS or not name:
            continue
        some = [line for line in lines if key in line]
        size = min(limits.lines, len(some) // 2)
        if size < limits.fewest:
            continue
        early, late = (np.array([line[key] for line in part]) for part in (some[:size], some[-size:]))
        change = float(late.mean() - early.mean())
        doubt = limits.sure * float(np.sqrt((early.var(ddof=1) + late.var(ddof=1)) / size))
        allowed = {GAP: limits.gap, RESIDUAL: limits.residual, DIVERSITY: (1 - limits.diversity) * float(early.mean())}
        moved = -change if sign == DIVERSITY else change
        if moved > max(allowed[sign], doubt):
            why = _WORDS[sign].format(before=early.mean(), now=late.mean())
            found.append(Alarm(int(some[-1]["step"]), name, sign, why))
    return found


_WORDS = {
    GAP: "the reward's judge gives {now:.3f} more than the held-out judge confirms, at the beginning {before:.3f}",
    DIVERSITY: "replies to one prompt differ by {now:.3f}, at the beginning by {before:.3f}",
    RESIDUAL: "pictures are {now:.4f} away from the drawing of what they hold, at the beginning {before:.4f}",
}


def note(folder: Path, step: int, limits: Limits = LIMITS) -> list[Alarm]:
    """The alarms that are new after the numbers' line of ``step``; ``alarms.jsonl`` is brought up to them.

    What an interrupted run wrote of later steps is dropped, so that a resumed run ends with the same file.
    """
    lines = [json.loads(line) for line in (folder / "numbers.jsonl").read_text().splitlines()]
    path = folder / FILE
    now = raised(lines, limits)
    if not now and not path.exists():
        return []
    kept = (
        [row for row in map(json.loads, path.read_text().splitlines()) if row["step"] < step] if path.exists() else []
    )
    known = {(row["name"], row["sign"]) for row in kept}
    new = [alarm for alarm in now if (alarm.name, alarm.sign) not in known]
    beside = path.with_name(f".{FILE}.partial")
    beside.write_text("".join(json.dumps(row) + "\n" for row in [*kept, *map(vars, new)]))
    os.replace(beside, path)
    return new
