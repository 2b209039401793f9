"""The Python door: requests, answers, and pictures that remember how they were made."""

import warnings
from functools import partial

import pytest
from PIL import Image, PngImagePlugin

import limner
from limner.answer import BATCH, Answer, Limner
from limner.models.base import UnknownWords
from limner.models.echo import Echo
from limner.request import Request, read_picture


@pytest.fixture(scope="module")
def echo():
    return Limner(Echo().eval(), "echo")


def test_an_answer_has_thinking_picture_seed_and_timings(echo):
    answer = echo.generate("a cat", seed=4)
    assert answer.thinking == "a cat" and answer.image.size == (16, 16) and answer.text is None
    assert answer.seed == 4 and answer.model == "echo"
    assert answer.timings.keys() == {"think", "draw", "total"}
    assert answer.timings["think"] + answer.timings["draw"] <= answer.timings["total"]


@pytest.mark.parametrize("command", ["edit", "generate"])
def test_a_picture_is_changed_after_a_thought_only_where_that_was_taught(echo, monkeypatch, command):
    wish = Request(command, "make it red", True, image=Image.new("RGB", (16, 16)))
    (changed,) = echo.answer(wish, seeds=[0])
    assert changed.thinking is not None and changed.request["think"]
    assert echo.edit(wish.image, "make it red").thinking == changed.thinking
    monkeypatch.setattr(echo.model, "thinks_of", lambda last, edits=False: not edits)
    (changed,) = echo.answer(wish, seeds=[0])
    assert changed.thinking is None and changed.image is not None and not changed.request["think"]
    assert echo.edit(wish.image, "make it red").thinking is None and echo.generate("a cat").thinking == "a cat"


def test_the_same_seed_gives_the_same_bytes(echo, tmp_path):
    a = echo.generate("a cat", seed=1).save(tmp_path / "a.png")
    b = echo.generate("a cat", seed=1).save(tmp_path / "b.png")
    c = echo.generate("a cat", seed=2)
    assert a.read_bytes() == b.read_bytes()
    with Image.open(a) as picture:
        assert picture.convert("RGB").tobytes() != c.image.tobytes()


def test_one_of_many_is_the_one_made_alone_beyond_a_batch_too(echo):
    n = BATCH + 2
    many = echo.generate_many("a cat", n, seed=10)
    assert [answer.seed for answer in many] == list(range(10, 10 + n))
    for i in (0, BATCH - 1, n - 1):
        assert many[i].image.tobytes() == echo.generate("a cat", seed=10 + i).image.tobytes()


def test_the_request_travels_with_the_picture_and_makes_it_again(echo, tmp_path):
    path = echo.generate("a tiger ☾", seed=7, steps=3, guidance=0.0).save(tmp_path / "new" / "tiger.png")
    request = Answer.request_of(path)
    assert request == {
        "command": "generate",
        "model": "echo",
        "prompt": "a tiger ☾",
        "think": True,
        "seed": 7,
        "steps": 3,
        "guidance": 0.0,
        "size": 16,
    }
    wishes = {key: request[key] for key in ("prompt", "think", "seed", "steps", "guidance", "size")}
    again = echo.generate(**wishes).save(tmp_path / "again.png")
    assert again.read_bytes() == path.read_bytes()
    assert [each.name for each in path.parent.iterdir()] == ["tiger.png"]


