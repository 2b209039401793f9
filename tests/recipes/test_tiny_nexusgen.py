"""The tiny stages, two steps each of a smaller model, one going on from the other; and the study of accumulation."""

import json
import random
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from limner.codecs.vae import Vae
from limner.judges.scenes import read_content
from limner.models.nexusgen.model import NexusGen
from limner.models.nexusgen.small import vae_config
from limner.parts import Ask, Image, Thinking, user
from limner.recipes import RECIPES, tiny_accumulation, tiny_sight
from limner.recipes import tiny_nexusgen as recipes
from limner.recipes.tiny_accumulation import WAYS, Study, block
from limner.train.fit import fit
from limner.world import say
from limner.world.say import read_plan
from limner.world.splits import may_train

SMALL = replace(
    tiny_sight.SIZES, width=32, layers=2, heads=2, kv_heads=1, mlp=32, sight=16, sight_layers=1, sight_heads=2,
    sight_mlp=16, painter_heads=2, painter_head=16, double=1, single=1, context=24, pooled=8,
)  # fmt: skip
MIXTURE = recipes.Mixture(1, 1, 1, 1, 1, 1, 1, 1, 1)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Every stage's result by name."""
    home, found = tmp_path_factory.mktemp("runs"), {}
    torch.manual_seed(0)
    Vae(vae_config(replace(SMALL, vae=(8, 8, 8), vae_groups=4))).save(home / "vae")

    def go(run, size):
        own = replace(run, steps=2, batch_size=size, prefetch=0, log_every=1, sample_every=0, dtype="float32")
        found[run.name.removeprefix("nexusgen.")] = result = fit(own, home / run.name, progress=False)
        return result.released

    sight = go(tiny_sight.tiny_sight(SMALL), 4)
    generation = go(recipes.tiny_generation(home / "vae", sight, SMALL, home / "cache", 8), 4)
    three = go(
        recipes.tiny_reader_three(
            go(recipes.tiny_reader_two(go(recipes.tiny_reader_one(generation, MIXTURE, 4), 9), MIXTURE, 4), 9),
            MIXTURE,
            9,
        ),
        9,
    )
    edits = go(recipes.tiny_editing(go(recipes.tiny_copying(three, home / "cache", 4), 2), home / "cache", 4), 2)
    go(recipes.tiny_editing_two(edits, home / "cache", 4), 2)
    go(tiny_accumulation.tiny_accumulation(generation, recipes.Mixture(2, 2), 3), 4)
    return found


def test_every_stage_trains_its_own_part_alone(runs):
    order = ["tiny_generation", "tiny_reader_one", "tiny_reader_two", "tiny_reader_three"]
    order += ["tiny_copying", "tiny_editing", "tiny_editing_two"]
    states = [NexusGen.load(runs[name].released).state_dict() for name in order]
    for before, after, part in zip(states, states[1:], ["reader"] * 3 + ["editing"] * 3, strict=False):
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        assert moved and {name.partition(".")[0] for name in moved} == {part}
        assert not any("visual" in name for name in moved)


def test_embeddings_have_mean_0_and_deviation_1(runs):
    model = NexusGen.load(runs["tiny_generation"].released)
    pictures = [recipes.TASKS["caption"](random.Random(i)).reply[0] for i in range(40)]
    patches = torch.stack([model.own(one.image)[0] for one in pictures])
    found = model.reader.see(patches, torch.tensor([[model.own(one.image)[1]] for one in pictures]))
    assert found.shape == (40 * recipes.SIDE**2, SMALL.width)
    assert abs(float(found.mean())) < 0.3 and 0.6 < float(found.std()) < 1.5


def test_the_stages_report_their_losses(runs):
    assert {"words", "embeddings", "cosine"} <= runs["tiny_reader_two"].numbers.keys()
    assert "velocity" in runs["tiny_editing"].numbers and "kind_right" in runs["tiny_sight"].numbers


def test_lessons_show_what_training_may_show():
    rng = random.Random(0)
    batch = recipes.some_lessons(recipes.BALANCED, 0, 0)
    assert len(batch) == sum(asdict(recipes.BALANCED).values())
    assert may_train(recipes.known_content(rng))
    assert isinstance(recipes.TASKS["polished"](rng).reply[0], Thinking)
    story = recipes.TASKS["story"](rng)
    assert isinstance(story.reply[-1], Image) and story.conversation[1].role == "assistant"


