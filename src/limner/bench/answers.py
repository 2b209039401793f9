"""Short answers: yes or no (MME, POPE), VQAv2, GQA, SEED-Bench and RealWorldQA, read and scored as published."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

YesNoParser = Literal["lmms_eval", "vlmevalkit"]
PERCEPTION = ("existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark", "artwork", "OCR")
COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_WORDS = "zero one two three four five six seven eight nine ten"
_NUMBER = {"none": "0", **{word: str(value) for value, word in enumerate(_WORDS.split())}}
_SHORT = "aren can couldn didn doesn don hadn hasn haven isn mightn mustn needn shan shouldn wasn weren won wouldn ain"
_CONTRACTIONS = {f"{word}t": f"{word}'t" for word in _SHORT.split()} | {
    "im": "i'm",
    "youre": "you're",
    "theyre": "they're",
}
_CONTRACTIONS |= {"thats": "that's", "whats": "what's", "wheres": "where's", "whos": "who's", "hes": "he's"}


def mme_yes_no(reply: str) -> str:
    """MME's reading: yes, no or other, from the whole reply or else its first four letters (QUIRK: Noted is no)."""
    text = reply.lower().strip().replace(".", "")
    if text in ("y", "yes"):
        return "yes"
    if text in ("n", "no"):
        return "no"
    start = text[:4]
    return "yes" if "yes" in start else "no" if "no" in start else "other"


def yes_no(reply: str) -> str:
    """VLMEvalKit's reading: Yes or No if exactly one of them is a word of the reply, else Unknown."""
    words = _spaced(reply).lower().split()
    yes, no = "yes" in words, "no" in words
    return "Unknown" if yes == no else "Yes" if yes else "No"


def _spaced(text: str) -> str:
    """Punctuation deleted where it touches a blank, else made a blank (VQA's rule)."""
    out = text
    glued = re.search(r"\d,\d", text) is not None
    for mark in _PUNCTUATION:
        loose = f"{mark} " in text or f" {mark}" in text or glued
        out = out.replace(mark, "" if loose else " ")
    return re.sub(r"(?!<=\d)\.(?!\d)", "", out)


def mme(rows: Sequence[tuple[str, str, str, str]]) -> dict[str, float]:
    """Perception (at most 2,000) and cognition (at most 800) from (image, sub-task, gold, reply).

    A sub-task gives 100 x accuracy + 100 x share of images with all questions right; sub-tasks are summed. A part
    without rows is absent.
    """
    images: dict[tuple[str, str], list[bool]] = {}
    for image, task, gold, reply in rows:
        images.setdefault((task, image), []).append(mme_yes_no(reply) == gold.lower().strip())
    sums: dict[str, float] = {}
    for task in dict.fromkeys(task for task, _ in images):
        shown = [rights for (name, _), rights in images.items() if name == task]
        flat = [right for rights in shown for right in rights]
        score = 100 * sum(flat) / len(flat) + 100 * sum(map(all, shown)) / len(shown)
        if task not in PERCEPTION + COGNITION:
            raise ValueError(f"MME has no sub-task {task!r}; wanted one of {', '.join(PERCEPTION + COGNITION)}")
        part = "perception" if task in PERCEPTION else "cognition"
        sums[part] = sums.get(part, 0.0) + score
    return sums


def pope(rows: Sequence[tuple[str, str]], parser: YesNoParser = "vlmevalkit") -> dict[str, float]:
    """Accuracy, precision, recall and F1 (yes is positive) from (gold, reply), 0 to 1, and how many were unparsed.

    QUIRKS of ``lmms_eval``: the whole reply must be yes or no, a reply that is neither enters no count but accuracy's,
    and ``yes_ratio`` is the share of yes among the labels.
    """
    if not rows:
        raise ValueError("no replies to score")
    golds = [gold.strip().lower() for gold, _ in rows]
    said = [r.strip().lower() if parser == "lmms_eval" else yes_no(r).lower() for _, r in rows]
    pairs = list(zip(golds, said, strict=True))
    both, alone = pairs.count(("yes", "yes")), pairs.count(("no", "yes"))
    lost = pairs.count(("yes", "no"))
    if parser == "vlmevalkit":
        lost = sum(gold == "yes" and answer != "yes" for gold, answer in pairs)
    precision, recall = both / max(both + alone, 1), both / max(both + lost, 1)
    result = {
        "accuracy": sum(gold == answer for gold, answer in pairs) / len(pairs),
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        "unparsed": float(sum(answer not in ("yes", "no") for answer in said)),
    }
    if parser == "lmms_eval":
        result["yes_ratio"] = golds.count("yes") / len(golds)
    return result


def vqa_normalised(text: str) -> str:
    """An answer as VQAv2 compares it: no punctuation or articles, digits for number words up to ten, apostrophes."""
    text = _spaced(text.replace("\n", " ").replace("\t", " ").strip())
    words = [_NUMBER.get(word, word) for word in text.lower().split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in ("a", "an", "the"))


def vqa(reply: str, people: Sequence[str]) -> tuple[str, float]:
    """(the reply normalised, its soft accuracy): for each person min(1, agreeing others / 3), averaged."""
    said, answers = vqa_normalised(reply), [vqa_normalised(answer) for answer in people]
    if not answers:
        raise ValueError("VQAv2 needs the people's answers, got none")
    agree = [sum(said == a for a in answers[:i] + answers[i + 1 :]) for i in range(len(answers))]
    return said, sum(min(1.0, count / 3) for count in agree) / len(answers)


def gqa(reply: str, gold: str) -> bool:
    """GQA: equal after lower-casing and deleting punctuation (outer blanks count)."""
    return _bare(reply) == _bare(gold)


def _bare(text: str) -> str:
    return re.sub(r"[^\w\s]|_", "", text.lower())


def seed_letter(reply: str) -> str:
    """SEED-Bench's reading: the first character (QUIRK: Because is B)."""
    return reply.strip()[:1]


def seed(reply: str, gold: str) -> bool:
    """Whether the first character is the gold letter, in either case."""
    return seed_letter(reply).lower() == gold.strip().lower()


def realworldqa(reply: str, gold: str) -> bool:
    """RealWorldQA: a letter is looked for where the gold answer is one, else both must be equal but for case and a
    final dot."""
    if re.fullmatch(r"[A-Z]", gold.strip()):
        return letter(reply) == gold.strip()
    return reply.strip().lower().rstrip(".") == gold.strip().lower().rstrip(".")


_PLACES = (
    r"(?i:answer)(?:\s+(?i:is))?\s*:?\s*\(?([A-Z])\b",
    r"(?i:option|choice)\s+\(?([A-Z])\b",
    r"\(([A-Z])\)",
    r"^\s*([A-Z])\s*[.):]?\s*$",
    r"^\s*([A-Z])\b",
    r"\b([A-H])\s*[.]?\s*$",
    r"\b([A-H])\b",
)


def letter(reply: str) -> str | None:
    """The option letter of a reply, from the surest form to the weakest; None if there is none."""
    for pattern in _PLACES:
        found = re.findall(pattern, reply)
        if found:
            return str(found[-1])
    return None


def summarised(rights: Sequence[bool | float | None]) -> dict[str, Any]:
    """Mean with unparsed replies (None) as 0, and their number."""
    if not rights:
        raise ValueError("no replies to score")
    return {
        "accuracy": sum(float(right or 0) for right in rights) / len(rights),
        "unparsed": sum(right is None for right in rights),
        "n": len(rights),
    }
