"""A conversation: what the model is shown, what is kept, what is refused."""

import json

import numpy as np
import pytest
from PIL import Image as pil

import limner
from limner.answer import Answer, Limner
from limner.conversation import Chat
from limner.models.echo import Echo
from limner.parts import Image, Text, Thinking, assistant, user


@pytest.fixture(scope="module")
def echo():
    return Limner(Echo().eval(), "echo")


@pytest.fixture
def chat(echo):
    return Chat(echo)


def picture(colour=(220, 40, 40), side=16):
    return pil.new("RGB", (side, side), colour)


def test_the_first_turn_is_the_request_alone(chat, echo):
    drawn = chat.draw("a cat")
    alone = echo.generate("a cat", seed=0)
    assert drawn.image.tobytes() == alone.image.tobytes() and drawn.request == alone.request
    other = Chat(echo, seed=3)
    other.show(picture())
    assert other.ask("what is it").to_json()["request"] == echo.ask(picture(), "what is it", seed=3).request


def test_later_turns_see_earlier_ones_without_their_thoughts(chat):
    chat.draw("a cat")
    request = chat.wish("ask", "what is it")
    asked, replied = request.history
    assert asked == user("a cat") and replied.role == "assistant"
    assert [part.kind for part in replied.parts] == ["image"] and replied.parts[0].raw is not None
    assert request.image is None and request.conversation[-1] == user("what is it")
    assert [part.kind for part in chat.messages[1].parts] == ["thinking", "image"]


def test_what_stands_before_changes_what_is_made_and_is_named_in_the_request(echo):
    chat = Chat(echo)
    chat.draw("a cat")
    second = chat.draw("a dog")
    alone = echo.generate("a dog", seed=1)
    assert second.image.tobytes() != alone.image.tobytes()
    assert second.request["history"]["messages"] == 2 and "history" not in alone.request
    assert second.request == alone.request | {"history": second.request["history"]}


def test_every_turn_has_the_next_seed(chat):
    assert [chat.say("hi").seed, chat.draw("a cat").seed, chat.ask("what").seed] == [0, 1, 2]
    chat.seed = 40
    assert chat.say("hi").seed == 40 and chat.seed == 41


def test_memory_bounds_what_is_shown_and_the_last_picture_is_shown_again(echo):
    chat = Chat(echo, memory=1)
    chat.draw("a cat")
    chat.say("hi")
    request = chat.wish("ask", "what is it")
    hi, _, again = request.history
    assert hi == user("hi") and again == user(chat.turns[0].reply[-1])
    assert request.conversation[-1].parts[0] == again.parts[0]
    chat.memory = 0
    assert chat.wish("say", "hi").history == ()
    with pytest.raises(ValueError, match="memory=-1"):
        Chat(echo, memory=-1)


def test_a_model_that_reads_single_turns_is_shown_none_unless_told(echo, monkeypatch):
    monkeypatch.setattr(Echo, "turns", 0)
    chat = Chat(echo)
    chat.say("hi")
    assert chat.wish("say", "you").history == ()
    chat.memory = 5
    assert len(chat.wish("say", "you").history) == 2


def test_what_does_not_fit_is_left_out_oldest_first(chat, monkeypatch):
    def small(conversation):
        if len(conversation) > 5:
            raise ValueError("too long")

    monkeypatch.setattr(chat.limner.model, "check_prompt", small)
    for words in ("one", "two", "three", "four"):
        chat.say(words)
    assert [m.text for m in chat.wish("say", "five").history if m.role == "user"] == ["three", "four"]
    assert len(chat.turns) == 4


def test_shown_pictures_go_with_the_next_turn_in_their_order(chat):
    red, blue = picture(), picture((50, 80, 210))
    chat.show(red)
    chat.show(blue)
    assert chat.picture is chat.waiting[-1].image
    request = chat.wish("ask", "which is larger")
    assert request.conversation == (user(Image(red), Image(blue), "which is larger"),)
    chat.ask("which is larger")
    assert chat.waiting == [] and chat.turns[0].said == user(Image(red), Image(blue), "which is larger")
    assert chat.picture.tobytes() == blue.tobytes()


def test_an_edit_begins_from_the_last_picture(chat):
    chat.show(picture())
    mask = pil.new("L", (16, 16))
    mask.paste(255, (0, 0, 8, 8))
    edited = chat.edit("a dog", mask=mask)
    assert edited.request["command"] == "inpaint" and edited.image.getpixel((12, 12)) == (220, 40, 40)
    wider = chat.extend("a dog", right=16)
    assert wider.image.size == (32, 16) and wider.image.crop((0, 0, 16, 16)).tobytes() == edited.image.tobytes()
    again = chat.edit("a bird")
    assert again.request["command"] == "generate" and again.request["history"]["messages"] == 4
    assert chat.picture is again.image


