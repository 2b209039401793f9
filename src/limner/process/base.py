"""The contract of a process: a state that is stepped, and a likelihood whose randomness is a value.

Shape letters: B rows, N values of the part being made, T tokens of a whole sequence, V possible values.

``Rows`` gives every state its three gifts: rows can be kept, dropped, repeated and reordered by indexing and joined
with others, and a state can be packed into plain tensors and unpacked again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """A dataclass whose tensors have rows first. All rows share the fields that are neither tensors nor ``Rows``."""

    _classes: ClassVar[dict[str, type[Rows]]] = {}

    def __init_subclass__(cls) -> None:
        Rows._classes[cls.__name__] = cls

    def __getitem__(self, rows: Tensor | Sequence[int]) -> Self:
        """The given rows, in the given order; an index may be repeated."""
        index = torch.as_tensor(rows).reshape(-1)
        index = index.nonzero().flatten() if index.dtype == torch.bool else index.long()
        return self._map(lambda tensor: tensor[index.to(tensor.device)])

    @classmethod
    def joined(cls, some: Sequence[Self]) -> Self:
        """The rows of several values, one after another. ValueError where they do not go together: other classes,
        other shapes, or fields that all rows share and that differ."""
        first = some[0]
        if any(type(each) is not type(first) for each in some):
            raise ValueError(f"rows of {', '.join(sorted({type(each).__name__ for each in some}))} do not go together")
        fitting, changed = first._fitting(some), {}
        for item in fields(first):
            values = [getattr(each, item.name) for each in fitting]
            if all(isinstance(value, Tensor) for value in values):
                if len({(value.shape[1:], value.dtype) for value in values}) > 1:
                    raise ValueError(f"{item.name} has another shape in each: {[tuple(v.shape) for v in values]}")
                changed[item.name] = torch.cat(values)
            elif all(isinstance(value, Rows) for value in values):
                changed[item.name] = values[0].joined(values)
            elif any(isinstance(value, Tensor | Rows) or value != values[0] for value in values):
                raise ValueError(f"{item.name} is the same for all rows, so these do not go together")
        return replace(fitting[0], **changed)

    def _fitting(self, some: Sequence[Self]) -> Sequence[Self]:
        """The values as they are joined."""
        return some

    def to(self, device: torch.device | str) -> Self:
        """The same rows on another device."""
        return self._map(lambda tensor: tensor.to(device))

    def _map(self, change: Any) -> Self:
        changed = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Tensor):
                changed[item.name] = change(value)
            elif isinstance(value, Rows):
                changed[item.name] = value._map(change)
        return replace(self, **changed)

    def pack(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """(tensors by dotted name, each with memory of its own; JSON-able description): what ``unpack`` needs."""
        tensors: dict[str, Tensor] = {}
        about: dict[str, Any] = {"class": type(self).__name__}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Tensor):
                tensors[item.name] = value.detach().clone(memory_format=torch.contiguous_format)
            elif isinstance(value, Rows):
                inner, about[item.name] = value.pack()
                tensors |= {f"{item.name}.{name}": tensor for name, tensor in inner.items()}
            else:
                about[item.name] = value
        return tensors, about

    @staticmethod
    def unpack(tensors: dict[str, Tensor], about: dict[str, Any]) -> Rows:
        """The value that ``pack`` described."""
        name = about.get("class")
        if name not in Rows._classes:
            raise ValueError(f"no row class called {name!r}; there are: {', '.join(sorted(Rows._classes))}")
        values: dict[str, Any] = {}
        for item in fields(Rows._classes[name]):
            if item.name in tensors:
                values[item.name] = tensors[item.name]
            elif isinstance(about.get(item.name), dict) and "class" in about[item.name]:
                prefix = f"{item.name}."
                inner = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
                values[item.name] = Rows.unpack(inner, about[item.name])
            else:
                values[item.name] = about[item.name]
        return Rows._classes[name](**values)


def _filled(tensor: Tensor, shape: Sequence[int], in_front: bool) -> Tensor:
    """A tensor (B, ...) filled up with zeros to (B, *shape)."""
    missing = [wanted - own for own, wanted in zip(tensor.shape[1:], shape, strict=True)]
    sides = [(n, 0) if in_front else (0, n) for n in reversed(missing)]
    return F.pad(tensor, [n for side in sides for n in side])


@dataclass(frozen=True)
class Tokens(Rows):
    """What stands around the part being made: ids before it (left-padded) and after it.

    before (B, P) int64, kept (B, P) bool (False on padding), after (B, Q) int64 without padding.
    """

    before: Tensor
    kept: Tensor
    after: Tensor

    @property
    def num_rows(self) -> int:
        """B."""
        return self.before.shape[0]

    def _fitting(self, some: Sequence[Self]) -> Sequence[Self]:
        """All as long as the longest: padded in front; what else there is, such as pictures, filled up with zeros."""
        given = [item.name for item in fields(self) if item.name != "after"]
        names = [name for name in given if isinstance(getattr(self, name), Tensor)]
        shapes = {name: [getattr(each, name).shape[1:] for each in some] for name in names}
        wanted = {name: [max(sizes) for sizes in zip(*found, strict=True)] for name, found in shapes.items()}
        return [
            replace(each, **{n: _filled(getattr(each, n), wanted[n], n in ("before", "kept")) for n in names})
            for each in some
        ]

    def around(self, ids: Tensor) -> tuple[Tensor, Tensor, slice]:
        """ids (B, N) in place: (whole sequence (B, T), kept (B, T), where the part stands)."""
        B, N = ids.shape
        P = self.before.shape[1]
        sequence = torch.cat([self.before, ids, self.after], dim=1)
        ones = torch.ones(B, sequence.shape[1] - P, dtype=torch.bool, device=ids.device)
        return sequence, torch.cat([self.kept, ones], dim=1), slice(P, P + N)


@dataclass(frozen=True)
class Context(Rows):
    """What a part is conditioned on, and what it is conditioned on when the condition is dropped (for guidance).

    ``shown`` keeps of the condition the pictures alone, for guidance by pictures and by words apart; None: not wanted.
    """

    given: Tokens
    dropped: Tokens
    shown: Tokens | None = None

    @property
    def num_rows(self) -> int:
        """B."""
        return self.given.num_rows


def alike(context: Context, shown: Tensor) -> tuple[Tensor, Tensor]:
    """(The first row of each kind (R,), which of them each row is like (B,)): rows are alike that have one context and
    one row of shown (B, N)."""
    tensors, _ = context.pack()
    arrays = [tensor.cpu().numpy() for tensor in (*tensors.values(), shown)]
    known: dict[tuple[bytes, ...], int] = {}
    first: list[int] = []
    same: list[int] = []
    for i in range(context.num_rows):
        key = tuple(array[i].tobytes() for array in arrays)
        if key not in known:
            known[key] = len(first)
            first.append(i)
        same.append(known[key])
    return torch.tensor(first), torch.tensor(same)


@dataclass(frozen=True)
class Fast(Rows):
    """Fewer or cheaper passes for masked words, at the price of other words than the exact way makes.

    ``threshold`` in (0, 1]: a step reveals every value whose confidence reaches it. ``factor`` above 0: the n surest
    values are revealed together as long as the n-th one's confidence is at least 1 - factor / (n + 1). Either way a
    step reveals no less than the exact way would. ``cache`` computes the keys and values of other places once a block:
    "prefix" those before the block, "dual" those behind it too (all three: Fast-dLLM 2505.22618). ``revoke`` in (0, 1],
    with a threshold: a revealed value of the block is hidden again where the network, looking at everything but the
    value itself, finds it less likely than that (WINO 2507.18578). ``blocks`` are worked on at once, as one: with a
    threshold or a factor, what is sure of a later block need not wait for the ones before it. 0, "" and 1 are off.
    """

    threshold: float = 0.0
    factor: float = 0.0
    cache: Literal["", "prefix", "dual"] = ""
    revoke: float = 0.0
    blocks: int = 1

    def check(self) -> None:
        """Raise ValueError for values out of range and rules that exclude each other."""
        for name in ("threshold", "revoke"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} is a confidence; give 0 (off) to 1")
        if not 0 <= self.factor < float("inf"):
            raise ValueError(f"factor={self.factor} is impossible; give 0 (off) or more, such as 1")
        if self.cache not in ("", "prefix", "dual"):
            raise ValueError(f"cache is prefix or dual, not {self.cache!r}")
        if self.threshold and self.factor:
            raise ValueError("threshold and factor are two rules for the same thing; give one of them")
        if self.revoke and (self.cache or not self.threshold):
            raise ValueError("revoke goes with a threshold and without a cache")
        if self.blocks < 1:
            raise ValueError(f"blocks={self.blocks} is impossible; give 1 (off) or more")
        if self.blocks > 1 and not (self.threshold or self.factor):
            raise ValueError("blocks go with a threshold or a factor")

    @staticmethod
    def of(text: str) -> Fast:
        """A way in words: some of `WAYS` joined by "+", each with a number of its own if wanted ("threshold=0.8+dual").

        Raises ValueError for anything else.
        """
        values: dict[str, Any] = {}
        # revoke brings a threshold along where none is given
        for word in sorted(text.split("+"), key=lambda word: word.strip().startswith("revoke")):
            name, told, number = word.strip().partition("=")
            own = "cache" if name in ("prefix", "dual") else name
            if name not in WAYS or own in values or (told and own == "cache"):
                raise ValueError(f"fast={text!r} is no way; join some of these by +, each once: {', '.join(WAYS)}")
            values = WAYS[name] | values
            if told:
                usual = WAYS[name][name]
                try:
                    values[own] = type(usual)(number)
                except ValueError:
                    raise ValueError(f"{name}={number} is impossible; give a number such as {usual}") from None
        fast = Fast(**values)
        fast.check()
        return fast


# what the names mean; the numbers are those of the papers, which know one block at a time
WAYS: dict[str, dict[str, Any]] = {
    "threshold": {"threshold": 0.9},
    "factor": {"factor": 1.0},
    "prefix": {"cache": "prefix"},
    "dual": {"cache": "dual"},
    "revoke": {"threshold": 0.6, "revoke": 0.9},
    "blocks": {"blocks": 2},
}


@dataclass(frozen=True)
class Settings(Rows):
    """How a part is to be made; None fields do not apply.

    ``known`` (B, N) values with ``free`` (B, N) bool (True: make anew) keeps the rest of the values as they are.
    ``fast`` None is the exact way.
    """

    length: int
    steps: int
    guidance: float
    temperature: float
    block: int
    known: Tensor | None = None
    free: Tensor | None = None
    fast: Fast | None = None

    def check(self) -> None:
        """Raise ValueError for settings that no process can follow."""
        if self.fast is not None:
            self.fast.check()
        if self.length < 1 or self.steps < 1:
            raise ValueError(f"length={self.length} and steps={self.steps} must be at least 1")
        if (self.known is None) != (self.free is None):
            raise ValueError("known values and the places that are free come together: give both, or neither")
        if self.known is not None and self.free is not None and self.known.shape != self.free.shape:
            raise ValueError(f"known {tuple(self.known.shape)} and free {tuple(self.free.shape)} differ in shape")
        if self.known is not None and self.known.shape[1] != self.length:
            raise ValueError(f"known has {self.known.shape[1]} values, but the part has {self.length}")


@dataclass(frozen=True)
class State(Rows):
    """A part in the making; ``step`` counts the steps done. Every state says which rows are complete."""

    context: Context
    settings: Settings
    noise: Any
    step: int = field(default=0, kw_only=True)

    @property
    @abstractmethod
    def done(self) -> Tensor:
        """(B,) bool."""


@dataclass(frozen=True)
class Draw(Rows):
    """The randomness of a likelihood, drawn once and shared by every model that is compared (policy, old, reference).

    hidden (B, N) bool: the values that are scored; weight (B,) float32: what one row's sum is multiplied by.
    An exact likelihood hides everything with weight 1.
    """

    hidden: Tensor
    weight: Tensor


@dataclass(frozen=True)
class Scored(Rows):
    """How likely values are: tokens (B, N) float32 log-probabilities, 0 where not scored; hidden, weight as drawn."""

    tokens: Tensor
    hidden: Tensor
    weight: Tensor

    @property
    def total(self) -> Tensor:
        """(B,) log-probability of each row, or its bound's estimate."""
        return self.tokens.sum(dim=1) * self.weight

    @property
    def mean(self) -> Tensor:
        """(B,) mean log-probability over the scored values (0 for a row without any)."""
        return self.tokens.sum(dim=1) / self.hidden.sum(dim=1).clamp(min=1)


