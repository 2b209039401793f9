"""`limner inpaint` and `limner extend`, through their own door: files, bytes, films and refusals."""

import json
from pathlib import Path

import pytest
from PIL import Image

from limner.answer import Answer
from limner.app.cli import main


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    """A picture, and masks of its size and of another."""
    folder = tmp_path / "given"
    folder.mkdir()
    Image.linear_gradient("L").resize((16, 16)).convert("RGB").save(folder / "picture.png")
    mask = Image.new("L", (16, 16))
    mask.paste(255, (4, 4, 12, 12))
    mask.save(folder / "mask.png")
    mask.point(lambda value: 255 - value).save(folder / "rest.png")
    Image.new("L", (16, 16)).save(folder / "black.png")
    Image.new("L", (8, 16), 255).save(folder / "narrow.png")
    (folder / "cut.png").write_bytes((folder / "picture.png").read_bytes()[:60])
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def run(*arguments):
    return main([str(argument) for argument in arguments])


def written():
    return sorted(str(path) for path in Path().rglob("*") if path.is_file())


PICTURE, MASK = "../given/picture.png", "../given/mask.png"


def test_a_hole_is_made_anew_and_the_rest_stays(echo, capsys):
    assert run("inpaint", PICTURE, "a red cat", "--mask", MASK, "--model", echo, "--seed", 3) == 0
    thinking, picture = capsys.readouterr().out.splitlines()
    assert thinking.split(maxsplit=1) == ["thinking", "a red cat"]
    assert picture.split() == ["picture", "out/inpaint-a-red-cat-3.png"] and written() == [picture.split()[1]]
    with Image.open(written()[0]) as made, Image.open(PICTURE) as before:
        assert made.size == before.size
        for box in ((0, 0, 16, 4), (0, 12, 16, 16), (0, 0, 4, 16), (12, 0, 16, 16)):
            assert made.crop(box).tobytes() == before.crop(box).tobytes()
        assert made.tobytes() != before.tobytes()
    request = Answer.request_of(written()[0])
    assert (request["command"], request["seed"]) == ("inpaint", 3)


def test_keeping_is_the_other_way_round(echo):
    for wish in (("--mask", MASK, "-o", "a.png"), ("--keep", "../given/rest.png", "-o", "b.png")):
        assert run("inpaint", PICTURE, "a cat", "--model", echo, "--no-think", *wish) == 0
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()


def test_several_have_the_bytes_that_each_has_alone(echo, capsys):
    assert run("inpaint", PICTURE, "a cat", "--mask", MASK, "--model", echo, "-n", 3, "-o", "many", "--json") == 0
    out, err = capsys.readouterr()
    rows = [json.loads(row) for row in out.splitlines()]
    assert err == "" and [row["seed"] for row in rows] == [0, 1, 2]
    assert all({"path", "timings", "verdicts", "model", "request", "preview"} <= row.keys() for row in rows)
    assert run("inpaint", PICTURE, "a cat", "--mask", MASK, "--model", echo, "--seed", 2, "-o", "one.png") == 0
    assert Path(rows[2]["path"]).read_bytes() == Path("one.png").read_bytes()


def test_an_extended_picture_is_larger_by_what_was_asked(echo, capsys):
    wish = ("--left", 4, "--down", 8, "--right", 12, "--preview", "-o", "large.png")
    assert run("extend", PICTURE, "a cat", "--model", echo, *wish) == 0
    assert [row.split()[0] for row in capsys.readouterr().out.splitlines()] == ["thinking", "picture", "preview"]
    assert written() == ["large.gif", "large.png"]
    with Image.open("large.png") as made, Image.open(PICTURE) as before, Image.open("large.gif") as film:
        assert made.size == film.size == (32, 24) and film.n_frames > 2
        assert made.crop((4, 0, 20, 16)).tobytes() == before.tobytes()


def bad_inputs():
    yield "a mask of another size", ["inpaint", PICTURE, "a cat", "--mask", "../given/narrow.png"], "8 x 16"
    yield "no masked pixel", ["inpaint", PICTURE, "a cat", "--mask", "../given/black.png"], "leaves nothing"
    yield "no mask", ["inpaint", PICTURE, "a cat"], "give either a mask"
    yield "two masks", ["inpaint", PICTURE, "a cat", "--mask", MASK, "--keep", MASK], "give either a mask"
    yield "no mask file", ["inpaint", PICTURE, "a cat", "--mask", "none.png"], "no picture file 'none.png'"
    yield "a cut mask", ["inpaint", PICTURE, "a cat", "--mask", "../given/cut.png"], "cut"
    yield "no picture file", ["inpaint", "none.png", "a cat", "--mask", MASK], "no picture file"
    yield "a folder", ["extend", "../given", "a cat", "--up", "4"], "folder"
    yield "no words", ["inpaint", PICTURE, " ", "--mask", MASK], "prompt is empty"
    yield "no prompt", ["inpaint", PICTURE, "--mask", MASK], "PROMPT"
    yield "another format", ["inpaint", PICTURE, "a cat", "--mask", MASK, "-o", "cat.jpg"], "PNG"
    yield "a part of a code", ["extend", PICTURE, "a cat", "--right", "6"], "right=6 is no multiple of 4"
    yield "nothing to add", ["extend", PICTURE, "a cat"], "nothing to extend"
    yield "less than nothing", ["extend", PICTURE, "a cat", "--left", "-4"], "left=-4"
    yield "pixels in words", ["extend", PICTURE, "a cat", "--left", "many"], "--left"
    yield "far too large", ["extend", PICTURE, "a cat", "--left", "40000000"], "million"
    yield "no words to hurry", ["extend", PICTURE, "a cat", "--up", "4", "--no-think", "--fast=factor"], "is for words"
    yield "a negative seed", ["extend", PICTURE, "a cat", "--up", "4", "--seed", "-1"], "seed=-1"


@pytest.mark.parametrize(("arguments", "said"), [case[1:] for case in bad_inputs()], ids=[c[0] for c in bad_inputs()])
def test_bad_input_is_one_clear_line_and_writes_nothing(echo, capsys, arguments, said):
    assert run(*arguments, "--model", echo) == 2
    out, err = capsys.readouterr()
    assert out == "" and written() == []
    assert err.startswith("limner: ") and err.count("\n") == 1 and said in err, err