def test_a_change_is_thought_about_as_the_scenes_before_and_after_it():
    for name, kinds in (("think", ["thinking"]), ("thought", ["thinking", "image"])):
        for task in ("change", "story"):
            row = recipes.TASKS[f"{name}_{task}"](random.Random(3))
            plain = recipes.TASKS[task](random.Random(3))
            assert row.conversation == plain.conversation and [part.kind for part in row.reply] == kinds
            assert row.reply[1:] == (plain.reply if name == "thought" else ())
            before, after = (read_plan(text) for text in row.reply[0].text.split("; "))
            assert before != after
    sources = [recipes.TASKS["think_change"](random.Random(i)) for i in range(5)]
    for row in sources:
        (shown,) = (part for part in row.conversation[0].parts if isinstance(part, Image))
        scene = read_content(np.asarray(shown.image))
        assert say.plan(scene) == row.reply[0].text.split("; ")[0]


def test_some_of_an_editing_decoders_lessons_change_nothing():
    rows = recipes.from_pool(recipes._kept_or_changed, 400, 0, 200)
    same = [row for row in rows if row.reply[0].image.tobytes() == row.conversation[0].parts[0].image.tobytes()]
    assert 0.15 < len(same) / len(rows) < 0.35


def test_harder_lessons_mostly_change_what_stands_there(monkeypatch):
    made, real = [], recipes.edit

    def recorded(*given):
        found = real(*given)
        made.append(found.kind)
        return found

    monkeypatch.setattr(recipes, "edit", recorded)
    share = {}
    for lesson in (recipes._harder, recipes._kept_or_changed):
        made.clear()
        for i in range(200):
            lesson(random.Random(i))
        share[lesson] = (len(made) / 200, sum(kind in recipes.HARD_EDITS for kind in made) / len(made))
    changed, hard = share[recipes._harder]
    assert 0.84 < changed < 0.96  # the others change nothing
    assert hard > 0.75 > 0.7 > share[recipes._kept_or_changed][1]


def test_a_place_is_asked_where_things_have_one():
    for seed in range(40):
        row = recipes.TASKS["place"](random.Random(seed))
        asked, answer = row.conversation[0].parts[1].text, row.reply[0].text
        assert asked.startswith("where is") or answer in ("yes", "no")


def test_the_editing_decoder_begins_as_the_generation_decoder(runs):
    model = recipes._painter(runs["tiny_reader_three"].released)
    ours, theirs = model.editing.dit.state_dict(), model.generation.dit.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    with pytest.raises(ValueError, match="train the recipe"):
        recipes.tiny_reader_one(runs["tiny_sight"].folder / "nowhere").build()


# accumulation


def test_the_study_compares_three_ways(runs):
    folder = runs["tiny_accumulation"].released
    report = json.loads((folder / tiny_accumulation.REPORT).read_text())
    assert (folder / tiny_accumulation.PLOT).stat().st_size > 2000
    assert list(report["ways"]) == list(WAYS) and report["places"] == recipes.SIDE**2
    for way in ("table", "pad"):
        found = report["ways"][way]
        assert found["free"] == found["teacher_forced"]
        assert len(set(found["last_cosine_pushed"].values())) == 1
    none = report["ways"]["none"]
    assert none["free"]["squared"][0] == pytest.approx(none["teacher_forced"]["squared"][0], rel=1e-3)
    assert none["free"]["squared"][1:] != none["teacher_forced"]["squared"][1:]


def test_ways_begin_with_the_same_weights_and_share_their_eyes(runs):
    study = Study(NexusGen.load(runs["tiny_generation"].released))
    table, none = study.reader("table"), study.reader("none")
    assert torch.equal(table.vision_head.weight, none.vision_head.weight)
    assert table.network.model.visual is none.network.model.visual
    trained = [name for name, weight in study.named_parameters() if weight.requires_grad]
    assert all(name.startswith("ways.") and "visual" not in name for name in trained)
    given = study.model.context([(user("a red cat"),)], [()], Ask("image")).given
    assert block(none, given).shape == block(table, given).shape == (1, recipes.SIDE**2, SMALL.width)


def test_the_recipes_are_known_by_name():
    names = [name for name in RECIPES if name.startswith("nexusgen.")]
    assert len(names) == 18
