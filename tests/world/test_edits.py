"""An edit changes what its instruction names and nothing else; stories chain."""

import random

import pytest

from limner.world import edits, say, splits
from limner.world.content import Content, copies, random_content


def trainable(rng: random.Random) -> Content:
    content = random_content(rng)
    while not splits.may_train(content):
        content = random_content(rng)
    return content


@pytest.mark.parametrize("kind", edits.EDITS)
def test_every_kind_of_edit_changes_the_scene_and_has_a_plan(kind):
    rng = random.Random(0)
    done = 0
    while done < 50:
        scene = trainable(rng).scene(rng)
        try:
            edit = edits.edit(scene, rng, kind)
        except ValueError:
            continue
        done += 1
        assert edit.kind == kind and edit.before == scene and edit.after != scene
        assert say.read_plan(edit.plan) == Content.of(edit.after)
        assert say.unknown(f"{edit.instruction} {edit.plan}") == []
        assert splits.may_train(Content.of(edit.after))
        assert len(say.words(edit.instruction)) <= 16


def test_recolouring_keeps_every_place_size_and_mirroring():
    rng = random.Random(1)
    for _ in range(200):
        scene = trainable(rng).scene(rng)
        edit = edits.edit(scene, rng, "recolour")
        assert [(t.kind, t.x, t.y, t.half, t.flip) for t in edit.after.things] == [
            (t.kind, t.x, t.y, t.half, t.flip) for t in scene.things
        ]
        assert edit.after.background == scene.background


def test_a_new_background_keeps_every_thing():
    rng = random.Random(2)
    for _ in range(200):
        edit = edits.edit(trainable(rng).scene(rng), rng, "background")
        assert edit.after.things == edit.before.things and edit.after.background != edit.before.background


def test_removing_says_how_many():
    rng = random.Random(3)
    scene = copies(3, "tree", "green").scene(rng)
    found = {(edit.instruction, edit.plan) for edit in (edits.edit(scene, rng, "remove") for _ in range(40))}
    assert found <= {
        ("remove one tree", "two green trees, plain"),
        ("remove two trees", "one green tree, plain"),
    }


def test_a_story_is_a_chain_of_scenes_and_repeats_with_its_seed():
    story = edits.story(random.Random(4), 6)
    assert len(story) == 6
    assert all(a.after == b.before for a, b in zip(story, story[1:], strict=False))
    assert story == edits.story(random.Random(4), 6)


def test_new_compositions_end_in_what_training_never_shows():
    rng = random.Random(5)
    for _ in range(50):
        *rest, last = edits.story(rng, 3, split="new_compositions")
        assert not splits.may_train(Content.of(last.after))
        assert all(splits.may_train(Content.of(edit.after)) for edit in rest)


def test_impossible_edits_are_errors():
    rng = random.Random(6)
    scene = copies(1, "cat", "red").scene(rng)
    with pytest.raises(ValueError, match="no edit called"):
        edits.edit(scene, rng, "sharpen")
    with pytest.raises(ValueError, match="found no edit"):
        edits.edit(scene, rng, "move")
    with pytest.raises(ValueError, match="at least one"):
        edits.story(rng, 0)
