"""What is said and shown: typed parts, messages, wishes and verdicts as plain values.

Nothing here knows a tensor, a tag or a family. Values are equal when their contents are equal and go to and from
JSON without loss (pictures as base64 PNG). ``raw`` holds the very tokens or codes that were sampled, so that a
likelihood can score what the model did and not what its text or pixels look like after a round trip.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

Role = Literal["system", "user", "assistant"]
PartKind = Literal["text", "thinking", "image"]
Raw = tuple[int, ...]


@dataclass(frozen=True)
class Text:
    """Words that are meant to be read. ``raw`` are the sampled token ids, if a model wrote them."""

    text: str
    raw: Raw | None = None
    kind: Literal["text"] = field(default="text", init=False)


@dataclass(frozen=True)
class Thinking:
    """Words that a model wrote for itself before it answered or drew."""

    text: str
    raw: Raw | None = None
    kind: Literal["thinking"] = field(default="thinking", init=False)


@dataclass(frozen=True, eq=False)
class Image:
    """A picture (RGB, PIL). ``raw`` are the sampled picture codes, if a model drew it."""

    image: Picture
    raw: Raw | None = None
    kind: Literal["image"] = field(default="image", init=False)

    def _content(self) -> tuple[Any, ...]:
        return self.image.size, self.image.convert("RGB").tobytes(), self.raw

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Image) and self._content() == other._content()

    def __hash__(self) -> int:
        return hash(self._content())


Part = Text | Thinking | Image


@dataclass(frozen=True)
class Message:
    """One turn of a conversation: who speaks, and in which parts."""

    role: Role
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The text parts, joined by a blank."""
        return " ".join(part.text for part in self.parts if isinstance(part, Text))


Conversation = tuple[Message, ...]


def user(*parts: Part | str) -> Message:
    """A user's message; plain strings become ``Text``."""
    return Message("user", tuple(Text(part) if isinstance(part, str) else part for part in parts))


def assistant(*parts: Part | str) -> Message:
    """A model's message; plain strings become ``Text``."""
    return Message("assistant", tuple(Text(part) if isinstance(part, str) else part for part in parts))


@dataclass(frozen=True)
class Ask:
    """One wanted part of a reply.

    ``limit`` is the most tokens of a text; ``size`` the side of a picture in pixels (0: the model's own); ``steps`` how
    many steps a picture or text is made in (0: the model's own default); ``guidance`` the strength w in
    (1 + w) conditional - w unconditional (None: the model's own default); ``temperature`` 0 is greedy. ``known`` with
    ``mask`` (rows of booleans over the picture's code grid, True = make this one anew) asks to keep the rest as it is.
    ``fast`` names a way to make words in fewer passes, such as "threshold" or "threshold+dual" ("": the exact way).
    ``shape`` (width, height) in pixels asks for a picture that is not square, in place of ``size``.
    """

    kind: PartKind
    limit: int = 0
    size: int = 0
    steps: int = 0
    guidance: float | None = None
    temperature: float | None = None
    known: Part | None = None
    mask: tuple[bool, ...] | None = None
    fast: str = ""
    shape: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for name in ("limit", "size", "steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} must be 0 (the model's default) or more")
        for name in ("guidance", "temperature"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise ValueError(f"{name}={value} must be a finite number of at least 0")
        if (self.known is None) != (self.mask is None):
            raise ValueError("known and mask come together: give both, or neither")
        if self.known is not None and self.known.kind != self.kind:
            raise ValueError(f"a {self.kind} cannot be completed from a known part of kind {self.known.kind}")


Plan = tuple[Ask, ...]


@dataclass(frozen=True)
class Task:
    """What is asked (a conversation) and what a judge may know about it."""

    prompt: Conversation
    facts: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    id: str = ""


@dataclass(frozen=True)
class Sample:
    """A task answered, or half answered: ``progress`` is the share of the plan that is done, in [0, 1]."""

    task: Task
    reply: tuple[Part, ...]
    seed: int = 0
    progress: float = 1.0

    def first(self, kind: PartKind) -> Part | None:
        """The first part of a kind, or None."""
        return next((part for part in self.reply if part.kind == kind), None)

    @property
    def image(self) -> Picture | None:
        """The first picture of the reply, or None."""
        part = self.first("image")
        return part.image if isinstance(part, Image) else None

    @property
    def thinking(self) -> str | None:
        """The first thought of the reply, or None."""
        part = self.first("thinking")
        return part.text if isinstance(part, Thinking) else None

    @property
    def text(self) -> str | None:
        """The first text of the reply, or None."""
        part = self.first("text")
        return part.text if isinstance(part, Text) else None


@dataclass(frozen=True)
class Verdict:
    """A judge's opinion: a score, named partial scores, and the reason. ``score`` None means: could not be judged."""

    score: float | None
    parts: Mapping[str, float | None] = field(default_factory=dict)
    why: str = ""


def _png(picture: Picture) -> str:
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def part_to_json(part: Part) -> dict[str, Any]:
    """A part as plain JSON values."""
    value: dict[str, Any] = {"type": part.kind}
    if isinstance(part, Image):
        value["png"] = _png(part.image)
    else:
        value["text"] = part.text
    if part.raw is not None:
        value["raw"] = list(part.raw)
    return value


def part_from_json(value: Mapping[str, Any]) -> Part:
    """The part that ``part_to_json`` wrote."""
    raw = tuple(value["raw"]) if value.get("raw") is not None else None
    kind = value.get("type")
    if kind == "text":
        return Text(value["text"], raw)
    if kind == "thinking":
        return Thinking(value["text"], raw)
    if kind == "image":
        from PIL import Image as pil

        with pil.open(io.BytesIO(base64.b64decode(value["png"]))) as picture:
            return Image(picture.convert("RGB"), raw)
    raise ValueError(f"a part's type is text, thinking or image, not {kind!r}")


def message_to_json(message: Message) -> dict[str, Any]:
    """A message as plain JSON values."""
    return {"role": message.role, "content": [part_to_json(part) for part in message.parts]}


def message_from_json(value: Mapping[str, Any]) -> Message:
    """The message that ``message_to_json`` wrote; a plain string as content is one text part."""
    role, content = value["role"], value["content"]
    if role not in ("system", "user", "assistant"):
        raise ValueError(f"a message's role is system, user or assistant, not {role!r}")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    return Message(role, tuple(part_from_json(part) for part in content))
