"""`limner ask`, `limner say`, `limner fill`, through their own door."""

import json

import pytest
from PIL import Image

from limner.app.cli import main


def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_words_are_answered(echo, capsys):
    assert run("say", "hello", "--model", echo) == 0
    assert capsys.readouterr().out.split() == ["answer", "hello"]
    assert run("say", "hello", "--think", "--model", echo) == 0
    assert [row.split()[0] for row in capsys.readouterr().out.splitlines()] == ["thinking", "answer"]
    assert run("say", "hello", "--model", echo, "--json", "--seed", 4) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["text"], row["thinking"], row["path"], row["seed"]) == ("hello", None, None, 4)
    assert row["request"]["command"] == "say"


def test_an_answer_is_gone_on_with_and_a_text_filled(capsys):
    Image.new("RGB", (20, 20), "red").save("red.png")
    assert run("ask", "red.png", "what is this?", "--begin", "a red", "--json") == 0
    row = json.loads(capsys.readouterr().out)
    assert row["text"].startswith("a red") and row["path"] == "red.png"
    assert run("fill", "the ___ is ___", "--question", "what colour is snow?", "--seed", 1) == 0
    label, text = capsys.readouterr().out.split(maxsplit=1)
    assert label == "text" and text.startswith("the") and " is " in text and "_" not in text
    assert run("fill", "a ___ cat", "--image", "red.png", "--blank", 1, "--think", "--json") == 0
    row = json.loads(capsys.readouterr().out)
    assert row["path"] == "red.png" and row["request"]["blank"] == 1 and row["thinking"] is not None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["say", " "], "prompt is empty"),
        (["say", "hello", "--temperature", "-1"], "temperature=-1"),
        (["say", "hello", "--temperature", "nan"], "temperature=nan"),
        (["say", "hello", "--seed", "-1"], "seed=-1"),
        (["say", "hello", "--fast", "threshold"], "makes its text in the exact way only"),
        (["say"], "PROMPT"),
        (["fill", "a cat"], "no blank in 'a cat'"),
        (["fill", "___"], "nothing but blanks"),
        (["fill", "a ___", "--blank", "0"], "blank=0"),
        (["fill", "a ___", "--blank", "some"], "--blank"),
        (["fill", "a ___", "--image", "none.png"], "no picture file"),
        (["fill", "a ___"], "left to right"),
        (["ask", "none.png", "what", "--begin", "a"], "no picture file"),
    ],
)
def test_bad_input_is_one_clear_line(echo, capsys, arguments, said):
    assert run(*arguments, "--model", echo) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("limner: ") and err.count("\n") == 1 and said in err, err


def test_words_that_the_shipped_model_lacks_are_named(capsys):
    for arguments in (["say", "hello"], ["fill", "the zyxgh ___"], ["say", "what is 2+3?", "--begin", "hello"]):
        assert run(*arguments) == 2
        assert "I do not know the word" in capsys.readouterr().err
