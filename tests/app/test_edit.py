"""`limner edit` and `limner eval edits`: files, refusals, and a model with decoders of its own."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from limner.answer import Answer
from limner.app.cli import main
from limner.models.mmada.model import MMaDA

sys.path.insert(0, str(Path(__file__).parents[1] / "models" / "nexusgen"))

from built import built  # noqa: E402


def run(*arguments):
    return main([str(argument) for argument in arguments])


def written():
    return sorted(str(path) for path in Path("out").rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def nexus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nexus") / "model"
    built().save(folder)
    return folder


@pytest.fixture(autouse=True)
def files(elsewhere):
    Image.new("RGB", (16, 16), "red").save("cat.png")
    Image.new("RGB", (40, 20), "red").save("wide.png")
    Image.new("1", (9000, 9000)).save("huge.png")
    Path("text.png").write_text("not a picture")


def test_a_picture_is_changed_and_its_request_kept(nexus, capsys):
    assert run("edit", "cat.png", "make it blue", "--model", nexus) == 0
    label, path = capsys.readouterr().out.split()
    assert (label, path) == ("picture", "out/edit-make-it-blue-0.png") and written() == [path]
    about = Answer.request_of(path)
    assert about["command"] == "edit" and about["image"]["size"] == [16, 16] and "shape" not in about


def test_the_new_picture_has_the_shape_of_the_old_one(nexus, capsys):
    assert run("edit", "wide.png", "make it blue", "--model", nexus, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    with Image.open(told["path"]) as made:
        assert list(made.size) == told["request"]["shape"] and made.width == 2.5 * made.height


@pytest.mark.parametrize(
    ("name", "said"), [("none.png", "no picture file"), ("text.png", "not a picture"), ("huge.png", "million")]
)
def test_pictures_that_cannot_be_read_are_one_clear_line(echo, capsys, name, said):
    assert run("edit", name, "make it blue", "--model", echo) == 2
    err = capsys.readouterr().err
    assert err.startswith("limner: ") and err.count("\n") == 1 and said in err and written() == []


def test_an_edit_without_a_picture_or_words_is_refused(echo, capsys):
    for arguments in (["make it blue"], ["cat.png", " "]):
        assert run("edit", *arguments, "--model", echo) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and written() == []


def test_a_decoder_file_of_another_family_is_one_clear_line(nexus, tmp_path, capsys):
    wrong = tmp_path / "wrong"
    shutil.copytree(nexus, wrong)
    shutil.copyfile(nexus / "model.safetensors", wrong / "edit_decoder.safetensors")
    assert run("edit", "cat.png", "make it blue", "--model", wrong) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "no editing decoder" in err


def test_a_family_that_cannot_edit_says_so(capsys):
    assert not MMaDA.edits
    assert run("edit", "cat.png", "make it blue") == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "mmada cannot edit" in err


def test_edits_are_measured(echo, capsys):
    assert run("eval", "edits", "--model", echo, "--edits", 1, "--stories", 1, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["all"]["strict"]["mean"] == 0 and written() == [
        "out/eval-edits/report.json",
        "out/eval-edits/sheet.png",
    ]
    assert run("eval", "edits", "--model", echo, "--edits", 0) == 2
    assert run("eval", "edits", "--model", echo, "--decoder", "editing") == 2
    assert "decoder= is no option" in capsys.readouterr().err
