"""The mark that stands for a picture in a plain text: that of Nexus-Gen's rows, which LLaVA's have too.

The k-th mark over all messages of a row is the k-th picture of its list ``images``. The words around a mark are kept
as they stand, with their spaces and line ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

MARK = "<image>"
THOUGHT = re.compile(r"^\s*<think>(.*?)</think>\s*", re.DOTALL)


def pieces(text: str) -> Iterator[str | None]:
    """The text in order, None for each mark."""
    for i, words in enumerate(text.split(MARK)):
        if i:
            yield None
        if words:
            yield words


def thought_of(text: str) -> tuple[str, str]:
    """(The thought that a text begins with, the text behind it); "" for no thought."""
    found = THOUGHT.match(text)
    return (found[1].strip(), text[found.end() :]) if found else ("", text)
