"""What a model family writes: how a conversation is put before the network, how each kind of part comes to be,
and how parts become values and values parts. Everything else is written once, above."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from limner.parts import Ask, Conversation, Part, PartKind, Plan
from limner.process.base import Context, Process, Settings

Reply = tuple[Part, ...]


class UnknownWords(ValueError):
    """A prompt holds words that a model with a closed vocabulary does not know."""

    def __init__(self, words: Sequence[str], hint: str) -> None:
        self.words = tuple(words)
        super().__init__(f"I do not know the word{'s' if len(words) > 1 else ''} {', '.join(map(repr, words))}; {hint}")


class Model(nn.Module, ABC):
    """A family: a network together with its four verbs."""

    family: ClassVar[str]
    edits: ClassVar[bool] = False  # can begin a picture from one that is shown
    shapes: ClassVar[bool] = False  # can draw pictures that are not square

    @property
    def device(self) -> torch.device:
        """Where the network lives."""
        return next(self.parameters()).device

    @property
    def turns(self) -> int | None:
        """How many earlier turns of a conversation it was taught to read. None: as many as there is room for."""
        return None

    @property
    def thinks(self) -> bool:
        """Whether it was taught to think in words before it draws or answers. Wishes for thoughts are for those."""
        return True

    def thinks_of(self, last: PartKind, edits: bool = False) -> bool:
        """Whether it was taught to think before a part of that kind; ``edits``: one that changes a picture."""
        return self.thinks

    def kinds(self, last: PartKind, think: bool) -> tuple[PartKind, ...]:
        """The parts of a reply that ends with ``last``, with a thought in front if that is wanted and was taught."""
        return ("thinking", last) if think and self.thinks else (last,)

    @abstractmethod
    def plan(self, kinds: Sequence[PartKind]) -> Plan:
        """A wish for these parts, in this order, with the model's own defaults spelled out."""

    @abstractmethod
    def context(self, conversations: Sequence[Conversation], replies: Sequence[Reply], ask: Ask) -> Context:
        """What stands around the next part of each reply (rows = conversations)."""

    @abstractmethod
    def settings(self, ask: Ask, rows: int) -> Settings:
        """How an ask is to be carried out for that many rows, with the model's defaults filled in."""

    @abstractmethod
    def process(self, kind: PartKind) -> Process[Any]:
        """How a part of this kind comes to be. Built from ``self`` at every call, so a copy uses its own weights."""

    @abstractmethod
    def encode(self, parts: Sequence[Part]) -> Tensor:
        """Values (B, N) of parts of one kind: their ``raw`` values if they have any."""

    @abstractmethod
    def decode(self, kind: PartKind, values: Tensor) -> list[Part]:
        """Parts with ``raw`` from values (B, N)."""

    def finished(
        self, ask: Ask, values: Tensor, conversations: Sequence[Conversation], replies: Sequence[Reply], noise: Any
    ) -> list[Part]:
        """The parts of complete values, made from ``noise``, as the replies get them."""
        return self.decode(ask.kind, values)

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write a checkpoint folder."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Self:
        """The model in a checkpoint folder."""

    def layers(self) -> list[nn.Module]:
        """The repeated layers, each only ever called as a module: what training shards, compiles and computes again
        layer by layer. By default none."""
        return []

    def forget(self) -> None:
        """Drop what is remembered of the present weights, because they change. By default nothing is."""
        return None

    def shape_of(self, size: tuple[int, int], side: int = 0) -> tuple[int, int] | None:
        """(width, height) in pixels of a picture that looks like one of ``size`` (width, height) and has about as many
        pixels as a square of ``side`` (0: the model's own). None: a square, because that is its shape, or the model's
        only one."""
        return None

    def check_prompt(self, conversation: Conversation) -> None:
        """Raise ``UnknownWords`` or another ValueError if the conversation cannot be understood. By default all can."""
        return None
