import json
from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as pil

from limner.parts import (
    Ask,
    Image,
    Message,
    Sample,
    Task,
    Text,
    Thinking,
    assistant,
    message_from_json,
    message_to_json,
    part_from_json,
    part_to_json,
    user,
)


def picture(colour="red", size=(5, 3)):
    return pil.new("RGB", size, colour)


raws = st.none() | st.lists(st.integers(0, 2**31), max_size=5).map(tuple)
words = st.builds(Text, st.text(), raws) | st.builds(Thinking, st.text(), raws)
colours = st.tuples(*[st.integers(0, 255)] * 3)
pictures = st.builds(lambda colour, raw: Image(picture(colour), raw), colours, raws)


@settings(max_examples=50, deadline=None)
@given(st.lists(words | pictures, max_size=4), st.sampled_from(["system", "user", "assistant"]))
def test_messages_survive_json(parts, role):
    message = Message(role, tuple(parts))
    assert message_from_json(json.loads(json.dumps(message_to_json(message)))) == message


def test_pictures_are_equal_by_their_pixels():
    assert Image(picture()) == Image(picture()) and hash(Image(picture())) == hash(Image(picture()))
    assert Image(picture()) != Image(picture("blue")) and Image(picture()) != Image(picture(size=(3, 5)))
    assert Image(picture()) != Image(picture(), (1,)) and Image(picture()) != Text("red")
    assert Image(picture().convert("RGBA")) == Image(picture())


def test_words_and_thoughts_are_different_things():
    assert Text("a") != Thinking("a") and Text("a").kind == "text" and Thinking("a").kind == "thinking"


def test_parts_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        Text("a").text = "b"  # type: ignore[misc]


def test_plain_strings_become_text():
    assert user("a", Thinking("b"), "c").parts == (Text("a"), Thinking("b"), Text("c"))
    assert user("a", Thinking("b"), "c").text == "a c" and assistant("d") == Message("assistant", (Text("d"),))


def test_plain_string_content_is_one_text_part():
    assert message_from_json({"role": "user", "content": "hello"}) == user("hello")


def test_an_empty_raw_is_not_a_missing_raw():
    assert part_from_json(part_to_json(Text("", ()))).raw == ()


@pytest.mark.parametrize("value", [{"type": "sound"}, {}])
def test_unknown_parts_are_refused(value):
    with pytest.raises(ValueError, match="text, thinking or image"):
        part_from_json(value)


def test_unknown_roles_are_refused():
    with pytest.raises(ValueError, match="'narrator'"):
        message_from_json({"role": "narrator", "content": "x"})


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"limit": -1}, "limit=-1"),
        ({"size": -8}, "size=-8"),
        ({"steps": -2}, "steps=-2"),
        ({"guidance": -0.5}, "guidance=-0.5"),
        ({"guidance": float("inf")}, "guidance=inf"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"mask": (True,)}, "known and mask"),
        ({"known": Text("a")}, "known and mask"),
        ({"known": Text("a"), "mask": (True,)}, "kind text"),
    ],
)
def test_impossible_wishes_name_what_is_wrong(wrong, named):
    with pytest.raises(ValueError, match=named):
        Ask("image", **wrong)
    with pytest.raises(ValueError, match=named):
        replace(Ask("image"), **wrong)


def test_a_sample_shows_the_first_part_of_each_kind():
    red, blue = Image(picture()), Image(picture("blue"))
    sample = Sample(Task((user("x"),)), (Thinking("so"), red, Text("here"), blue))
    assert (sample.thinking, sample.text, sample.image) == ("so", "here", red.image)
    assert sample.first("image") is red
    empty = Sample(Task((user("x"),)), ())
    assert (empty.thinking, empty.text, empty.image, empty.first("text")) == (None, None, None, None)


def test_equal_tasks_are_equal():
    assert Task((user("x"),), {"n": 1}, ("a",)) == Task((user("x"),), {"n": 1}, ("a",))
