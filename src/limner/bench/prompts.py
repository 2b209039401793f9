"""The prompts of the benchmarks: from inside the package where their licence allows it, else from local files.

Questions about pictures and in words come from a JSON-lines file, a line a question: ``id``, ``question``, ``answer``
(VQAv2: the list of people's answers), and where the benchmark has them ``options`` (a list), ``image`` or ``images``
(paths beside the file), ``tag`` (a sub-task or split), ``group`` (the picture that MME's questions share). The others
are read as they are published. ``limit`` takes so many prompts of every tag, 0 all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from limner.bench import choices, dpg, wise
from limner.bench.run import Item

DATA = Path(__file__).parent / "data"
_FIELDS = "id, question, answer, and where there are any options (a list), image or images (paths), tag"
_WISE = "a JSON list (or lines) of objects with prompt_id, Prompt, Explanation"
_IMGEDIT = "a JSON object: key to {id: path of the source beside the file, prompt, edit_type}"
_GEDIT = "JSON lines of key, task_type, instruction, instruction_language, input_image (a path beside the file)"


def _some(rows: Sequence[dict[str, Any]], limit: int, tag: Callable[[dict[str, Any]], str]) -> list[dict[str, Any]]:
    """At most ``limit`` rows of every tag (0: all)."""
    seen: dict[str, int] = {}
    kept = []
    for row in rows:
        name = tag(row)
        seen[name] = seen.get(name, 0) + 1
        if not limit or seen[name] <= limit:
            kept.append(row)
    return kept


def _file(path: Path | None, wanted: str) -> Path:
    if path is None or not path.is_file():
        raise ValueError(f"{path or 'the data file'} is missing: give --data FILE, {wanted}")
    return path


def _rows(path: Path, wanted: str, needed: Sequence[str]) -> list[dict[str, Any]]:
    """The objects of a JSON list, or of JSON lines, each with the needed fields."""
    text = path.read_text(encoding="utf-8")
    try:
        rows = json.loads(text) if text.lstrip().startswith("[") else [json.loads(x) for x in text.splitlines() if x]
    except ValueError as error:
        raise ValueError(f"{path} cannot be read ({error}); wanted {wanted}") from None
    if not rows:
        raise ValueError(f"{path} is empty; wanted {wanted}")
    for number, row in enumerate(rows):
        lost = [name for name in needed if not isinstance(row, dict) or name not in row]
        if lost:
            raise ValueError(f"{path}, entry {number + 1} lacks {' and '.join(lost)}; wanted {wanted}")
    return rows


def _beside(path: Path, names: Sequence[str], number: int) -> tuple[str, ...]:
    gone = [name for name in names if not (path.parent / name).is_file()]
    if gone:
        raise ValueError(f"{path}, entry {number + 1}: the picture {gone[0]} is not beside the file")
    return tuple(str(path.parent / name) for name in names)


def geneval_items(path: Path | None, limit: int = 0) -> list[Item]:
    """GenEval's 553 prompts (its own file is inside the package, under the MIT licence), or another file like it."""
    wanted = "GenEval's evaluation_metadata.jsonl: a line a prompt with tag, prompt, include"
    path = _file(path or DATA / "geneval" / "evaluation_metadata.jsonl", wanted)
    rows = _rows(path, wanted, ("tag", "prompt", "include"))
    named = [{**row, "number": number} for number, row in enumerate(rows)]
    return [
        Item(f"{row['number']:05d}", row["tag"], row["prompt"], {k: row[k] for k in ("include", "exclude") if k in row})
        for row in _some(named, limit, lambda row: str(row["tag"]))
    ]


def world_items(path: Path | None, limit: int = 0) -> list[Item]:
    """Fresh prompts of the picture world: every group, ``limit`` of each (0: 100)."""
    from limner.bench.world import PROMPTS, tasks
    from limner.world import lessons

    if path is not None:
        raise ValueError(f"the picture world makes its own prompts, {path} is not wanted")
    items = []
    for group in (*lessons.EXPLICIT, *lessons.REASONING):
        for task in tasks(group, "new_compositions", limit or PROMPTS, 0):
            items.append(Item(f"{group}-{task.id}", group, task.prompt[0].text, dict(task.facts)))
    return items


