"""The benchmarks that a run can be made of: their prompts, who judges the samples, and under which protocol.

``protocol`` "fixed" is limner's reading, "official" repeats what the published script does where that is a defect (each
named where it is computed); where there is no defect both are the same. Some benchmarks need nobody but a reader of
the picture or of the text, others a judge that is asked (``Judging.judge``, see ``rubrics``).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image as pil

from limner.bench import answers, choices, geneval, maths, prompts
from limner.bench.run import Item
from limner.parts import PartKind, Verdict

Row = Mapping[str, Any]
Judge = Callable[[Item, Row, Path], Verdict]
Find = Callable[[pil.Image], Mapping[str, Sequence[geneval.Detection]]]
Protocol = Literal["fixed", "official"]
Read = Callable[[str, Mapping[str, Any], str], Verdict]  # (reply, facts, key of the sample)
PROTOCOLS: tuple[Protocol, ...] = ("fixed", "official")


@dataclass(frozen=True)
class Suite:
    """A benchmark: which part of a reply is judged, its prompts, the samples a prompt that are usual, and its judges by
    protocol with the name of each. Without a judge of its own it is judged by asking, by the rubric of its name.
    ``drawn``: its own reader is the picture world's, which knows how far a picture is from a drawing."""

    name: str
    kind: PartKind
    items: Callable[[Path | None, int], list[Item]]
    own: Mapping[Protocol, tuple[str, Judge]]
    seeds: int = 1
    drawn: bool = False

    @property
    def asked(self) -> bool:
        """Whether a judge must be asked."""
        return not self.own


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


def world_judge(item: Item, row: Row, folder: Path) -> Verdict:
    """The picture world's strict rules on what its reader sees."""
    from limner.judges.scenes import holds

    with pil.open(folder / row["image"]) as picture:
        return holds(dict(item.facts), np.asarray(picture.convert("RGB")))


def _chosen(letter: str | None, gold: str) -> Verdict:
    return Verdict(None, why="unparsed") if letter is None else Verdict(float(letter == gold), why=f"read {letter}")


def _mmmu(said: str, facts: Mapping[str, Any], key: str) -> Verdict:
    if facts["options"]:
        return _chosen(choices.mmmu_choice(said, facts["options"]), facts["answer"])
    return Verdict(float(choices.open_right(facts["answer"], choices.open_answer(said))))


def _mmmu_guessing(said: str, facts: Mapping[str, Any], key: str) -> Verdict:
    """QUIRK: a reply that cannot be parsed is a random option (here one that the sample's key decides)."""
    found = _mmmu(said, facts, key)
    if found.score is not None:
        return found
    letter = choices.guess(None, facts["options"], random.Random(key))
    return Verdict(float(letter == facts["answer"]), why=f"guessed {letter}")


def _letters(said: str, facts: Mapping[str, Any], key: str) -> Verdict:
    return _chosen(choices.match(said, dict(zip(choices.LETTERS, facts["options"], strict=False))), facts["answer"])


def _yes_no(said: str, facts: Mapping[str, Any], key: str) -> Verdict:
    read = answers.yes_no(said).lower()
    return _chosen(None if read == "unknown" else read, facts["answer"].lower())


def _whole_yes_no(said: str, facts: Mapping[str, Any], key: str) -> Verdict:
    """QUIRK: the whole reply must be yes or no, "Yes." is neither."""
    read = said.strip().lower()
    return _chosen(read if read in ("yes", "no") else None, facts["answer"].lower())


def _mme(said: str, facts: Mapping[str, Any], key: str) -> Verdict:
    read = answers.mme_yes_no(said)
    return _chosen(None if read == "other" else read, facts["answer"].lower())


def _gsm(rule: Literal["strict", "flexible"]) -> Read:
    def read(said: str, facts: Mapping[str, Any], key: str) -> Verdict:
        found, right = maths.gsm8k(said, facts["answer"], rule)
        return Verdict(None if found == maths.INVALID else float(right), why=f"read {found}")

    return read


def _by(right: Callable[[str, Any], bool | float]) -> Read:
    return lambda said, facts, key: Verdict(float(right(said, facts["answer"])))


