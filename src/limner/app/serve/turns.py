"""Taking turns: threads that share a model let each other in between two steps, first come, first served."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """A lock that is fair: whoever waited longest has it next, so no thread can keep another out by coming back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = False
        self._line: deque[threading.Event] = deque()

    def take(self) -> None:
        """Wait for one's turn."""
        with self._lock:
            if not self._taken:
                self._taken = True
                return
            mine = threading.Event()
            self._line.append(mine)
        mine.wait()

    def give(self) -> None:
        """End one's turn; the next in line has it."""
        with self._lock:
            if self._line:
                self._line.popleft().set()
            else:
                self._taken = False

    @contextmanager
    def mine(self) -> Iterator[None]:
        """One's turn."""
        self.take()
        try:
            yield
        finally:
            self.give()
