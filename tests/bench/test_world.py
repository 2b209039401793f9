from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as pil

import limner
from limner.bench.world import (
    UNSEEN,
    _measured_all,
    _readers,
    ceilings,
    evaluate,
    number_riddle_tasks,
    tasks,
    text_only_tasks,
    unseen_tasks,
)
from limner.models.echo import Echo
from limner.parts import Image
from limner.world import facts, lessons, say
from limner.world.content import Content


@pytest.mark.parametrize("group", lessons.GROUPS)
def test_a_test_set_has_different_prompts_and_another_seed_draws_others(group):
    first, again, other = (tasks(group, "new_compositions", 12, seed) for seed in (0, 0, 1))
    assert len({task.prompt for task in first}) == 12
    assert first == again
    assert {task.prompt for task in first} != {task.prompt for task in other}
    assert all(task.facts for task in first)


def test_unseen_pairs_are_single_things_in_a_colour_training_never_shows():
    some = unseen_tasks(20, 0)
    assert len(some) == 20 and all(UNSEEN in task.tags for task in some)


def test_text_only_prompts_rest_on_a_fact_that_no_training_picture_shows():
    some = text_only_tasks(20, 0)
    assert len(some) == 20 and all("text_fact" in task.tags for task in some)


def test_in_number_riddles_a_number_decides():
    some = number_riddle_tasks(20, 0)
    names = {name for trait in facts.TRAITS.values() for name in (trait.one, trait.many)}
    assert len(some) == 20 and all(names & set(say.words(task.prompt[0].text)) for task in some)


def test_processes_that_share_the_groups_find_what_one_finds():
    model, settings = limner.load("tiny-mmada").model, {"steps": 1, "guidance": None}
    sets = [(group, "explicit", tasks(group, "new_compositions", 2, 0)) for group in ("single", "counting")]
    one, two = (list(_measured_all(model, sets, 1, settings, workers)) for workers in (1, 2))
    assert [measured.row.group for measured in one] == ["single", "counting"]
    assert [replace(measured, shown=[]) for measured in one] == [replace(measured, shown=[]) for measured in two]
    for there, here in zip(two, one, strict=True):
        assert [(sample.reply[0], mark) for sample, mark in there.shown] == [
            (s.reply[0], mark) for s, mark in here.shown
        ]


def test_no_process_at_all_measures_nothing():
    with pytest.raises(ValueError, match="workers=0"):
        evaluate(Echo(), workers=0)


class Codec:
    """Keeps pictures as they are, or nothing of them."""

    def __init__(self, keeps):
        self.keeps = keeps

    def encode(self, parts):
        return [np.asarray(part.image) * self.keeps for part in parts]

    def decode(self, kind, values):
        return [Image(pil.fromarray(value)) for value in values]


def test_ceilings_are_what_is_read_back():
    kept, lost = ceilings(Codec(True), 24), ceilings(Codec(False), 24)
    assert kept["codec"] == kept["reader"] == lost["reader"] > 0.9
    assert kept["codec_many"] > 0.9 and kept["codec_still"] > 0.9
    assert lost["codec"] == lost["codec_many"] == lost["codec_still"] == 0


def test_two_readers_are_compared_where_both_can_read():
    cat, dog = Content("copies", (("cat", "red"),), "day"), Content("copies", (("dog", "red"),), "day")
    found = _readers([(cat, cat), (cat, dog), (None, dog), (cat, cat)])
    assert found == {"pictures": 4, "unknown": 0.25, "unknown_trained": 0.0, "alike": 2 / 3}
    assert _readers([]) == {"pictures": 0, "unknown": None, "unknown_trained": None, "alike": None}


class Silent(Echo):
    """One that was not taught to think, with pictures as large as the reader needs."""

    @property
    def thinks(self):
        return False

    def decode(self, kind, values):
        parts = super().decode(kind, values)
        if kind != "image":
            return parts
        return [replace(part, image=part.image.resize((64, 64))) for part in parts]


def test_without_thoughts_only_direct_drawing_is_measured():
    report = evaluate(Silent(), prompts=2, seeds=1)
    assert all(row["thinking"] is None and row["gain"] is None for row in report["rows"])
    assert report["explicit"]["thinking"] is None and report["explicit"]["direct"] is not None
    assert report["agreement"] is None and report["questions_thinking"] is None and report["shuffled"]["total"]
