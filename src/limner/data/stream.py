"""Endless rows from several sources by weight, in an order that depends on the seed and the place alone.

Slot n of the stream is row number k of source s: which source is drawn by (seed, n) with the weights as chances, and k
counts how often it was drawn before. A source is read pass after pass; within a pass rows are shuffled in windows. So a
stream can begin at any slot (`seek`), processes that share the work take every world-th slot, and a run goes on with
another number of processes over the same rows in the same order.

A row that is broken is reported, and either ends the stream or gives its slot to the next good one of its window.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from limner.data.files import Raw, Source, open_source
from limner.data.messages import BadRow, Row
from limner.parts import Conversation

WINDOW = 4096
Broken = Literal["stop", "skip"]


@dataclass
class Report:
    """What becomes of broken rows: "stop" raises, "skip" counts each once and writes it as a JSON line to ``path``.

    More broken rows than ``most`` raise in any case: that is no accident but another format.
    """

    broken: Broken = "stop"
    path: Path | None = None
    most: int = 1000
    seen: set[tuple[str, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        if self.path is not None and self.path.is_file():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                about = json.loads(line)
                self.seen.add((about["file"], about["row"]))

    def note(self, bad: BadRow) -> None:
        """Take a broken row. Raises it under "stop"."""
        if self.broken == "stop":
            raise bad
        if bad.place in self.seen:
            return
        self.seen.add(bad.place)
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(bad.to_json()) + "\n")
        if len(self.seen) > self.most:
            raise ValueError(f"more than {self.most} rows are broken, the last of them: {bad}")


@dataclass(frozen=True)
class Example:
    """A row with its pictures read."""

    row: Row
    conversation: Conversation


def example(raw: Raw) -> Example:
    """A row checked and read, pictures and all. Raises BadRow."""
    row = raw.row()
    return Example(row, row.conversation())


@dataclass(frozen=True)
class Part:
    """A source and its weight in a mixture."""

    source: Source
    weight: float = 1.0


def parts_of(names: Sequence[str]) -> list[Part]:
    """Sources by name, each with its weight behind ``@`` (1 where there is none): ``rows.jsonl@0.3``.

    Raises ValueError for weights that are none, and as `open_source` does.
    """
    found = []
    for name in names:
        place, at, weight = name.rpartition("@")
        try:
            value = float(weight) if at else 1.0
        except ValueError:
            place, value = name, 1.0  # an @ that belongs to the name
        if not 0 < value < float("inf"):
            raise ValueError(f"{name}: a weight is a number above 0, as in rows.jsonl@0.3")
        found.append(Part(open_source(place if at and place else name), value))
    return found


class _Pass:
    """One source, read pass after pass, shuffled in windows. ``count`` rows were taken."""

    def __init__(self, source: Source, seed: str, window: int, shuffle: bool) -> None:
        self.source, self.seed, self.size, self.shuffle = source, seed, window, shuffle
        self.turn = self.start = self.within = self.count = 0
        self.rows: list[Raw] = []
        self.order: list[int] = []
        self.mark: Any = None  # of the source, where the present window begins

    def _fill(self) -> None:
        """Read the window at ``start``, or, behind the last one, the first of the next pass."""
        self.mark = self.source.mark()
        self.rows = self.source.window(self.start, self.size)
        if not self.rows and self.start == 0:
            raise ValueError(f"{self.source.name} holds no rows")
        if not self.rows:
            self.turn, self.start = self.turn + 1, 0
            return self._fill()
        self.order = list(range(len(self.rows)))
        if self.shuffle:
            random.Random(f"{self.seed}/{self.turn}/{self.start}").shuffle(self.order)

    def _step(self) -> None:
        """Make sure that a row stands at ``within``."""
        while not self.rows or self.within >= len(self.rows):
            if self.rows:
                self.start, self.within, self.rows = self.start + len(self.rows), 0, []
            self._fill()

    def take(self) -> tuple[list[Raw], list[int], int]:
        """(The window, its order, the place in it) of the next row."""
        self._step()
        self.within += 1
        self.count += 1
        return self.rows, self.order, self.within - 1

    def skip(self, count: int) -> None:
        """Leave out so many rows; whole passes and windows are not read where the length is known."""
        length = self.source.length() if count else None
        total = self.start + self.within + count
        if length:
            self.turn, rest = self.turn + total // length, total % length
            self.start, self.within = rest - rest % self.size, rest % self.size
            self.rows = []
        else:
            left = count
            while left:
                self._step()
                some = min(left, len(self.rows) - self.within)
                self.within, left = self.within + some, left - some
        self.count += count

    def state(self) -> dict[str, Any]:
        return {"turn": self.turn, "start": self.start, "within": self.within, "count": self.count, "mark": self.mark}

    def restore(self, state: dict[str, Any]) -> None:
        self.turn, self.start, self.within, self.count = (state[k] for k in ("turn", "start", "within", "count"))
        self.rows, self.mark = [], state["mark"]
        if self.mark is not None:
            self.source.go(self.mark)


class Stream:
    """The slots of a mixture from `slot` on; an endless iterator of `read` rows, `example`s by default.

    Raises ValueError for no parts, for sources without rows, and where a window holds no good row.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        seed: int = 0,
        shuffle: bool = True,
        window: int = WINDOW,
        rank: int = 0,
        world: int = 1,
        report: Report | None = None,
        read: Callable[[Raw], Any] = example,
    ) -> None:
        if not parts:
            raise ValueError("a stream needs at least one source")
        if not 0 <= rank < world or window < 1:
            raise ValueError(f"rank={rank} must be below world={world}, and window={window} at least 1")
        self.seed, self.rank, self.world, self.read = seed, rank, world, read
        self.report = report or Report()
        total = sum(part.weight for part in parts)
        self._bounds, reached = [], 0.0
        for part in parts:
            reached += part.weight / total
            self._bounds.append(reached)
        self._passes = [_Pass(part.source, f"{seed}/{i}", window, shuffle) for i, part in enumerate(parts)]
        self.slot = 0

    def _which(self, slot: int) -> int:
        if len(self._passes) == 1:
            return 0
        drawn = hashlib.blake2b(f"{self.seed}/{slot}".encode(), digest_size=8).digest()
        share = int.from_bytes(drawn, "big") / 2**64
        return next((i for i, bound in enumerate(self._bounds) if share < bound), len(self._bounds) - 1)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        while True:
            rows, order, at = self._passes[self._which(self.slot)].take()
            self.slot += 1
            if (self.slot - 1) % self.world == self.rank:
                return self._good(rows, order, at)

    def _good(self, rows: list[Raw], order: list[int], at: int) -> Any:
        """The row of that place in the window, or the next one that is not broken."""
        last: BadRow | None = None
        for shift in range(len(order)):
            try:
                return self.read(rows[order[(at + shift) % len(order)]])
            except BadRow as bad:
                self.report.note(bad)
                last = bad
        raise ValueError(f"none of {len(order)} rows can be used, such as: {last}")

    def seek(self, slot: int) -> None:
        """Go on at that slot, which must not lie behind. Whole windows are left out unread where lengths are known."""
        if slot < self.slot:
            raise ValueError(f"slot {slot} lies behind slot {self.slot}; make a new stream")
        counts = [0] * len(self._passes)
        for each in range(self.slot, slot):
            counts[self._which(each)] += 1
        for one, count in zip(self._passes, counts, strict=True):
            one.skip(count)
        self.slot = slot

    def state_dict(self) -> dict[str, Any]:
        """Plain JSON values from which `load_state_dict` goes on, with this number of processes or another."""
        return {"slot": self.slot, "seed": self.seed, "sources": [one.state() for one in self._passes]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of a stream of the same parts and seed; ValueError for any other."""
        if state["seed"] != self.seed or len(state["sources"]) != len(self._passes):
            raise ValueError(
                f"the state is of {len(state['sources'])} sources with seed {state['seed']}, this stream has "
                f"{len(self._passes)} with seed {self.seed}"
            )
        self.slot = state["slot"]
        for one, each in zip(self._passes, state["sources"], strict=True):
            one.restore(each)
