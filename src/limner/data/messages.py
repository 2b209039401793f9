"""The messages format, limner's one format on disk: a row is a conversation of typed parts, one JSON object a line.

    {"id": "7", "messages": [
        {"role": "user", "content": [{"type": "image", "path": "cat.png"}, {"type": "text", "text": "at night"}]},
        {"role": "assistant", "content": [{"type": "thinking", "text": "…"}, {"type": "image", "path": "7.png"}]}]}

Pictures stand on either side and in any number. A picture is named by ``path`` (from the file's own folder), or is here
as ``png`` (base64); one that says neither is the next of the row's list ``images``. Text may be a plain string, and
then marks in it stand for pictures, as in the rows of Nexus-Gen (see ``marks``). A row read is checked: whatever is
wrong is a ``BadRow`` with file, row and field.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from limner.data.marks import MARK, pieces
from limner.parts import Conversation, Image, Message, Part, Raw, Role, Text, Thinking
from limner.request import read_content, read_picture

ROLES: tuple[str, ...] = get_args(Role)
OWN = frozenset({"id", "source", "messages", "images", "facts", "tags"})  # what a row says to limner; the rest is kept
TaskKind = Literal["talk", "understand", "draw", "edit", "story"]


class Place(NamedTuple):
    """Where a row stands; rows are counted from 1, as lines are."""

    file: str
    row: int

    def __str__(self) -> str:
        return f"{self.file}, row {self.row}"


class BadRow(ValueError):
    """A row that cannot be used: where it stands, which field is wrong ("" for the row as a whole), and why."""

    def __init__(self, place: Place, name: str, reason: str) -> None:
        super().__init__(f"{place}{', ' + name if name else ''}: {reason}")
        self.place, self.field, self.reason = place, name, reason

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"file": self.place.file, "row": self.place.row, "field": self.field, "reason": self.reason}


@dataclass(frozen=True)
class Picture:
    """A picture that is named and not yet read: a file, or the bytes of one. ``raw`` are its codes, if they are known;
    ``name`` is how the row calls it and ``where`` its field."""

    path: Path | None = None
    data: bytes | None = field(default=None, repr=False)
    raw: Raw | None = None
    name: str = ""
    where: str = ""
    kind: Literal["image"] = field(default="image", init=False)

    def read(self) -> Image:
        """The picture itself, RGB. ValueError for one that is missing or cannot be read."""
        if self.path is not None:
            return Image(read_picture(self.path), self.raw)
        assert self.data is not None
        return Image(read_content(self.data), self.raw)


Said = Text | Thinking | Picture


@dataclass(frozen=True)
class Turn:
    """One message of a row."""

    role: Role
    parts: tuple[Said, ...]

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """The pictures in it."""
        return tuple(part for part in self.parts if isinstance(part, Picture))


@dataclass(frozen=True)
class Row:
    """A row of data, checked. ``about`` is what else the row says."""

    place: Place
    turns: tuple[Turn, ...]
    id: str = ""
    source: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def pictures(self) -> Iterator[Picture]:
        """Every picture, in the order of the row."""
        return (picture for turn in self.turns for picture in turn.pictures)

    @property
    def task(self) -> TaskKind:
        """What the row teaches, told by where its pictures are: none (talk), the user's alone (understand), one of the
        model's (draw), one of the model's behind others (edit), several of the model's (story)."""
        given = sum(len(turn.pictures) for turn in self.turns if turn.role != "assistant")
        made = sum(len(turn.pictures) for turn in self.turns if turn.role == "assistant")
        if not made:
            return "understand" if given else "talk"
        return "story" if made > 1 else "edit" if given else "draw"

    def conversation(self) -> Conversation:
        """The row with its pictures read. Raises BadRow for one that cannot be."""
        return tuple(Message(turn.role, tuple(self._read(part) for part in turn.parts)) for turn in self.turns)

    def _read(self, part: Said) -> Part:
        if not isinstance(part, Picture):
            return part
        try:
            return part.read()
        except ValueError as error:
            raise BadRow(self.place, part.where, str(error)) from None

    def to_json(self) -> dict[str, Any]:
        """The row as typed content. Pictures are named as they were; those that are bytes come as ``png``."""
        messages = [{"role": turn.role, "content": [_part_json(part) for part in turn.parts]} for turn in self.turns]
        own: dict[str, Any] = {"id": self.id, "source": self.source, "messages": messages}
        own |= {"facts": dict(self.facts), "tags": list(self.tags)}
        return {key: value for key, value in own.items() if value} | dict(self.about)


