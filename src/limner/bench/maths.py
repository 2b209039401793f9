"""Answers to questions in words: GSM8K, MATH, and multiple choice by likelihood (ARC, MMLU, GPQA, TruthfulQA).

The harnesses' exact-match rules, so that a stored reply can be judged again without them, and symbolic comparison by
``math-verify`` where it is installed (the extra ``eval``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Literal

import numpy as np

INVALID = "[invalid]"
PATIENCE = 60  # seconds for one symbolic comparison
_GSM8K = {"strict": r"#### (-?[0-9.,]+)", "cot_strict": r"The answer is (-?[0-9.,]+)."}
_LOOSE = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")
GsmRule = Literal["strict", "flexible", "cot_strict"]


def gsm8k(reply: str, gold: str, rule: GsmRule = "flexible") -> tuple[str, bool]:
    """(what was extracted, or ``[invalid]``; whether it is the number after ``####`` of the gold answer).

    ``strict`` wants the gold's own form, ``cot_strict`` the sentence "The answer is N.", ``flexible`` takes the last
    thing like a number. QUIRK: strings are compared after commas, dollars and a final dot are gone: 12.0 is not 12.
    """
    if rule == "flexible":
        numbers = _LOOSE.findall(reply)
        said = numbers[-1] if numbers else INVALID
    else:
        found = re.search(_GSM8K[rule], reply)
        said = found[1] if found else INVALID
    return said, _plain(said) == _plain(gold)


def _plain(text: str) -> str:
    text = text.replace(",", "").replace("$", "").rsplit("#### ", 1)[-1]
    return text.removesuffix(".").lower().strip()


def last_boxed(text: str) -> str | None:
    r"""The last ``\boxed{...}``, braces balanced (or ``\boxed x`` up to a dollar), or None."""
    spaced = text.rfind("\\boxed ")
    if spaced >= 0 and spaced > text.rfind("\\boxed{"):
        return text[spaced:].split("$")[0]
    start = max(text.rfind("\\boxed{"), text.rfind("\\fbox{"))
    depth = 0
    for i in range(max(start, 0), len(text) if start >= 0 else 0):
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        if text[i] == "}" and depth == 0:
            return text[start : i + 1]
    return None


def unboxed(box: str) -> str:
    r"""What stands in a ``\boxed{...}``."""
    return box.removeprefix("\\boxed ") if box.startswith("\\boxed ") else box[box.index("{") + 1 : -1]


def stripped(text: str) -> str:
    """A LaTeX answer in the plain form in which the MATH benchmark compares. Raises ValueError for fractions of
    letters such as a/b."""
    for old, new in (("\n", ""), ("\\!", ""), ("\\\\", "\\"), ("tfrac", "frac"), ("dfrac", "frac"), ("\\left", "")):
        text = text.replace(old, new)
    for old in ("\\right", "^{\\circ}", "^\\circ", "\\$"):
        text = text.replace(old, "")
    if text.count("\\text{ ") == 1:
        text = text.split("\\text{ ")[0]
    text = text.replace("\\%", "").replace(" .", " 0.").replace("{.", "{0.")
    if not text:
        return text
    text = f"0{text}" if text[0] == "." else text
    sides = text.split("=")
    if len(sides) == 2 and len(sides[0]) <= 2:
        text = sides[1]
    text = re.sub(r"\\sqrt([^{])", r"\\sqrt{\1}", text).replace(" ", "")
    text = re.sub(r"\\frac([^{])(\{?)([^{]?)", _fraction, text)
    if text == "0.5":
        return "\\frac{1}{2}"
    terms = text.split("/")
    if len(terms) == 2:
        over, under = int(terms[0]), int(terms[1])
        if text == f"{over}/{under}":
            text = f"\\frac{{{over}}}{{{under}}}"
    return text


def _fraction(found: re.Match[str]) -> str:
    over, brace, under = found[1], found[2], found[3]
    if brace:
        return f"\\frac{{{over}}}{{{under}"
    return f"\\frac{{{over}}}{{{under}}}" if under else found[0]


def equivalent(a: str, b: str) -> bool:
    """Whether two LaTeX answers are the same in the plain form (or, where one has none, as they stand)."""
    try:
        return stripped(a) == stripped(b)
    except ValueError:
        return a == b


def hendrycks(reply: str, solution: str) -> bool:
    """MATH's own verdict: what stands between the first and the last dollar, compared with the solution's box."""
    places = [i for i, mark in enumerate(reply) if mark == "$"]
    said = reply if len(places) <= 1 else reply[places[0] + 1 : places[-1]]
    return equivalent(said, _gold(solution))


def _gold(solution: str) -> str:
    box = last_boxed(solution)
    if box is None:
        raise ValueError(f"the solution {solution[:60]!r} has no \\boxed answer to compare with")
    return unboxed(box)


def verified(reply: str, solution: str) -> bool:
    """Whether ``math-verify`` finds the reply's last expression equal to the solution's; the most lenient verdict.

    Its own limit of five seconds would make a verdict depend on how busy the machine is; ``PATIENCE`` is longer.
    """
    try:
        from math_verify import parse, verify
    except ImportError:
        raise ValueError("symbolic comparison needs math-verify: pip install 'limner[eval]'") from None
    gold, said = (parse(text, parsing_timeout=PATIENCE) for text in (solution, reply))
    return bool(verify(gold, said, timeout_seconds=PATIENCE))


def multiple_choice(logs: Sequence[float], choices: Sequence[str], gold: int) -> tuple[bool, bool]:
    """(acc, acc_norm): whether the gold choice is likeliest, as it is and per character of its text."""
    if len(logs) != len(choices) or not 0 <= gold < len(choices):
        raise ValueError(f"{len(choices)} choices need as many likelihoods and a gold among them: {len(logs)}, {gold}")
    sizes = np.array([len(choice) for choice in choices], dtype=float)
    return int(np.argmax(logs)) == gold, int(np.argmax(np.asarray(logs) / sizes)) == gold


def truthful_mass(logs: Sequence[float], true: Sequence[int]) -> float:
    """TruthfulQA mc2: the share of probability on the true answers."""
    shares = np.exp(np.asarray(logs, dtype=float) - max(logs))
    return float(shares[np.asarray(true, dtype=bool)].sum() / shares.sum())


def cider(references: Sequence[Sequence[str]], candidates: Sequence[str]) -> tuple[float, list[float]]:
    """(corpus, per picture) CIDEr of captions in tokenised lower-case text, not x 100 (arXiv 1411.5726, clipped and
    with a length penalty as published). Rare words are those that few of THESE pictures' references have.
    """
    if len(references) != len(candidates) or not candidates:
        raise ValueError(f"{len(candidates)} captions need as many lists of references, got {len(references)}")
    counted = [[_ngrams(text) for text in texts] for texts in references]
    pictures: dict[tuple[str, ...], int] = {}
    for texts in counted:
        for gram in {gram for text in texts for gram in text}:
            pictures[gram] = pictures.get(gram, 0) + 1
    every = math.log(len(references))

    def weigh(grams: dict[tuple[str, ...], int]) -> list[dict[tuple[str, ...], float]]:
        made: list[dict[tuple[str, ...], float]] = [{} for _ in range(4)]
        for gram, count in grams.items():
            made[len(gram) - 1][gram] = count * (every - math.log(max(1, pictures.get(gram, 0))))
        return made

    def length(grams: dict[tuple[str, ...], int]) -> int:
        return sum(count for gram, count in grams.items() if len(gram) == 2)

    scores = []
    for texts, candidate in zip(counted, candidates, strict=True):
        grams = _ngrams(candidate)
        said, total = weigh(grams), 0.0
        for text in texts:
            told = weigh(text)
            fall = math.exp(-((length(grams) - length(text)) ** 2) / 72)
            for mine, theirs in zip(said, told, strict=True):
                dot = sum(min(value, theirs.get(gram, 0.0)) * theirs.get(gram, 0.0) for gram, value in mine.items())
                size = math.dist(tuple(mine.values()), (0,) * len(mine)) * math.dist(
                    tuple(theirs.values()), (0,) * len(theirs)
                )
                total += fall * (dot / size if size else dot)
        scores.append(10 * total / 4 / len(texts))
    return float(np.mean(scores)), scores


def _ngrams(text: str) -> dict[tuple[str, ...], int]:
    words = text.split()
    counts: dict[tuple[str, ...], int] = {}
    for size in range(1, 5):
        for i in range(len(words) - size + 1):
            gram = tuple(words[i : i + size])
            counts[gram] = counts.get(gram, 0) + 1
    return counts
