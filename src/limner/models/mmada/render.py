"""How a conversation stands before MMaDA: the one place with tags and templates (spec section 5).

    words      [<|mmu|> {<|soi|> codes <|eoi|>}...]  BOS chat  | answer
    a picture  <|t2i|> BOS text EOS <|soi|>  | codes |  <|eoi|>                               one message of plain text
               <|r2i|> {<|soi|> codes <|eoi|>}... BOS chat EOS <|soi|>  | codes |  <|eoi|>    anything else: a thought

All pictures of a conversation stand in front, in their order. Padding stands on the left, inside a batch only, or up to
the text budget. Dropped condition: pictures of either layout are drawn from ``<|t2i|> BOS EOS``, so that there is one
unconditional picture to learn; for words everything known is masked. Training rows and inference go through the same
lines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from tokenizers import Tokenizer
from torch import Tensor

from limner.models.base import Reply
from limner.models.mmada.config import MMaDAConfig
from limner.models.mmada.tokenizer import CLOSE, OPEN, header
from limner.parts import Ask, Conversation, Image, Part, PartKind, Thinking
from limner.process.base import Context, Tokens

Ids = list[int]
_REMEMBERED = 50_000


@dataclass
class Script:
    """A conversation as a renderer sees it: pictures as codes, turns as (role, text), the reply so far as ids."""

    turns: list[tuple[str, str]]
    pictures: list[Ids] = field(default_factory=list)
    said: Ids = field(default_factory=list)
    thinks: bool = False


@dataclass
class Renderer:
    """Writes contexts for one tokenizer and one vocabulary layout."""

    config: MMaDAConfig
    tokenizer: Tokenizer
    _known: dict[str, Ids] = field(default_factory=dict, repr=False)

    def ids(self, text: str) -> Ids:
        """Token ids of a text, without BOS or EOS."""
        found = self._known.get(text)
        if found is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            found = self._known[text] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return found

    def wrap(self, ids: Ids) -> Ids:
        """BOS in front, unless it stands there."""
        return ids if ids[:1] == [self.config.specials.bos] else [self.config.specials.bos, *ids]

    # sequences

    def chat(self, turns: Sequence[tuple[str, str]], *, thinks: bool = False, said: Ids | None = None) -> Ids:
        """BOS, the turns, the assistant's header and what it has said so far. ``thinks`` puts the thinking instruction
        before the last user turn."""
        last = max((i for i, (role, _) in enumerate(turns) if role == "user"), default=-1)
        text = ""
        for i, (role, content) in enumerate(turns):
            asked = self.config.instruction + content if thinks and i == last else content
            end = "<eot_id>" if self.config.plain_eot and role == "user" else "<|eot_id|>"
            text += f"{header(role)}{asked.strip()}{end}"
        return self.wrap(self.ids(text + header("assistant"))) + (said or [])

    def t2i(self, ids: Ids) -> Ids:
        """``<|t2i|> BOS text EOS``, cut to the text budget and one token more, with EOS in the last place."""
        s, T = self.config.specials, self.config.text_budget
        row = [s.t2i, *self.wrap(ids), s.eos]
        return row if len(row) <= T + 1 else [*row[:T], s.eos]

    def between(self, ids: Ids) -> Ids:
        """``BOS chat EOS`` cut to the text budget, EOS in the last place; filled up with EOS if padding is fixed."""
        s, T = self.config.specials, self.config.text_budget
        row = [*self.wrap(ids)[: T - 1], s.eos]
        return row + [s.eos] * (T - len(row)) if self.config.padding == "fixed" else row

    def shown(self, codes: Ids) -> Ids:
        """``<|soi|> codes <|eoi|>``."""
        s, offset = self.config.specials, self.config.text_vocabulary
        return [s.soi, *(code + offset for code in codes), s.eoi]

    def before_words(self, script: Script) -> Ids:
        """What stands before an answer."""
        chat = self.chat(script.turns, thinks=script.thinks, said=script.said)
        pictures = [i for codes in script.pictures for i in self.shown(codes)]
        return [self.config.specials.mmu, *pictures, *chat] if pictures else chat

    def before_picture(self, script: Script) -> Ids:
        """What stands before a picture, ``<|soi|>`` included."""
        s = self.config.specials
        plain = len(script.turns) == 1 and script.turns[0][0] == "user"
        if plain and not script.said and not script.pictures and not script.thinks:
            return [*self.t2i(self.ids(script.turns[0][1].strip())), s.soi]
        pictures = [i for codes in script.pictures for i in self.shown(codes)]
        chat = self.chat(script.turns, thinks=script.thinks, said=script.said)
        return [s.r2i, *pictures, *self.between(chat), s.soi]

    # what a model wrote

    def thought(self, text: str) -> Ids:
        """A thought between its tags."""
        return self.ids(f"{OPEN}{text}{CLOSE}")

    def written(self, ids: Sequence[int]) -> Ids:
        """The ids before the first end token."""
        ends = {self.config.specials.eos, self.config.specials.eot}
        return list(ids[: next((k for k, i in enumerate(ids) if i in ends), len(ids))])

    def read(self, kind: PartKind, ids: Sequence[int]) -> str:
        """The text of a sampled part. A thought without its closing tag is still a thought: its ``raw`` tells."""
        ids = self.written(ids)
        if kind != "thinking":
            return self._decode(ids)
        text = self._decode(ids)
        return text.removeprefix(OPEN).split(CLOSE)[0].strip()

    def _decode(self, ids: Ids) -> str:
        return str(self.tokenizer.decode([i for i in ids if i < self.config.text_vocabulary], False)).strip()

    def _kept_thought(self, ids: Sequence[int]) -> Ids:
        """A sampled thought up to its closing tag, as later parts see it."""
        ids = self.written(ids)
        close = self.tokenizer.token_to_id(CLOSE)
        if close is not None:
            return ids[: ids.index(close) + 1] if close in ids else ids
        if CLOSE not in self._decode(ids):
            return ids
        # the tag is plain text: the shortest beginning that holds it
        low, high = 1, len(ids)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if CLOSE in self._decode(ids[:middle]) else (middle + 1, high)
        return ids[:low]

    def said(self, part: Part) -> Ids:
        """A finished words part as it stands in front of the next one."""
        if isinstance(part, Thinking):
            return self.thought(part.text) if part.raw is None else self._kept_thought(part.raw)
        assert not isinstance(part, Image)
        return self.ids(part.text) if part.raw is None else self.written(part.raw)

    # contexts

    def script(self, conversation: Conversation, reply: Reply, ask: Ask, codes: Callable[[Image], Ids]) -> Script:
        """A conversation and the parts made so far. ``codes`` gives a picture's codes."""
        if not conversation:
            raise ValueError("the conversation is empty: it needs at least one message")
        script = Script([], thinks=ask.kind == "thinking" or any(isinstance(part, Thinking) for part in reply))
        for message in conversation:
            words = []
            for part in message.parts:
                if isinstance(part, Image):
                    script.pictures.append(codes(part))
                else:
                    words.append(f"{OPEN}{part.text}{CLOSE}" if isinstance(part, Thinking) else part.text)
            script.turns.append((message.role, " ".join(words)))
        for part in reply:
            if isinstance(part, Image):
                script.pictures.append(codes(part))
            else:
                script.said += self.said(part)
        return script

    def context(self, scripts: Sequence[Script], kind: PartKind, drop: Sequence[bool] | None = None) -> Context:
        """The context of the next part of every script. ``drop`` takes the condition away from a row (training)."""
        s = self.config.specials
        if kind == "image":
            empty = [*self.t2i([]), s.soi]
            flags = drop if drop is not None else [False] * len(scripts)
            given = [empty if gone else self.before_picture(x) for x, gone in zip(scripts, flags, strict=True)]
            # <|t2i|> BOS text EOS <|soi|> is padded to the budget and two tokens more, as officially
            fixed = self.config.text_budget + 2 if self.config.padding == "fixed" else 0
            return Context(self.tokens(given, [s.eoi], fixed), self.tokens([empty] * len(given), [s.eoi], fixed))
        if drop is not None:
            raise ValueError("only pictures are trained without their condition; leave drop out for words")
        tokens = self.tokens([self.before_words(script) for script in scripts], [])
        return Context(tokens, Tokens(torch.full_like(tokens.before, s.mask), tokens.kept, tokens.after))

    def tokens(self, rows: Sequence[Ids], after: Ids, width: int = 0) -> Tokens:
        """Rows of ids padded on the left to the longest (or to ``width``), with the same ids after the part."""
        width = max(width, max(map(len, rows)))
        before = torch.tensor([[self.config.specials.pad] * (width - len(row)) + row for row in rows])
        missing = torch.tensor([width - len(row) for row in rows])
        kept = torch.arange(width)[None, :] >= missing[:, None]
        return Tokens(before, kept, torch.tensor([after] * len(rows), dtype=torch.int64).view(len(rows), len(after)))

    def values(self, rows: Sequence[Ids], length: int = 0) -> Tensor:
        """(B, N) ids filled up with EOS to the longest row or to ``length``; a longer row is an error."""
        longest = max(map(len, rows))
        if length and longest > length:
            raise ValueError(f"an answer has {longest} tokens, but only {length} are there for it; raise the length")
        eos = self.config.specials.eos
        return torch.tensor([row + [eos] * ((length or longest) - len(row)) for row in rows])
