"""Tiny verifiers: their data, their questions, and two steps of training."""

import json
import random
from dataclasses import replace

import pytest
import torch

from limner import catalog
from limner.codecs.magvit import TINY, MagvitCodec
from limner.judges.asked import Asked, read_about
from limner.judges.named import find_verifier
from limner.judges.scenes import facts_of
from limner.parts import Image, Sample, Task, user
from limner.recipes import tiny_showo
from limner.recipes import tiny_verifier as tv
from limner.train.fit import fit
from limner.turn import rollout
from limner.world import say
from limner.world.check import facts_hold

FEW = tv.HalfMade(prompts=4, number=2, continuations=2, groups=("single",), rows=4)


@pytest.fixture(scope="module")
def generator():
    return catalog.load_model(catalog.DEFAULT)


@pytest.fixture(scope="module")
def data(generator, tmp_path_factory):
    folder = tmp_path_factory.mktemp("half")
    rows = tv.half_made(generator, FEW, folder, catalog.DEFAULT)
    # untrained eyes need both kinds
    for i, row in enumerate(rows):
        row["right"], row["any"] = bool(i % 2), bool(i % 2)
    (folder / "paths.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_paths_hold_every_view_and_what_became_of_them(generator, data, tmp_path):
    rows = tv.half_made(generator, FEW, data, catalog.DEFAULT)
    steps = generator.plan(("image",))[0].steps
    assert len(rows) == 8 and all(len(row["views"]) == steps and 1 <= row["branch"] < steps for row in rows)
    part = Image(None, tuple(rows[0]["views"][-1]))
    assert generator.decode("image", generator.encode([part]))[0].raw == part.raw
    assert all(not say.unknown(row["shows"]) for row in rows)
    with pytest.raises(ValueError, match="another generator"):
        tv.half_made(generator, FEW, data, "someone-else")


def test_every_question_is_made_of_words_the_world_knows(generator, data):
    rows = tv.half_made(generator, FEW, data, catalog.DEFAULT)
    teach = tv.Lessons(generator, rows, tv.MIXTURES["tiny_parmpp"] | {"step": 100})
    pieces = {piece.name: piece for piece in teach(0, 128)}
    words = {"clarity", "potential", "outcome", "reflection", "critique", "step", "judges", "compares"}
    assert set(pieces) == words | {"sees"} and pieces["sees"].kind == "thinking"
    assert all(pieces[name].kind == "text" for name in words)
    assert pieces["outcome"].values.shape[1] == 2 and pieces["critique"].values.shape[1] > 2
    task = Task((user("a red cat"),))
    sample = Sample(task, (Image(generator.decode("image", torch.zeros(1, 64, dtype=torch.int64))[0].image),))
    for question in ("clarity", "potential", "step", "outcome", "reflection"):
        assert Asked(generator, tv.WORLD)(question, [sample])[0].judged
    with pytest.raises(ValueError, match="some of both"):
        tv.Lessons(generator, [row for row in rows if row["right"]], {"outcome": 1.0})


def test_what_is_compared_in_words_is_right_or_differs_in_one_respect():
    rng = random.Random(0)
    some = [tv.compared(rng) for _ in range(60)]
    assert 15 < sum(right for _, _, right in some) < 45
    for prompt, shows, right in some:
        assert not say.unknown(prompt) and say.read_plan(shows) is not None
        facts = facts_of(prompt)
        if facts is not None:  # prompts in the words of a plan can be checked
            assert facts_hold(facts, say.read_plan(shows))[0] is right


@pytest.mark.parametrize("name", ["tiny_orm", "tiny_prm", "tiny_parm", "tiny_parmpp"])
def test_two_steps_release_a_verifier(name, data, tmp_path):
    run = getattr(tv, name)(catalog.DEFAULT, data, FEW)
    result = fit(replace(run, steps=2, batch_size=8, log_every=1, prefetch=0), tmp_path, progress=False)
    assert result.numbers["step"] == 2
    about = read_about(result.released)["about"]
    assert (about.name, about.metric, about.prompts) == (f"cot.{name}", "scenes", "world")
    assert find_verifier(str(result.released)).about == about
    told = read_about(result.released)
    assert (told["thinks"], told["fast"]) == (
        (("outcome", "reflection"), "threshold=0.8") if name == "tiny_parmpp" else ((), "")
    )


def test_the_generator_learns_to_draw_again_with_a_critique_in_front(generator, data, tmp_path):
    rows = tv.half_made(generator, FEW, data, catalog.DEFAULT)
    pieces = {piece.name: piece for piece in tv.Corrections(generator, rows)(0, 4)}
    assert pieces["again"].context.given.before.shape[1] > 64 > pieces["plain"].context.given.before.shape[1]
    run = tv.tiny_correct(catalog.DEFAULT, data, FEW)
    result = fit(replace(run, steps=2, batch_size=4, log_every=1, prefetch=0), tmp_path, progress=False)
    model = catalog.load_model(result.released)
    (sample,) = rollout(model, [Task((user("a red cat"),))], model.plan(("image",)), [0])
    assert sample.image is not None and read_about(result.released) == {}


def test_a_verifier_may_begin_as_another_model_that_reads_the_same_codes(generator, data, tmp_path):
    reader = tiny_showo.new_model(generator.codec)
    reader.save(tmp_path / "reader")
    run = tv.tiny_parm(catalog.DEFAULT, data, FEW, start=tmp_path / "reader")
    result = fit(replace(run, steps=1, batch_size=4, log_every=1, prefetch=0), tmp_path / "run", progress=False)
    assert catalog.load_model(result.released).family == "showo"
    tiny_showo.new_model(MagvitCodec(TINY)).save(tmp_path / "other")
    wrong = tv.tiny_parm(catalog.DEFAULT, data, FEW, start=tmp_path / "other")
    with pytest.raises(ValueError, match="does not read the codes"):
        fit(replace(wrong, steps=1, prefetch=0), tmp_path / "wrong", progress=False)
