"""Why a run ends early: it was asked to, or its numbers stopped being numbers."""

from __future__ import annotations

import pickle
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop, wrote a checkpoint and stopped; the message says how to go on.

    `status` is the exit status for a command line: 130 after Ctrl-C, 143 after SIGTERM.
    """

    def __init__(self, folder: Path, step: int, number: int) -> None:
        super().__init__(f"stopped after step {step}; run the same command again to go on from {folder}")
        self.folder, self.step, self.status = folder, step, 128 + number


class Diverged(ValueError):
    """The loss or the gradient stopped being a number. Nothing of that step was kept but its batch."""


class Stop:
    """Remembers that Ctrl-C or a termination signal came; a second Ctrl-C stops at once. Only in the main thread."""

    def __init__(self) -> None:
        self.number = 0

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            raise KeyboardInterrupt
        self.number = number

    @contextmanager
    def listening(self) -> Iterator[Stop]:
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def keep_batches(folder: Path, step: int, place: int, batches: Sequence[Any]) -> str:
    """Write the micro-batches of a step that went wrong into the run's folder; returns what was written, in words.

    `torch.load(FILE, weights_only=False)` gives the list back.
    """
    file = folder / "diverged" / f"step-{step:08d}-process-{place}.pt"
    file.parent.mkdir(exist_ok=True)
    try:
        torch.save(list(batches), file)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        file.unlink(missing_ok=True)
        return f"its batch cannot be written ({error})"
    return f"its batch is in {file}"
