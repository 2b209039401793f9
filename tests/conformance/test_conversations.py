"""Every family holds a conversation: questions, pictures and edits mixed, through the one API."""

import pytest
from PIL import Image as pil

from limner.answer import Limner
from limner.conversation import Chat


@pytest.fixture
def limner(case):
    return Limner(case.model, case.model.family)


def talk(chat, until=7):
    """Seven turns of every sort; stops after so many."""
    mask = pil.new("L", (64, 64))
    mask.paste(255, (0, 0, 32, 64))
    turns = [
        lambda: chat.draw("a red cat", think=True),
        lambda: chat.ask("what is this?"),
        lambda: chat.edit("two blue dogs in the snow", think=False),
        lambda: chat.say("what is this?"),
        lambda: (chat.show(pil.linear_gradient("L").resize((64, 64)).convert("RGB")), chat.ask("what is this?")),
        lambda: chat.edit("a red cat", mask=mask, think=False),
        lambda: chat.ask("what is this?"),
    ]
    for turn in turns[len(chat.turns) : until]:
        turn()
    return chat


def test_seven_turns_of_every_sort_are_held_and_kept(limner):
    chat = Chat(limner, memory=100)
    try:
        talk(chat)
    except ValueError as error:  # a family that makes pictures as a whole says so, and edits by words
        assert "as a whole" in str(error) and len(chat.turns) == 5
        chat.edit("a red cat", think=False)
        chat.ask("what is this?")
    commands = [turn.request["command"] for turn in chat.turns]
    assert commands[:5] == ["generate", "ask", "generate", "say", "ask"] and len(commands) == 7
    kinds = [[part.kind for part in turn.reply] for turn in chat.turns]
    assert kinds[:5] == [["thinking", "image"], ["text"], ["image"], ["text"], ["text"]]
    assert kinds[5:] == [["image"], ["text"]]
    seen = [turn.request.get("history", {}).get("messages", 0) for turn in chat.turns]
    assert seen[0] == 0 and seen[1] == 2 and seen[3] >= 2, "later turns see earlier ones"


def test_a_conversation_that_was_saved_goes_on_with_the_same_bytes(limner, tmp_path):
    whole = talk(Chat(limner, memory=100), 5)
    begun = talk(Chat(limner, memory=100), 3)
    gone_on = talk(Chat.load(begun.save(tmp_path / "talk.json"), limner), 5)
    assert [turn.reply for turn in gone_on.turns] == [turn.reply for turn in whole.turns]