def test_a_picture_without_a_request_says_so(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    with pytest.raises(ValueError, match="holds no request"):
        Answer.request_of(tmp_path / "plain.png")
    other = PngImagePlugin.PngInfo()
    other.add_text("limner", "hello")
    Image.new("RGB", (8, 8)).save(tmp_path / "other.png", pnginfo=other)
    with pytest.raises(ValueError, match="holds no request"):
        Answer.request_of(tmp_path / "other.png")


def test_a_failed_save_leaves_nothing(echo, tmp_path, monkeypatch):
    answer = echo.generate("a cat")
    monkeypatch.setattr(answer.image, "save", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        answer.save(tmp_path / "cat.png")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match=r"\.png"):
        answer.save(tmp_path / "cat.jpg")


def test_a_question_about_a_picture_is_answered_from_a_file_or_a_value(echo, tmp_path):
    picture = Image.new("RGB", (16, 16), (220, 40, 40))
    picture.save(tmp_path / "red.png")
    told = echo.ask(picture, "what colour", think=True)
    assert told.text == echo.ask(tmp_path / "red.png", "what colour", think=True).text
    assert told.thinking is not None and told.image is None and "answer" in told.timings
    with pytest.raises(ValueError, match="no picture"):
        told.save(tmp_path / "x.png")


def test_steps_are_seen_as_they_come(echo):
    seen = []
    echo.generate("a cat", steps=4, on_step=lambda step: seen.append((step.ask.kind, echo.peek(step)[0].kind)))
    assert seen.count(("thinking", "thinking")) > 1 and seen.count(("image", "image")) == 5


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"prompt": " "}, "prompt is empty"),
        ({"steps": 0}, "steps=0"),
        ({"steps": 1001}, "steps=1001"),
        ({"guidance": -0.5}, "guidance=-0.5"),
        ({"guidance": float("nan")}, "guidance=nan"),
        ({"size": 7}, "size=7"),
        ({"size": 128}, "size=128"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 2**63}, "seed="),
    ],
)
def test_impossible_wishes_are_refused(echo, wish, said):
    with pytest.raises(ValueError, match=said):
        echo.generate(**({"prompt": "a cat"} | wish))


def test_unknown_words_are_named_before_anything_is_made(echo, monkeypatch):
    def closed(conversation):
        raise UnknownWords(["zyx"], "try another")

    monkeypatch.setattr(echo.model, "check_prompt", closed)
    with pytest.raises(UnknownWords, match="'zyx'"):
        echo.generate("a zyx")


def test_a_request_wants_a_picture_only_where_it_is_a_question():
    with pytest.raises(ValueError, match="without a picture"):
        Request("say", "a cat", False, image=Image.new("RGB", (4, 4)))
    with pytest.raises(ValueError, match="with a picture"):
        Request("ask", "what", True)
    drawn = Request("generate", "the same at night", True, image=Image.new("RGB", (4, 4)))
    assert [part.kind for part in drawn.conversation[0].parts] == ["image", "text"]


def test_transparent_and_turned_pictures_are_read_as_they_look(tmp_path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert read_picture(tmp_path / "clear.png").getpixel((0, 0)) == (255, 255, 255)
    turned = Image.Exif()
    turned[0x0112] = 6  # orientation: turned by 90 degrees
    Image.new("RGB", (6, 3)).save(tmp_path / "turned.jpg", exif=turned)
    assert read_picture(tmp_path / "turned.jpg").size == (3, 6)


def test_a_bomb_is_refused_without_a_warning(tmp_path, monkeypatch):
    Image.new("1", (100, 100)).save(tmp_path / "wide.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with warnings.catch_warnings(), pytest.raises(ValueError, match="million"):
        warnings.simplefilter("error")
        read_picture(tmp_path / "wide.png")


def test_load_is_the_front_door(tmp_path):
    Echo().save(tmp_path)
    assert limner.load(tmp_path).generate("hi").thinking == "hi"
    with pytest.raises(ValueError, match="no model called"):
        limner.load("nobody")


def test_every_mode_makes_its_words_in_fewer_passes_if_asked_to():
    tiny, picture = limner.load("tiny-mmada"), Image.new("RGB", (128, 128), "white")
    modes = {
        "generate": partial(tiny.generate, "a red cat", steps=1),
        "inpaint": partial(tiny.inpaint, picture, "a red cat", mask=picture, steps=1),
        "extend": partial(tiny.extend, picture, "a red cat", right=16, steps=1),
        "ask": partial(tiny.ask, picture, "what is the background?", think=True),
        "say": partial(tiny.say, "what is 2+3?", think=True),
        "fill": partial(tiny.fill, "the ___ cat is ___", blank=3),
    }
    for command, call in modes.items():
        counts = []
        for fast in ("", "threshold=0.3+blocks=5"):
            steps = []
            answer = call(fast=fast, on_step=steps.append)
            counts.append(sum(step.ask.kind != "image" for step in steps))
            assert answer.request["command"] == command and answer.request.get("fast", "") == fast
        assert counts[1] < counts[0], command
    with pytest.raises(ValueError, match="is no way"):
        tiny.say("a red cat", fast="guess")


def test_a_fast_way_without_words_or_for_a_model_without_it_is_refused(echo):
    with pytest.raises(ValueError, match="without thinking"):
        Request("generate", "a cat", False, fast="threshold")
    with pytest.raises(ValueError, match="echo makes its thinking in the exact way only"):
        echo.generate("a cat", fast="threshold")
