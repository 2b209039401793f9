"""How a conversation stands before Show-o: the one place with tags and templates (sections 3.1 and 3.2 of the paper).

    words      sot chat                                    | answer eot
               mmu {soi codes eoi}... sot chat             | answer eot     about pictures
               mmu system {soi features eoi}... chat       | answer eot     about pictures, with CLIP
    a picture  t2i {soi codes eoi}... sot text eot soi     | codes | eoi    given pictures, if any, in front

All pictures of a conversation stand in front, in their order, where every word may look at them. ``sot`` and ``eot``
are one token. The published models draw from one plain text and answer about one picture; the rest is ours, in their
form: a thought stands behind the text, a conversation of several messages is written as for answers. Padding stands on
the left, inside a batch only. Dropped condition: pictures of every layout are drawn from ``t2i sot eot
soi``. Training rows and inference go through the same lines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from limner.models.base import Reply
from limner.models.showo.config import ShowOConfig
from limner.models.showo.network import FEATURE
from limner.models.showo.tokenizer import CLOSE, OPEN
from limner.parts import Ask, Conversation, Image, Part, PartKind, Thinking
from limner.process.base import Context, Tokens

Ids = list[int]
_REMEMBERED = 50_000


@dataclass(frozen=True)
class Seeing(Tokens):
    """Tokens with the features (B, F, clip) of each row's pictures, in order, filled up with zeros."""

    features: Tensor


@dataclass
class Script:
    """A conversation as a renderer sees it: pictures as codes or as features (F, clip), turns as (role, text), the
    reply so far as ids."""

    turns: list[tuple[str, str]]
    pictures: list[Ids] = field(default_factory=list)
    said: Ids = field(default_factory=list)
    thinks: bool = False
    features: list[Tensor] = field(default_factory=list)


