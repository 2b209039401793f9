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
        before, said = self.halves(script, counts)
        return before + said

    def halves(self, script: Script, counts: Sequence[int]) -> tuple[Ids, Ids]:
        """``expanded`` in two: what stands in the text, and what was said behind it."""
        pad, row = self.mark(PAD), self.mark(ROW)
        halves = self.ids(script.text), script.said
        places = sum(ids.count(pad) for ids in halves)
        if places != len(counts):
            raise ValueError(f"there are {places} places for {len(counts)} pictures; leave {PAD} out of words")
        given = iter(counts)

        def repeated(ids: Sequence[int]) -> Ids:
            found: Ids = []
            for one in ids:
                found += [one] * (next(given) if one == pad else self.config.side**2 if one == row else 1)
            return found

        return repeated(halves[0]), repeated(halves[1])

    # what is taught

    def lesson(self, conversation: Conversation, reply: Reply, ends: bool = True) -> tuple[Script, list[Image]]:
        """A conversation with the reply that is taught (spec section 6.2): (its script, the pictures that stand as rows
        and are to be predicted, in order). ``ends``: the turn ends there, which is taught too.

        Where ``own`` is "rows", all pictures that the model drew stand as rows, earlier in the reply and in earlier
        turns. Else they are shown, as they will be when the next part is made, and a reply's last part alone, if it is
        a picture, stands as rows.
        """
        if not reply:
            raise ValueError("there is no reply to learn; a lesson ends with the model's own turn")
        end = [self.mark(END)] if ends else []
        if isinstance(reply[-1], Thinking):
            script = self.script(conversation, reply[:-1], Ask("thinking"))
            return Script(script.text, script.pictures, [*self.ids(reply[-1].text), *end]), []
        script = self.script(conversation, reply, Ask("text"))
        rows = self.config.own == "rows"
        turns = [message for message in conversation if message.role == "assistant"] if rows else []
        predicted = [part for message in turns for part in message.parts if isinstance(part, Image)]
        own = [part for part in reply if isinstance(part, Image)] if rows else []
        if not rows and isinstance(reply[-1], Image):
            last = len(script.said) - 1 - script.said[::-1].index(self.mark(PAD))
            script.said[last] = self.mark(ROW)
            script.pictures.pop()
            own = [reply[-1]]
        script.said += end
        return script, predicted + own

    def taught(self, before: Sequence[int], said: Sequence[int]) -> list[bool]:
        """Which of a lesson's ids are learned: the reply's, without the places of pictures that are shown, and, where
        ``own`` is "rows", those of earlier turns of the model up to the mark that ends a turn."""
        pad, end = self.mark(PAD), self.mark(END)
        learned = [False] * len(before)
        if self.config.own == "rows":
            opening = self.ids(f"{START}assistant\n")
            inside = False
            for i, one in enumerate(before):
                inside = inside and one != end
                learned[i] = inside and one != pad
                inside = inside or list(before[max(0, i + 1 - len(opening)) : i + 1]) == opening
        return learned + [one != pad for one in said]

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
