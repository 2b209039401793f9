"""How a conversation stands before MindOmni: the one place with tags and the chat's marks (spec sections 3 and 7).

    <|im_start|>system TEXT<|im_end|> <|im_start|>user [instruction] words and pictures<|im_end|> <|im_start|>assistant

A plain question is answered under the plain system text and without the instruction. Everything else is about drawing:
the instruction stands before the last user's words, and a thought changes the system text. A picture is
``<|vision_start|><|image_pad|><|vision_end|>``, followed in prompts for pictures by its tag ``<img><|image_1|></img>``;
where the words hold the tag already, the picture is put before it.

A thought is a whole chain, ``<think>`` ``</think><answer>`` ``</answer>``, up to the end of the turn. A second thought
is cascade thinking: it is asked with the first one's answer in place of the user's words, and only it is drawn from.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tokenizers import Tokenizer

from limner.models.base import Reply
from limner.models.mindomni.config import MindOmniConfig
from limner.parts import Ask, Conversation, Image, Message, Part, Text, Thinking

Ids = list[int]

START, END = "<|im_start|>", "<|im_end|>"
PICTURE = "<|vision_start|><|image_pad|><|vision_end|>"
PAD = "<|image_pad|>"
OPEN, CLOSE = "<think>", "</think>"
ANSWER, ANSWERED = "<answer>", "</answer>"
TAG = re.compile(r"<img><\|image_(\d+)\|></img>")
PLACED = re.compile(re.escape(PICTURE) + TAG.pattern)
FORMED = re.compile(rf"{OPEN}.*?{CLOSE}\s*{ANSWER}.*?{ANSWERED}", re.DOTALL)
LENIENT = re.compile(rf".*{OPEN}.*?{CLOSE}.*?{ANSWER}.*?{ANSWERED}.*", re.DOTALL)
CASCADE = "\n\ncascade_thinking:"
_REMEMBERED = 50_000


def tag(number: int) -> str:
    """How words speak of the picture of that number, from 1."""
    return f"<img><|image_{number}|></img>"


def well_formed(text: str, lenient: bool = False) -> bool:
    """Whether a chain is a thought, then an answer, and nothing else; ``lenient`` allows other words around both."""
    return (LENIENT if lenient else FORMED).fullmatch(text.strip()) is not None


def answer_of(chain: str) -> str:
    """What a chain answers, as cascade thinking takes it: all behind the first answer tag, else the inside of the
    first thought, else the whole, without blanks around."""
    if ANSWER in chain:
        return chain.split(ANSWER, 1)[1].strip()
    thought = re.search(rf"{OPEN}(.*?){CLOSE}", chain, re.DOTALL)
    return (thought[1] if thought else chain).strip()


def prompt_of(chain: str) -> str:
    """The words that a picture is drawn from where only the answer counts: the answer without its closing tag."""
    return answer_of(chain).split(ANSWERED, 1)[0].strip()


def cascaded(first: str, second: str | None) -> str:
    """Both texts of cascade thinking as one."""
    return first if second is None else f"{first}{CASCADE}{second}"


@dataclass
class Script:
    """A sequence as text before and ids behind, with its pictures in their order."""

    text: str
    pictures: list[Image]
    said: Ids = field(default_factory=list)


@dataclass
class Renderer:
    """Writes sequences for one tokenizer. ``ends`` are the ids that end a turn; empty: the chat's own mark."""

    config: MindOmniConfig
    tokenizer: Tokenizer
    ends: frozenset[int] = frozenset()
    _known: dict[str, Ids] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not self.ends:
            self.ends = frozenset({self._id(END)})

    def _id(self, mark: str) -> int:
        found = self.tokenizer.token_to_id(mark)
        if found is None:
            raise ValueError(f"the tokenizer does not know {mark}; it is none of a Qwen2.5-VL")
        return int(found)

    def ids(self, text: str) -> Ids:
        """Token ids of a text."""
        found = self._known.get(text)
        if found is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            found = self._known[text] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return found

    # a prompt

    def chat(self, conversation: Conversation, *, draws: bool, thinks: bool) -> tuple[str, list[Image]]:
        """(text up to the open assistant's turn, the pictures in it)."""
        if not conversation:
            raise ValueError("the conversation is empty: it needs at least one message")
        pictures = [part for message in conversation for part in message.parts if isinstance(part, Image)]
        given = [message for message in conversation if message.role == "system"]
        system = given[0].text if given else self.config.think if thinks else self.config.system
        text = f"{START}system\n{system}{END}\n"
        turns = [message for message in conversation if message.role != "system"]
        last = max((i for i, message in enumerate(turns) if message.role == "user"), default=-1)
        written = "".join(part.text for message in turns for part in message.parts if isinstance(part, Text))
        if draws:
            _check_tags(written, len(pictures))
        number = 0
        for i, message in enumerate(turns):
            words, number = _words(message, number, written, draws)
            plain = not pictures and not draws and self.config.instructed
            before = self.config.instruction if (draws or plain) and i == last else ""
            text += f"{START}{message.role}\n{before}{words}{END}\n"
        if draws:
            pictures = [pictures[int(number) - 1] for number in PLACED.findall(text)]
        return text + f"{START}assistant\n", pictures

    def negative(self) -> Script:
        """What guidance goes away from."""
        text, _ = self.chat((Message("user", (Text(self.config.negative),)),), draws=True, thinks=False)
        return Script(text, [])

    def shown(self, conversation: Conversation) -> Script:
        """The pictures of a conversation in a prompt of their own, without a word about them."""
        pictures = [part for message in conversation for part in message.parts if isinstance(part, Image)]
        return Script(*self.chat((Message("user", tuple(pictures)),), draws=True, thinks=False))

    def script(self, conversation: Conversation, reply: Reply, ask: Ask) -> Script:
        """What stands before the next part of a reply."""
        thoughts = [part for part in reply if isinstance(part, Thinking)]
        if ask.kind == "text" and not reply:
            return Script(*self.chat(conversation, draws=False, thinks=False))
        if ask.kind == "thinking" and thoughts:
            conversation = self._again(conversation, self._chain(conversation, thoughts)[0])
            return Script(*self.chat(conversation, draws=True, thinks=True))
        if not thoughts:
            script = Script(*self.chat(conversation, draws=True, thinks=ask.kind == "thinking"))
        elif ask.kind == "image" and self.config.condition == "answer":
            answered = prompt_of(self.whole(self._chain(conversation, thoughts)[0]))
            conversation = _asked(conversation, answered) if answered else conversation
            script = Script(*self.chat(conversation, draws=True, thinks=False))
            return script
        else:
            chain, conversation = self._chain(conversation, thoughts)
            script = Script(*self.chat(conversation, draws=True, thinks=True), self.said(chain))
        return self._shown(script, [part for part in reply if not isinstance(part, Thinking)])

    def _chain(self, conversation: Conversation, thoughts: Sequence[Thinking]) -> tuple[Thinking, Conversation]:
        """(The thought that counts, the conversation that it was asked with)."""
        counts, asked = thoughts[0], conversation
        for later in thoughts[1:]:
            if not answer_of(self.whole(counts)):
                break
            asked, counts = self._again(conversation, counts), later
        return counts, asked

    def _again(self, conversation: Conversation, thought: Thinking) -> Conversation:
        """The conversation with a thought's answer in place of the last user's words; as it was without an answer."""
        answered = answer_of(self.whole(thought))
        return _asked(conversation, answered) if answered else conversation

    def _shown(self, script: Script, parts: Sequence[Part]) -> Script:
        """A script with finished pictures and texts behind what was said."""
        for part in parts:
            if isinstance(part, Image):
                script = replace(script, said=[*script.said, *self.ids(PICTURE)], pictures=[*script.pictures, part])
            else:
                script = replace(script, said=[*script.said, *self.said(part)])
        return script

    def expanded(self, script: Script, counts: Sequence[int]) -> Ids:
        """The ids of a script; every picture's one place is repeated as often as its count says."""
        pad = self._id(PAD)
        ids = [*self.ids(script.text), *script.said]
        if ids.count(pad) != len(counts):
            raise ValueError(f"there are {ids.count(pad)} places for {len(counts)} pictures; leave {PAD} out of words")
        given = iter(counts)
        return [i for one in ids for i in ([one] if one != pad else [one] * next(given))]

    # what a model wrote

    def written(self, ids: Sequence[int]) -> Ids:
        """The ids before the first that ends a turn."""
        return list(ids[: next((k for k, i in enumerate(ids) if i in self.ends), len(ids))])

    @staticmethod
    def chain(thought: str, answer: str) -> str:
        """A thought and its answer between their tags."""
        return f"{OPEN}{thought}{CLOSE}{ANSWER}{answer}{ANSWERED}"

    def said(self, part: Part) -> Ids:
        """A finished words part as it stands before the next one: without its end; a thought that was cut off at the
        limit without its last token, which was never read (as published)."""
        assert not isinstance(part, Image)
        if part.raw is None:
            return self.ids(self.whole(part))
        ids = self.written(part.raw)
        return ids if len(ids) < len(part.raw) else ids[:-1]

    def whole(self, part: Part) -> str:
        """A words part with its tags. A thought that a person wrote without tags is its own answer."""
        assert not isinstance(part, Image)
        if part.raw is not None:
            return self.decode(self.written(part.raw))
        if not isinstance(part, Thinking) or OPEN in part.text:
            return part.text
        return self.chain(part.text, part.text)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, tags included, the chat's own marks left out."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def read(self, part: Thinking | Text) -> str:
        """What a person reads: of a chain its thought (the answer where there is none), of a text all but the tags."""
        text = self.whole(part)
        if isinstance(part, Thinking):
            inside = text.partition(OPEN)[2].partition(CLOSE)[0].strip() if OPEN in text else ""
            return inside or prompt_of(text.replace(OPEN, "").replace(CLOSE, " "))
        for mark in (OPEN, CLOSE, ANSWER, ANSWERED):
            text = text.replace(mark, " ")
        return text.strip()


