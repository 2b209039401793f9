"""Taking turns: threads that share a model let each other in between two steps, first come, first served."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """A fair lock that ``places`` threads may hold at a time: whoever waited longest has it next, so no thread can keep
    another out by coming back."""

    def __init__(self, places: int = 1) -> None:
        self._lock = threading.Lock()
        self._free = places
        self._line: deque[threading.Event] = deque()

    def take(self) -> None:
        """Wait for one's turn."""
        with self._lock:
            if self._free:
                self._free -= 1
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
                self._free += 1

    @contextmanager
    def mine(self) -> Iterator[None]:
        """One's turn."""
        self.take()
        try:
            yield
        finally:
            self.give()
