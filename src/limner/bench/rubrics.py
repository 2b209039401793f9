"""How a model that looks at pictures is asked about a benchmark's samples, and how its replies become a verdict.

The texts are limner's own, so the rubric's version is part of every result: DPG-Bench needs only its questions, but
WISE, ImgEdit and GEdit come with rubrics of their authors, and a number with another wording is not theirs. ``texts``
may be replaced (``limner score --rubric FILE``) by whoever has them; replies are read by the published parsers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image as pil

from limner.bench import dpg, editing, wise
from limner.bench.run import Item
from limner.parts import Conversation, Image, Part, Verdict, user

TRIES = 3  # for a reply that cannot be read, as in the published scripts

WISE_LEGACY = """You grade a picture that was made from a prompt. The explanation says what the prompt means.
Prompt: {prompt}
Explanation: {explanation}
Be strict, and take the lower grade where you doubt. Give three whole numbers from 0 to 2:
Consistency: 2 if the picture shows everything that prompt and explanation ask for, 1 if a part of it, 0 if the key
elements are missing or wrong.
Realism: 2 if it could be a photograph, 1 if it has small flaws, 0 if it is implausible.
Aesthetic Quality: 2 if it is exceptional, 1 if it is acceptable, 0 if it is poor.
Answer with exactly three lines and nothing else:
Consistency: N
Realism: N
Aesthetic Quality: N"""

WISE_VERIFIED = """A picture was made from a prompt whose answer must be worked out. The explanation gives the answer.
Prompt: {prompt}
Explanation: {explanation}
Is the answer visibly right in the picture, and is the picture usable? Answer with one line: Score: 1 if both are true,
Score: 0 otherwise."""

IMGEDIT = """The first picture was edited by an instruction; the second is the result.
Kind of edit: {kind}. Instruction: {prompt}
Give three whole numbers from 1 (bad) to 5 (perfect). The second and third may not be higher than the first.
Compliance: is exactly what the instruction asks done?
Naturalness: does the edit fit in, and is everything else kept as it was?
Integrity: are details and physics right, without traces of the edit?
Answer with exactly three lines and nothing else:
Compliance: N
Naturalness: N
Integrity: N"""

GEDIT_SEMANTIC = """The first picture was edited by an instruction; the second is the result.
Instruction: {prompt}
Give two whole numbers from 0 to 10. The first: how well was the instruction followed (10: perfectly)? The second: how
little was changed that should have stayed (10: nothing)?
Answer with JSON and nothing else: {"score": [N, N], "reasoning": "one sentence"}"""

GEDIT_QUALITY = """Look at this picture, which was made by a model.
Give two whole numbers from 0 to 10. The first: how natural does it look (10: like a photograph)? The second: how free
is it of artefacts such as distortions, blur and broken parts (10: wholly)?
Answer with JSON and nothing else: {"score": [N, N], "reasoning": "one sentence"}"""

DPG = "{prompt} Answer with one word, yes or no, in lower case."

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Rubric:
    """``texts`` with ``{fields}`` of an item's facts; ``puts`` makes the conversations of a sample, ``read`` a verdict
    of the replies (a score None: they cannot be read). ``limit`` is the most tokens of a reply."""

    name: str
    texts: tuple[str, ...]
    puts: Callable[[Rubric, Item, Image], list[Conversation]]
    read: Callable[[Item, Sequence[str]], Verdict]
    limit: int

    @property
    def version(self) -> str:
        """The name with the hash of the texts, so that no two wordings are taken for one."""
        return f"{self.name}/{hashlib.sha256(json.dumps(self.texts).encode()).hexdigest()[:12]}"

    def worded(self, path: Path | None) -> Rubric:
        """The rubric with the texts of a JSON file, a list of as many; itself for None."""
        if path is None:
            return self
        try:
            texts = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} cannot be read as a rubric: {error}") from None
        if not isinstance(texts, list) or len(texts) != len(self.texts) or not all(isinstance(t, str) for t in texts):
            raise ValueError(f"{path} must be a JSON list of {len(self.texts)} text(s) for {self.name}")
        return replace(self, texts=tuple(texts))


def _filled(text: str, item: Item, **more: str) -> str:
    values = {"prompt": str(item.facts.get("instruction", item.prompt)), **more}
    for name, value in values.items():
        text = text.replace("{" + name + "}", value)
    return text


def _source(item: Item) -> list[Part]:
    shown: list[Part] = []
    for path in item.pictures:
        with pil.open(path) as picture:
            shown.append(Image(picture.convert("RGB")))
    return shown


def _one(rubric: Rubric, item: Item, made: Image) -> list[Conversation]:
    told = {"explanation": str(item.facts.get("explanation", "")), "kind": str(item.facts.get("kind", ""))}
    return [(user(*_source(item), made, _filled(rubric.texts[0], item, **told)),)]


def _gedit_puts(rubric: Rubric, item: Item, made: Image) -> list[Conversation]:
    source = _source(item)
    if source and isinstance(source[0], Image):  # the edit is compared at the size of its source
        made = Image(made.image.resize(source[0].image.size, pil.Resampling.LANCZOS))
    both = user(*source, made, _filled(rubric.texts[0], item))
    return [(both,), (user(made, _filled(rubric.texts[1], item)),)]


def _dpg_puts(rubric: Rubric, item: Item, made: Image) -> list[Conversation]:
    asked = [dpg.question(row).text for row in item.facts["questions"]]
    return [(user(made, rubric.texts[0].replace("{prompt}", text)),) for text in asked]


def _wise_legacy(item: Item, replies: Sequence[str]) -> Verdict:
    grades = wise.grades(replies[0])
    return Verdict(wise.wiscore(grades), grades, ", ".join(f"{k} {v:g}" for k, v in grades.items()))


def _wise_verified(item: Item, replies: Sequence[str]) -> Verdict:
    return Verdict(wise.bit(replies[0]), why=wise.cleaned(replies[0])[:200])


def _imgedit(item: Item, replies: Sequence[str]) -> Verdict:
    """Grades of 1 to 5 as shares of 5; the grade itself is the part ``grade``."""
    try:
        grade = editing.imgedit_reply(replies[0])
    except ValueError as error:
        return Verdict(None, why=str(error))
    if grade is None or not 0 <= grade <= 5:
        return Verdict(None, why=f"no grade of 1 to 5 in {replies[0][:80]!r}")
    return Verdict(grade / 5, {"grade": grade}, f"grade {grade:g} of 5")


def _gedit(item: Item, replies: Sequence[str]) -> Verdict:
    """O of 0 to 10 as a share of 10; SC and PQ are parts."""
    try:
        scores = [editing.gedit_reply(reply) for reply in replies]
        if any(not score for score in scores):
            raise ValueError("a reply holds no score")
        sc, pq, overall = editing.viescore(*([float(v) for v in score or ()] for score in scores))
    except (ValueError, TypeError) as error:
        return Verdict(None, why=str(error))
    if not 0 <= overall <= 10:
        return Verdict(None, why=f"scores beyond 0 to 10: SC {sc:g}, PQ {pq:g}")
    return Verdict(overall / 10, {"sc": sc, "pq": pq}, f"SC {sc:g}, PQ {pq:g}")


def _dpg(item: Item, replies: Sequence[str]) -> Verdict:
    """The answers are parts by proposition id: 1 for exactly yes, whatever else was said 0."""
    asked = [dpg.question(row) for row in item.facts["questions"]]
    answers = {q.id: said.strip() for q, said in zip(asked, replies, strict=True)}
    score, _ = dpg.image_score(asked, answers)
    wrong = [q.text for q in asked if answers[q.id] != "yes"]
    return Verdict(
        score, {str(k): float(v == "yes") for k, v in answers.items()}, "no: " + "; ".join(wrong) if wrong else ""
    )


RUBRICS: dict[str, Rubric] = {
    "dpg": Rubric("dpg", (DPG,), _dpg_puts, _dpg, 8),
    "wise-legacy": Rubric("wise-legacy", (WISE_LEGACY,), _one, _wise_legacy, 2000),
    "wise-verified": Rubric("wise-verified", (WISE_VERIFIED,), _one, _wise_verified, 500),
    "imgedit": Rubric("imgedit", (IMGEDIT,), _one, _imgedit, 1000),
    "gedit": Rubric("gedit", (GEDIT_SEMANTIC, GEDIT_QUALITY), _gedit_puts, _gedit, 1000),
}
