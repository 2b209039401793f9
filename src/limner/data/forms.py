"""Rows as others write them, turned into rows of messages: one function a form, from JSON values to JSON values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from limner.data.files import captioned
from limner.data.marks import MARK, pieces, thought_of

Form = Callable[[Mapping[str, Any]], dict[str, Any]]

_SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
_PICTURE = ("image", "file_name", "path", "png", "jpg")
_WORDS = ("text", "caption", "prompt")
_BEFORE = ("source", "input_image", "image")
_AFTER = ("target", "edited_image", "output_image")
_INSTRUCTION = ("instruction", "edit_instruction", "prompt", "edit_prompt")


def _first(value: Mapping[str, Any], names: Sequence[str]) -> Any:
    """The first of these that the row has. Raises ValueError for none of them."""
    for name in names:
        if value.get(name) is not None:
            return value[name]
    raise ValueError(f"has none of: {', '.join(names)}; it has: {', '.join(map(str, value))}")


def _named(picture: Any) -> dict[str, Any]:
    """A picture part from a path, or from what `datasets` calls a picture."""
    if isinstance(picture, Mapping):
        return {"type": "image"} | {key: picture[key] for key in ("bytes", "path") if picture.get(key) is not None}
    return {"type": "image", "path": picture}


def _row(value: Mapping[str, Any], user: list[dict[str, Any]], assistant: list[dict[str, Any]]) -> dict[str, Any]:
    said = [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    return {key: str(value[key]) for key in ("id", "source_name") if key in value} | {"messages": said}


def messages(value: Mapping[str, Any]) -> dict[str, Any]:
    """Rows of messages, typed or with marks; a thought in tags that begins an answer becomes a part of its own."""
    found = []
    for message in value["messages"]:
        content = message.get("content") if isinstance(message, Mapping) else None
        thought, rest = thought_of(content) if isinstance(content, str) else ("", "")
        if not thought or message.get("role") != "assistant":
            found.append(message)
            continue
        said = [{"type": "image"} if piece is None else {"type": "text", "text": piece} for piece in pieces(rest)]
        found.append({"role": "assistant", "content": [{"type": "thinking", "text": thought}, *said]})
    return {**value, "messages": found}


def llava(value: Mapping[str, Any]) -> dict[str, Any]:
    """``{"image": path or paths, "conversations": [{"from": "human", "value": text with marks}, ...]}``."""
    given = value.get("image", value.get("images", []))
    images = [given] if isinstance(given, str | Mapping) else list(given or [])
    said = [
        {"role": _SPEAKERS.get(turn.get("from"), turn.get("from")), "content": turn.get("value")}
        for turn in value["conversations"]
    ]
    if images and said and not any(MARK in str(turn["content"]) for turn in said):
        said[0]["content"] = f"{MARK * len(images)}\n{said[0]['content']}"
    kept = {key: each for key, each in value.items() if key not in ("image", "images", "conversations")}
    return messages(kept | {"images": images, "messages": said})


def captions(value: Mapping[str, Any]) -> dict[str, Any]:
    """``{"image": path, "text": words}``: the words are asked for, the picture is the answer."""
    said = captioned(str(_first(value, _WORDS)), "")["messages"]
    return _row(value, said[0]["content"], [_named(_first(value, _PICTURE))])


def questions(value: Mapping[str, Any]) -> dict[str, Any]:
    """``{"image": path, "question": words, "answer": words}``."""
    asked = [_named(_first(value, _PICTURE)), {"type": "text", "text": str(_first(value, ("question",)))}]
    return _row(value, asked, [{"type": "text", "text": str(_first(value, ("answer",)))}])


def edits(value: Mapping[str, Any]) -> dict[str, Any]:
    """``{"source": path, "instruction": words, "target": path}``."""
    asked = [_named(_first(value, _BEFORE)), {"type": "text", "text": str(_first(value, _INSTRUCTION))}]
    return _row(value, asked, [_named(_first(value, _AFTER))])


FORMS: dict[str, Form] = {
    "messages": messages,
    "llava": llava,
    "edits": edits,
    "questions": questions,
    "captions": captions,
}
# what tells a form: keys that all stand in the row, one of each group
_TELLS: dict[str, tuple[Sequence[str], ...]] = {
    "messages": (("messages",),),
    "llava": (("conversations",),),
    "edits": (_BEFORE, _AFTER, _INSTRUCTION),
    "questions": (_PICTURE, ("question",), ("answer",)),
    "captions": (_PICTURE, _WORDS),
}


def form_of(value: Any) -> str:
    """The form that a row is written in. Raises ValueError for one that is none of them."""
    if isinstance(value, Mapping):
        for name, groups in _TELLS.items():
            if all(any(value.get(key) is not None for key in group) for group in groups):
                return name
    keys = ", ".join(map(str, value)) if isinstance(value, Mapping) else type(value).__name__
    raise ValueError(f"is none of the forms {', '.join(FORMS)}; it has: {keys}")


def formed(value: Any, form: str = "") -> dict[str, Any]:
    """A row of messages from one of another form ("": told by its keys). Raises ValueError where it cannot be."""
    name = form or form_of(value)
    if name not in FORMS:
        raise ValueError(f"no form called {name!r}; there are: {', '.join(FORMS)}")
    if not isinstance(value, Mapping):
        raise ValueError(f"is no object of the form {name}")
    try:
        return FORMS[name](value)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"is not of the form {name}: {error!r}") from None
