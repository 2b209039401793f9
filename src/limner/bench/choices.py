"""Which option did a reply choose? The published parsers of MMMU, MMMU-Pro, MMBench and RealWorldQA, by name.

Three code bases read the same reply differently, so a parser's name belongs to every number. None means: unparsed.
Where an original then draws a random option, that is the caller's choice here (``guess``), and counted.
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Mapping, Sequence
from typing import Any, Literal

MmmuParser = Literal["mmmu", "mmmu_pro", "lmms_eval"]
MatchParser = Literal["vlmevalkit", "vlmevalkit_fork", "lmms_eval"]
LETTERS = string.ascii_uppercase
REFUSED = "Z"
_FAILED = "Failed to obtain answer via API"
_REFUSALS: tuple[str, ...] = ("Sorry, I can't help with images of people yet.", "I can't process this file.")
_REFUSALS += ("I'm sorry, but without the image provided", "Cannot determine the answer")


def mmmu_choice(reply: str, options: Sequence[str], parser: MmmuParser = "mmmu") -> str | None:
    """The letter of MMMU's multiple-choice parsers: of all candidates the one that stands last; None if there is none.

    ``(A)``, then `` A `` between blanks, then (in replies of more than five words) an option's own text. MMMU-Pro and
    lmms-eval need no blank before the letter and take ``A.`` too; MMMU-Pro first looks after the last ``Answer:``.
    """
    letters = LETTERS[: len(options)]
    if parser == "mmmu_pro":
        after = reply[reply.rfind("Answer:") + len("Answer:") :].strip() if "Answer:" in reply else ""
        named = [letter for letter in letters if re.search(rf"(?<![A-Za-z]){letter}(?![A-Za-z])", after)]
        if len(named) == 1:
            return named[0]
    text = reply
    for mark in ",.!?;:'":
        text = text.strip(mark)
    text = f" {text} "
    forms = ["({})", " {} "] if parser == "mmmu" else ["({})", "{} ", "{}."]
    for form in forms:
        places = {letter: text.rfind(form.format(letter)) for letter in letters if form.format(letter) in text}
        if places:
            return max(places, key=lambda letter: places[letter])
    if len(text.split()) > 5:
        low = text.lower()
        places = {x: low.rfind(o.lower()) for x, o in zip(letters, options, strict=False) if o.lower() in low}
        if places:
            return max(places, key=lambda letter: places[letter])
    return None


def guess(letter: str | None, options: Sequence[str], rng: random.Random | None) -> str | None:
    """The letter, or for an unparsed reply a random one, as the published code does; with no ``rng`` it stays None."""
    return letter if letter is not None or rng is None else rng.choice(LETTERS[: len(options)])


_TAILS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_NUMBERS = (
    r"-?\b\d{1,3}(?:,\d{3})+\b",
    r"-?\d+(?:\.\d+)?[eE][+-]?\d+",
    r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])",
)


def open_answer(reply: str) -> list[float | str]:
    """What MMMU's open-answer parser takes from a reply: strings and, after them, the numbers in them (two decimals).

    QUIRK: the reply is cut into lines only; the published pattern for sentences never matches lower-cased text.
    """
    reply = reply.strip().strip(".").lower()
    lines = [part.strip() for part in reply.split("\n")]
    tails = []
    for i, line in enumerate(lines):
        marks = (*_TAILS, "=") if i == len(lines) - 1 else _TAILS
        ends = [line.split(mark)[-1].strip() for mark in marks if mark in line]
        ends = [end for end in ends if end not in (":", ",", ".", "!", "?", ";", "'")]
        if ends:
            tails.append(min(ends, key=len))
    found: list[float | str] = []
    for text in tails or [reply]:
        found += normalised(text)
        for pattern in _NUMBERS:
            for number in re.findall(pattern, text):
                found += normalised(number)
    return list(dict.fromkeys(found))


def normalised(text: str) -> list[float | str]:
    """A string as MMMU compares it: a number with two decimals, else lower case (a single letter twice, with a blank
    before and after)."""
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        text = text.lower()
    return [f" {text}", f"{text} "] if len(text) == 1 else [text]


def open_right(gold: str | Sequence[str], found: Sequence[float | str]) -> bool:
    """Whether a gold string stands in one of the found strings, or a found number is a gold number."""
    golds = [value for each in ([gold] if isinstance(gold, str) else gold) for value in normalised(each)]
    texts = [value for value in golds if isinstance(value, str)]
    return any(any(text in one for text in texts) if isinstance(one, str) else one in golds for one in found)


def match(reply: str, choices: Mapping[str, str], parser: MatchParser = "vlmevalkit") -> str | None:
    """The letter of MMBench's matchers: the one option letter among the words, else the one option whose text the
    reply contains; ``Z`` for a refusal, None if neither is clear.

    ``vlmevalkit`` takes a letter among the last five words of a longer reply, ``answer is c`` in lower case, and no
    text from replies longer than twice all options; the fork does none of it; ``lmms_eval`` takes letters that are no
    options.
    """
    if _FAILED in reply:
        return None
    if parser == "lmms_eval":
        return _lmms_letter(reply) or _text(reply, choices)
    if any(refusal in reply for refusal in _REFUSALS):
        return REFUSED
    return _letter(reply, choices, parser) or _text(reply, choices, strict=parser == "vlmevalkit")


def _letter(reply: str, choices: Mapping[str, str], parser: MatchParser) -> str | None:
    text = re.sub(r"[.()\[\],:;!*#{}]", " ", reply)
    words = [word.strip() for word in text.split()]
    named = [letter for letter in choices if letter in words]
    if parser == "vlmevalkit":
        said = re.search(r"answer is \**\(?([A-Za-z])\b", reply)
        if said and said[1].upper() in choices:
            return said[1].upper()
    if len(named) == 1:
        if parser == "vlmevalkit" and len(words) > 5 and named[0] not in words[-5:]:
            return None
        return named[0]
    return REFUSED if not named and REFUSED in words else None


def _lmms_letter(reply: str) -> str | None:
    """The only one of A to E that is a word, bare or in the first of these forms; a bare A among
    more than three words is taken for the article."""
    words = reply.split()
    for form in ("{}", "({})", "{}.", "({}).", "{})"):
        named = [letter for letter in LETTERS[:5] if form.format(letter) in words]
        if len(named) == 1:
            article = form == "{}" and named == ["A"] and len(words) > 3
            return None if article else named[0]
    return None


def _text(reply: str, choices: Mapping[str, str], strict: bool = False) -> str | None:
    if strict and len(reply) > 2 * sum(len(str(text)) for text in choices.values()):
        return None
    named = [letter for letter, text in choices.items() if str(text).lower() in reply.lower()]
    return named[0] if len(named) == 1 else None


def options_of(row: Mapping[str, Any]) -> dict[str, str]:
    """The options of an MMBench row: its fields A, B, C, ... that hold something."""
    return {x: str(row[x]) for x in LETTERS if x in row and row[x] is not None and str(row[x]) != "nan"}


def circular(rolls: Sequence[Mapping[str, Any]], parser: MatchParser = "vlmevalkit") -> tuple[bool, list[bool]]:
    """(right in every rotation, right in each) of one MMBench question: rows with prediction, GT and options."""
    hits = [match(str(roll["prediction"]), options_of(roll), parser) == roll["GT"] for roll in rolls]
    return all(hits), hits
