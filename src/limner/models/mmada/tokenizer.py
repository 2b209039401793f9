"""MMaDA's own strings in a tokenizer: whole header strings, the tags and the roles' names are single tokens."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer

from limner.models.mmada.config import INSTRUCTION, NAMES, Specials
from limner.models.vocabulary import close_words, control_strings, load_tokenizer, unknown_words, word_tokenizer

__all__ = [
    "CLOSE",
    "OPEN",
    "close_words",
    "control_strings",
    "find_specials",
    "header",
    "load_tokenizer",
    "make_word_tokenizer",
    "unknown_words",
]

OPEN, CLOSE = "<think>", "</think>"
ROLES = ("user", "assistant", "system")


def header(role: str) -> str:
    """What stands before a turn: one newline, not LLaDA's two."""
    return f"<|start_header_id|>{role}<|end_header_id|>\n"


def make_word_tokenizer(words: Iterable[str], instruction: str = INSTRUCTION) -> Tokenizer:
    """A tokenizer with a closed list of words, see ``word_tokenizer``."""
    names = [*NAMES.values(), OPEN, CLOSE, *(header(role) for role in ROLES), instruction]
    return word_tokenizer(words, names, (OPEN, CLOSE))


def find_specials(tokenizer: Tokenizer) -> Specials:
    """The ids of the roles in a tokenizer that knows them by name (the released one does not: see ``Specials``)."""
    found = {role: tokenizer.token_to_id(name) for role, name in NAMES.items()}
    ids = {role: value for role, value in found.items() if value is not None}
    missing = [NAMES[role] for role in found.keys() - ids.keys()]
    if missing:
        raise ValueError(f"the tokenizer has no {', '.join(missing)}; make it with make_word_tokenizer")
    return Specials(**ids)