_VQA: Read = lambda said, facts, key: Verdict(answers.vqa(said, facts["answer"])[1])  # noqa: E731
READERS: dict[str, tuple[tuple[str, Read], ...]] = {  # fixed, and official where it differs
    "mmmu": (("MMMU's parser, unparsed is wrong", _mmmu), ("MMMU's parser, unparsed is guessed", _mmmu_guessing)),
    "mmbench": (("VLMEvalKit's matcher, vanilla (circular: see the benchmark's own figures)", _letters),),
    "realworldqa": (("lmms-eval's extractor", _by(answers.realworldqa)),),
    "pope": (("VLMEvalKit's words", _yes_no), ("lmms-eval's whole reply", _whole_yes_no)),
    "mme": (("VLMEvalKit's words", _yes_no), ("lmms-eval's first letters", _mme)),
    "gqa": (("exact match", _by(answers.gqa)),),
    "seed": (("VLMEvalKit's matcher", _letters), ("lmms-eval's first character", _by(answers.seed))),
    "vqav2": (("soft accuracy", _VQA),),
    "gsm8k": (("flexible extract", _gsm("flexible")), ("strict match", _gsm("strict"))),
    "math": (("math-verify", _by(maths.verified)), ("Hendrycks' string match", _by(maths.hendrycks))),
    "choices": (("VLMEvalKit's matcher", _letters),),
}
GROUPS: dict[str, tuple[str, ...]] = {
    "gen-core": ("geneval", "dpg", "wise-legacy"),
    "und-core": ("mmmu", "mmbench", "realworldqa", "pope", "mme", "gqa", "seed", "vqav2"),
    "text": ("gsm8k", "math", "choices"),
    "edit": ("imgedit", "gedit"),
}
_ASKED: dict[str, tuple[Callable[[Path | None, int], list[Item]], int]] = {
    "dpg": (prompts.dpg_items, 4),
    "wise-legacy": (prompts.wise_items("legacy"), 1),
    "wise-verified": (prompts.wise_items("verified"), 1),
    "imgedit": (prompts.imgedit_items, 1),
    "gedit": (prompts.gedit_items, 1),
}


def _reader(read: Read) -> Judge:
    return lambda item, row, _folder: read(row["text"] or "", item.facts, f"{item.id}/{row['seed']}")


def find_suite(name: str) -> Suite:
    """The benchmark of that name. Raises ValueError with all names for any other."""
    both: tuple[Protocol, ...] = PROTOCOLS
    if name == "geneval":
        judge = geneval_judge(read_by_world, geneval.marked, geneval.strictly(geneval.Rules()))
        named = ("GenEval's rules, the picture world's reader as the detector", judge)
        return Suite(name, "image", prompts.geneval_items, dict.fromkeys(both, named), 4, drawn=True)
    if name == "world":
        strict = ("exact reader, strict", world_judge)
        return Suite(name, "image", prompts.world_items, dict.fromkeys(both, strict), 4, drawn=True)
    if name in READERS:
        read = {protocol: READERS[name][min(i, len(READERS[name]) - 1)] for i, protocol in enumerate(PROTOCOLS)}
        return Suite(name, "text", prompts.question_items, {p: (n, _reader(r)) for p, (n, r) in read.items()})
    if name in _ASKED:
        items, seeds = _ASKED[name]
        return Suite(name, "image", items, {}, seeds)
    raise ValueError(f"no benchmark called {name!r}; there are {', '.join(names())}")


def names() -> Sequence[str]:
    """All benchmarks by name."""
    return ("geneval", "world", *_ASKED, *READERS)


def in_group(name: str) -> tuple[str, ...]:
    """The benchmarks that a name stands for: a group's, or itself. Raises ValueError for any other."""
    if name not in GROUPS and name not in names():
        raise ValueError(f"no suite called {name!r}; there are {', '.join(GROUPS)}, and alone {', '.join(names())}")
    return GROUPS.get(name, (name,))


def detector_judge(name: str, detector: Find, colours: geneval.ColourOf) -> tuple[str, Judge]:
    """GenEval's rules on a trained detector: the name of the protocol, and the judge."""
    return f"geneval-hf: {name}", geneval_judge(detector, colours, geneval.Rules())
