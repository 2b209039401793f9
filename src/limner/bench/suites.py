"""The benchmarks that a run can be made of: where their prompts come from, and who judges the samples.

Questions about pictures and in words come from a local JSON-lines file, a line a question: ``id``, ``question``,
``answer`` (VQAv2: the list of people's answers), and where the benchmark has them ``options`` (a list), ``image`` or
``images`` (paths beside the file), ``tag`` (a sub-task or split), ``group`` (the picture that MME's questions share).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as pil

from limner.bench import answers, choices, geneval, maths
from limner.bench.run import Item
from limner.parts import PartKind, Verdict

Row = Mapping[str, Any]
Judge = Callable[[Item, Row, Path], Verdict]
Find = Callable[[pil.Image], dict[str, list[geneval.Detection]]]
DATA = Path(__file__).parent / "data"
_FIELDS = "id, question, answer, and where there are any options (a list), image or images (paths), tag"


@dataclass(frozen=True)
class Suite:
    """A benchmark: which part of a reply is judged, its prompts, its judge, and the name of the scoring protocol."""

    name: str
    kind: PartKind
    items: Callable[[Path | None, int], list[Item]]
    judge: Judge
    protocol: str


def geneval_items(path: Path | None, limit: int = 0) -> list[Item]:
    """GenEval's 553 prompts (its own file is inside the package, under the MIT licence), or another file like it."""
    path = path or DATA / "geneval" / "evaluation_metadata.jsonl"
    if not path.is_file():
        raise ValueError(f"{path} is missing; wanted GenEval's evaluation_metadata.jsonl (tag, prompt, include a line)")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [
        Item(f"{number:05d}", row["tag"], row["prompt"], {k: row[k] for k in ("include", "exclude") if k in row})
        for number, row in enumerate(_some(rows, limit, "tag"))
    ]


def _some(rows: list[dict[str, Any]], limit: int, key: str) -> list[dict[str, Any]]:
    """At most ``limit`` rows of every tag (0: all)."""
    seen: dict[str, int] = {}
    kept = []
    for row in rows:
        tag = str(row.get(key, ""))
        seen[tag] = seen.get(tag, 0) + 1
        if not limit or seen[tag] <= limit:
            kept.append(row)
    return kept


def read_by_world(picture: pil.Image) -> dict[str, list[geneval.Detection]]:
    """What the picture world's exact reader finds, as detections that carry their colour."""
    from limner.world.read import read

    side = min(picture.size)
    seen = read(picture.convert("RGB").crop((0, 0, side, side))).to_geneval()
    return {
        kind: [
            geneval.Detection(tuple(b[:4]), b[4], colour) for b, colour in zip(boxes, seen["colors"][kind], strict=True)
        ]
        for kind, boxes in seen["objects"].items()
    }


def geneval_judge(find: Find, colour_of: geneval.ColourOf, rules: geneval.Rules) -> Judge:
    """GenEval's rules on what ``find`` sees in a sample's picture."""

    def judge(item: Item, row: Row, folder: Path) -> Verdict:
        with pil.open(folder / row["image"]) as picture:
            found = geneval.keep(find(picture), item.tag, rules)
        made = geneval.judge(item.facts, found, colour_of, rules)
        return Verdict(float(made.correct), why="; ".join(made.reasons))

    return judge


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


def world_judge(item: Item, row: Row, folder: Path) -> Verdict:
    """The picture world's strict rules on what its reader sees."""
    from limner.judges.scenes import holds

    with pil.open(folder / row["image"]) as picture:
        return holds(dict(item.facts), np.asarray(picture.convert("RGB")))


def question_items(path: Path | None, limit: int = 0) -> list[Item]:
    """The questions of a local file. Options are written below the question, a letter each."""
    if path is None or not path.is_file():
        raise ValueError(
            f"{path or 'the data file'} is missing: give --data FILE.jsonl, a line a question with {_FIELDS}"
        )
    items = []
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    for number, row in enumerate(_some(rows, limit, "tag")):
        lost = [name for name in ("question", "answer") if name not in row]
        if lost:
            raise ValueError(f"{path}, question {number + 1} lacks {' and '.join(lost)}; wanted {_FIELDS}")
        options = [str(option) for option in row.get("options") or ()]
        listed = "".join(f"\n{letter}. {option}" for letter, option in zip(choices.LETTERS, options, strict=False))
        shown = row.get("images") or ([row["image"]] if row.get("image") else [])
        gone = [name for name in shown if not (path.parent / name).is_file()]
        if gone:
            raise ValueError(f"{path}, question {number + 1}: the picture {gone[0]} is not beside the file")
        facts = {"answer": row["answer"], "options": options, "group": row.get("group", "")}
        identity, tag = str(row.get("id", number)), str(row.get("tag", "all"))
        items.append(Item(identity, tag, row["question"] + listed, facts, tuple(str(path.parent / n) for n in shown)))
    return items


