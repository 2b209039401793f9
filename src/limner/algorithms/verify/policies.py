"""What is looked at, kept and chosen among N candidates: none, random, best of N, step-wise, PARM (2501.13926).

A policy is a generator over wishes: make some paths go a step further, look at some, note what was decided; its value
is the choice. It holds no tensor and no picture, so the same policy runs live (``search``), on recorded looks
(``trace.replay``) and on a table of scripted answers (the tests).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

from limner.judges.verifier import Opinion, Question

Paths = tuple[int, ...]
FEWEST = 4  # so many promising candidates are finished however few steps are left


@dataclass(frozen=True)
class Go:
    """One step further for these paths. With ``source`` they first become copies of that path, each with noise of its
    own."""

    paths: Paths
    source: int | None = None


@dataclass(frozen=True)
class Look:
    """A question about these paths as they stand; answered by one opinion each."""

    question: Question
    paths: Paths


@dataclass(frozen=True)
class Note:
    """What was decided on the last look, by path: for the trace."""

    decisions: Mapping[int, str]


@dataclass(frozen=True)
class Choice:
    """The path that is kept. ``rank`` compares choices of the same policy: the higher the better."""

    path: int
    rank: tuple[float, ...] = ()
    why: str = ""


Wish = Go | Look | Note
Search = Generator[Wish, list[Opinion], Choice]


@dataclass(frozen=True)
class Policy:
    """``search(n, steps, seed)`` begins a search among n paths of so many steps. ``questions`` are what it may ask.

    ``branches``: its paths are copied, so their looks say nothing about other policies. ``fades``: all paths but the
    very first have no confidence noise (the published temperature is never reset).
    """

    name: str
    search: Callable[[int, int, int], Search]
    questions: tuple[Question, ...] = ()
    branches: bool = False
    fades: bool = False


def _value(opinion: Opinion) -> float:
    """What is compared; not judged loses to everything."""
    return -float("inf") if opinion.yes is None else opinion.yes


def _best(paths: Sequence[int], opinions: Sequence[Opinion]) -> tuple[int, Opinion]:
    """The path with the highest value, the first among equals."""
    place = max(range(len(paths)), key=lambda i: (_value(opinions[i]), -i))
    return paths[place], opinions[place]


def _runs(n: int, one_by_one: bool) -> list[Paths]:
    return [(i,) for i in range(n)] if one_by_one else [tuple(range(n))]


def none() -> Policy:
    """The first path."""

    def search(n: int, steps: int, seed: int) -> Search:
        for _ in range(steps):
            yield Go((0,))
        return Choice(0, why="the first")

    return Policy("none", search)


def chance() -> Policy:
    """Any path, by the seed: what choosing is worth without knowing anything."""

    def search(n: int, steps: int, seed: int) -> Search:
        path = random.Random(seed).randrange(n)
        for _ in range(steps):
            yield Go((path,))
        return Choice(path, why="by chance")

    return Policy("random", search)


def orm(name: str = "orm", official: bool = False) -> Policy:
    """Best of N by the finished pictures (section 3.1); the highest value, the first among equals."""

    def search(n: int, steps: int, seed: int) -> Search:
        for paths in _runs(n, official):
            for _ in range(steps):
                yield Go(paths)
        opinions = yield Look("outcome", tuple(range(n)))
        best, opinion = _best(range(n), opinions)
        yield Note({i: "chosen" if i == best else "dropped" for i in range(n)})
        return Choice(best, (_value(opinion),), f"outcome {_said(opinion)}")

    return Policy(name, search, ("outcome",), fades=official)


def prm() -> Policy:
    """Step by step: n candidates of every step, going on from the best one (section 3.2)."""

    def search(n: int, steps: int, seed: int) -> Search:
        paths, best, opinion = tuple(range(n)), None, Opinion(None)
        for _ in range(steps):
            yield Go(paths, best)
            opinions = yield Look("step", paths)
            best, opinion = _best(paths, opinions)
            yield Note({i: "goes on" if i == best else "dropped" for i in paths})
        assert best is not None
        return Choice(best, (_value(opinion),), f"last step {_said(opinion)}")

    return Policy("prm", search, ("step",), branches=True)


def survey(begin: float = 0.0, until: float = 1.0) -> Policy:
    """Asks everything at every step between the shares ``begin`` and ``until`` of the steps, and chooses as ``orm``:
    its trace serves every policy that does not branch, and asks neither earlier nor later."""

    def search(n: int, steps: int, seed: int) -> Search:
        paths, first, last = tuple(range(n)), _first(begin, steps), _first(until, steps)
        for step in range(1, steps + 1):
            yield Go(paths)
            if first <= step <= last:
                yield Look("clarity", paths)
                yield Look("potential", paths)
        opinions = yield Look("outcome", paths)
        best, opinion = _best(paths, opinions)
        yield Note({i: "chosen" if i == best else "dropped" for i in paths})
        return Choice(best, (_value(opinion),), f"outcome {_said(opinion)}")

    return Policy("survey", search, ("clarity", "potential", "outcome"))


@dataclass
class _Path:
    """What PARM knows of a path: ``no`` ranks it where none is promising."""

    clear: bool = False
    promising: bool | None = None
    no: float = 1.0
    step: int = 0
    heard: bool = False  # any look was judged


def parm(
    *,
    begin: float = 0.0,
    official: bool = False,
    merged: bool = False,
    clear: float = 0.5,
    promising: float = 0.5,
    within: float = 0.0,
    fewest: int = FEWEST,
) -> Policy:
    """Clarity, potential, then the best outcome among the promising (section 3.3).

    Every path is asked for its clarity after each step from the share ``begin`` of the steps on, until it is clear;
    then once for its potential. A path without potential stops there; where none is promising, the one least certain
    to fail is finished. ``clear`` and ``promising`` are the probabilities of yes that pass. What could not be judged
    is neither clear nor rejected, and ranks as even odds. ``merged`` asks for the outcome of a single survivor too.
    ``within`` above 0 lets only as many of the promising go on as can be finished within that share of the steps that
    finishing all would take, or ``fewest``: those of the highest potential, the first among equals. The paper lets all.

    ``official``: path after path, none stopped, answers count as said, temperature never reset.
    """

    def search(n: int, steps: int, seed: int) -> Search:
        known = [_Path() for _ in range(n)]
        first = _first(begin, steps)
        for run in _runs(n, official):
            alive = run
            for step in range(1, steps + 1):
                if not alive:
                    break
                yield Go(alive)
                for i in alive:
                    known[i].step = step
                asked = tuple(i for i in alive if not known[i].clear) if step >= first else ()
                if asked:
                    yield from _ask(known, asked, official, clear, promising)
                if within and step < steps and not official:
                    hopeful = sorted((i for i in run if known[i].promising), key=lambda i: (known[i].no, i))
                    left = within * n * steps - sum(path.step for path in known)
                    outdone = hopeful[max(fewest, int(left / (steps - step) + 1e-9)) :]
                    for i in outdone:
                        known[i].promising = False
                    if outdone:
                        yield Note(dict.fromkeys(outdone, "outdone"))
                if not official:
                    alive = tuple(i for i in alive if known[i].promising is not False)
        survivors = tuple(i for i in range(n) if known[i].promising)
        if not survivors:
            chosen = min(range(n), key=lambda i: (known[i].no, i))
            while known[chosen].step < steps:
                yield Go((chosen,))
                known[chosen].step += 1
            return Choice(chosen, (0.0, -known[chosen].no), f"none is promising; no {known[chosen].no:.2f}")
        if len(survivors) == 1 and not (official or merged):
            return Choice(survivors[0], (1.0, 0.0), "the only promising one")
        opinions = yield Look("outcome", survivors)
        best, opinion = _best(survivors, opinions)
        yield Note({i: "chosen" if i == best else "dropped" for i in survivors})
        return Choice(best, (1.0, _value(opinion)), f"outcome {_said(opinion)} among {len(survivors)} promising")

    return Policy("parm", search, ("clarity", "potential", "outcome"), fades=official)


def _ask(
    known: list[_Path], paths: Paths, official: bool, clear: float, promising: float
) -> Generator[Wish, list[Opinion], None]:
    """Clarity of paths, and the potential of those that are clear."""
    opinions = yield Look("clarity", paths)
    for i, opinion in zip(paths, opinions, strict=True):
        path = known[i]
        path.heard = path.heard or opinion.judged
        passes = opinion.yes is not None and opinion.yes >= clear
        path.clear = opinion.judged and opinion.says is not False if official else passes
        path.no = 1.0 if path.heard else 0.5
    yield Note({i: "clear" if known[i].clear else "not clear" for i in paths})
    ready = tuple(i for i in paths if known[i].clear)
    if not ready:
        return
    opinions = yield Look("potential", ready)
    for i, opinion in zip(ready, opinions, strict=True):
        path = known[i]
        if official:
            path.promising, path.no = opinion.says, 1.0 if opinion.no is None else opinion.no
        elif opinion.yes is None:
            path.promising, path.no = None, 0.5
        else:
            path.promising, path.no = opinion.yes >= promising, 1.0 - opinion.yes
    names = {True: "promising", False: "rejected", None: "not judged"}
    yield Note({i: names[known[i].promising] for i in ready})


def _first(begin: float, steps: int) -> int:
    """The step after which asking begins."""
    return max(1, round(begin * steps))


def _said(opinion: Opinion) -> str:
    return "not judged" if opinion.yes is None else f"{opinion.yes:.2f}"
