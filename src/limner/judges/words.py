"""Judges of words: was the answer right, and is the reply in the form that was asked for?

Rewards of 2505.15809 section 3.3: 2.0 for a correct answer and 0.5 for the form, as in
``weigh(correct=(right_answer(), 2.0), format=(well_formed(), 0.5))``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction

from limner.judges.base import Judge
from limner.parts import Sample, Thinking, Verdict

_BOXED = re.compile(r"\\boxed\s*\{")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:\s*/\s*\d+)?%?")
_LETTER = re.compile(r"\(([A-Za-z])\)|(?<![\w'])([A-Z])(?![\w'])")  # of a choice: (b), or B by itself
_EDGES = " \t\n.,;:!?\"'`$"


def boxed(text: str) -> str | None:
    """What stands in the last ``\\boxed{...}`` of a text, braces inside it included; None without one."""
    found = None
    for start in _BOXED.finditer(text):
        depth = 1
        for place in range(start.end(), len(text)):
            depth += {"{": 1, "}": -1}.get(text[place], 0)
            if depth == 0:
                found = text[start.end() : place]
                break
    return found


def number(text: str) -> Fraction | None:
    """The last number in a text, such as 1,200 or -3/4 or 50%; None without one."""
    found = _NUMBER.findall(text)
    if not found:
        return None
    digits = found[-1].replace(",", "").replace(" ", "")
    share = digits.endswith("%")
    top, _, bottom = digits.rstrip("%").partition("/")
    if bottom and int(bottom) == 0:
        return None
    value = Fraction(top) / (Fraction(bottom) if bottom else 1)
    return value / 100 if share else value


def same_answer(said: str, wanted: str) -> bool:
    """Whether two answers mean the same: numbers by value, single letters, else words exactly.

    The last number or capital letter counts, and a boxed answer stands for the whole text. Letter case, blanks and
    punctuation at the ends do not count.
    """
    said, wanted = boxed(said) or said, boxed(wanted) or wanted
    plain = [" ".join(text.lower().split()).strip(_EDGES) for text in (said, wanted)]
    if plain[0] == plain[1]:
        return True
    if _NUMBER.fullmatch(plain[1].replace(" ", "")):
        return number(plain[0]) == number(plain[1])
    if re.fullmatch(r"[a-z]", plain[1]):
        letters = [a or b for a, b in _LETTER.findall(said)]
        return bool(letters) and letters[-1].lower() == plain[1]
    return False


def right_answer(same: Callable[[str, str], bool] = same_answer, fact: str = "answer") -> Judge:
    """1 where the reply's text means what ``task.facts[fact]`` says (a list: any of them), else 0.

    A task without the fact cannot be judged. A reply without a text is wrong.
    """

    def judge(samples: Sequence[Sample]) -> list[Verdict]:
        verdicts = []
        for sample in samples:
            wanted = sample.task.facts.get(fact)
            if wanted is None:
                verdicts.append(Verdict(None, why=f"the task has no fact {fact!r} to judge by"))
                continue
            options = [str(w) for w in wanted] if isinstance(wanted, list | tuple) else [str(wanted)]
            said = sample.text or ""
            good = any(same(said, option) for option in options)
            verdicts.append(Verdict(float(good), why="" if good else f"said {said!r}, wanted {' or '.join(options)}"))
        return verdicts

    return judge


def well_formed(closed: Callable[[Thinking], bool] | None = None, *, follows: bool = True) -> Judge:
    """1 where a thought that says something comes first and a text that says something, or a picture, follows; else 0.

    ``closed`` says whether a thought was ended as the family ends thoughts (its ``raw`` tells); None asks nothing.
    ``follows`` False is content with the thought.
    """

    def judge(samples: Sequence[Sample]) -> list[Verdict]:
        return [_formed(sample, closed, follows) for sample in samples]

    return judge


def _formed(sample: Sample, closed: Callable[[Thinking], bool] | None, follows: bool) -> Verdict:
    first = sample.reply[0] if sample.reply else None
    if not isinstance(first, Thinking) or not first.text.strip():
        return Verdict(0.0, why="the reply does not begin with a thought")
    if closed is not None and not closed(first):
        return Verdict(0.0, why="the thought does not end")
    rest = sample.reply[1:]
    if follows and not any(part.kind == "image" or (part.kind == "text" and part.text.strip()) for part in rest):
        return Verdict(0.0, why="nothing follows the thought")
    return Verdict(1.0)
