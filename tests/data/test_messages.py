"""Rows of messages: what is read, and how what is wrong is told."""

import base64
import io

import pytest
from PIL import Image as pil

from limner.data.messages import BadRow, Place, Row, check_pictures, read_row
from limner.parts import Image, Text, Thinking

PLACE = Place("rows.jsonl", 3)


def png(colour="red"):
    buffer = io.BytesIO()
    pil.new("RGB", (6, 4), colour).save(buffer, format="PNG")
    return buffer.getvalue()


def row(messages, **more):
    return {"messages": messages, **more}


def said(role, *content):
    return {"role": role, "content": list(content) if content and not isinstance(content[0], str) else content[0]}


TYPED = row(
    [
        said("system", "You draw."),
        said("user", {"type": "image", "path": "cat.png"}, {"type": "text", "text": "at night"}),
        said("assistant", {"type": "thinking", "text": "dark"}, {"type": "image", "path": "night.png", "raw": [3, 1]}),
        said("user", "and by day"),
        said("assistant", {"type": "text", "text": "Here."}, {"type": "image", "path": "day.png"}),
    ],
    id="7", source="mine", facts={"a": 1}, tags=["x"], group="edits",
)  # fmt: skip


def test_a_typed_row_of_several_turns_with_pictures_on_both_sides(tmp_path):
    for name in ("cat", "night", "day"):
        (tmp_path / f"{name}.png").write_bytes(png())
    found = read_row(TYPED, PLACE, tmp_path)
    assert (found.id, found.source, found.facts, found.tags, found.task) == ("7", "mine", {"a": 1}, ("x",), "story")
    assert found.about == {"group": "edits"}
    conversation = found.conversation()
    assert [message.role for message in conversation] == ["system", "user", "assistant", "user", "assistant"]
    assert conversation[2].parts == (Thinking("dark"), Image(pil.new("RGB", (6, 4), "red"), (3, 1)))
    assert conversation[3].parts == (Text("and by day"),)


def test_a_row_goes_to_json_and_comes_back(tmp_path):
    found = read_row(TYPED, PLACE, tmp_path)
    again = read_row(found.to_json(), PLACE, tmp_path)
    assert again.to_json() == found.to_json()
    assert again.about == found.about and [p.path for p in again.pictures] == [p.path for p in found.pictures]


def test_rows_of_nexus_gen_are_read_as_they_are(tmp_path):
    value = row(
        [
            said("user", "<image> make it blue"),
            said("assistant", "Here is the image: <image>"),
            said("user", "larger"),
            said("assistant", "<image>"),
        ],
        images=["a.png", "b.png", "c.png"],
    )
    found = read_row(value, PLACE, tmp_path)
    assert [[part.kind for part in turn.parts] for turn in found.turns] == [
        ["image", "text"], ["text", "image"], ["text"], ["image"],
    ]  # fmt: skip
    assert found.turns[0].parts[1].text == " make it blue"  # the words stand as they stood
    assert [picture.name for picture in found.pictures] == ["a.png", "b.png", "c.png"]


def test_a_typed_picture_that_says_nothing_is_the_next_of_the_list(tmp_path):
    value = row([said("user", {"type": "image", "text": None}), said("assistant", "a cat")], images=["a.png"])
    assert [p.path for p in read_row(value, PLACE, tmp_path).pictures] == [tmp_path / "a.png"]


def test_pictures_inside_the_row_and_beside_it():
    inside = {"type": "image", "png": base64.b64encode(png("blue")).decode()}
    value = row([said("user", inside, {"type": "image", "path": "0.png"}), said("assistant", "two")])
    found = read_row(value, PLACE, None, {"0.png": png("red")})
    colours = [part.image.getpixel((0, 0)) for part in found.conversation()[0].parts]
    assert colours == [(0, 0, 255), (255, 0, 0)]


@pytest.mark.parametrize(
    ("user", "assistant", "task"),
    [
        ("hello", "hello", "talk"),
        ("<image>what?", "a cat", "understand"),
        ("a cat", "<image>", "draw"),
        ("<image>blue", "<image>", "edit"),
        ("two cats", "<image> and <image>", "story"),
    ],
)
def test_the_task_is_told_by_where_the_pictures_are(user, assistant, task):
    marks = (user + assistant).count("<image>")
    value = row([said("user", user), said("assistant", assistant)], images=["x.png"] * marks)
    assert read_row(value, PLACE, None, {"x.png": b""}).task == task


