"""Batches by step: what step s sees depends on (seed, s) alone, so a run can start anywhere and see the same data."""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, ClassVar, NamedTuple

import torch

Batches = Callable[[int, int, int], Iterator[Any]]


def seed_of(seed: int, step: int, use: str) -> int:
    """A 63-bit seed for one `use` of randomness at one step; different for every seed, step and use."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{step}/{use}".encode(), digest_size=8).digest(), "big") >> 1


@dataclass(frozen=True)
class Steps:
    """`Run.batches` from `make(seed, size)`, which gets every step a seed of its own and returns that step's batch."""

    make: Callable[[int, int], Any]
    strides: ClassVar[bool] = True

    def __call__(self, seed: int, start: int, size: int, stride: int = 1) -> Iterator[Any]:
        return (self.make(seed_of(seed, step, "batch"), size) for step in count(start, stride))


def each_step(make: Callable[[int, int], Any]) -> Steps:
    """`Run.batches` from `make(seed, size)`, which gets every step a seed of its own and returns that step's batch."""
    return Steps(make)


def every(batches: Batches, seed: int, start: int, size: int, stride: int) -> Iterator[Any]:
    """Batch `start` and every `stride`-th after it. Batches that take a stride as their fourth argument, and say so by
    an attribute `strides`, need not make those between."""
    if getattr(batches, "strides", False):
        return batches(seed, start, size, stride)  # type: ignore[call-arg]
    return islice(batches(seed, start, size), 0, None, stride)


def to_device(batch: Any, device: torch.device) -> Any:
    """Tensors inside dicts, lists, tuples and named tuples moved to the device; everything else as it is."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(to_device(value, device) for value in batch))
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device) for value in batch)
    return batch


class _Made(NamedTuple):
    value: Any
    error: BaseException | None


@contextmanager
def prefetched(batches: Iterator[Any], depth: int) -> Iterator[Iterator[Any]]:
    """The same batches in the same order, up to `depth` made ahead in one background thread; 0 makes each when asked.

    An exception in the maker is raised where its batch is asked for. The maker must not draw from torch's global
    generator, which belongs to the training thread.
    """
    if depth <= 0:
        yield batches
        return
    ahead: queue.Queue[_Made] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def put(made: _Made) -> None:
        while not stop.is_set():
            try:
                return ahead.put(made, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for value in batches:
                put(_Made(value, None))
                if stop.is_set():
                    return
            put(_Made(None, StopIteration()))
        except BaseException as error:  # handed to the consumer, who raises it
            put(_Made(None, error))

    def read() -> Iterator[Any]:
        while True:
            made = ahead.get()
            if isinstance(made.error, StopIteration):
                return
            if made.error is not None:
                raise made.error
            yield made.value

    worker = threading.Thread(target=work, name="batches", daemon=True)
    worker.start()
    try:
        yield read()
    finally:
        stop.set()
        worker.join()
