"""Other people's rows become rows of messages."""

import pytest

from limner.data.forms import form_of, formed
from limner.data.messages import Place, read_row


def said(value, form=""):
    """(form, role and parts of each message) of a row."""
    members = dict.fromkeys(("a.png", "b.png", "c.png"), b"")
    row = read_row(formed(value, form), Place("x", 1), None, members)
    parts = [
        (turn.role, [part.name if part.kind == "image" else f"{part.kind}: {part.text}" for part in turn.parts])
        for turn in row.turns
    ]
    return form or form_of(value), parts


def test_llava():
    value = {"id": 3, "image": "a.png", "conversations": [{"from": "human", "value": "<image>\nwhat?"},
             {"from": "gpt", "value": "<think>a tail</think>a cat"}]}  # fmt: skip
    assert said(value) == (
        "llava",
        [("user", ["a.png", "text: \nwhat?"]), ("assistant", ["thinking: a tail", "text: a cat"])],
    )


def test_llava_without_a_mark_shows_its_picture_first():
    value = {"image": "a.png", "conversations": [{"from": "human", "value": "what?"}, {"from": "gpt", "value": "x"}]}
    assert said(value)[1][0] == ("user", ["a.png", "text: \nwhat?"])


def test_edits_questions_and_captions():
    edit = {"source": "a.png", "target": "b.png", "instruction": "make it blue"}
    assert said(edit) == ("edits", [("user", ["a.png", "text: make it blue"]), ("assistant", ["b.png"])])
    question = {"image": {"bytes": None, "path": "a.png"}, "question": "what?", "answer": "a cat"}
    assert said(question) == ("questions", [("user", ["a.png", "text: what?"]), ("assistant", ["text: a cat"])])
    caption = {"file_name": "a.png", "text": "a cat"}
    assert said(caption) == ("captions", [("user", ["text: a cat"]), ("assistant", ["a.png"])])


def test_a_thought_in_tags_before_a_picture():
    value = {"images": ["a.png"], "messages": [{"role": "user", "content": "x"},
             {"role": "assistant", "content": "<think>1+1=2</think>\nHere: <image>"}]}  # fmt: skip
    assert said(value)[1][1] == ("assistant", ["thinking: 1+1=2", "text: Here: ", "a.png"])


@pytest.mark.parametrize(
    ("value", "form", "reason"),
    [
        ({"foo": 1}, "", "is none of the forms messages, llava, edits, questions, captions; it has: foo"),
        ([], "", "is none of the forms"),
        ({"image": "a.png"}, "captions", "has none of: text, caption, prompt; it has: image"),
        ({"image": "a.png"}, "llava", "is not of the form llava"),
        ({}, "rows", "no form called 'rows'"),
    ],
)
def test_what_is_of_no_form_is_told(value, form, reason):
    with pytest.raises(ValueError, match=reason):
        formed(value, form)