def test_what_is_refused_changes_nothing(chat):
    for call in (chat.ask, chat.edit, chat.extend):
        with pytest.raises(ValueError, match="no picture yet"):
            call("what is it")
    with pytest.raises(ValueError, match="prompt is empty"):
        chat.say(" ")
    chat.draw("a cat")
    with pytest.raises(ValueError, match="steps=0"):
        chat.draw("a cat", steps=0)
    with pytest.raises(ValueError, match="no picture file"):
        chat.show("missing.png")
    assert len(chat.turns) == 1 and chat.seed == 1 and chat.waiting == []


def test_a_turn_is_taken_back_and_made_again(chat):
    chat.draw("a cat")
    first = chat.say("hi")
    assert chat.undo().reply == first.reply and chat.seed == first.seed
    assert chat.say("hi").reply == first.reply
    with pytest.raises(ValueError, match="no turn"):
        Chat(chat.limner).undo()


def test_watchers_see_the_steps_and_the_picture(chat):
    kinds, shown = [], []
    chat.draw("a cat", on_step=lambda step: kinds.append(step.ask.kind), on_picture=lambda seed, _: shown.append(seed))
    assert {"thinking", "image"} == set(kinds) and len(shown) > 2


def test_a_saved_conversation_goes_on_as_if_it_had_never_stopped(chat, tmp_path):
    chat.draw("a cat")
    chat.say("hi", think=True)
    chat.show(picture())
    path = chat.save(tmp_path / "new" / "talk.json")
    other = Chat.load(path, chat.limner)
    assert other.to_json() == chat.to_json() and other.turns == chat.turns
    assert chat.ask("what is it").reply == other.ask("what is it").reply
    assert [each.name for each in path.parent.iterdir()] == ["talk.json"]


def test_a_picture_of_a_conversation_is_saved_with_its_request(chat, tmp_path):
    chat.draw("a cat")
    path = chat.turns[0].answer.save(tmp_path / "cat.png")
    assert Answer.request_of(path) == chat.turns[0].request


def test_another_model_reads_words_and_pixels_alone(chat, tmp_path):
    chat.draw("a cat")
    path = chat.save(tmp_path / "talk.json")
    other = Chat.load(path, Limner(Echo(seed=1).eval(), "another"))
    thought, drawn = other.turns[0].reply
    assert thought == Thinking("a cat") and drawn.raw is None and drawn.image.tobytes() == chat.picture.tobytes()
    assert other.ask("what is it").text


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"turns": [{}]}', '{"turns": [], "waiting": [], "model": "echo"}']
)
def test_files_that_are_no_conversation_are_refused(echo, tmp_path, content):
    path = tmp_path / "talk.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="no conversation that limner saved"):
        Chat.load(path, echo)
    with pytest.raises(ValueError, match="cannot be read"):
        Chat.load(tmp_path / "missing.json", echo)
    with pytest.raises(ValueError, match=r"must end in \.json"):
        Chat(echo).save(tmp_path / "talk.txt")


def test_messages_alternate_and_go_to_json(chat):
    chat.say("hi")
    chat.draw("a cat")
    assert [message.role for message in chat.messages] == ["user", "assistant"] * 2
    assert chat.messages[1] == assistant(Text("hi", chat.turns[0].reply[0].raw))
    assert json.loads(json.dumps(chat.to_json()))["seed"] == 2


def test_the_shipped_model_holds_six_turns_of_every_sort():
    chat = Chat(limner.load("tiny-mmada"), memory=2)
    chat.draw("a red cat", steps=1)
    chat.ask("what is in this picture?")
    chat.edit("a blue cat", think=False, steps=1)
    chat.say("what is 2+3?", think=True)
    chat.extend("a blue cat", right=64, think=False, steps=1)
    chat.ask("what is the background?")
    assert [turn.request["command"] for turn in chat.turns] == ["generate", "ask", "generate", "say", "extend", "ask"]
    assert chat.turns[4].answer.image.size == (192, 128)
    assert all(turn.request.get("history", {}).get("messages", 0) <= 5 for turn in chat.turns)


def test_a_picture_is_changed_without_a_thought_by_models_that_think_of_new_ones_alone(monkeypatch):
    echo = Limner(Echo().eval(), "echo")
    chat = Chat(echo)
    chat.draw("a cat")
    assert chat.wish("generate", "make it red", edits=True).think
    monkeypatch.setattr(echo.model, "thinks_of", lambda last, edits=False: not edits)
    assert not chat.wish("generate", "make it red", edits=True).think
    assert chat.wish("generate", "a dog").think and chat.wish("generate", "make it red", edits=True, think=True).think


def test_three_changes_in_a_row_with_the_model_inside_the_package():
    chat = Chat(limner.load("tiny-nexus-gen"))
    chat.draw("a blue cat, plain")
    pictures = [chat.picture]
    for words in ("make it red", "change the background to night", "make it two cats"):
        assert chat.edit(words, steps=4).thinking is None
        pictures.append(chat.picture)
    assert len({picture.tobytes() for picture in pictures}) == 4
    red = [np.asarray(picture, dtype=int) for picture in pictures[:2]]
    assert (red[1][..., 0] - red[0][..., 0]).max() > 100, "something turned red"