def _chosen(letter: str | None, gold: str) -> Verdict:
    return Verdict(None, why="unparsed") if letter is None else Verdict(float(letter == gold), why=f"read {letter}")


def _mmmu(said: str, facts: Mapping[str, Any]) -> Verdict:
    if facts["options"]:
        return _chosen(choices.mmmu_choice(said, facts["options"]), facts["answer"])
    return Verdict(float(choices.open_right(facts["answer"], choices.open_answer(said))))


def _letters(said: str, facts: Mapping[str, Any]) -> Verdict:
    listed = dict(zip(choices.LETTERS, facts["options"], strict=False))
    return _chosen(choices.match(said, listed), facts["answer"])


def _yes_no(said: str, facts: Mapping[str, Any]) -> Verdict:
    read = answers.yes_no(said).lower()
    return _chosen(None if read == "unknown" else read, facts["answer"].lower())


def _mme(said: str, facts: Mapping[str, Any]) -> Verdict:
    read = answers.mme_yes_no(said)
    return _chosen(None if read == "other" else read, facts["answer"].lower())


def _gsm(said: str, facts: Mapping[str, Any]) -> Verdict:
    read, right = maths.gsm8k(said, facts["answer"])
    return Verdict(None if read == maths.INVALID else float(right), why=f"read {read}")


READERS: dict[str, tuple[str, Callable[[str, Mapping[str, Any]], Verdict]]] = {
    "mmmu": ("mmmu parser, unparsed is wrong", _mmmu),
    "mmbench": ("vlmevalkit matcher, vanilla (circular: see the report)", _letters),
    "realworldqa": ("lmms-eval extractor", lambda said, f: Verdict(float(answers.realworldqa(said, f["answer"])))),
    "pope": ("vlmevalkit words", _yes_no),
    "mme": ("lmms-eval first letters", _mme),
    "gqa": ("exact match", lambda said, f: Verdict(float(answers.gqa(said, f["answer"])))),
    "seed": ("first character", lambda said, f: Verdict(float(answers.seed(said, f["answer"])))),
    "vqav2": ("soft accuracy", lambda said, f: Verdict(answers.vqa(said, f["answer"])[1])),
    "gsm8k": ("flexible extract", _gsm),
    "math": ("hendrycks string match", lambda said, f: Verdict(float(maths.hendrycks(said, f["answer"])))),
    "choices": ("vlmevalkit matcher", _letters),
}


def _reader(read: Callable[[str, Mapping[str, Any]], Verdict]) -> Judge:
    def judge(item: Item, row: Row, _folder: Path) -> Verdict:
        return read(row["text"] or "", item.facts)

    return judge


def find_suite(name: str) -> Suite:
    """The benchmark of that name. Raises ValueError with all names for any other."""
    if name == "geneval":
        rules = geneval.strictly(geneval.Rules())
        judge = geneval_judge(read_by_world, geneval.marked, rules)
        return Suite(name, "image", geneval_items, judge, "GenEval rules, the picture world's reader as the detector")
    if name == "world":
        return Suite(name, "image", world_items, world_judge, "exact reader, strict")
    if name in READERS:
        protocol, read = READERS[name]
        return Suite(name, "text", question_items, _reader(read), protocol)
    raise ValueError(f"no benchmark called {name!r}; there are {', '.join(names())}")


def names() -> Sequence[str]:
    """All benchmarks by name."""
    return ("geneval", "world", *READERS)


def own_figures(name: str, items: Sequence[Item], rows: Mapping[tuple[str, int], Row], scores: Sequence[Row]) -> Any:
    """What the benchmark itself reports, next to the mean: GenEval's overall, MME's sums, POPE's F1, circular hits."""
    if name == "geneval":
        made = geneval.summary([(s["tag"], s["id"], bool(s["score"])) for s in scores])
        return {key: made[key] for key in ("overall", "image_share", "prompt_share", "tags", "missing")}
    said = {item.id: str((rows.get((item.id, 0)) or {}).get("text") or "") for item in items}
    if name == "mme":
        return answers.mme([(i.facts["group"] or i.id, i.tag, i.facts["answer"], said[i.id]) for i in items])
    if name == "pope":
        return answers.pope([(i.facts["answer"], said[i.id]) for i in items])
    if name == "mmbench":
        groups: dict[str, list[bool]] = {}
        right = {s["id"]: bool(s["score"]) for s in scores if s["seed"] == 0}
        for item in items:
            groups.setdefault(str(item.facts["group"] or item.id), []).append(right.get(item.id, False))
        return {"circular": float(np.mean([all(hits) for hits in groups.values()])), "questions": len(groups)}
    return {}
