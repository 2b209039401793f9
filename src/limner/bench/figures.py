"""What the benchmarks report themselves, next to the plain mean over prompts: their own averages and weights.

``official`` follows the published scripts, which leave out what is missing or unreadable; ``fixed`` counts it as 0.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from limner.bench import answers, dpg, editing, geneval, wise
from limner.bench.run import Item
from limner.bench.suites import Protocol, Row


def own_figures(
    name: str, protocol: Protocol, items: Sequence[Item], rows: Mapping[tuple[str, int], Row], scores: Sequence[Row]
) -> dict[str, Any]:
    """The figures of a benchmark by its name; empty where it has none but the mean."""
    if name == "geneval":
        made = geneval.summary([(s["tag"], s["id"], bool(s["score"])) for s in scores])
        return {key: made[key] for key in ("overall", "image_share", "prompt_share", "tags", "missing")}
    if name in ("wise-legacy", "wise-verified"):
        return _wise("legacy" if name == "wise-legacy" else "verified", protocol, scores)
    if name == "dpg":
        return _dpg(protocol, items, scores)
    if name == "imgedit":
        return _imgedit(protocol, scores)
    if name == "gedit":
        return _gedit(protocol, items, scores)
    said = {item.id: str((rows.get((item.id, 0)) or {}).get("text") or "") for item in items}
    if name == "mme":
        return answers.mme([(i.facts["group"] or i.id, i.tag, i.facts["answer"], said[i.id]) for i in items])
    if name == "pope":
        parser: answers.YesNoParser = "lmms_eval" if protocol == "official" else "vlmevalkit"
        return answers.pope([(i.facts["answer"], said[i.id]) for i in items], parser)
    if name == "mmbench":
        groups: dict[str, list[bool]] = {}
        right = {s["id"]: bool(s["score"]) for s in scores if s["seed"] == 0}
        for item in items:
            groups.setdefault(str(item.facts["group"] or item.id), []).append(right.get(item.id, False))
        return {"circular": float(np.mean([all(hits) for hits in groups.values()])), "questions": len(groups)}
    return {}


def _known(scores: Sequence[Row]) -> list[Row]:
    return [line for line in scores if line["state"] == "judged"]


def _wise(which: wise.Protocol, protocol: Protocol, scores: Sequence[Row]) -> dict[str, Any]:
    """Category means and their weighted mean, which needs all 1,000 prompts."""
    given = []
    for line in scores:
        if line["state"] == "judged":
            given.append({"prompt_id": int(line["id"]), "score": line["score"], **line["parts"]})
        elif protocol == "fixed":
            given.append({"prompt_id": int(line["id"]), "score": 0, **dict.fromkeys(wise.METRICS, 0)})
        elif line["state"] != "missing":
            given.append({"prompt_id": int(line["id"])})
    made = wise.benchmark(given, which)
    return {**made, "missing": len(made["missing"])}


def _dpg(protocol: Protocol, items: Sequence[Item], scores: Sequence[Row]) -> dict[str, Any]:
    table = [{"item_id": item.id, **row} for item in items for row in item.facts["questions"]]
    shown: dict[str, list[dict[int, str]]] = {item.id: [] for item in items}
    for line in _known(scores):
        shown[line["id"]].append({int(k): "yes" if v else "no" for k, v in line["parts"].items()})
    if protocol == "fixed":  # an image that is missing holds nothing
        for line in scores:
            if line["state"] != "judged":
                questions = next(item.facts["questions"] for item in items if item.id == line["id"])
                shown[line["id"]].append({int(row["proposition_id"]): "" for row in questions})
    made = dpg.benchmark(dpg.by_item(table, protocol), shown, protocol)
    return {key: made[key] for key in ("dpg_score", "l1", "l2", "failed", "missing")}


def _imgedit(protocol: Protocol, scores: Sequence[Row]) -> dict[str, Any]:
    lost = 0.0 if protocol == "fixed" else None
    return editing.imgedit([(s["tag"], s["parts"]["grade"] if s["state"] == "judged" else lost) for s in scores])


def _gedit(protocol: Protocol, items: Sequence[Item], scores: Sequence[Row]) -> dict[str, Any]:
    """By language. QUIRK of ``official``: what cannot be read is a random grade of 0 to 10 (which the id decides)."""
    facts = {item.id: item.facts for item in items}
    rows = []
    for line in scores:
        about = {"group": line["tag"], "language": facts[line["id"]]["language"], "common": facts[line["id"]]["common"]}
        if line["state"] == "judged":
            rows.append({**about, "sc": line["parts"]["sc"], "pq": line["parts"]["pq"]})
        elif protocol == "fixed":
            rows.append({**about, "sc": 0.0, "pq": 0.0})
        elif line["state"] == "unparsed":
            rng = random.Random(line["id"])
            rows.append({**about, "sc": float(rng.randint(0, 10)), "pq": float(rng.randint(0, 10))})
    languages = list(dict.fromkeys(row["language"] for row in rows))
    return {language: editing.gedit(rows, language) for language in languages}