@dataclass
class Renderer:
    """Writes contexts for one tokenizer and one vocabulary layout."""

    config: ShowOConfig
    tokenizer: Tokenizer
    _known: dict[str, Ids] = field(default_factory=dict, repr=False)

    def ids(self, text: str) -> Ids:
        """Token ids of a text, without an end."""
        found = self._known.get(text)
        if found is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            found = self._known[text] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return found

    # sequences

    def chat(self, turns: Sequence[tuple[str, str]], *, seeing: bool = False, thinks: bool = False) -> Ids:
        """The turns, and the assistant's mark behind each of the user's. ``thinks`` puts the wish for a thought before
        the last of those; an answer that was given ends with ``eot``."""
        t = self.config.templates
        user = t.user_seeing if seeing else t.user
        last = max((i for i, (role, _) in enumerate(turns) if role == "user"), default=-1)
        ids: Ids = []
        text = ""
        for i, (role, content) in enumerate(turns):
            if role == "user":
                text += f"{user}{t.think if thinks and i == last else ''}{content}{t.assistant}"
            elif role == "assistant":
                ids += [*self.ids(f"{text} {content}"), self.config.specials.eos]
                text = ""
            else:
                text += f"{content} "
        return ids + self.ids(text) if text else ids

    def shown(self, codes: Ids) -> Ids:
        """``soi codes eoi``."""
        s, offset = self.config.specials, self.config.text_vocabulary
        return [s.soi, *(code + offset for code in codes), s.eoi]

    def before_words(self, script: Script) -> Ids:
        """What stands before an answer."""
        s = self.config.specials
        seeing = bool(script.pictures) and not script.features
        chat = self.chat(script.turns, seeing=seeing, thinks=script.thinks) + script.said
        if script.features:
            pictures = [i for one in script.features for i in (s.soi, *[FEATURE] * len(one), s.eoi)]
            return [s.mmu, *self.ids(self.config.templates.system), *pictures, *chat]
        if script.pictures:
            return [s.mmu, *(i for codes in script.pictures for i in self.shown(codes)), s.eos, *chat]
        return [s.eos, *chat]

    def before_picture(self, script: Script) -> Ids:
        """What stands before a picture, ``soi`` included. The words are cut to the budget."""
        s = self.config.specials
        plain = len(script.turns) == 1 and script.turns[0][0] == "user"
        text = self.ids(script.turns[0][1]) if plain else self.chat(script.turns)
        pictures = [i for codes in script.pictures for i in self.shown(codes)]
        return [s.t2i, *pictures, *self.told(text + script.said), s.soi]

    def told(self, ids: Ids) -> Ids:
        """``sot text eot``, cut to the text budget with ``eot`` in the last place."""
        eos, most = self.config.specials.eos, self.config.text_budget
        row = [*([] if ids[:1] == [eos] else [eos]), *ids, eos]
        return row if len(row) <= most else [*row[: most - 1], eos]

    # what a model wrote

    def thought(self, text: str) -> Ids:
        """A thought between its tags."""
        return self.ids(f"{OPEN}{text}{CLOSE}")

    def written(self, ids: Sequence[int]) -> Ids:
        """The ids before the first end token."""
        eos = self.config.specials.eos
        return list(ids[: next((k for k, i in enumerate(ids) if i == eos), len(ids))])

    def read(self, kind: PartKind, ids: Sequence[int]) -> str:
        """The text of a sampled part. A thought without its closing tag is still a thought: its ``raw`` tells."""
        text = self._decode(self.written(ids))
        return text.removeprefix(OPEN).split(CLOSE)[0].strip() if kind == "thinking" else text

    def _decode(self, ids: Ids) -> str:
        return str(self.tokenizer.decode([i for i in ids if i < self.config.text_vocabulary], False)).strip()

    def said(self, part: Part) -> Ids:
        """A finished words part as it stands in front of the next one."""
        assert not isinstance(part, Image)
        if part.raw is not None:
            return self.written(part.raw)
        return self.thought(part.text) if isinstance(part, Thinking) else self.ids(part.text)

    # contexts

    def script(
        self,
        conversation: Conversation,
        reply: Reply,
        ask: Ask,
        codes: Callable[[Image], Ids],
        features: Callable[[Image], Tensor] | None = None,
    ) -> Script:
        """A conversation and the parts made so far. ``codes`` gives a picture's codes; ``features`` what words are to
        see in their place."""
        if not conversation:
            raise ValueError("the conversation is empty: it needs at least one message")
        script = Script([], thinks=ask.kind == "thinking" or any(isinstance(part, Thinking) for part in reply))

        def show(part: Image) -> None:
            if features is None or ask.kind == "image":
                script.pictures.append(codes(part))
            else:
                script.features.append(features(part))

        for message in conversation:
            words = []
            for part in message.parts:
                if isinstance(part, Image):
                    show(part)
                else:
                    words.append(f"{OPEN}{part.text}{CLOSE}" if isinstance(part, Thinking) else part.text)
            script.turns.append((message.role, " ".join(words)))
        for part in reply:
            if isinstance(part, Image):
                show(part)
            else:
                script.said += self.said(part)
        return script

    def context(self, scripts: Sequence[Script], kind: PartKind, drop: Sequence[bool] | None = None) -> Context:
        """The context of the next part of every script. ``drop`` takes the condition away from a row (training)."""
        s = self.config.specials
        if kind == "image":
            empty = [s.t2i, *self.told([]), s.soi]
            flags = drop if drop is not None else [False] * len(scripts)
            given = [empty if gone else self.before_picture(x) for x, gone in zip(scripts, flags, strict=True)]
            return Context(self.tokens(given, [s.eoi]), self.tokens([empty] * len(given), [s.eoi]))
        if drop is not None:
            raise ValueError("only pictures are trained without their condition; leave drop out for words")
        tokens = self.tokens([self.before_words(script) for script in scripts], [])
        if any(script.features for script in scripts):
            nothing = torch.zeros(0, self.config.clip)
            each = [torch.cat(script.features) if script.features else nothing for script in scripts]
            tokens = Seeing(tokens.before, tokens.kept, tokens.after, pad_sequence(each, batch_first=True))
        return Context(tokens, tokens)

    def tokens(self, rows: Sequence[Ids], after: Ids, width: int = 0) -> Tokens:
        """Rows of ids padded on the left to the longest (or to ``width``), with the same ids after the part."""
        width = max(width, max(map(len, rows)))
        before = torch.tensor([[self.config.specials.pad] * (width - len(row)) + row for row in rows])
        missing = torch.tensor([width - len(row) for row in rows])
        kept = torch.arange(width)[None, :] >= missing[:, None]
        return Tokens(before, kept, torch.tensor([after] * len(rows), dtype=torch.int64).view(len(rows), len(after)))

    def values(self, rows: Sequence[Ids], length: int = 0) -> Tensor:
        """(B, N) ids filled up with ``eot`` to the longest row or to ``length``; a longer row is an error."""
        longest = max(map(len, rows))
        if length and longest > length:
            raise ValueError(f"an answer has {longest} tokens, but only {length} are there for it; raise the length")
        eos = self.config.specials.eos
        return torch.tensor([row + [eos] * ((length or longest) - len(row)) for row in rows])
