"""What `--verify` adds to the commands: options, budgets, and the story of the looks on the terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

if TYPE_CHECKING:
    from limner.algorithms.verify.search import Event

Way = Literal["none", "random", "oracle", "orm", "prm", "parm", "parm++", "survey"]
CANDIDATES, MOST = 20, 1000  # how many where -n is not given: without a time budget, and with one
_QUIET = ("not clear", "dropped", "goes on")

_WAY = (
    "Choose among candidates that are judged while they are made. orm: the best finished one; prm: the best at every "
    "step; parm: those that are clear and promising go on, the best of them wins; parm++: and is drawn again where it "
    "does not fit; oracle, random, none: what knowing everything, or nothing, is worth; survey: asks everything."
)
_JUDGE = (
    "Who judges: self (the generator, asked), doubts (what it finds unlikely), says (what it sees, compared), scenes "
    "(exact, for prompts such as 'three red apples'), clip, llava:FOLDER, URL#MODEL, reward:URL, or a model's name or "
    "folder; A+B asks both."
)
Ways = Annotated[Way | None, tyro.conf.arg(metavar="WAY", help=_WAY, help_behavior_hint="(default: no choosing)")]
Judge = Annotated[str, tyro.conf.arg(metavar="JUDGE", help=_JUDGE)]
Budget = Annotated[str, tyro.conf.arg(metavar="TIME", help="At most this long for a picture, such as 30s or 2m.",
                                      help_behavior_hint="(default: as long as it takes)")]  # fmt: skip


def seconds(budget: str) -> float | None:
    """A budget such as 30s, 2m or 45; None for "". ValueError for anything else."""
    if not budget:
        return None
    number, unit = (budget[:-1], budget[-1]) if budget[-1:] in "sm" else (budget, "s")
    try:
        value = float(number) * (60 if unit == "m" else 1)
    except ValueError:
        raise ValueError(f"--budget {budget}: give a time such as 30s or 2m") from None
    if not 0 < value < float("inf"):
        raise ValueError(f"--budget {budget}: give a time above 0, such as 30s")
    return value


def told(event: Event) -> str:
    """An event as a line; "" for one that is not worth it."""
    if event.kind == "round":
        return f"round {event.round}: {event.why or 'drawn again'}"
    if event.kind != "look" or event.opinion is None or event.decision in _QUIET:
        return ""
    said = "not judged" if event.opinion.yes is None else f"{event.opinion.yes:.2f}"
    step = "" if event.step is None else f" step {event.step}/{event.steps}"
    return f"path {event.path}{step}: {event.question} {said}, {event.decision or 'seen'}"


def unjudged(looks: int, failed: int, why: str) -> None:
    """One line on standard error where a judge failed."""
    if failed:
        print(f"limner: {failed} of {looks} looks could not be judged: {' '.join(why.split())}", file=sys.stderr)
