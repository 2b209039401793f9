"""Every mode on a family of tables and on the shipped model: what is kept, what is made, what a seed decides."""

import re

import numpy as np
import pytest
from PIL import Image

import limner
from limner.answer import Answer, Limner
from limner.models.base import UnknownWords
from limner.models.echo import Echo
from limner.request import Request, what_is_free


@pytest.fixture(scope="module")
def echo():
    return Limner(Echo().eval(), "echo")


@pytest.fixture(scope="module")
def tiny():
    return limner.load("tiny-mmada")


@pytest.fixture(params=["echo", "tiny"])
def any_model(request):
    return request.getfixturevalue(request.param)


def noisy(width, height, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def hole(size, *boxes):
    mask = Image.new("L", size)
    for box in boxes:
        mask.paste(255, box)
    return mask


def own_size(model):
    """(pixels of the model's own pictures, pixels of one code) a side."""
    ask = model.model.plan(["image"])[0]
    return ask.size, ask.size // int(model.model.settings(ask, 1).length ** 0.5)


def test_an_inpainted_picture_keeps_every_pixel_outside_its_mask(any_model):
    side, _ = own_size(any_model)
    for size in ((side, side), (side + 9, side // 2 + 3)):
        picture, mask = noisy(*size), hole(size, (1, 1, size[0] // 2, size[1] // 3))
        missing = np.asarray(mask) > 0
        answer = any_model.inpaint(picture, "a red cat", mask=mask, think=False, seed=1, steps=2)
        made = np.asarray(answer.image)
        assert answer.image.size == size and answer.timings.keys() == {"draw", "total"}
        assert (made[~missing] == np.asarray(picture)[~missing]).all()
        assert (made[missing] != np.asarray(picture)[missing]).any(axis=1).mean() > 0.9
        again = any_model.inpaint(picture, "a red cat", mask=mask, think=False, seed=1, steps=2)
        assert again.image.tobytes() == answer.image.tobytes()


def test_what_is_kept_is_what_a_mask_leaves(echo):
    size = (16, 16)
    mask = hole(size, (4, 4, 12, 9))
    inverse = mask.point(lambda value: 255 - value)
    one = echo.inpaint(noisy(*size), "a cat", mask=mask, seed=3)
    other = echo.inpaint(noisy(*size), "a cat", keep=inverse, seed=3)
    assert one.image.tobytes() == other.image.tobytes() and one.request == other.request


def test_a_picture_that_is_made_anew_throughout_is_the_one_drawn_from_words(any_model):
    side, _ = own_size(any_model)
    everything = hole((side, side), (0, 0, side, side))
    for think in (False, True):
        painted = any_model.inpaint(noisy(side, side), "a red cat", mask=everything, seed=5, steps=3, think=think)
        drawn = any_model.generate("a red cat", seed=5, steps=3, think=think)
        assert painted.image.tobytes() == drawn.image.tobytes() and painted.thinking == drawn.thinking


def test_an_extended_picture_is_larger_and_holds_the_old_one(any_model):
    side, cell = own_size(any_model)
    picture = noisy(side, side)
    answer = any_model.extend(picture, "a red cat", left=cell, right=2 * cell, down=cell, think=False, steps=2, seed=2)
    assert answer.image.size == (side + 3 * cell, side + cell)
    kept = answer.image.crop((cell, 0, cell + side, side))
    assert kept.tobytes() == picture.tobytes()
    with pytest.raises(ValueError, match=f"multiple of {cell} pixels"):
        any_model.extend(picture, "a red cat", up=cell - 1)


def test_a_picture_that_a_model_drew_is_extended_window_by_window(echo):
    drawn = echo.generate("a cat", seed=1)
    seeds = [4, 5, 6]
    request = Request("extend", "a cat", True, image=drawn.image, margins=(0, 16, 0, 0))
    together = echo.answer(request, seeds)
    assert len({answer.image.tobytes() for answer in together}) > 1
    for seed, answer in zip(seeds, together, strict=True):
        alone = echo.extend(drawn.image, "a cat", right=16, seed=seed)
        assert alone.image.tobytes() == answer.image.tobytes() and alone.thinking == "a cat"


def test_rows_are_painted_together_and_each_as_it_is_painted_alone(any_model):
    side, cell = own_size(any_model)
    picture, seeds = noisy(2 * side, side), [4, 5, 6]
    masked = hole(picture.size, (cell + 3, cell, 2 * side - cell, side // 2))  # longer than a window
    inpaint = Request("inpaint", "a red cat", True, steps=3, image=picture, mask=masked)
    extend = Request("extend", "a red cat", True, steps=3, image=noisy(side, side), margins=(0, side, cell, 0))
    for request in (inpaint, extend):
        one_by_one, at_once, seen = [], [], {}
        alone = [any_model.answer(request, [seed], one_by_one.append)[0] for seed in seeds]
        together = any_model.answer(request, seeds, at_once.append, seen.__setitem__)
        assert len(at_once) < len(one_by_one) / 2
        assert [answer.image.tobytes() for answer in together] == [answer.image.tobytes() for answer in alone]
        assert [answer.thinking for answer in together] == [answer.thinking for answer in alone]
        assert [seen[seed].tobytes() for seed in seeds] == [answer.image.tobytes() for answer in alone]


def test_watchers_see_the_whole_picture_at_every_step(echo):
    seen = []
    request = Request("extend", "a cat", True, image=noisy(16, 16), margins=(0, 16, 0, 0))
    (answer,) = echo.answer(request, [7], on_picture=lambda seed, picture: seen.append((seed, picture)))
    assert {picture.size for _, picture in seen} == {(32, 16)} and {seed for seed, _ in seen} == {7}
    assert len(seen) > 4 and seen[-1][1].tobytes() == answer.image.tobytes()
    seen.clear()
    echo.answer(Request("generate", "a cat", True), [7, 8], on_picture=lambda seed, _: seen.append(seed))
    assert seen.count(7) == seen.count(8) > 2


def test_the_request_names_the_picture_and_the_mask(echo, tmp_path):
    picture, mask = noisy(16, 20), hole((16, 20), (0, 0, 4, 4))
    path = echo.inpaint(picture, "a cat", mask=mask, seed=9).save(tmp_path / "a.png")
    about = Answer.request_of(path)
    assert (about["command"], about["seed"], about["prompt"]) == ("inpaint", 9, "a cat")
    assert about["image"]["size"] == about["mask"]["size"] == [16, 20]
    larger = echo.extend(picture, "a cat", up=8).save(tmp_path / "b.png")
    about = Answer.request_of(larger)
    assert [about[side] for side in ("left", "right", "up", "down")] == [0, 0, 8, 0] and "mask" not in about


def test_words_are_answered_with_and_without_thinking(any_model):
    plain = any_model.say("what is 2+3?")
    assert isinstance(plain.text, str) and plain.thinking is None and plain.image is None
    assert plain.timings.keys() == {"answer", "total"}
    thought = any_model.say("what is 2+3?", think=True)
    assert isinstance(thought.thinking, str) and thought.timings.keys() == {"think", "answer", "total"}
    assert thought.request["command"] == "say" and any_model.say("what is 2+3?").text == plain.text


def test_temperature_leaves_something_to_the_seed(tiny):
    answers = {tiny.say("what is 2+3?", seed=seed, temperature=100.0).text for seed in range(4)}
    assert len(answers) > 1
    assert len({tiny.say("what is 2+3?", seed=seed).text for seed in range(2)}) == 1


def test_a_begun_answer_is_gone_on_with(tiny):
    picture = noisy(40, 30)
    begin = "two red"
    for think in (False, True):
        answer = tiny.ask(picture, "what is this?", begin=begin, think=think)
        assert answer.text.startswith(begin) and (answer.thinking is not None) is think
        assert answer.request["begin"] == begin
    assert tiny.say("what is 2+3?", begin="3").text.startswith("3")
    assert tiny.ask(picture, "what is this?", begin="").text == tiny.ask(picture, "what is this?").text


def test_a_long_beginning_gets_room_to_go_on(tiny):
    begin = " ".join(["two red cats on a blue box"] * 4)
    assert tiny.say("what is this?", begin=begin).text.startswith(begin)


@pytest.mark.parametrize(
    "text", ["the ___ is ___", "___ cats", "a red ___.", "two ____ and three __ by the sea", "3+___=9"]
)
def test_blanks_are_filled_and_nothing_else_changes(tiny, text):
    answer = tiny.fill(text, question="what is this?")
    known = [re.escape(piece.replace(" ", "")) for piece in re.split("_+", text)]
    assert re.fullmatch(".+".join(known), answer.text.replace(" ", ""), re.DOTALL), "no blank stays empty"
    assert tiny.fill(text, question="what is this?").text == answer.text


def test_blanks_of_a_given_length_take_one_try(tiny):
    steps = []
    answer = tiny.fill("a ___ cat", blank=2, on_step=lambda step: steps.append(step.finished))
    assert sum(steps) == 1 and answer.request["blank"] == 2
    steps.clear()
    tiny.fill("a ___ cat", on_step=lambda step: steps.append(step.finished))
    assert sum(steps) == 3


def test_a_text_about_a_picture_is_filled_after_a_thought(tiny):
    answer = tiny.fill("the ___ is red", image=noisy(30, 30), question="what is this?", think=True)
    assert answer.thinking is not None and answer.text.endswith("is red") and "image" in answer.request


def test_words_from_left_to_right_may_be_begun_but_not_filled_in(echo):
    assert echo.say("a cat", begin="a").text.startswith("a")
    with pytest.raises(ValueError, match="left to right"):
        echo.fill("a ___ cat")


def test_unknown_words_of_a_text_are_named(tiny):
    for make in (
        lambda: tiny.fill("a zyxgh ___", question="what is this?"),
        lambda: tiny.say("what is this?", begin="zyxgh"),
    ):
        with pytest.raises(UnknownWords, match="'zyxgh'"):
            make()


WHITE, CAT = Image.new("L", (16, 16), 255), {"prompt": "a cat"}


@pytest.mark.parametrize(
    ("command", "wish", "said"),
    [
        ("inpaint", {"mask": Image.new("L", (16, 15), 255)}, "mask has 16 x 15 pixels, the picture 16 x 16"),
        ("inpaint", {"mask": Image.new("L", (16, 16))}, "leaves nothing"),
        ("inpaint", {"keep": WHITE}, "leaves nothing"),
        ("inpaint", {}, "give either a mask"),
        ("inpaint", {"mask": WHITE, "keep": WHITE}, "give either a mask"),
        ("inpaint", {"mask": WHITE, "prompt": " "}, "prompt is empty"),
        ("inpaint", {"mask": WHITE, "steps": 0}, "steps=0"),
        ("inpaint", {"mask": "none.png"}, "no picture file"),
        ("inpaint", {"mask": WHITE, "image": "none.png"}, "no picture file"),
        ("extend", {}, "nothing to extend"),
        ("extend", {"left": -4}, "left=-4"),
        ("extend", {"up": 6}, "up=6 is no multiple of 4"),
        ("extend", {"up": 10**7}, "million"),
    ],
)
def test_impossible_wishes_are_refused(echo, command, wish, said):
    with pytest.raises(ValueError, match=said):
        getattr(echo, command)(**({"image": noisy(16, 16), "prompt": "a cat"} | wish))


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"text": "a cat"}, "no blank in 'a cat'"),
        ({"text": "a_cat _"}, "no blank"),
        ({"text": "___ ___"}, "nothing but blanks"),
        ({"text": " "}, "text is empty"),
        ({"text": "a ___", "blank": 0}, "blank=0"),
        ({"text": "a ___", "temperature": -1.0}, "temperature=-1"),
    ],
)
def test_texts_that_cannot_be_filled_are_refused(echo, wish, said):
    with pytest.raises(ValueError, match=said):
        echo.fill(**wish)


def test_a_mask_may_be_a_file_grey_or_transparent(echo, tmp_path):
    clear = Image.new("RGBA", (16, 16), (0, 0, 0, 255))
    clear.paste((0, 0, 0, 0), (4, 4, 9, 9))
    clear.save(tmp_path / "clear.png")
    grey = Image.new("L", (16, 16), 127)
    grey.paste(128, (4, 4, 9, 9))
    wanted = hole((16, 16), (4, 4, 9, 9))
    assert what_is_free(tmp_path / "clear.png").tobytes() == wanted.tobytes() == what_is_free(grey).tobytes()
    assert what_is_free(None, grey.point(lambda v: 255 - v)).tobytes() == wanted.tobytes()
