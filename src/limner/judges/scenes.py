"""Judges of the picture world: is in the picture what the facts ask, and do thought, plan and picture agree?"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from limner.parts import Sample, Verdict
from limner.world.check import facts_hold
from limner.world.content import Content
from limner.world.say import plan_of, read_plan

Reader = Callable[[np.ndarray], Content | None]


def read_content(picture: np.ndarray) -> Content | None:
    """The content of a picture (H, W, 3) uint8 by the exact reader, or None where something in it is unknown."""
    from limner.world.read import read

    scene = read(picture).scene
    return None if scene is None else Content.of(scene)


def remembering(reader: Reader = read_content) -> Reader:
    """The same reader, which reads equal pictures once: several judges look at them, and seeds may draw alike."""
    known: dict[tuple[tuple[int, ...], bytes], Content | None] = {}

    def read(picture: np.ndarray) -> Content | None:
        key = picture.shape, blake2b(np.ascontiguousarray(picture).tobytes(), digest_size=16).digest()
        if key not in known:
            known[key] = reader(picture)
        return known[key]

    return read


def detected(folder: Path | None = None) -> Reader:
    """The trained detector as a reader, of a folder or of the package: it shares nothing with the exact one, so that
    either can be held out while the other rewards. Raises ValueError where there is none."""
    from limner.world.detect import SHIPPED, Detector, detect

    model = Detector.load(SHIPPED if folder is None else folder)
    return lambda picture: detect([picture], model)[0].content


def holds(facts: dict[str, Any], picture: np.ndarray, reader: Reader = read_content) -> Verdict:
    """1 if the picture holds exactly what the facts ask, else 0; a picture that cannot be read fails."""
    content = reader(picture)
    if content is None:
        return Verdict(0.0, why="the picture holds something unknown")
    good, reasons = facts_hold(facts, content)
    return Verdict(float(good), why="; ".join(reasons))


def scene_judge(reader: Reader = read_content) -> Callable[[Sequence[Sample]], list[Verdict]]:
    """A judge of drawn samples by their tasks' facts; samples without a picture cannot be judged."""

    def judge(samples: Sequence[Sample]) -> list[Verdict]:
        verdicts = []
        for sample in samples:
            if sample.image is None:
                verdicts.append(Verdict(None, why="there is no picture to judge"))
            else:
                verdicts.append(holds(dict(sample.task.facts), np.asarray(sample.image.convert("RGB")), reader))
        return verdicts

    return judge


def agreement(reader: Reader = read_content) -> Callable[[Sequence[Sample]], list[Verdict]]:
    """1 where the plan that ends the thought says exactly what the picture shows; None without a thought or picture."""

    def judge(samples: Sequence[Sample]) -> list[Verdict]:
        verdicts = []
        for sample in samples:
            if sample.thinking is None or sample.image is None:
                verdicts.append(Verdict(None, why="agreement needs a thought and a picture"))
                continue
            planned = plan_of(sample.thinking)
            if planned is None:
                verdicts.append(Verdict(0.0, why="the thought does not end in a plan"))
                continue
            seen = reader(np.asarray(sample.image.convert("RGB")))
            same = seen is not None and seen == planned
            verdicts.append(Verdict(float(same), why="" if same else f"planned {planned}, drawn {seen}"))
        return verdicts

    return judge


def planned() -> Callable[[Sequence[Sample]], list[Verdict]]:
    """1 where the plan that ends the thought holds what the task's facts ask, whatever was drawn; None without a
    thought."""

    def judge(samples: Sequence[Sample]) -> list[Verdict]:
        verdicts = []
        for sample in samples:
            if sample.thinking is None:
                verdicts.append(Verdict(None, why="there is no thought to judge"))
                continue
            plan = plan_of(sample.thinking)
            good, reasons = (False, ["the thought does not end in a plan"]) if plan is None else _held(sample, plan)
            verdicts.append(Verdict(float(good), why="; ".join(reasons)))
        return verdicts

    return judge


def _held(sample: Sample, content: Content) -> tuple[bool, list[str]]:
    return facts_hold(dict(sample.task.facts), content)


_RELATIONS = {"row": "left of", "column": "above"}


def facts_of(words: str) -> dict[str, Any] | None:
    """What a prompt in the words of a plan asks for, with or without its background; None for any other prompt."""
    # plans write "one red cat", where people write "a red cat"; between several things plans have "a" too
    single = re.sub(r"^an? ", "one ", words)
    content = read_plan(words) or read_plan(single)
    facts: dict[str, Any] = {} if content is None else {"background": content.background}
    content = content or read_plan(f"{words}, plain") or read_plan(f"{single}, plain")
    if content is None or content.layout == "other":
        return None
    things = content.things
    if content.layout == "copies":
        kind, colour = things[0]
        return facts | {"include": [{"kind": kind, "colour": colour, "count": len(things)}]}
    facts["include"] = [{"kind": kind, "colour": colour, "count": 1} for kind, colour in things]
    if content.layout == "inside":
        facts["relation"] = [{"a": 1, "b": 0, "is": "inside"}]
    elif content.layout == "trio":
        facts["relation"] = [{"a": i, "b": i + 1, "is": "left of"} for i in range(len(things) - 1)]
    else:
        facts["relation"] = [{"a": 0, "b": 1, "is": _RELATIONS[content.layout]}]
    return facts
