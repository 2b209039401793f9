"""How a conversation stands before Nexus-Gen: the one place with the chat's marks (spec section 3).

    <|im_start|>system TEXT<|im_end|> <|im_start|>user words and pictures<|im_end|> <|im_start|>assistant answer

A picture is ``<|vision_start|><|image_pad|><|vision_end|>``, one pad for each of its tokens. Where a reply begins with
a picture, a prompt without pictures stands in the template of drawing, the answer begins with a fixed sentence, and the
mark that begins a picture follows. A reply that begins with words is free: they end where the model begins a picture.

A thought is the model's own longer version of a prompt, and takes the place of the last user's words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from tokenizers import Tokenizer

from limner.models.base import Reply
from limner.models.nexusgen.config import NexusConfig, Texts
from limner.parts import Ask, Conversation, Image, Message, Part, Text, Thinking

Ids = list[int]

START, END = "<|im_start|>", "<|im_end|>"
BEGINS, ENDS = "<|vision_start|>", "<|vision_end|>"
PAD, ROW = "<|image_pad|>", "<|video_pad|>"
MARK = "<image>"
HAN = re.compile(r"[\u4e00-\u9fff]")
_REMEMBERED = 50_000


@dataclass(frozen=True)
class Shown:
    """A picture of a sequence; ``own``: the model drew it."""

    part: Image
    own: bool


@dataclass
class Script:
    """A sequence as text before and ids behind, with the pictures that are looked at, in their order."""

    text: str
    pictures: list[Shown]
    said: Ids = field(default_factory=list)


@dataclass
class Renderer:
    """Writes sequences for one tokenizer. ``ends`` are the ids that end a turn; empty: the chat's own mark."""

    config: NexusConfig
    tokenizer: Tokenizer
    ends: frozenset[int] = frozenset()
    _known: dict[str, Ids] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not self.ends:
            self.ends = frozenset({self.mark(END)})

    @property
    def stops(self) -> frozenset[int]:
        """Ids that end words: a turn's end, and the mark with which the model begins a picture."""
        return self.ends | {self.mark(BEGINS)}

    def mark(self, text: str) -> int:
        """The id of one of the chat's marks; ValueError for a tokenizer that does not have it."""
        found = self.tokenizer.token_to_id(text)
        if found is None:
            raise ValueError(f"the tokenizer has no {text}; give the tokenizer.json that belongs to the model")
        return int(found)

    def ids(self, text: str) -> Ids:
        """Token ids of a text."""
        found = self._known.get(text)
        if found is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            found = self._known[text] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return found

    def texts(self, conversation: Conversation) -> Texts:
        """The templates of the language that the last user writes."""
        words = next((message.text for message in reversed(conversation) if message.role == "user"), "")
        return self.config.chinese if HAN.search(words) else self.config.english

    def chat(self, conversation: Conversation, draws: bool) -> tuple[str, list[Shown]]:
        """(Text up to the open answer, the pictures that are looked at)."""
        if not conversation:
            raise ValueError("the conversation is empty: it needs at least one message")
        given = [message for message in conversation if message.role == "system"]
        turns = [message for message in conversation if message.role != "system"]
        text = f"{START}system\n{given[0].text if given else self.config.system}{END}\n"
        last = max((i for i, message in enumerate(turns) if message.role == "user"), default=-1)
        anything = any(isinstance(part, Image) for message in turns for part in message.parts)
        shown: list[Shown] = []
        for i, message in enumerate(turns):
            own = message.role == "assistant"
            pictures = [Shown(part, own) for part in message.parts if isinstance(part, Image)]
            words = self._words(message, draws and i == last)
            if draws and i == last and not anything:
                words = self.texts(conversation).draw.format(words)
            text += f"{START}{message.role}\n{words}{END}\n"
            shown += [one for one in pictures if not (own and self.config.own == "rows")]
        return text + f"{START}assistant\n", shown

    def _words(self, message: Message, apart: bool) -> str:
        """A message's content. Pictures stand where the words hold their marks, else where their parts stand;
        ``apart``: a blank follows each of them."""
        mark = f"{BEGINS}{ROW if message.role == 'assistant' and self.config.own == 'rows' else PAD}{ENDS}"
        pictures = sum(isinstance(part, Image) for part in message.parts)
        marks = message.text.count(MARK)
        if marks not in (0, pictures):
            raise ValueError(
                f"the words hold {MARK} {marks} times, and {pictures} pictures are given; give one for each"
            )
        pieces = []
        for part in message.parts:
            if isinstance(part, Text):
                pieces.append(part.text.replace(MARK, mark))
            elif isinstance(part, Image) and not marks:
                pieces.append(mark + (" " if apart else ""))
        return "".join(pieces)

    def script(self, conversation: Conversation, reply: Reply, ask: Ask) -> Script:
        """What stands before the next part of a reply."""
        parts = [part for part in reply if not isinstance(part, Thinking)]
        thoughts = [part.text.strip() for part in reply if isinstance(part, Thinking) and part.text.strip()]
        if ask.kind == "thinking":
            words = next((m.text for m in reversed(conversation) if m.role == "user"), "")
            told = thoughts[-1] if thoughts else words
            return Script(*self.chat(_asked(conversation, self.texts(conversation).polish.format(told)), False))
        first = parts[0].kind if parts else ask.kind
        texts = self.texts(conversation)
        edits = any(isinstance(part, Image) for message in conversation for part in message.parts)
        text, pictures = self.chat(_asked(conversation, thoughts[-1]) if thoughts else conversation, first == "image")
        script = Script(text, pictures, [])
        if first == "image":
            script.said += self.ids(texts.edited if edits else texts.drawn)
        for part in parts:
            if isinstance(part, Image):
                rows = self.config.own == "rows"
                script.said += self.ids(f"{BEGINS}{ROW if rows else PAD}{ENDS}")
                script.pictures += [] if rows else [Shown(part, True)]
            else:
                script.said += self.said(part)
        if ask.kind == "image":
            script.said += self.ids(BEGINS)
        return script

    def expanded(self, script: Script, counts: Sequence[int]) -> Ids:
        """The ids of a script; every picture's one place is repeated as often as its count says, and a row's as often
        as a predicted picture has places."""
        pad, row = self.mark(PAD), self.mark(ROW)
        ids = [*self.ids(script.text), *script.said]
        if ids.count(pad) != len(counts):
            raise ValueError(f"there are {ids.count(pad)} places for {len(counts)} pictures; leave {PAD} out of words")
        given, found = iter(counts), list[int]()
        for one in ids:
            found += [one] * (next(given) if one == pad else self.config.side**2 if one == row else 1)
        return found

    # what a model wrote

    def written(self, ids: Sequence[int]) -> Ids:
        """The ids before the first that ends words."""
        stops = self.stops
        return list(ids[: next((k for k, i in enumerate(ids) if i in stops), len(ids))])

    def said(self, part: Part) -> Ids:
        """A finished words part as it stands before the next one."""
        assert not isinstance(part, Image)
        return self.ids(part.text) if part.raw is None else self.written(part.raw)

    def read(self, ids: Sequence[int]) -> str:
        """What a person reads."""
        return str(self.tokenizer.decode(self.written(ids), skip_special_tokens=True)).strip()


def source(conversation: Conversation, reply: Reply) -> Image | None:
    """The picture that an edit begins from: the last one."""
    every = [*(part for message in conversation for part in message.parts), *reply]
    return next((part for part in reversed(every) if isinstance(part, Image)), None)


def _asked(conversation: Conversation, words: str) -> Conversation:
    """The conversation with other words from the last user, whose pictures stay in front."""
    last = max((i for i, message in enumerate(conversation) if message.role == "user"), default=len(conversation) - 1)
    pictures = [part for part in conversation[last].parts if isinstance(part, Image)]
    message = Message(conversation[last].role, (*pictures, Text(words.replace(MARK, "").strip())))
    return (*conversation[:last], message, *conversation[last + 1 :])
