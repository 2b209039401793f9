"""Batches for the training loop from rows of data: the batch of step s is a function of (seed, s)."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

from limner.data.stream import Report, Stream, parts_of

Length = Callable[[Any], int]


def from_names(
    names: Sequence[str], *, length: Length | None = None, group: int = 32, **options: Any
) -> Callable[[int, int, int], Iterator[list[Any]]]:
    """``Run.batches`` over sources by name (see `parts_of`): lists of `Example`s.

    With ``length`` rows of like length share a batch: ``group`` batches' worth of rows are sorted by it and cut, and
    the batches come in random order. ``options`` are `Stream`'s. Raises ValueError for sources that cannot be read.
    """
    parts_of(names)  # complains now, not when the first batch is made
    options.setdefault("report", Report())

    def batches(seed: int, start: int, size: int) -> Iterator[list[Any]]:
        stream = Stream(parts_of(names), seed=seed, **options)
        share = max(1, size // stream.world)
        if length is None:
            stream.seek(start * size)
            while True:
                yield [next(stream) for _ in range(share)]
        first, inside = divmod(start, group)
        stream.seek(first * group * size)
        for number in count(first):
            yield from bucketed([next(stream) for _ in range(group * share)], length, share, f"{seed}/{number}")[
                inside:
            ]
            inside = 0

    return batches


def bucketed(rows: Sequence[Any], length: Length, size: int, seed: str) -> list[list[Any]]:
    """All rows in batches of ``size`` of like length, the batches in random order."""
    ordered = sorted(rows, key=length)
    found = [ordered[i : i + size] for i in range(0, len(ordered), size)]
    random.Random(seed).shuffle(found)
    return found
