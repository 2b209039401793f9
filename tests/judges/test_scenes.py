import random

import numpy as np
import pytest
from PIL import Image as pil

from limner.judges.scenes import agreement, facts_of, planned, read_content, remembering, scene_judge
from limner.parts import Image, Sample, Task, Thinking, user
from limner.world import lessons, say
from limner.world.content import Content, copies
from limner.world.draw import to_image
from limner.world.scene import random_scene


def sample(content, facts=None, thought=None, size=128):
    parts = [] if thought is None else [Thinking(thought)]
    drawn = Image(to_image(content.scene(random.Random(0)), size))
    return Sample(Task((user("draw"),), facts or {}), (*parts, drawn))


@pytest.mark.parametrize("group", lessons.GROUPS)
def test_a_lesson_drawn_as_its_plan_says_is_right_and_another_picture_is_wrong(group):
    rng = random.Random(2)
    some = [lessons.lesson(group, rng) for _ in range(4)]
    right = scene_judge()([sample(lesson.content, lesson.facts) for lesson in some])
    assert [verdict.score for verdict in right] == [1.0] * 4
    wrong = copies(6, "violin", "brown", "rain")
    verdicts = scene_judge()([sample(wrong, lesson.facts) for lesson in some])
    assert [verdict.score for verdict in verdicts] == [0.0] * 4
    assert all(verdict.why for verdict in verdicts)


def test_what_cannot_be_read_fails_and_what_is_missing_is_not_judged():
    noise = pil.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    facts = {"include": [{"kind": "cat", "count": 1}]}
    unreadable = Sample(Task((user("a cat"),), facts), (Image(noise),))
    without = Sample(Task((user("a cat"),), facts), (Thinking("one red cat, plain"),))
    verdicts = scene_judge()([unreadable, without])
    assert verdicts[0].score == 0.0 and "unknown" in verdicts[0].why
    assert verdicts[1].score is None


def test_thought_and_picture_agree_only_when_the_plan_says_what_is_drawn():
    content = copies(2, "apple", "red", "night")
    good = sample(content, thought=f"1+1=2; {say.plan(content)}")
    other = sample(content, thought="three red apples, night")
    unfinished = sample(content, thought="1+1=2")
    alone = sample(content)
    scores = [verdict.score for verdict in agreement()([good, other, unfinished, alone])]
    assert scores == [1.0, 0.0, 0.0, None]


def test_pictures_are_read_at_the_size_they_are_shown():
    rng = random.Random(3)
    for _ in range(5):
        scene = random_scene(rng)
        for size in (64, 128):
            assert read_content(np.asarray(to_image(scene, size))) == Content.of(scene)


def test_a_plan_is_judged_by_the_facts_whatever_was_drawn():
    lesson = lessons.lesson("arithmetic", random.Random(3))
    other = copies(6, "violin", "brown", "rain")
    right, wrong, none = planned()(
        [
            sample(other, lesson.facts, lesson.thought),
            sample(lesson.content, lesson.facts, say.plan(other)),
            sample(lesson.content, lesson.facts),
        ]
    )
    assert (right.score, wrong.score, none.score) == (1.0, 0.0, None) and wrong.why
    assert planned()([sample(other, lesson.facts, "nothing")])[0].why == "the thought does not end in a plan"


def test_equal_pictures_are_read_once_and_others_apart():
    seen = []

    def reader(picture):
        seen.append(picture.shape)
        return read_content(picture)

    once = remembering(reader)
    cat, dog = (
        np.asarray(to_image(copies(1, kind, "red", "plain").scene(random.Random(0)), 64)) for kind in ("cat", "dog")
    )
    assert once(cat) == once(cat.copy()) == read_content(cat)
    assert once(dog) == read_content(dog)
    assert len(seen) == 2


@pytest.mark.parametrize("words", ["a red cat", "one red cat", "a red cat, snow", "one red cat, snow"])
def test_one_thing_is_asked_for_as_people_write_it_and_as_plans_do(words):
    wanted = {"include": [{"kind": "cat", "colour": "red", "count": 1}]}
    assert facts_of(words) == (wanted | {"background": "snow"} if "snow" in words else wanted)


def test_words_that_say_no_plan_have_no_facts():
    assert facts_of("a red") is None and facts_of("an answer") is None and facts_of("a red cat and a blue dog") is None
    assert facts_of("an orange dog") == {"include": [{"kind": "dog", "colour": "orange", "count": 1}]}
    assert facts_of("a red cat left of a blue dog")["relation"] == [{"a": 0, "b": 1, "is": "left of"}]
