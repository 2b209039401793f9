import json
import random
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from limner.algorithms.unigrpo import GroupSettings
from limner.codecs.magvit import TINY, MagvitCodec
from limner.models.mmada.model import MMaDA
from limner.parts import Verdict
from limner.recipes.tiny_mmada import config
from limner.recipes.tiny_unigrpo import SETTINGS, closed, draw_tasks, look_tasks, same_words, say_tasks, tiny_unigrpo
from limner.train.fit import fit
from limner.world import say
from limner.world.splits import FORBIDDEN


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A very small untrained model."""
    from limner.models.mmada.tokenizer import make_word_tokenizer

    torch.manual_seed(0)
    codec, tokenizer = MagvitCodec(TINY), make_word_tokenizer(say.vocabulary(), "think\n")
    full = config(tokenizer, codec)
    brief = replace(full.defaults, thinking_limit=8, text_limit=8)
    small = replace(full, width=24, layers=1, heads=2, kv_heads=2, mlp=32, defaults=brief)
    folder = tmp_path_factory.mktemp("start") / "released"
    MMaDA(small, tokenizer, codec).save(folder)
    return folder


def chance(samples):
    """Verdicts that differ and are the same every time."""
    return [Verdict(random.Random(str(s.reply[0].raw)).random()) for s in samples]


def small_run(start):
    settings = GroupSettings(group=2, updates=2)
    run = tiny_unigrpo(start, settings, draw=1, think=1, look=1, speak=1, change=lambda e: replace(e, judge=chance))
    return replace(run, steps=3, lr=1e-3, sample=None, checkpoint_every=1, threads=1, log_every=1)


def test_a_run_killed_between_two_updates_of_the_same_replies_ends_with_the_same_weights(start, tmp_path):
    run = small_run(start)
    whole = fit(run, tmp_path / "whole", progress=False)

    def killed(learner, now, rng):
        if now.update == 1:
            raise InterruptedError
        return run.objective(learner, now, rng)

    with pytest.raises(InterruptedError):
        fit(replace(run, objective=killed), tmp_path / "cut", progress=False)
    again = fit(run, tmp_path / "cut", progress=False)
    one, other, before = (load_file(f / "model.safetensors") for f in (whole.released, again.released, start))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert any(not torch.equal(one[name], before[name]) for name in one)
    lines = [json.loads(line) for line in (tmp_path / "cut" / "numbers.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    for name in ("draw", "think", "look", "say"):
        assert f"{name}_reward" in lines[0] and f"{name}_reward" not in lines[1]
    assert lines[0]["draw_image_ratio"] == pytest.approx(1.0) and lines[1]["draw_image_kl"] >= 0
    assert MMaDA.load(whole.released).config == MMaDA.load(start).config


def test_the_recipe_judges_pictures_plans_and_form(start):
    run = tiny_unigrpo(start, GroupSettings(group=2, updates=1), draw=1)
    learner = run.build()
    _, numbers = run.objective(learner, next(run.batches(0, 0, 1)), torch.Generator())
    assert {"draw_reward", "draw_scene", "draw_plan", "draw_format", "draw_image_kl", "draw_thinking_ratio"} <= set(
        numbers
    )
    assert run.settings["rl"]["group"] == 2 and numbers["draw_scene"] == 0.0


def test_prompts_are_what_training_may_see_and_come_again_with_their_seed():
    assert draw_tasks(3, 4) == draw_tasks(3, 4) != draw_tasks(4, 4)
    asked = [task.prompt[0].text for task in draw_tasks(0, 300)]
    assert not any(FORBIDDEN.replace(" ", "") in text.replace(" ", "") for text in asked)
    assert all(task.facts["include"] for task in draw_tasks(0, 20))
    assert all(task.facts["answer"] for task in look_tasks(0, 5) + say_tasks(0, 20))


def test_a_thought_is_closed_by_its_tag(start):
    model = MMaDA.load(start)
    ids = model.renderer.thought("so, one cat")
    whole, open_ = (model.decode("thinking", torch.tensor([row]))[0] for row in (ids, ids[:-1]))
    assert closed(model)(whole) and not closed(model)(open_)


def test_answers_are_the_same_words_or_number():
    assert same_words("The Cat", "the cat") and same_words("3 + 4 = 7", "7") and not same_words("a dog", "the cat")


def test_a_missing_start_is_named(tmp_path):
    with pytest.raises(ValueError, match="no model to start from"):
        tiny_unigrpo(tmp_path / "nothing")


def test_unchanged_weights_score_words_and_pictures_exactly_as_before(start):
    settings = replace(SETTINGS, group=3, rows=4)
    run = tiny_unigrpo(start, settings, draw=2, look=1, change=lambda e: replace(e, judge=chance))
    learner, now = run.build(), next(run.batches(0, 0, 1))
    for exercise in learner.exercises:
        learner.roll(exercise, now)
        for part in range(len(exercise.plan)):
            old = learner.get_buffer(f"{exercise.name}_old_{part}")
            for place, (draw, counted) in enumerate(learner.draws(exercise, now, part)):
                assert counted.any(dim=1).all() and (draw.hidden | ~counted).all()
                for rows in learner._batches(exercise):
                    new = learner._score(learner.policy, exercise, now, part, draw, rows)
                    assert new.requires_grad and torch.equal(new.detach(), old[place, rows])
                    reference = learner._score(learner.reference, exercise, now, part, draw, rows)
                    assert torch.equal(new.detach(), reference)
