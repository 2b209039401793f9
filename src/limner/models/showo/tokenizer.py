"""Show-o's own strings in a tokenizer: the tags of a thought, and in one with a closed list of words the roles' names
and whole templates as single tokens."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer

from limner.models.showo.config import NAMES, Specials, Templates
from limner.models.vocabulary import word_tokenizer

OPEN, CLOSE = "<think>", "</think>"
# what a small model reads in place of the published templates
SHORT = Templates(user="<|user|>", user_seeing="<|user|>", assistant="<|assistant|>", think="think\n", system="")


def make_word_tokenizer(words: Iterable[str], templates: Templates = SHORT) -> Tokenizer:
    """A tokenizer with a closed list of words, see ``word_tokenizer``; its ids are all before the codes'."""
    said = (templates.user, templates.user_seeing, templates.assistant, templates.think)
    names = dict.fromkeys([*NAMES.values(), OPEN, CLOSE, *said])
    return word_tokenizer(words, list(names), (OPEN, CLOSE))


def find_specials(tokenizer: Tokenizer) -> Specials:
    """The ids of the roles in a tokenizer that knows them by name (the released one does not: see ``Specials``)."""
    found = {role: tokenizer.token_to_id(name) for role, name in NAMES.items()}
    ids = {role: value for role, value in found.items() if value is not None}
    missing = [NAMES[role] for role in found.keys() - ids.keys()]
    if missing:
        raise ValueError(f"the tokenizer has no {', '.join(missing)}; make it with make_word_tokenizer")
    return Specials(**ids)
