"""Nothing that a test asks for is in training: not the composition, not the wording, not the picture of a text fact."""

import itertools
import re
from collections.abc import Iterator

import pytest

from limner.world import lessons, say, splits
from limner.world.facts import CLUES, HUES
from limner.world.scene import COLOURS, KINDS


def identity(lesson: lessons.Lesson) -> tuple[str, str | None]:
    """The wording together with the resolved scene content."""
    return lesson.prompt, lesson.plan


def taken(split: str, count: int, seed: int, text: float = 0.0) -> list[lessons.Lesson]:
    return list(itertools.islice(lessons.stream(seed, split, text=text), count))


@pytest.fixture(scope="module")
def training() -> list[lessons.Lesson]:
    """Training lessons of all groups, a third of the reasoning ones without pictures, and texts."""
    return list(itertools.islice(everything(11), 25_000))


def everything(seed: int) -> Iterator[lessons.Lesson]:
    weights = {group: 1.0 for group in lessons.GROUPS + lessons.TEXT}
    return lessons.stream(seed, "train", weights, text=0.33)


def test_no_test_prompt_is_in_training(training):
    seen = {identity(lesson) for lesson in training}
    prompts = {lesson.prompt for lesson in training}
    for split in ("new_compositions", "new_wordings", "text_only"):
        for lesson in taken(split, 1000, seed=12):
            assert identity(lesson) not in seen, lesson
            assert lesson.prompt not in prompts, lesson


def test_the_riddle_of_the_demonstration_is_in_no_training_text(training):
    for lesson in training:
        text = " ".join(say.words(f"{lesson.prompt} {lesson.thought} {lesson.answer or ''}"))
        assert splits.FORBIDDEN not in text
        assert "3+6) lives" not in lesson.prompt


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_no_test_prompt_and_no_forbidden_riddle_is_in_200000_training_texts():
    tests = {lesson.prompt for split in splits.SPLITS[1:] for lesson in taken(split, 5000, seed=17)}
    for lesson in itertools.islice(everything(18), 200_000):
        assert lesson.prompt not in tests, lesson
        assert splits.FORBIDDEN not in " ".join(say.words(f"{lesson.prompt} {lesson.thought}")), lesson


def test_other_sums_and_other_uses_of_nine_are_in_training(training):
    prompts = [lesson.prompt for lesson in training]
    assert any("(6+3) lives" in prompt for prompt in prompts)
    assert any("3+6" in lesson.thought for lesson in training)


def test_training_never_shows_a_held_out_composition(training):
    for lesson in training:
        if lesson.content is not None:
            assert splits.may_train(lesson.content), lesson


def test_text_only_facts_never_come_with_a_picture(training):
    clauses = [clue.clause for clue in CLUES if clue.text_only] + [hue.name for hue in HUES if hue.text_only]
    told = set()
    for lesson in training:
        for clause in clauses:
            if re.search(rf"\b{clause}\b", lesson.prompt):
                assert lesson.kind == "text", lesson
                told.add(clause)
    assert told == set(clauses)


def test_test_lessons_say_what_is_new():
    for lesson in taken("new_compositions", 500, seed=13):
        assert any(tag.startswith("unseen") for tag in lesson.tags)
    assert all("new_wording" in lesson.tags for lesson in taken("new_wordings", 500, seed=13))
    assert all("text_fact" in lesson.tags for lesson in taken("text_only", 500, seed=13))


def test_test_wordings_use_only_words_that_training_has(training):
    known = {word for lesson in training for word in say.words(f"{lesson.prompt} {lesson.thought}")}
    tests = {
        word for split in splits.SPLITS[1:] for lesson in taken(split, 1000, 15) for word in say.words(lesson.prompt)
    }
    assert tests <= known


def test_about_a_twelfth_of_the_pairs_is_held_out():
    colours = [splits.held_colour(kind) for kind in KINDS]
    counts = [splits.held_count(kind) for kind in KINDS]
    share = sum(colour is not None for colour in colours) / (len(KINDS) * len(COLOURS))
    assert 0.06 <= share <= 0.10
    assert 0.05 <= sum(count is not None for count in counts) / (len(KINDS) * 5) <= 0.11
    assert len(set(colours)) >= 6


def test_the_riddle_of_the_demonstration_counts_as_forbidden():
    assert splits.FORBIDDEN in " ".join(say.words("an animal with (3+6) lives"))
    with_lives = (
        lesson for lesson in lessons.stream(16, "new_compositions", {"riddle": 1.0}) if " lives" in lesson.prompt
    )
    assert "unseen_key" in next(with_lives).tags
