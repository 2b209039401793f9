"""Rows for MMaDA's stages from lists of JSON lines.

Lists stand in ``data/TASK/SOURCE.jsonl``. A line has ``image`` (a file beside the list) or ``codes`` (its tokens), and
``text`` (plain text, or a caption), or ``prompt`` with ``answer`` and perhaps ``thought``, or ``turns`` ([question,
answer] pairs, of which a random number is kept). Captions follow the published rules (stock openings are cut, half
of the prompts are a first sentence); an answer's room is what the longest prompt of its rows leaves of the text budget.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limner.algorithms.sft import Piece
from limner.codecs.magvit import to_pixels
from limner.models.mmada.model import MMaDA, crop
from limner.models.mmada.render import Ids, Script
from limner.models.mmada.rows import t2i_rows
from limner.parts import Image, PartKind
from limner.process.base import Context, Tokens
from limner.process.noise import Noise

DROPPED = 0.1  # share of pictures trained without their prompt
_OPENINGS = re.compile(r"^(the image (features|shows|depicts)|in this image,?|this image (features|shows))\s*", re.I)
_ASKED = ("Describe this picture.", "What is shown here?", "What can be seen in this picture?", "Say what this shows.")


@dataclass(frozen=True)
class Stage:
    """What a stage of supervised training differs in. ``rows`` of t2i, lm and mmu are those of one GPU's micro-step;
    ``weights`` are of their losses; ``sources`` give each task's lists and their shares."""

    name: str
    size: int
    text_budget: int
    rows: tuple[int, int, int]
    accumulation: int
    lr: float
    floor: float
    weights: tuple[float, float, float]
    steps: int
    sources: Mapping[str, Mapping[str, float]]
    by_row: bool = False  # words are divided by the whole row's length, not by the answer's

    @property
    def row_length(self) -> int:
        """Tokens in every row: text, picture and three marks."""
        return self.text_budget + (self.size // 16) ** 2 + 3


class Lines:
    """A file of JSON lines, read one at a time from anywhere."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise ValueError(f"there is no {path}; put a list of JSON lines there, as the recipe's page describes")
        self.path, self.starts = path, [0]
        with path.open("rb") as file:
            for line in file:
                self.starts.append(self.starts[-1] + len(line))
        if len(self.starts) < 2:
            raise ValueError(f"{path} is empty; it needs at least one line")

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index: int) -> dict[str, Any]:
        with self.path.open("rb") as file:
            file.seek(self.starts[index])
            line = file.readline()
        try:
            return dict(json.loads(line))
        except (ValueError, TypeError) as error:
            raise ValueError(f"line {index + 1} of {self.path} is no JSON object ({error})") from error


def open_lists(data: Path, sources: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, Lines]]:
    """The lists of every task: data/TASK/SOURCE.jsonl. Raises ValueError for a missing one."""
    return {task: {name: Lines(data / task / f"{name}.jsonl") for name in names} for task, names in sources.items()}


def picture_of(line: Mapping[str, Any], beside: Path) -> Image:
    """The picture of a line: a file, or codes whose picture nobody needs to see."""
    from PIL import Image as pil

    if "codes" in line:
        return Image(pil.new("RGB", (1, 1)), tuple(line["codes"]))
    with pil.open(beside / line["image"]) as opened:
        return Image(opened.convert("RGB"))


def caption(text: str, rng: random.Random) -> str:
    """A caption as a prompt: stock openings off, persons named, half of the time its first sentence alone."""
    text = _OPENINGS.sub("", text.strip())
    text = text.replace("<person>", rng.choice(("a person", "someone", "somebody")))
    return re.split(r"(?<=[.!?])\s", text, maxsplit=1)[0] if rng.random() < 0.5 else text


class Mixed:
    """Makes micro-batches of a stage from its lists; the model gives words, codec and noise, never its weights."""

    def __init__(self, model: MMaDA, stage: Stage, data: Path) -> None:
        self.model, self.stage = model, stage
        self.lists = open_lists(data, {task: names for task, names in stage.sources.items() if self._rows(task)})

    def __call__(self, seed: int, size: int) -> list[list[Piece]]:
        """``size`` rows, in micro-batches of the stage's rows."""
        rng = random.Random(seed)
        return [self._micro(rng) for _ in range(max(1, size // sum(self.stage.rows)))]

    def _rows(self, task: str) -> int:
        return dict(zip(("t2i", "lm", "mmu"), self.stage.rows, strict=True))[task]

    def _micro(self, rng: random.Random) -> list[Piece]:
        makers: dict[str, Callable[[list[dict[str, Any]], Path, random.Random], tuple[PartKind, Context, Tensor]]]
        makers = {"t2i": self._pictures, "lm": self._words, "mmu": self._words}
        pieces = []
        for (task, lists), weight in zip(self.lists.items(), self._weights(), strict=True):
            shares = self.stage.sources[task]
            name = rng.choices(list(shares), list(shares.values()))[0]
            some = [lists[name][rng.randrange(len(lists[name]))] for _ in range(self._rows(task))]
            kind, context, values = makers[task](some, lists[name].path.parent, rng)
            if self.stage.by_row and kind == "text":
                weight *= values.shape[1] / self.stage.row_length
            noise = Noise.of([rng.getrandbits(62) for _ in some])
            pieces.append(Piece(task, kind, context, values, self.model.process(kind).draw(values, noise), weight))
        return pieces

    def _weights(self) -> list[float]:
        return [w for w, rows in zip(self.stage.weights, self.stage.rows, strict=True) if rows]

    def _codes(self, lines: Sequence[Mapping[str, Any]], beside: Path) -> list[Ids]:
        return [list(line["codes"]) if "codes" in line else self._seen(line, beside) for line in lines]

    def _seen(self, line: Mapping[str, Any], beside: Path) -> Ids:
        codec = self.model.codec
        if codec is None:
            raise ValueError(f"{line['image']} must be encoded, and there is no codec; give its folder, or codes")
        side = self.model.config.grid(0) * codec.factor
        square = np.asarray(crop(picture_of(line, beside).image, side))
        return codec.encode(to_pixels(torch.from_numpy(square[None].copy()))).flatten().tolist()

    def _pictures(
        self, lines: list[dict[str, Any]], beside: Path, rng: random.Random
    ) -> tuple[PartKind, Context, Tensor]:
        drop = [rng.random() < DROPPED for _ in lines]
        prompts = [caption(line["text"], rng) for line in lines]
        return "image", *t2i_rows(self.model.renderer, prompts, torch.tensor(self._codes(lines, beside)), drop)

    def _words(self, lines: list[dict[str, Any]], beside: Path, rng: random.Random) -> tuple[PartKind, Context, Tensor]:
        r, length = self.model.renderer, self.stage.row_length
        shown = "image" in lines[0] or "codes" in lines[0]
        if not shown and "text" in lines[0]:  # plain text: the whole row is learned
            rows = [[*r.wrap(r.ids(line["text"])), r.config.specials.eos][:length] for line in lines]
            nothing = torch.zeros(len(rows), 0, dtype=torch.int64)
            tokens = Tokens(nothing, nothing.bool(), nothing)
            return "text", Context(tokens, tokens), r.values(rows, length)
        codes = self._codes(lines, beside) if shown else [[] for _ in lines]
        asked, answers = zip(*(self._turns(line, rng) for line in lines), strict=True)
        scripts = [
            Script(turns, [c] if c else [], [], bool(line.get("thought")))
            for turns, c, line in zip(asked, codes, lines, strict=True)
        ]
        context = r.context(scripts, "text")
        # as much room for every answer as the longest prompt leaves
        whole = self.stage.text_budget + (len(codes[0]) + 3 if shown else 0) if shown else length
        room = max(2, whole - context.given.before.shape[1])
        return "text", context, r.values([ids[: room - 1] for ids in answers], room)

    def _turns(self, line: Mapping[str, Any], rng: random.Random) -> tuple[list[tuple[str, str]], Ids]:
        """(turns up to the question that is learned, ids of its answer)."""
        turns = line.get("turns") or [[line.get("prompt") or rng.choice(_ASKED), line.get("answer", line.get("text"))]]
        kept = turns[: rng.randint(1, len(turns))]
        said = [turn for q, a in kept[:-1] for turn in (("user", q), ("assistant", a))]
        thought = self.model.renderer.thought(line["thought"]) if line.get("thought") else []
        return [*said, ("user", kept[-1][0])], [*thought, *self.model.renderer.ids(kept[-1][1])]