def _words(message: Message, number: int, written: str, draws: bool) -> tuple[str, int]:
    """(A message's content, pictures so far). In prompts for pictures every picture has its tag."""
    pieces: list[str] = []
    for part in message.parts:
        if isinstance(part, Image):
            number += 1
            if not draws:
                pieces.append(PICTURE)
            elif tag(number) not in written:
                pieces.append(f"{PICTURE}{tag(number)} ")
        elif isinstance(part, Thinking):
            pieces.append(f"{OPEN}{part.text}{CLOSE}")
        else:
            text = TAG.sub(lambda found: PICTURE + found[0], part.text) if draws else part.text
            pieces.append(text)
    return _spaced(pieces), number


def _spaced(pieces: Sequence[str]) -> str:
    """Pieces one after another; words before a picture are kept apart from it."""
    text = ""
    for piece in pieces:
        text += (" " if text and not text.endswith((" ", "\n", PICTURE[-14:])) else "") + piece
    return text


def _check_tags(written: str, pictures: int) -> None:
    """Raise ValueError for a tag that names no picture, and for a picture that two tags name."""
    named = [int(number) for number in TAG.findall(written)]
    wrong = sorted({number for number in named if not 1 <= number <= pictures})
    if wrong:
        raise ValueError(
            f"the words speak of picture {wrong[0]} ({tag(wrong[0])}), but {pictures} "
            f"picture{'s are' if pictures != 1 else ' is'} given; give it, or leave the tag out"
        )
    twice = sorted({number for number in named if named.count(number) > 1})
    if twice:
        raise ValueError(f"the tag of picture {twice[0]} stands in the words twice; write it once")


def _asked(conversation: Conversation, words: str) -> Conversation:
    """The conversation with other words from the last user, whose pictures stay in front."""
    last = max((i for i, message in enumerate(conversation) if message.role == "user"), default=len(conversation) - 1)
    pictures = [part for part in conversation[last].parts if isinstance(part, Image)]
    told = TAG.sub("", words)
    message = Message(conversation[last].role, (*pictures, Text(told)))
    return (*conversation[:last], message, *conversation[last + 1 :])
