"""What the parts of the page share: requests as commands, pictures and numbers of forms."""

import shlex

import pytest
from PIL import Image

from limner.app.cli import parse
from limner.app.page.panel import command_of, given, told, whole


@pytest.fixture
def picture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = Image.new("RGB", (16, 16), "white")
    made.save("PICTURE.png")
    made.save("MASK.png")
    return made


def test_a_request_as_a_command_asks_for_the_same(echo, picture):
    answers = [
        echo.generate("it's a cat", seed=3, steps=2, think=False),
        echo.ask(picture, "what is it", think=True, seed=1),
        echo.say("hi", temperature=0.5),
        echo.inpaint(picture, "a dog", mask=picture, think=False),
        echo.extend(picture, "a dog", right=4, guidance=0.25),
        echo.generate("a cat", guidance=0.0),
    ]
    for answer in answers:
        command = parse(shlex.split(command_of(answer.request))[1:])
        (again,) = echo.answer(command.request(), [command.seed])
        assert again.request == answer.request and command.model == "echo"
        assert again.reply == answer.reply


def test_a_chosen_picture_is_chosen_again_by_its_command(echo):
    chosen = echo.verified("three red apples", "orm", 3, judge="scenes", seed=5)
    command = parse(shlex.split(command_of(chosen.request))[1:])
    assert (command.verify, command.number, command.judge, command.seed) == ("orm", 3, "scenes", 5)


def test_a_turn_of_a_conversation_is_no_command():
    assert command_of({"command": "say", "history": {"messages": 2}}) == ""


def test_pictures_of_visitors_are_bounded(picture, tmp_path):
    assert given("PICTURE.png", 256).size == (16, 16)
    with pytest.raises(ValueError, match="16 x 16 pixels; at most 0.000255 million"):
        given("PICTURE.png", 255)
    with pytest.raises(ValueError, match="give a picture first"):
        given(None, 100)


def test_numbers_of_forms():
    assert whole(None, "steps") is None and whole(3.0, "steps") == 3
    with pytest.raises(ValueError, match=r"steps=2.5"):
        whole(2.5, "steps")


def test_what_is_told_is_never_markup():
    assert "<b>" not in told("<b>bold</b>", wrong=True) and 'role="alert"' in told("x", wrong=True)