def question_items(path: Path | None, limit: int = 0) -> list[Item]:
    """The questions of a local file. Options are written below the question, a letter each."""
    wanted = f"JSON lines, a line a question with {_FIELDS}"
    path = _file(path, wanted)
    items = []
    rows = _rows(path, wanted, ("question", "answer"))
    for number, row in enumerate(_some(rows, limit, lambda row: str(row.get("tag", "all")))):
        options = [str(option) for option in row.get("options") or ()]
        listed = "".join(f"\n{letter}. {option}" for letter, option in zip(choices.LETTERS, options, strict=False))
        shown = row.get("images") or ([row["image"]] if row.get("image") else [])
        facts = {"answer": row["answer"], "options": options, "group": row.get("group", "")}
        identity, tag = str(row.get("id", number)), str(row.get("tag", "all"))
        items.append(Item(identity, tag, row["question"] + listed, facts, _beside(path, shown, number)))
    return items


def dpg_items(path: Path | None, limit: int = 0) -> list[Item]:
    """DPG-Bench's prompts with their questions, from the published CSV file."""
    path = _file(path, f"dpg_bench.csv of the ELLA repository (git blob {dpg.BLOB})")
    found: dict[str, dict[str, Any]] = {}
    for row in dpg.rows_of(path):
        one = found.setdefault(str(row["item_id"]), {"text": row["text"], "questions": []})
        one["questions"].append({name: row[name] for name in dpg.COLUMNS if name != "text"})
    chosen = list(found.items())[: limit or None]
    return [Item(name, "all", one["text"], {"questions": one["questions"]}) for name, one in chosen]


def wise_items(protocol: wise.Protocol) -> Callable[[Path | None, int], list[Item]]:
    """WISE's prompts by a protocol's ranges of ids."""

    def items(path: Path | None, limit: int = 0) -> list[Item]:
        path = _file(path, _WISE)
        rows = _rows(path, _WISE, ("prompt_id", "Prompt", "Explanation"))
        lost = [row["prompt_id"] for row in rows if wise.category(int(row["prompt_id"]), protocol) is None]
        if lost:
            raise ValueError(f"{path}: the prompt ids {lost[:3]} are not among 1 to {wise.PROMPTS}")

        def tag(row: dict[str, Any]) -> str:
            return str(wise.category(int(row["prompt_id"]), protocol))

        return [
            Item(str(row["prompt_id"]), tag(row), row["Prompt"], {"explanation": row["Explanation"]})
            for row in _some(rows, limit, tag)
        ]

    return items


def imgedit_items(path: Path | None, limit: int = 0) -> list[Item]:
    """ImgEdit-Bench's edits as published."""
    path = _file(path, _IMGEDIT)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        rows = [{"key": str(key), **row} for key, row in value.items()]
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{path} cannot be read ({error}); wanted {_IMGEDIT}") from None
    items = []
    for number, row in enumerate(_some(rows, limit, lambda row: str(row.get("edit_type")))):
        lost = [name for name in ("id", "prompt", "edit_type") if name not in row]
        if lost:
            raise ValueError(f"{path}, entry {row['key']} lacks {' and '.join(lost)}; wanted {_IMGEDIT}")
        facts = {"kind": row["edit_type"], "instruction": row["prompt"]}
        items.append(Item(row["key"], row["edit_type"], row["prompt"], facts, _beside(path, [row["id"]], number)))
    return items


def gedit_items(path: Path | None, limit: int = 0) -> list[Item]:
    """GEdit-Bench's instructions, English and Chinese."""
    path = _file(path, _GEDIT)
    needed = ("key", "task_type", "instruction", "instruction_language", "input_image")
    items = []
    rows = _rows(path, _GEDIT, needed)
    for number, row in enumerate(_some(rows, limit, lambda row: str(row["task_type"]))):
        facts = {
            "instruction": row["instruction"],
            "language": row["instruction_language"],
            "common": bool(row.get("Intersection_exist", True)),
        }
        shown = _beside(path, [row["input_image"]], number)
        items.append(Item(str(row["key"]), row["task_type"], row["instruction"], facts, shown))
    return items
