"""Answers are exactly what the scene shows, and yes is as frequent as no."""

import random
from collections import Counter

import pytest

from limner.world import questions, say
from limner.world.content import Content, copies, random_content

ROW = Content("row", (("cat", "blue"), ("car", "red")), "night")
INSIDE = Content("inside", (("box", "blue"), ("star", "red")), "day")


@pytest.mark.parametrize(
    ("content", "topic", "pairs"),
    [
        (ROW, "what", {("what is left of the car?", "a blue cat"), ("what is right of the cat?", "a red car")}),
        (ROW, "where", {("where is the cat?", "left of the car"), ("where is the car?", "right of the cat")}),
        (ROW, "background", {("what is the background?", "night")}),
        (INSIDE, "where", {("where is the star?", "inside the box")}),
        (copies(3, "mouse", "pink"), "colour", {("what colour are the mice?", "pink")}),
        (copies(1, "opera house", "white"), "what", {("what is it?", "an opera house")}),
    ],
)
def test_questions_have_the_answer_that_the_scene_shows(content, topic, pairs):
    rng = random.Random(0)
    assert {questions.ask(content, rng, topic) for _ in range(60)} == pairs


def test_counts_are_exact_and_absent_things_are_zero():
    rng = random.Random(1)
    content = copies(5, "fish", "red")
    for _ in range(200):
        question, answer = questions.ask(content.scene(rng), rng, "how_many")
        assert answer == ("five" if "fish" in question else "zero")


def test_yes_is_as_frequent_as_no_in_every_topic():
    rng = random.Random(2)
    for topic in ("is_there", "is_coloured", "is_placed", "is_background", "more_than", "same_colour"):
        answers: Counter[str] = Counter()
        while sum(answers.values()) < 400:
            try:
                answers[questions.ask(random_content(rng), rng, topic)[1]] += 1
            except ValueError:
                continue
        assert set(answers) == {"yes", "no"} and 0.4 < answers["yes"] / 400 < 0.6, topic


def test_questions_stay_inside_the_vocabulary():
    rng = random.Random(3)
    for _ in range(1500):
        question, answer = questions.ask(random_content(rng), rng)
        assert say.unknown(f"{question} {answer}") == []
        assert say.join(say.words(question)) == question


def test_what_cannot_be_asked_is_an_error():
    with pytest.raises(ValueError, match="topic"):
        questions.ask(ROW, random.Random(0), "weight")
    with pytest.raises(ValueError, match="fits"):
        questions.ask(ROW, random.Random(0), "more_than")
    with pytest.raises(ValueError, match="layout"):
        questions.ask(Content("other", (), "plain"), random.Random(0))
