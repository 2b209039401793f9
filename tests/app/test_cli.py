"""The command line, through its own door: what it prints, writes and refuses."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from limner import catalog
from limner.answer import Answer
from limner.app.cli import COMMANDS, _sentence, main
from limner.recipes import RECIPES


def run(*arguments):
    return main([str(argument) for argument in arguments])


def written():
    return sorted(str(path) for path in Path().rglob("*") if path.is_file())


def test_a_picture_is_thought_about_drawn_saved_and_named(echo, capsys):
    assert run("generate", "a red cat", "--model", echo, "--seed", 3) == 0
    thinking, picture = capsys.readouterr().out.splitlines()
    assert thinking.split(maxsplit=1) == ["thinking", "a red cat"]
    assert picture.split() == ["picture", "out/a-red-cat-3.png"]
    assert written() == ["out/a-red-cat-3.png"]
    request = Answer.request_of("out/a-red-cat-3.png")
    assert (request["prompt"], request["seed"], request["think"]) == ("a red cat", 3, True)


def test_json_is_one_line_a_result_and_nothing_else(echo, capsys):
    assert run("generate", "a cat", "--model", echo, "-n", 3, "--seed", 5, "-o", "pictures", "--json") == 0
    out, err = capsys.readouterr()
    rows = [json.loads(row) for row in out.splitlines()]
    assert err == "" and [row["seed"] for row in rows] == [5, 6, 7]
    assert all({"thinking", "path", "timings", "verdicts", "model", "request"} <= row.keys() for row in rows)
    assert all(Path(row["path"]).is_file() for row in rows)


def test_several_pictures_have_the_bytes_that_each_has_alone(echo):
    assert run("generate", "a cat", "--model", echo, "-n", 3, "-o", "many") == 0
    assert run("generate", "a cat", "--model", echo, "--seed", 2, "-o", "one.png") == 0
    assert Path("many/a-cat-2.png").read_bytes() == Path("one.png").read_bytes()


def test_without_thinking_there_is_no_thought(echo, capsys):
    assert run("generate", "a cat", "--model", echo, "--no-think", "--json") == 0
    row = json.loads(capsys.readouterr().out)
    assert row["thinking"] is None and "think" not in row["timings"]


def test_the_preview_has_one_frame_a_step_and_ends_with_the_picture(echo, capsys):
    assert run("generate", "a cat", "--model", echo, "--steps", 4, "--preview", "-o", "cat.png", "--json") == 0
    row = json.loads(capsys.readouterr().out)
    with Image.open(row["preview"]) as film, Image.open("cat.png") as picture:
        assert film.n_frames >= 2
        film.seek(film.n_frames - 1)
        assert film.convert("RGB").tobytes() == picture.convert("RGB").tobytes()
    assert written() == ["cat.gif", "cat.png"]


def test_a_question_is_answered_about_a_picture(echo, capsys):
    Image.new("RGB", (20, 20), "red").save("red.png")
    assert run("ask", "red.png", "what colour", "--model", echo) == 0
    assert capsys.readouterr().out.startswith("answer")
    assert run("ask", "red.png", "what colour", "--think", "--model", echo, "--json") == 0
    row = json.loads(capsys.readouterr().out)
    assert isinstance(row["thinking"], str) and isinstance(row["text"], str) and row["path"] == "red.png"


def bad_inputs():
    yield "unknown model", ["generate", "a cat", "--model", "gpt-7"], "no model called 'gpt-7'"
    yield "empty prompt", ["generate", "  "], "the prompt is empty"
    yield "impossible size", ["generate", "a cat", "--size", "3"], "size=3"
    yield "a size that this model lacks", ["generate", "a cat", "--size", "32"], "size=32"
    yield "no steps", ["generate", "a cat", "--steps", "0"], "steps=0"
    yield "too many steps", ["generate", "a cat", "--steps", "1001"], "steps=1001"
    yield "steps in words", ["generate", "a cat", "--steps", "many"], "--steps"
    yield "negative guidance", ["generate", "a cat", "--guidance", "-1"], "guidance=-1"
    yield "endless guidance", ["generate", "a cat", "--guidance", "inf"], "guidance=inf"
    yield "no pictures", ["generate", "a cat", "-n", "0"], "-n 0"
    yield "negative seed", ["generate", "a cat", "--seed", "-1"], "seed=-1"
    yield "another format", ["generate", "a cat", "-o", "cat.jpg"], "PNG"
    yield "many into one file", ["generate", "a cat", "-n", "2", "-o", "cat.png"], "give a folder"
    yield "unknown device", ["generate", "a cat", "--device", "abacus"], "abacus"
    yield "no prompt", ["generate"], "PROMPT"
    yield "unknown command", ["paint", "a cat"], "paint"
    yield "unknown option", ["generate", "a cat", "--colour", "red"], "colour"
    yield "no command", [], "generate"
    yield "no picture file", ["ask", "none.png", "what"], "no picture file"
    yield "no recipe", ["train", "alchemy"], "no recipe called 'alchemy'"
    yield "no scenes", ["world", "show", "-n", "0"], "-n 0"
    yield "a sheet of another format", ["world", "show", "-o", "sheet.svg"], "PNG"
    yield "a side too small", ["world", "show", "-n", "1", "--size", "4"], "16"
    yield "no lessons", ["world", "export", "-n", "0"], "-n 0"


BOXES = [
    "╭─ Oh ─╮\n│ No,   │\n│ that. │\n│ ───── │\n│ Help  │\n╰───────╯\n",
    " Oh    \n ------\n  No,  \n  that.\n       \n  Help \n",
]


@pytest.mark.parametrize("box", BOXES)
def test_a_boxed_message_becomes_a_sentence(box):
    assert _sentence(box) == "No, that."


@pytest.mark.parametrize(("arguments", "said"), [case[1:] for case in bad_inputs()], ids=[c[0] for c in bad_inputs()])
def test_bad_input_is_one_clear_line_and_writes_nothing(echo, capsys, arguments, said):
    if arguments[:1] in (["generate"], ["ask"]) and "--model" not in arguments and len(arguments) > 1:
        arguments = [*arguments, "--model", echo]
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and written() == []
    assert err.startswith("limner: ") and err.count("\n") == 1 and said in err, err


def test_a_file_in_the_way_of_a_folder_is_told_before_anything_is_drawn(echo, capsys):
    Path("taken").write_text("mine")
    assert run("generate", "a cat", "--model", echo, "-o", "taken/new/cat.png") == 2
    out, err = capsys.readouterr()
    assert out == "" and "-o taken/new/cat.png: taken is a file" in err
    assert Path("taken").read_text() == "mine"


def test_pictures_that_cannot_be_read_are_refused(echo, capsys):
    Path("text.png").write_text("not a picture")
    Image.new("RGB", (64, 64), "red").save("cut.png")
    Path("cut.png").write_bytes(Path("cut.png").read_bytes()[:60])
    Image.new("1", (9000, 9000)).save("huge.png")
    Path("folder.png").mkdir()
    for name, said in (("text", "not a picture"), ("cut", "cut"), ("huge", "million"), ("folder", "folder")):
        assert run("ask", f"{name}.png", "what", "--model", echo) == 2
        err = capsys.readouterr().err
        assert err.startswith("limner: ") and err.count("\n") == 1 and said in err, err


def test_a_file_in_the_way_of_the_folder_is_named(echo, capsys):
    Path("out").write_text("here first")
    assert run("generate", "a cat", "--model", echo) == 2
    assert "-o out" in capsys.readouterr().err
    assert Path("out").read_text() == "here first"


def test_interrupting_ends_with_130_and_writes_nothing(echo, capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("limner.app.console.Watch.__call__", interrupt)
    assert run("generate", "a cat", "--model", echo) == 130
    assert capsys.readouterr().err == "limner: interrupted\n" and written() == []


def test_the_picture_world_is_shown_on_a_sheet(capsys):
    assert (
        run("world", "show", "--seed", 1, "-n", 6, "--columns", 3, "--size", 32, "-o", "new/sheet.png", "--json") == 0
    )
    row = json.loads(capsys.readouterr().out)
    assert len(row["captions"]) == 6 and written() == ["new/sheet.png"]
    first = Path("new/sheet.png").read_bytes()
    assert run("world", "show", "--seed", 1, "-n", 6, "--columns", 3, "--size", 32, "-o", "new/sheet.png") == 0
    assert Path("new/sheet.png").read_bytes() == first


def test_exported_lessons_are_messages_with_their_pictures(capsys):
    assert run("world", "export", "--seed", 2, "-n", 12, "--size", 32, "-o", "data") == 0
    rows = [json.loads(row) for row in Path("data/messages.jsonl").read_text().splitlines()]
    assert len(rows) == 12 and [path for path in written() if "part" in path] == []
    for row in rows:
        asked, told = row["messages"]
        assert (asked["role"], told["role"]) == ("user", "assistant")
        assert asked["content"][0]["text"] and told["content"][0]["type"] == "thinking"
        with Image.open(Path("data") / told["content"][-1]["path"]) as picture:
            assert picture.size == (32, 32)
    capsys.readouterr()
    assert run("world", "export", "-o", "data") == 2
    assert "exists already" in capsys.readouterr().err


def test_a_recipe_is_trained_and_goes_on_when_given_again(capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "train"))
    monkeypatch.setitem(RECIPES, "toy", "toy:toy")
    assert run("train", "toy", "--steps", 6, "--seed", 4, "--folder", "runs/a", "--json") == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["folder"], row["steps"], row["seed"]) == ("runs/a", 6, 4) and row["numbers"]
    before = sorted(path.name for path in Path("runs/a/checkpoints").iterdir())
    assert run("train", "toy", "--steps", 6, "--seed", 4, "--folder", "runs/a") == 0
    assert capsys.readouterr().out.split()[:2] == ["run", "runs/a"]
    assert sorted(path.name for path in Path("runs/a/checkpoints").iterdir()) == before
    assert run("train", "toy", "--steps", 7, "--seed", 5, "--folder", "runs/a") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_models_lists_what_the_package_holds(capsys):
    assert run("models", "--json") == 0
    assert [json.loads(row)["name"] for row in capsys.readouterr().out.splitlines()] == catalog.names()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_json(command, capsys):
    assert run(*command.split(), "--help") == 0
    assert "--json" in capsys.readouterr().out


def test_help_is_quick_and_loads_nothing_heavy():
    code = (
        "import sys, time; from limner.app.cli import main; main(['--help']);"
        "print([n for n in ('torch', 'transformers', 'numpy', 'PIL', 'skia', 'rich') if n in sys.modules]);"
        "print(time.process_time())"
    )
    seconds = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        heavy, spent = done.stdout.splitlines()[-2:]
        assert heavy == "[]"
        seconds.append(float(spent))
    # processor time from the interpreter's start: what a person waits on an idle machine, whatever else runs here
    assert min(seconds) < 0.5


def test_the_command_runs_as_a_module_and_tells_its_version():
    done = subprocess.run([sys.executable, "-m", "limner.app.cli", "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("limner ")