OK = said("assistant", "yes")
BAD = [
    ([], "", "a row is a JSON object"),
    ({"text": "x"}, "messages", "is missing; the row has: text"),
    (row([]), "messages", "must be a list of messages"),
    (row("x"), "messages", "must be a list of messages"),
    (row([said("user", "x")]), "messages", "nothing to learn"),
    (row([OK]), "messages[0].role", "here speaks the user"),
    (row([said("user", "x"), said("user", "y"), OK]), "messages[1].role", "here speaks the assistant"),
    (row([{"role": "bot", "content": "x"}, OK]), "messages[0].role", "must be one of: system, user, assistant"),
    (row([{"role": "user", "content": "x", "name": "y"}, OK]), "messages[0].name", "is not known"),
    (row([{"role": "user", "content": ""}, OK]), "messages[0].content", "is empty"),
    (row([{"role": "user", "content": 3}, OK]), "messages[0].content", "must be a text or a list"),
    (row([said("user", {"type": "text", "txt": "x"}), OK]), "messages[0].content[0].txt", "is not known"),
    (row([said("user", {"type": "text", "text": ""}), OK]), "messages[0].content[0].text", "must be words"),
    (row([said("user", {"type": "text", "text": "<image>"}), OK]), "messages[0].content[0].text", "holds the mark"),
    (row([said("user", {"type": "video"}), OK]), "messages[0].content[0].type", "text, thinking, image"),
    (row([said("user", {"type": "thinking", "text": "x"}), OK]), "messages[0].content[0]", "only the assistant"),
    (row([said("user", {"type": "image"}), OK]), "messages[0].content[0]", "neither path nor png"),
    (row([said("user", {"type": "image", "png": "%"}), OK]), "messages[0].content[0].png", "is not base64"),
    (row([said("user", {"type": "image", "path": "http://x/y.png"}), OK]), "messages[0].content[0]", "is an address"),
    (row([said("user", {"type": "image", "path": "a", "raw": ["x"]}), OK]), "messages[0].content[0].raw", "numbers"),
    (row([said("user", "<image>"), OK]), "messages[0].content", "more marks"),
    (row([said("user", "x"), OK], images=["a.png"]), "images", "has 1 pictures, but the messages have places for 0"),
    (row([said("user", "x"), OK], images="a.png"), "images", "must be a list"),
    (row([said("user", "x"), OK], images=[3]), "images[0]", "must name a picture"),
    (row([said("user", "x"), OK], tags="a"), "tags", "must be a list of words"),
    (row([said("user", "x"), OK], facts=[1]), "facts", "must be an object"),
    (row([said("user", "x"), OK], id=[1]), "id", "must be a string"),
    (row([said("system", {"type": "image", "path": "a"}), said("user", "x"), OK]), "messages[0].content", "text alone"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "field", "reason"), BAD)
def test_what_is_wrong_is_told_with_file_row_and_field(value, field, reason, tmp_path):
    with pytest.raises(BadRow) as told:
        read_row(value, PLACE, tmp_path)
    assert told.value.field == field and reason in told.value.reason
    assert str(told.value).startswith("rows.jsonl, row 3")


def test_prompts_may_end_with_the_user():
    assert isinstance(read_row(row([said("user", "x")]), PLACE, answered=False), Row)


def test_missing_and_damaged_pictures_are_bad_rows(tmp_path):
    (tmp_path / "cut.png").write_bytes(png()[:40])
    for name, read, reason in (("none.png", False, "there is no picture"), ("cut.png", True, "cut.png")):
        found = read_row(row([said("user", {"type": "image", "path": name}), OK]), PLACE, tmp_path)
        with pytest.raises(BadRow, match=reason) as told:
            check_pictures(found, read=read)
        assert told.value.field == "messages[0].content[0]"
    check_pictures(found, read=False)  # it is there
    with pytest.raises(BadRow, match="this is no picture that can be read"):
        read_row(
            row([said("user", {"type": "image", "path": "0.png"}), OK]), PLACE, None, {"0.png": b"x"}
        ).conversation()