StateT = TypeVar("StateT", bound=State)


class Process(ABC, Generic[StateT]):
    """How one kind of part comes to be. Built at the call from the model that owns the network, never stored in it."""

    @abstractmethod
    def start(self, context: Context, settings: Settings, noise: Any) -> StateT:
        """The state before the first step."""

    @abstractmethod
    def step(self, state: StateT) -> StateT:
        """One step further; rows that are done stay as they are."""

    @abstractmethod
    def view(self, state: StateT) -> Tensor:
        """(B, N) values as far as they are known; a complete guess where the process has one."""

    def settled(self, state: StateT) -> Tensor:
        """(B,) int64: how many values at the front of each row no later step changes. All where a row is done."""
        length = self.view(state).shape[1]
        return torch.where(state.done, length, 0)

    @abstractmethod
    def draw(self, values: Tensor, noise: Any, level: Tensor | None = None) -> Draw:
        """Randomness for ``log_prob`` of values (B, N). ``level`` (B,) in (0, 1] fixes the noise level."""

    @abstractmethod
    def log_prob(self, context: Context, values: Tensor, draw: Draw) -> Scored:
        """How likely values (B, N) are, with gradients."""

    def opening(self, context: Context, length: int) -> Tensor:
        """(B, V) logits of the first of ``length`` values where none is known: how words begin."""
        raise ValueError(f"{type(self).__name__} does not say how a part begins; ask for words")

    def meant(self, values: Tensor) -> Tensor:
        """(B, N) bool: what a part really consists of; words up to and including the first value that ends them."""
        return torch.ones_like(values, dtype=torch.bool)

    def finish(self, state: StateT) -> StateT:
        """Step until every row is done."""
        while not bool(state.done.all()):
            state = self.step(state)
        return state


def k3_divergence(p: Scored, q: Scored) -> Tensor:
    """(B, N) the non-negative estimate e^d - d - 1 with d = log q - log p of KL(p || q), 0 where not scored."""
    d = q.tokens - p.tokens
    # expm1, because e^d - 1 loses a small d to rounding and the estimate would come out below zero
    estimate = (d.clamp(max=20.0).expm1() - d).clamp(min=0.0)
    return torch.where(p.hidden, estimate, torch.zeros_like(d))
