"""Who judges a run's samples: the benchmark's own reader, a detector, or a judge that is asked.

    ""                        the benchmark's own reader, where it has one
    mask2former[:NAME]        GenEval with a trained detector and CLIP's colours (NAME: a folder or hub id; +CLIP's)
    URL#MODEL                 a served model (OpenAI's chat completions)
    local, local:NAME         the run's own model, or another one in this process
    replay, replay:FILE       the replies that the run's folder, or a file, holds: no judge is needed

The replies of a judge that is asked are kept in the run's ``replies.jsonl``; a reply that cannot be read is asked for
again, at most ``rubrics.TRIES`` times in all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image as pil

from limner import catalog
from limner.bench import suites
from limner.bench.rubrics import RUBRICS, TRIES, Rubric
from limner.bench.run import Item, digest_of_weights
from limner.judges import replies
from limner.parts import Image, Verdict

REPLIES = "replies.jsonl"
CHUNK = 32  # samples whose pictures are in memory at a time
WAYS = "URL#MODEL (a served model), local, local:MODEL, replay or replay:FILE"


@dataclass(frozen=True)
class Judging:
    """How samples are to be judged. ``judge`` is one of the names above, ``rubric`` a file with other texts to be put;
    ``timeout`` is the seconds for each answer of a served one."""

    judge: str = ""
    protocol: suites.Protocol = "fixed"
    rubric: Path | None = None
    device: str = "cpu"
    timeout: float = 60.0


OWN = Judging()  # each benchmark's own judge


@dataclass(frozen=True)
class Judged:
    """A verdict, and how it came: judged, unparsed (said, but it cannot be read) or unanswered (nothing was said)."""

    verdict: Verdict
    state: str


Pairs = Sequence[tuple[Item, suites.Row]]


@dataclass(frozen=True)
class Bench:
    """Judges samples of one run. ``protocol`` and ``about`` are what a report must name; ``counts`` tells how many
    replies were remembered, asked for and not given."""

    protocol: str
    about: dict[str, Any]
    decide: Callable[[Pairs], list[Judged]]
    counts: dict[str, int] = field(default_factory=dict)


def bench(suite: suites.Suite, folder: Path, how: Judging, model: str) -> Bench:
    """Whoever judges the run in ``folder``, which ``model`` made. Raises ValueError for a judge that does not fit."""
    check(suite, how)
    if suite.asked:
        return _asked(suite, folder, how, model)
    name, judge = suite.own[how.protocol]
    if how.judge:
        wanted = how.judge.partition(":")[2]
        from limner.bench.detector import CLIP, MASK2FORMER, ClipColours, Mask2Former

        eyes, _, colours = wanted.partition("+")
        eyes, colours = eyes or MASK2FORMER, colours or CLIP
        name, judge = suites.detector_judge(
            f"{eyes}, {colours}", Mask2Former(eyes, how.device), ClipColours(colours, how.device)
        )
    about = {"judge": how.judge or "own", "rubric": "", "protocol": how.protocol}
    return Bench(f"{name}", about, lambda pairs: [_read(judge(item, row, folder)) for item, row in pairs])


def check(suite: suites.Suite, how: Judging) -> None:
    """Raise ValueError for a judge or a rubric that cannot be, before anything is made."""
    kind, _, name = how.judge.partition(":")
    if not suite.asked:
        if how.rubric is not None:
            raise ValueError(f"{suite.name} is judged without asking; leave out --rubric")
        if how.judge and (kind != "mask2former" or suite.name != "geneval"):
            offered = "mask2former, mask2former:NAME" if suite.name == "geneval" else "none: leave out --judge"
            raise ValueError(f"{suite.name} has no judge {how.judge!r}; besides its own reader there is {offered}")
        return
    RUBRICS[suite.name].worded(how.rubric)
    url, _, served = how.judge.partition("#")
    if how.judge.startswith(("http://", "https://")) and not served:
        raise ValueError(f"the endpoint {url} serves models by name; say which: {url}#MODEL")
    if not served and kind not in ("local", "replay"):
        given = f"there is none called {how.judge!r}" if how.judge else "none was given"
        raise ValueError(f"{suite.name} is judged by asking, and {given}; give --judge {WAYS}")
    if kind == "replay" and name and not Path(name).expanduser().is_file():
        raise ValueError(f"{name} is missing; replaying needs the {REPLIES} of a run that was judged")


def _read(verdict: Verdict) -> Judged:
    return Judged(verdict, "unparsed" if verdict.score is None else "judged")


def _asked(suite: suites.Suite, folder: Path, how: Judging, model: str) -> Bench:
    rubric = RUBRICS[suite.name].worded(how.rubric)
    judge = _judge(folder, how, model)
    about = {"judge": judge.name, "rubric": rubric.version, "protocol": how.protocol}
    text = f"{how.protocol}, asked {judge.name} by the rubric {rubric.version}"

    def decide(pairs: Pairs) -> list[Judged]:
        found: list[Judged] = []
        for begin in range(0, len(pairs), CHUNK):
            found += _chunk(rubric, judge, folder, pairs[begin : begin + CHUNK])
        return found

    return Bench(text, about, decide, judge.counts)


def _judge(folder: Path, how: Judging, model: str) -> replies.Judge:
    kind, _, name = how.judge.partition(":")
    kept = folder / REPLIES
    if how.judge.startswith(("http://", "https://")):
        url, _, served = how.judge.partition("#")
        return replies.Judge(served, replies.served(url, served, how.timeout), kept, together=4)
    if kind == "local":
        name = name or model
        weights = digest_of_weights(catalog.find(name))[:12]
        return replies.Judge(f"{name} {weights}", replies.local(catalog.load_model(name, device=how.device)), kept)
    path = Path(name).expanduser() if name else kept
    known = replies.judges_in(path)
    if len(known) != 1:
        raise ValueError(f"{path} holds replies of {', '.join(known) or 'nobody'}; replay needs those of one judge")
    return replies.Judge(known[0], None, path)


def _chunk(rubric: Rubric, judge: replies.Judge, folder: Path, pairs: Pairs) -> list[Judged]:
    """Ask about some samples; what cannot be read is asked for again."""
    found: dict[int, Judged] = {}
    conversations = {}
    for i, (item, row) in enumerate(pairs):
        with pil.open(folder / row["image"]) as picture:
            conversations[i] = rubric.puts(rubric, item, Image(picture.convert("RGB")))
    for attempt in range(TRIES):
        rest = [i for i in conversations if i not in found or (found[i].state == "unparsed")]
        puts = [replies.Put(each, rubric.version, rubric.limit, attempt) for i in rest for each in conversations[i]]
        said = iter(judge(puts))
        for i in rest:
            mine = [next(said) for _ in conversations[i]]
            lost = [reply.why for reply in mine if reply.text is None]
            if lost:
                if i not in found:
                    found[i] = Judged(Verdict(None, why=lost[0]), "unanswered")
                continue
            found[i] = _read(rubric.read(pairs[i][0], [reply.text or "" for reply in mine]))
    return [found[i] for i in range(len(pairs))]