def _part_json(part: Said) -> dict[str, Any]:
    value: dict[str, Any] = {"type": part.kind}
    if isinstance(part, Picture):
        value |= {"path": part.name or str(part.path)} if part.path is not None else {"png": _base64(part.data or b"")}
    else:
        value["text"] = part.text
    return value if part.raw is None else value | {"raw": list(part.raw)}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def read_row(
    value: Any, place: Place, folder: Path | None = None, members: Mapping[str, bytes] | None = None, *,
    answered: bool = True,
) -> Row:  # fmt: skip
    """The row that JSON values say. ``folder`` is where its pictures' paths begin, ``members`` are files that travel
    with the row and come first. ``answered``: it must end with the model's message. Raises BadRow for anything wrong.

    Whether a picture is there is seen when it is read, or with ``check_pictures``.
    """
    return _Reader(place, folder, members or {}).row(value, answered)


def check_pictures(row: Row, *, read: bool) -> None:
    """Raise BadRow for a picture that is not there, or (``read``) that cannot be read."""
    for picture in row.pictures:
        if read:
            row._read(picture)
        elif picture.path is not None and not picture.path.is_file():
            raise BadRow(row.place, picture.where, f"there is no picture file {str(picture.path)!r}")


class _Reader:
    """Reads one row; knows where it is, for the errors."""

    def __init__(self, place: Place, folder: Path | None, members: Mapping[str, bytes]) -> None:
        self.place, self.folder, self.members = place, folder, members

    def bad(self, name: str, reason: str) -> BadRow:
        return BadRow(self.place, name, reason)

    def row(self, value: Any, answered: bool) -> Row:
        if not isinstance(value, Mapping):
            raise self.bad("", f"a row is a JSON object with messages, not {_told(value)}")
        value = {key: each for key, each in value.items() if each is not None}
        if "messages" not in value:
            raise self.bad("messages", f"is missing; the row has: {', '.join(map(str, value)) or 'nothing'}")
        images = value.get("images", [])
        if not isinstance(images, Sequence) or isinstance(images, str):
            raise self.bad("images", f"must be a list of pictures, not {_told(images)}")
        listed = [self._listed(each, f"images[{i}]") for i, each in enumerate(images)]
        rest = iter(listed)
        messages = value["messages"]
        if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
            raise self.bad("messages", f"must be a list of messages, not {_told(messages)}")
        turns = tuple(self._turn(each, f"messages[{i}]", rest) for i, each in enumerate(messages))
        left = sum(1 for _ in rest)
        if left:
            raise self.bad(
                "images", f"has {len(listed)} pictures, but the messages have places for {len(listed) - left}"
            )
        self._order(turns, answered)
        tags = value.get("tags", [])
        if not isinstance(tags, Sequence) or isinstance(tags, str) or not all(isinstance(tag, str) for tag in tags):
            raise self.bad("tags", f"must be a list of words, not {_told(tags)}")
        facts = value.get("facts", {})
        if not isinstance(facts, Mapping):
            raise self.bad("facts", f"must be an object, not {_told(facts)}")
        about = {key: each for key, each in value.items() if key not in OWN}
        return Row(self.place, turns, self._name(value, "id"), self._name(value, "source"), facts, tuple(tags), about)

    def _name(self, value: Mapping[str, Any], key: str) -> str:
        name = value.get(key, "")
        if isinstance(name, bool) or not isinstance(name, str | int):
            raise self.bad(key, f"must be a string, not {_told(name)}")
        return str(name)

    def _order(self, turns: tuple[Turn, ...], answered: bool) -> None:
        """A system message at most once and first; then user and assistant by turns."""
        spoken = turns[1:] if turns[0].role == "system" else turns
        first = len(turns) - len(spoken)
        for i, turn in enumerate(spoken):
            wanted = "assistant" if i % 2 else "user"
            if turn.role != wanted:
                raise self.bad(f"messages[{first + i}].role", f"is {turn.role}, but here speaks the {wanted}")
        if not spoken or (answered and spoken[-1].role != "assistant"):
            raise self.bad("messages", "end without a message of the assistant, so there is nothing to learn")

    def _turn(self, value: Any, name: str, images: Iterator[Picture]) -> Turn:
        if not isinstance(value, Mapping):
            raise self.bad(name, f"must be an object with role and content, not {_told(value)}")
        role, content = value.get("role"), value.get("content")
        if role not in ROLES:
            raise self.bad(f"{name}.role", f"is {_told(role)}; it must be one of: {', '.join(ROLES)}")
        extra = sorted(str(key) for key, each in value.items() if key not in ("role", "content") and each is not None)
        if extra:
            raise self.bad(f"{name}.{extra[0]}", "is not known; a message has role and content")
        where = f"{name}.content"
        if isinstance(content, str):
            said = tuple(self._marked(content, where, images))
        elif isinstance(content, Sequence):
            said = tuple(self._part(each, f"{where}[{i}]", role, images) for i, each in enumerate(content))
        else:
            raise self.bad(where, f"must be a text or a list of parts, not {_told(content)}")
        if not said:
            raise self.bad(where, "is empty")
        if role == "system" and any(not isinstance(part, Text) for part in said):
            raise self.bad(where, "of the system must be text alone")
        return Turn(role, said)

    def _marked(self, content: str, where: str, images: Iterator[Picture]) -> Iterator[Said]:
        """A plain string, in which marks stand for the next pictures of the row's list."""
        for piece in pieces(content):
            if piece is not None:
                yield Text(piece)
                continue
            yield self._next(where, f"has more marks {MARK} than the row's list images has pictures", images)

    def _next(self, where: str, otherwise: str, images: Iterator[Picture]) -> Picture:
        picture = next(images, None)
        if picture is None:
            raise self.bad(where, otherwise)
        return picture

    def _part(self, value: Any, name: str, role: str, images: Iterator[Picture]) -> Said:
        if isinstance(value, str):
            value = {"type": "text", "text": value}
        if not isinstance(value, Mapping):
            raise self.bad(name, f"must be an object with a type, not {_told(value)}")
        value = {key: each for key, each in value.items() if each is not None}
        kind = value.get("type")
        known = {"text": ("text", "raw"), "thinking": ("text", "raw"), "image": ("path", "png", "bytes", "raw")}
        if kind not in known:
            raise self.bad(f"{name}.type", f"is {_told(kind)}; it must be one of: {', '.join(known)}")
        extra = sorted(str(key) for key in value.keys() - {"type", *known[kind]})
        if extra:
            raise self.bad(f"{name}.{extra[0]}", f"is not known; a part of type {kind} has: {', '.join(known[kind])}")
        raw = self._raw(value.get("raw"), f"{name}.raw")
        if kind == "image":
            if not value.keys() & {"path", "png", "bytes"}:
                otherwise = "says neither path nor png, and the row's list images has no picture left for it"
                return self._next(name, otherwise, images)
            return replace(self._picture(value, name), raw=raw)
        if kind == "thinking" and role != "assistant":
            raise self.bad(name, f"is a thought of the {role}; only the assistant thinks")
        text = value.get("text")
        if not isinstance(text, str) or not text:
            raise self.bad(f"{name}.text", f"must be words, not {_told(text)}")
        if MARK in text:
            raise self.bad(f"{name}.text", f"holds the mark {MARK}; among typed parts a picture is a part of its own")
        return Text(text, raw) if kind == "text" else Thinking(text, raw)

    def _raw(self, value: Any, name: str) -> Raw | None:
        if value is None:
            return None
        if not isinstance(value, Sequence) or any(type(each) is not int for each in value):
            raise self.bad(name, "must be a list of whole numbers")
        return tuple(value)

    def _listed(self, value: Any, name: str) -> Picture:
        return self._picture({"path": value} if isinstance(value, str) else value, name)

    def _picture(self, value: Any, name: str) -> Picture:
        if not isinstance(value, Mapping):
            raise self.bad(name, f"must name a picture, not {_told(value)}")
        data, path = value.get("bytes"), value.get("path")
        if isinstance(data, bytes):
            return Picture(data=data, name=str(path or ""), where=name)
        if "png" in value:
            try:
                return Picture(data=base64.b64decode(value["png"], validate=True), where=name)
            except (binascii.Error, ValueError, TypeError):
                raise self.bad(f"{name}.png", "is not base64") from None
        if not isinstance(path, str) or not path.strip():
            raise self.bad(name, f"must name a picture file, not {_told(path)}")
        if "://" in path:
            raise self.bad(name, f"is an address ({path}); download the picture and give its file")
        if path in self.members:
            return Picture(data=self.members[path], name=path, where=name)
        if self.folder is None:
            known = ", ".join(sorted(self.members)) or "nothing"
            raise self.bad(name, f"is not among what travels with the row: {path!r}; there is: {known}")
        return Picture(path=self.folder / path, name=path, where=name)


def _told(value: Any) -> str:
    """A value in an error, short."""
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
