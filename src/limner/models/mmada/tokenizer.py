"""Text tokenizers: the released BPE from its folder, or one with a closed list of words.

Both are plain ``tokenizers.Tokenizer`` objects and go through the same templates. The word tokenizer keeps whole header
strings and the tags as single tokens, so that short sentences stay short; everything it does is written in its
``tokenizer.json``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from limner.models.mmada.config import INSTRUCTION, NAMES, Specials

UNKNOWN = "<unk>"
OPEN, CLOSE = "<think>", "</think>"
ROLES = ("user", "assistant", "system")
_WORD = r"[a-z]+|[0-9]|[^\sa-z0-9]"
# typographic signs that people paste, and what the word list has for them
_PLAIN = {"\u2019": "'", "\u2018": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-", "\u2212": "-"}


def header(role: str) -> str:
    """What stands before a turn: one newline, not LLaDA's two."""
    return f"<|start_header_id|>{role}<|end_header_id|>\n"


def make_word_tokenizer(words: Iterable[str], instruction: str = INSTRUCTION) -> Tokenizer:
    """A tokenizer that knows these words, the ten digits (one token each) and single punctuation marks.

    Text is lower-cased and split into runs of letters, digits and marks; entries of ``words`` are split the same way.
    The ids are: unknown, special tokens, then the pieces in alphabetical order.
    """
    names = [*NAMES.values(), OPEN, CLOSE, *(header(role) for role in ROLES), instruction]
    pieces: set[str] = set("0123456789")
    for word in words:
        pieces.update(re.findall(_WORD, word.lower()))
    vocabulary = {name: i for i, name in enumerate([UNKNOWN, *names, *sorted(pieces)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    plain = [normalizers.Replace(old, new) for old, new in _PLAIN.items()]
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), *plain, normalizers.Lowercase()])
    split = pre_tokenizers.Split(Regex(_WORD), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), split])
    # words are joined by blanks; then no blank inside a number or a sum, before a closing mark, after an opening one
    glue = r" (?=[.,;:?!)+=\-'])|(?<=[(+=\-']) |(?<=[0-9]) (?=[0-9])"
    tokenizer.decoder = decoders.Sequence(
        [decoders.WordPiece(prefix="\u0000", cleanup=False), decoders.Fuse(), decoders.Replace(Regex(glue), "")]
    )
    added = [AddedToken(name, special=name not in (OPEN, CLOSE), normalized=False) for name in names]
    tokenizer.add_special_tokens([token for token in added if token.special])
    tokenizer.add_tokens([token for token in added if not token.special])
    return tokenizer


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """The tokenizer in a checkpoint folder's ``tokenizer.json``."""
    file = Path(folder) / "tokenizer.json"
    if not file.is_file():
        raise ValueError(f"no tokenizer.json in {folder}; a checkpoint folder holds its tokenizer")
    return Tokenizer.from_file(str(file))


def find_specials(tokenizer: Tokenizer) -> Specials:
    """The ids of the roles in a tokenizer that knows them by name (the released one does not: see ``Specials``)."""
    found = {role: tokenizer.token_to_id(name) for role, name in NAMES.items()}
    ids = {role: value for role, value in found.items() if value is not None}
    missing = [NAMES[role] for role in found.keys() - ids.keys()]
    if missing:
        raise ValueError(f"the tokenizer has no {', '.join(missing)}; make it with make_word_tokenizer")
    return Specials(**ids)


def unknown_words(tokenizer: Tokenizer, text: str) -> list[str]:
    """The words of ``text`` that become the unknown token, in order, each once. Empty for an open vocabulary."""
    unknown = tokenizer.token_to_id(UNKNOWN)
    if unknown is None:
        return []
    encoding = tokenizer.encode(text, add_special_tokens=False)
    found = [text[slice(*offset)] for i, offset in zip(encoding.ids, encoding.offsets, strict=True) if i == unknown]
    return list(dict.fromkeys(found))


def close_words(tokenizer: Tokenizer, word: str, n: int = 3) -> list[str]:
    """Up to ``n`` known words that look like ``word``."""
    known = [name for name in tokenizer.get_vocab() if name.isalpha()]
    return difflib.get_close_matches(word.lower(), sorted(known), n=n, cutoff=0.6)


def control_strings(tokenizer: Tokenizer, text: str) -> list[str]:
    """Strings such as ``<|eot_id|>`` in ``text`` that the tokenizer would read as control tokens."""
    return [found for found in re.findall(r"<\|[^|\s]+\|>", text) if tokenizer.token_to_id(found) is not None]
