"""Echo: a family without a network, for tests and for trying out methods in milliseconds.

It says what it was told: words come back letter by letter, and every letter of the prompt colours a tile of the
picture. All its parameters are small tables that are looked up and added, so every process can be run, scored and
trained exactly: text is autoregressive, thinking is masked in blocks, a picture is a masked canvas of 4 x 4 flat tiles.

Letters: B rows, T sequence places, N values of a part, S sequence ids, V values of a kind.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from PIL import Image as pil
from torch import Tensor, nn

from limner.models.base import Model, Reply
from limner.parts import Ask, Conversation, Image, Part, PartKind, Plan, Text, Thinking
from limner.process.autoregressive import Autoregressive
from limner.process.base import Context, Process, Settings, Tokens
from limner.process.masked import MaskedBlocks, MaskedCanvas, Values
from limner.process.noise import Noise

SIDE = 4  # tiles a side
TILE = 4  # pixels a side of a tile
BLOCK = 8
PALETTE = (
    (20, 20, 20), (220, 40, 40), (40, 160, 60), (50, 80, 210),
    (240, 200, 40), (150, 60, 180), (240, 130, 40), (245, 245, 245),
)  # fmt: skip

# sequence ids: 256 bytes, two more values of words, the colours, then what only a context holds
STOP, FILLER, COLOURS = 256, 257, 258
NUM_WORDS = COLOURS
MASK = COLOURS + len(PALETTE)
ROLES = {"system": MASK + 1, "user": MASK + 2, "assistant": MASK + 3}
KINDS: dict[PartKind, int] = {"text": MASK + 4, "thinking": MASK + 5, "image": MASK + 6}
END, PAD = MASK + 7, MASK + 8
NUM_IDS = PAD + 1
MOODS = 16

# kind -> (length, steps, guidance, temperature)
DEFAULTS: dict[PartKind, tuple[int, int, float, float]] = {
    "text": (24, 24, 0.0, 0.0),
    "thinking": (16, 8, 0.0, 0.0),
    "image": (SIDE * SIDE, 4, 0.5, 1.0),
}


class Echo(Model):
    """A family of look-up tables that repeats its prompt. ``seed`` decides the tables."""

    family: ClassVar[str] = "echo"
    edits = True

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed
        noise = Noise.of([seed])

        def table(name: str, rows: int, columns: int, scale: float) -> nn.Parameter:
            return nn.Parameter(scale * noise.normal(name, 0, rows * columns).reshape(rows, columns))

        self.strength = nn.Parameter(torch.tensor(8.0))  # of the echo against the tables
        self.before = table("before", NUM_IDS, NUM_WORDS, 0.5)
        self.after = table("after", NUM_IDS, NUM_WORDS, 0.5)
        self.mood = table("mood", MOODS, NUM_WORDS, 0.5)
        self.tint = table("tint", NUM_IDS, len(PALETTE), 1.5)
        self.tint_before = table("tint before", NUM_IDS, len(PALETTE), 0.5)
        self.tint_after = table("tint after", NUM_IDS, len(PALETTE), 0.5)
        self.tint_mood = table("tint mood", MOODS, len(PALETTE), 0.5)

    def plan(self, kinds: Sequence[PartKind]) -> Plan:
        """A wish for these parts with every default spelled out."""
        asks = []
        for kind in kinds:
            length, steps, guidance, temperature = DEFAULTS[kind]
            limit, size = (0, SIDE * TILE) if kind == "image" else (length, 0)
            asks.append(Ask(kind, limit, size, steps, guidance, temperature))
        return tuple(asks)

    def check_prompt(self, conversation: Conversation) -> None:
        """Any words will do, but there must be a message."""
        if not any(message.parts for message in conversation):
            raise ValueError("the conversation is empty: say something that can be echoed")

    def context(self, conversations: Sequence[Conversation], replies: Sequence[Reply], ask: Ask) -> Context:
        """The whole conversation and the reply so far, or the reply's opening alone where the condition is dropped."""
        rows = []
        for conversation, reply in zip(conversations, replies, strict=True):
            self.check_prompt(conversation)
            ids: list[int] = []
            for message in conversation:
                ids += [ROLES[message.role], *self._ids(message.parts)]
            rows.append([*ids, ROLES["assistant"], *self._ids(reply), KINDS[ask.kind]])
        opening = [[ROLES["assistant"], KINDS[ask.kind]]] * len(rows)
        return Context(self._tokens(rows), self._tokens(opening))

    def _ids(self, parts: Sequence[Part]) -> list[int]:
        ids: list[int] = []
        for part in parts:
            values = self.encode([part])[0] + (COLOURS if part.kind == "image" else 0)
            if part.raw is None and part.kind != "image":
                values = values[:-1]  # what a person wrote needs no stop: the next mark ends it
            ids += [KINDS[part.kind], *values.tolist()]
        return ids

    def _tokens(self, rows: Sequence[Sequence[int]]) -> Tokens:
        longest = max((len(row) for row in rows), default=0)
        before = torch.tensor([[PAD] * (longest - len(row)) + list(row) for row in rows], dtype=torch.int64)
        before = before.reshape(len(rows), longest).to(self.device)
        after = torch.full((len(rows), 1), END, dtype=torch.int64, device=self.device)
        return Tokens(before, before != PAD, after)

    def settings(self, ask: Ask, rows: int) -> Settings:
        """Lengths of thoughts are rounded up to whole blocks. Raises ValueError for a size that Echo cannot draw."""
        length, steps, guidance, temperature = DEFAULTS[ask.kind]
        if ask.kind == "image":
            if ask.size not in (0, SIDE * TILE):
                raise ValueError(f"size={ask.size}: echo draws {SIDE * TILE} pixels a side; ask for that, or for 0")
            steps = ask.steps or steps
        elif ask.kind == "thinking":
            length = -(-(ask.limit or length) // BLOCK) * BLOCK
            steps = ask.steps or length // 2
        else:
            length = steps = ask.limit or length
        known = free = None
        if ask.known is not None and ask.mask is not None:
            known, free = self.encode([ask.known]), torch.tensor([ask.mask], device=self.device)
            if known.shape[1] != length or free.shape[1] != length:
                raise ValueError(
                    f"a {ask.kind} of {length} values cannot be completed from {known.shape[1]} known ones and "
                    f"{free.shape[1]} marks; give {length} of both"
                )
            known, free = known.repeat(rows, 1), free.repeat(rows, 1)
        guidance = guidance if ask.guidance is None else ask.guidance
        temperature = temperature if ask.temperature is None else ask.temperature
        return Settings(length, steps, guidance, temperature, BLOCK, known, free)

    def process(self, kind: PartKind) -> Process[Any]:
        """Text from left to right, thinking in masked blocks, pictures on a masked canvas."""
        if kind == "text":
            return Autoregressive(self._next_words, stop=STOP, filler=FILLER)
        if kind == "thinking":
            return MaskedBlocks(self._hidden_words, Values(MASK), stop=frozenset({STOP}), filler=FILLER)
        return MaskedCanvas(self._hidden_colours, Values(MASK, COLOURS))

    def _source(self, ids: Tensor, kept: Tensor, round_and_round: bool, ahead: int) -> tuple[Tensor, Tensor]:
        """(what is to be echoed at each place (B, T), the mood there (B, T)); ``ahead`` 1 looks one place on."""
        B, T = ids.shape
        places = torch.arange(T, device=ids.device).expand(B, T)

        def last(marks: list[int]) -> Tensor:
            found = torch.isin(ids, torch.tensor(marks, device=ids.device)) & kept
            return torch.where(found, places, -1).cummax(dim=1).values

        begin = last(list(KINDS.values()))
        told = last([ROLES["user"]])
        first = told + 2  # behind the mark of the speaker and that of the part
        length = (last([ROLES["assistant"]]) - first).clamp(min=0) * (told >= 0)
        offset = places - begin - 1 + ahead
        if round_and_round:
            offset = offset.remainder(length.clamp(min=1))
        inside = (offset >= 0) & (offset < length)
        echoed = ids.gather(1, torch.where(inside, first + offset, 0))
        echoed = torch.where(inside, echoed, torch.where(offset == length, STOP, FILLER))
        sums = torch.where(kept, ids, 0).cumsum(dim=1).gather(1, begin.clamp(min=0))
        return echoed, sums.remainder(MOODS)

    def _next_words(self, ids: Tensor, kept: Tensor, given: Tokens) -> Tensor:
        """(B, T, V): the logits at a place are for the word that follows it."""
        echoed, mood = self._source(ids, kept, False, 1)
        return self._echo(echoed) + self.before[ids] + self.mood[mood]

    def _hidden_words(self, ids: Tensor, kept: Tensor, at: Tensor, begin: int) -> Tensor:
        """(at.sum(), V)."""
        echoed, mood = self._source(ids, kept, False, 0)
        left, right = _neighbours(ids)
        return self._echo(echoed[at]) + self.before[left[at]] + self.after[right[at]] + self.mood[mood[at]]

    def _hidden_colours(self, ids: Tensor, kept: Tensor, at: Tensor, begin: int) -> Tensor:
        """(at.sum(), V)."""
        echoed, mood = self._source(ids, kept, True, 0)
        left, right = _neighbours(ids)
        tint = self.tint[echoed[at]] + self.tint_mood[mood[at]]
        return tint + self.tint_before[left[at]] + self.tint_after[right[at]]

    def _echo(self, echoed: Tensor) -> Tensor:
        words = torch.where(echoed < NUM_WORDS, echoed, FILLER)
        return self.strength * nn.functional.one_hot(words, NUM_WORDS).float()

    def encode(self, parts: Sequence[Part]) -> Tensor:
        """Bytes of UTF-8 with a stop, filled up to the longest; colours of tiles. ``raw`` values as they are."""
        rows = [list(part.raw) if part.raw is not None else _values(part) for part in parts]
        longest = max((len(row) for row in rows), default=0)
        filled = [row + [FILLER] * (longest - len(row)) for row in rows]
        return torch.tensor(filled, dtype=torch.int64, device=self.device).reshape(len(rows), longest)

    def decode(self, kind: PartKind, values: Tensor) -> list[Part]:
        """Parts with their values as ``raw``; bytes that are no UTF-8 are shown as replacement marks."""
        parts: list[Part] = []
        for row in values.tolist():
            raw = tuple(row)
            if kind == "image":
                tiles = pil.new("RGB", (SIDE, SIDE))
                tiles.putdata([PALETTE[code] for code in row])
                parts.append(Image(tiles.resize((SIDE * TILE, SIDE * TILE), pil.Resampling.NEAREST), raw))
                continue
            said = row[: row.index(STOP)] if STOP in row else row
            words = bytes(value for value in said if value < 256).decode("utf-8", errors="replace")
            parts.append(Thinking(words, raw) if kind == "thinking" else Text(words, raw))
        return parts

    def save(self, folder: Path) -> None:
        """Write ``config.json`` and ``model.safetensors``, each beside its place first and then moved there."""
        from safetensors.torch import save

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config = json.dumps({"family": self.family, "seed": self.seed}, indent=2) + "\n"
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        for name, content in (("model.safetensors", save(tensors)), ("config.json", config.encode())):
            beside = folder / f".{name}.part"
            beside.write_bytes(content)
            os.replace(beside, folder / name)

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Self:
        """The model in a folder that ``save`` wrote. Raises ValueError for another family's folder."""
        from safetensors.torch import load_file

        folder = Path(folder)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if config.get("family") != cls.family:
            raise ValueError(f"{folder} holds a model of the family {config.get('family')!r}, not {cls.family!r}")
        model = cls(int(config["seed"]))
        model.load_state_dict(load_file(folder / "model.safetensors"))
        return model.to(device=device, dtype=dtype)


def _neighbours(ids: Tensor) -> tuple[Tensor, Tensor]:
    """The ids left and right of every place (B, T), PAD beyond the ends."""
    edge = torch.full_like(ids[:, :1], PAD)
    return torch.cat([edge, ids[:, :-1]], dim=1), torch.cat([ids[:, 1:], edge], dim=1)


def _values(part: Part) -> list[int]:
    """The values of a part that no model made."""
    if not isinstance(part, Image):
        return [*part.text.encode("utf-8"), STOP]
    tiles = part.image.convert("RGB").resize((SIDE, SIDE), pil.Resampling.BOX).tobytes()
    pixels = [tiles[i : i + 3] for i in range(0, len(tiles), 3)]
    return [
        min(range(len(PALETTE)), key=lambda code: sum((a - b) ** 2 for a, b in zip(pixel, PALETTE[code], strict=True)))
        for pixel in pixels
    ]
