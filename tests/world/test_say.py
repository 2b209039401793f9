"""Words split and join, plans say exactly one content, and captions are correct English inside the vocabulary."""

import random
import re

import pytest

from limner.world import say
from limner.world.content import Content, copies, random_content
from limner.world.scene import BACKGROUNDS, COLOURS, CONTAINER, KINDS, arrange, random_scene


def test_brackets_and_spaces_do_not_change_the_words():
    assert say.words("An animal with (3+6) lives") == say.words("an  animal with ( 3 + 6 ) lives")
    assert say.join(say.words("( 3 + 6 ) Lives , a cat ; it is 9 .")) == "(3+6) lives, a cat; it is 9."


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (copies(3, "apple", "red"), "three red apples, plain"),
        (copies(1, "octopus", "orange", "sea"), "one orange octopus, sea"),
        (copies(2, "opera house", "white", "day"), "two white opera houses, day"),
        (Content("row", (("cat", "blue"), ("car", "red")), "night"), "a blue cat left of a red car, night"),
        (Content("column", (("umbrella", "orange"), ("box", "red")), "day"), "an orange umbrella above a red box, day"),
        (Content("inside", (("box", "blue"), ("star", "red")), "day"), "a red star inside a blue box, day"),
        (
            Content("trio", (("cat", "red"), ("dog", "blue"), ("car", "green")), "sea"),
            "a red cat, a blue dog, a green car, sea",
        ),
    ],
)
def test_a_plan_is_the_canonical_sentence_of_its_content(content, sentence):
    assert say.plan(content) == sentence
    assert say.read_plan(sentence) == content


def test_every_plan_reads_back_to_its_content():
    rng = random.Random(0)
    for _ in range(1000):
        content = random_content(rng)
        assert say.read_plan(say.plan(content)) == content
        assert say.plan_of(f"3+6=9; {say.plan(content)}") == content
    for background in BACKGROUNDS:
        for kind in KINDS:
            for count in range(1, 7):
                content = copies(count, kind, COLOURS[count], background)
                assert say.read_plan(say.plan(content)) == content


def test_placement_does_not_change_a_plan():
    rng = random.Random(1)
    for _ in range(600):
        scene = random_scene(rng)
        content = Content.of(scene)
        assert content.layout != "other"
        assert Content.of(content.scene(rng)) == content
        assert Content.of(content.scene(rng, vary=False)) == content
        assert say.plan(scene) == say.plan(content)
        assert Content.from_json(content.to_json()) == content


@pytest.mark.parametrize(
    "text",
    [
        "",
        "three red apples",
        "three red apple, plain",
        "one red apples, plain",
        "zero red apples, plain",
        "seven red apples, plain",
        "a orange cat left of a red car, plain",
        "an orange cat left of, plain",
        "a red box inside a blue box, plain",
        "a red cat inside a blue car, plain",
        "a red cat, a blue dog, plain",
        "a red cat left of a red cat, plain",
        "three red apples, moon",
        "three mauve apples, plain",
    ],
)
def test_what_is_not_exactly_a_plan_is_not_read(text):
    assert say.read_plan(text) is None


def test_an_arrangement_without_layout_has_no_plan():
    with pytest.raises(ValueError, match="layout"):
        say.plan(Content("other", (("cat", "red"), ("dog", "red")), "plain"))
    with pytest.raises(ValueError, match="layout"):
        Content("other", (), "plain").scene(random.Random(0))


def test_two_equal_things_side_by_side_are_two_copies():
    row = arrange("row", [("cat", "red"), ("cat", "red")], "plain")
    assert Content.of(row) == copies(2, "cat", "red")


def test_captions_are_grammatical_and_use_known_words():
    rng = random.Random(2)
    seen = set()
    for i in range(1000):
        content = random_content(rng)
        caption = say.caption(content, rng, test=i % 2 == 0)
        assert say.unknown(caption) == []
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", caption), caption
        assert say.join(say.words(caption)) == caption
        seen.add(caption)
    assert len(seen) > 850


def test_the_vocabulary_is_sorted_into_classes_and_small():
    words = say.vocabulary()
    assert len(set(words)) == len(words) <= 430
    letters = [word for word in words if word.isalpha()]
    assert letters == sorted(letters)
    assert set(say.NUMBERS) <= set(words) and {str(n) for n in range(13)} <= set(words)
    assert say.unknown("a Zebra and a red cat") == ["zebra"]
    assert CONTAINER in words
