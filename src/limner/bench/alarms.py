"""Alarms on an evaluated run: does a second judge confirm what the first says, are samples of one prompt different,
and are pictures what they seem to be? The signs are those of ``judges.signs``; every alarm is a sentence.

Alone, a run raises an alarm where the held-out judge surely confirms less than the score (by more than ``GAP_ALONE``)
or where all samples of a prompt are the same picture. Against a baseline an alarm needs a change whose 95% interval
over prompts lies beyond zero and that is beyond the limits of training's alarms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image as pil

from limner.bench.run import Item
from limner.bench.stats import paired
from limner.judges.signs import DIVERSITY, GAP, LIMITS, RESIDUAL, Limits, confirmed, different, drawn_residual, mean
from limner.judges.verifier import Verifier
from limner.parts import Image, Sample, Task, user

GAP_ALONE = 0.05
SAME = 1e-3  # mean pixel distance below which pictures are the same
Row = Mapping[str, Any]


def signs(
    folder: Path,
    items: Sequence[Item],
    scores: Sequence[Row],
    rows: Mapping[tuple[str, int], Row],
    held_out: Verifier | None,
    *,
    drawn: bool = False,
) -> dict[str, Any]:
    """By sign the mean over prompts and each prompt's value; with a held-out judge its name, share of yes, and the gap
    with its interval. ``alarms`` are the sentences that the run gives reason for by itself. ``drawn`` pictures are
    those of the picture world, which alone have a residual."""
    found: dict[str, dict[str, float]] = {GAP: {}, DIVERSITY: {}, RESIDUAL: {}}
    given = {(line["id"], line["seed"]): line["score"] for line in scores if line["state"] == "judged"}
    yes: list[float | None] = []
    claimed: list[float] = []
    second: list[float] = []
    for item in items:
        some = [_sample(folder, item, rows[key]) for key in rows if key[0] == item.id and rows[key]["image"]]
        if not some:
            continue
        _put(found[DIVERSITY], item.id, different(some))
        if drawn:
            _put(found[RESIDUAL], item.id, mean(drawn_residual(some)))
        if held_out is None:
            continue
        said = [verdict.score for verdict in confirmed(held_out)(some)]
        yes += said
        both = [
            (given[item.id, sample.seed], score)
            for sample, score in zip(some, said, strict=True)
            if score is not None and (item.id, sample.seed) in given
        ]
        if both:
            claimed.append(mean([a for a, _ in both]))
            second.append(mean([b for _, b in both]))
            found[GAP][item.id] = claimed[-1] - second[-1]
    value: dict[str, Any] = {
        name: {"mean": round(mean(list(by.values())), 4), "prompts": {k: round(v, 4) for k, v in by.items()}}
        for name, by in found.items()
        if by
    }
    value["alarms"] = []
    if value.get(DIVERSITY, {}).get("mean", 1.0) < SAME:
        value["alarms"].append("all samples of a prompt are the same picture")
    if held_out is not None:
        value["held_out"] = {"judge": held_out.about.name, "unjudged": sum(score is None for score in yes)}
    if claimed and held_out is not None:
        gap, low, high = paired(claimed, second)
        value[GAP] |= {"low": round(low, 4), "high": round(high, 4)}
        value["held_out"]["mean"] = round(mean(list(second)), 4)
        if low > GAP_ALONE:
            value["alarms"].append(
                f"the judge gives {gap:.3f} [{low:.3f}, {high:.3f}] more than {held_out.about.name} confirms"
            )
    return value


def _put(into: dict[str, float], name: str, value: float | None) -> None:
    if value is not None and value == value:  # neither None nor nan
        into[name] = value


def _sample(folder: Path, item: Item, row: Row) -> Sample:
    with pil.open(folder / row["image"]) as picture:
        task = Task((user(item.prompt),), item.facts, (item.tag,), item.id)
        return Sample(task, (Image(picture.convert("RGB")),), row["seed"])


def against(now: Mapping[str, Any], before: Mapping[str, Any], limits: Limits = LIMITS) -> list[str]:
    """The alarms that the signs of a run give reason for beside those of a baseline."""
    found = []
    for name, words in (
        (GAP, "the judge gives {a:.3f} more than the held-out one confirms, in the baseline {b:.3f}"),
        (DIVERSITY, "samples of a prompt differ by {a:.3f}, in the baseline by {b:.3f}"),
        (RESIDUAL, "pictures are {a:.4f} away from the drawing of what they hold, in the baseline {b:.4f}"),
    ):
        mine, theirs = (signs.get(name, {}).get("prompts", {}) for signs in (now, before))
        both = [key for key in mine if key in theirs]
        if not both:
            continue
        a, b = [mine[key] for key in both], [theirs[key] for key in both]
        change, low, high = paired(a, b)
        allowed = {GAP: limits.gap, RESIDUAL: limits.residual, DIVERSITY: (1 - limits.diversity) * mean(list(b))}[name]
        worse = -change > allowed and high < 0 if name == DIVERSITY else change > allowed and low > 0
        if worse:
            found.append(words.format(a=mean(list(a)), b=mean(list(b))))
    return found
