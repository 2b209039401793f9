"""Lessons are endless, correct, short, inside the vocabulary, and their facts hold for their own pictures."""

import itertools
import random
import re

import pytest

from limner.world import check, lessons, say, splits
from limner.world.lessons.base import PROMPT_LIMIT, THOUGHT_LIMIT
from limner.world.lessons.sums import Sum, a_sum


def some(split: str, count: int, seed: int = 0, text: float = 0.0) -> list[lessons.Lesson]:
    return list(itertools.islice(lessons.stream(seed, split, text=text), count))


@pytest.mark.parametrize("split", splits.SPLITS)
def test_thoughts_are_right_and_facts_hold_for_the_planned_picture(split):
    rng = random.Random(0)
    for lesson in some(split, 500):
        assert lesson.content is not None
        assert check.facts_hold(lesson.facts, lesson.content) == (True, []), lesson
        assert check.facts_hold(lesson.facts, lesson.content.scene(rng)) == (True, []), lesson
        assert check.thought_holds(lesson.thought, lesson.content) == (True, []), lesson
        assert lesson.thought.endswith(lesson.plan)
        assert len(say.words(lesson.prompt)) <= PROMPT_LIMIT
        assert len(say.words(lesson.thought)) <= THOUGHT_LIMIT
        assert say.join(say.words(lesson.prompt)) == lesson.prompt
        assert say.join(say.words(lesson.thought)) == lesson.thought
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", f"{lesson.prompt} {lesson.thought}"), lesson
        assert lessons.Lesson.from_json(lesson.to_json()) == lesson


def test_every_word_of_every_split_is_in_the_vocabulary():
    known = set(say.vocabulary())
    for split in splits.SPLITS:
        for lesson in some(split, 1000, seed=1, text=0.3):
            assert set(say.words(f"{lesson.prompt} {lesson.thought}")) <= known, lesson
    rng = random.Random(2)
    for group in lessons.TEXT:
        for _ in range(500):
            lesson = lessons.lesson(group, rng)
            assert set(say.words(f"{lesson.prompt} {lesson.thought} {lesson.answer}")) <= known, lesson


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_every_word_of_100000_lessons_of_each_split_is_in_the_vocabulary():
    known = set(say.vocabulary())
    for split in splits.SPLITS:
        for lesson in some(split, 100_000, seed=3, text=0.3):
            assert set(say.words(f"{lesson.prompt} {lesson.thought} {lesson.answer or ''}")) <= known, lesson


def test_text_lessons_have_true_sums_and_answers():
    rng = random.Random(3)
    for _ in range(500):
        lesson = lessons.lesson("sums", rng)
        assert lesson.kind == "text" and lesson.content is None and lesson.plan is None
        assert check.false_equations(lesson.thought) == []
        assert lesson.thought.endswith(f"={lesson.answer}")
        assert lessons.lesson("knowledge", rng).answer


def test_the_same_seed_gives_the_same_lessons():
    assert some("train", 200, seed=5) == some("train", 200, seed=5)
    assert some("train", 200, seed=5) != some("train", 200, seed=6)


def test_weights_choose_the_groups():
    stream = lessons.stream(0, weights={"arithmetic": 3, "riddle": 1})
    groups = [lesson.group for lesson in itertools.islice(stream, 400)]
    assert set(groups) == {"arithmetic", "riddle"} and groups.count("arithmetic") > 240


def test_groups_partition_into_explicit_and_reasoning():
    assert set(lessons.GROUPS) == set(lessons.EXPLICIT) | set(lessons.REASONING)
    assert not set(lessons.EXPLICIT) & set(lessons.REASONING)
    assert set(lessons.TEXT_ONLY) <= set(lessons.REASONING)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("poetry",), "no group"),
        (("single", "dev"), "no split"),
        (("single", "train", "song"), "kind"),
        (("single", "text_only"), "only text"),
        (("sums", "new_compositions"), "no compositions"),
    ],
)
def test_unknown_requests_say_what_there_is(arguments, message):
    group, *rest = arguments
    with pytest.raises(ValueError, match=message):
        lessons.lesson(group, random.Random(0), *rest)


def test_the_same_riddle_words_need_the_number():
    rng = random.Random(7)
    kinds = set()
    for _ in range(1500):
        lesson = lessons.lesson("riddle", rng)
        if " legs" in lesson.prompt:
            kinds.add(lesson.content.things[0][0])
    assert {"fish", "snake", "bird", "cat", "bee", "octopus"} <= kinds


def test_all_small_sums_are_taught():
    rng = random.Random(8)
    taught = set()
    for _ in range(12_000):
        lesson = lessons.lesson("sums", rng)
        taught |= set(re.findall(r"\b\d[+-]\d=\d+", lesson.thought))
    for a, b in itertools.product(range(1, 10), repeat=2):
        if a + b <= 9:
            assert f"{a}+{b}={a + b}" in taught
        if a >= b:
            assert f"{a}-{b}={a - b}" in taught


def test_sums_have_the_value_they_are_made_for():
    rng = random.Random(9)
    for value in range(10):
        for _ in range(200):
            total = a_sum(rng, value, two=0.5)
            assert total.value == value and check.false_equations("; ".join(total.steps)) == []
    assert Sum((2, 3, -1)).steps == ("2+3=5", "5-1=4")
    assert Sum((2, 3, -1)).spelled == "two plus three minus one"
