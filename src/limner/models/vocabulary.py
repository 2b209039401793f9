"""Text tokenizers: the released BPE from its folder, or one with a closed list of words.

Both are plain ``tokenizers.Tokenizer`` objects. A word tokenizer keeps its family's own strings (headers, tags) as
single tokens, so that short sentences stay short; everything it does is written in its ``tokenizer.json``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from limner.models.base import UnknownWords

UNKNOWN = "<unk>"
_WORD = r"[a-z]+|[0-9]|[^\sa-z0-9]"
# typographic signs that people paste, and what the word list has for them
_PLAIN = {"\u2019": "'", "\u2018": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-", "\u2212": "-"}


def word_tokenizer(words: Iterable[str], names: Sequence[str], shown: Sequence[str] = ()) -> Tokenizer:
    """A tokenizer that knows these words, the ten digits (one token each) and single punctuation marks.

    Text is lower-cased and split into runs of letters, digits and marks; entries of ``words`` are split the same way.
    The ids are: unknown, ``names`` (whole strings), then the pieces in alphabetical order. Those of the names that are
    ``shown`` come back as words when ids are read; the others are control tokens.
    """
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
    added = [AddedToken(name, special=name not in shown, normalized=False) for name in names]
    tokenizer.add_special_tokens([token for token in added if token.special])
    tokenizer.add_tokens([token for token in added if not token.special])
    return tokenizer


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """The tokenizer in a checkpoint folder's ``tokenizer.json``."""
    file = Path(folder) / "tokenizer.json"
    if not file.is_file():
        raise ValueError(f"no tokenizer.json in {folder}; a checkpoint folder holds its tokenizer")
    return Tokenizer.from_file(str(file))


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


def check_words(tokenizer: Tokenizer, texts: Sequence[str]) -> None:
    """Raise ValueError for texts that say nothing or hold control strings, ``UnknownWords`` for words not known."""
    if not any(text.strip() for text in texts):
        raise ValueError("the prompt is empty: say what to draw or what to answer")
    for text in texts:
        control = control_strings(tokenizer, text)
        if control:
            raise ValueError(f"the prompt holds the control string {control[0]!r}; leave it out")
        unknown = unknown_words(tokenizer, text)
        if unknown:
            close = [found for word in unknown for found in close_words(tokenizer, word)]
            hint = f"words I know: {', '.join(dict.fromkeys(close))}" if close else "try simpler words"
            raise UnknownWords(unknown, hint)
