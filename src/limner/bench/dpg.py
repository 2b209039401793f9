"""DPG-Bench (arXiv 2403.05135): a long prompt as yes/no questions, some of which make sense only if others are true.

An image's score is the share of its questions that are true after the dependency graph was applied. Whoever answers
the questions (any visual question model) comes from outside; an answer counts only if it is exactly ``yes``.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

Protocol = Literal["official", "fixed"]
COLUMNS = ("item_id", "text", "proposition_id", "dependency", "tuple", "question_natural_language")
BLOB = "98457fc9901943f51ff9a30367250fc292533bed"  # git's id of the published question file


@dataclass(frozen=True)
class Question:
    """One proposition of a prompt; ``parents`` are the ids of the propositions that must hold first."""

    id: int
    parents: tuple[int, ...]
    about: str
    text: str

    @property
    def category(self) -> str:
        """The broad category: what stands before the first hyphen of the tuple."""
        return self.about.split("-")[0].strip()

    @property
    def detail(self) -> str:
        """The detailed category: what stands before the tuple's bracket."""
        return self.about.split("(")[0].strip()


def question(row: Mapping[str, Any]) -> Question:
    """A row of the published table."""
    parents = tuple(int(part) for part in str(row["dependency"]).split(","))
    return Question(
        int(row["proposition_id"]), tuple(p for p in parents if p), str(row["tuple"]), row["question_natural_language"]
    )


def by_item(rows: Sequence[Mapping[str, Any]], protocol: Protocol = "fixed") -> dict[str, list[Question]]:
    """The questions of every prompt. QUIRK: ``official`` loses the first row of the table."""
    items: dict[str, list[Question]] = {}
    for row in rows[1:] if protocol == "official" else rows:
        items.setdefault(str(row["item_id"]), []).append(question(row))
    return items


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of the published CSV file. Raises ValueError where it lacks columns."""
    with path.open(encoding="utf-8", newline="") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    missing = [name for name in COLUMNS if not rows or name not in rows[0]]
    if missing:
        raise ValueError(f"{path} lacks the columns {', '.join(missing)}; wanted {', '.join(COLUMNS)}")
    return rows


def image_score(
    questions: Sequence[Question], answers: Mapping[int, str], protocol: Protocol = "fixed"
) -> tuple[float, dict[int, float]]:
    """(share of questions that hold with all that they rest on, each question as 0 or 1 for the categories).

    QUIRK: ``official`` goes through the questions in listing order, so a child listed before its parent does not see
    that the parent fell with its own parent, and categories take the raw answers; ``fixed`` follows the graph in both.
    """
    raw = {each.id: float(answers[each.id] == "yes") for each in questions}
    lost = sorted({p for each in questions for p in each.parents} - raw.keys())
    if lost:
        raise ValueError(f"questions rest on propositions {lost}, which are not asked; the item cannot be scored")
    holds = dict(raw)
    for _ in questions if protocol == "fixed" else (0,):
        for each in questions:
            if any(not holds[parent] for parent in each.parents):
                holds[each.id] = 0.0
    return float(np.mean(list(holds.values()))), raw if protocol == "official" else holds


def benchmark(
    items: Mapping[str, Sequence[Question]],
    answers: Mapping[str, Sequence[Mapping[int, str]]],
    protocol: Protocol = "fixed",
) -> dict[str, Any]:
    """Scores x 100 from ``answers[item][image][question]``: the mean over prompts, and by category.

    QUIRKS of ``official``: categories use the raw answers of the last image alone, and what cannot be scored (listed
    in ``failed``) is left out. ``fixed``: categories use all images after the graph, and items without images are
    ``missing`` and score 0.
    """
    scores: dict[str, float] = {}
    failed: list[str] = []
    broad: dict[str, list[float]] = {}
    fine: dict[str, list[float]] = {}
    for item, images in answers.items():
        questions = items.get(item, ())
        try:
            if not questions or not images:
                raise ValueError("no questions or no images")
            made = [image_score(questions, image, protocol) for image in images]
        except (ValueError, KeyError):
            failed.append(item)
            continue
        scores[item] = float(np.mean([score for score, _ in made]))
        for _, values in made[-1:] if protocol == "official" else made:
            for each in questions:
                broad.setdefault(each.category, []).append(values[each.id])
                fine.setdefault(each.detail, []).append(values[each.id])
    missing = [item for item in items if item not in scores and item not in failed]
    if protocol == "fixed":
        scores.update(dict.fromkeys([*missing, *(item for item in failed if item in items)], 0.0))
    if not scores:
        raise ValueError(f"none of the {len(answers)} items could be scored; their ids are others, as {failed[:3]}")
    return {
        "dpg_score": 100 * float(np.mean(list(scores.values()))),
        "l1": {name: 100 * float(np.mean(held)) for name, held in broad.items()},
        "l2": {name: 100 * float(np.mean(held)) for name, held in fine.items()},
        "per_item": scores,
        "failed": failed,
        "missing": missing,
    }
