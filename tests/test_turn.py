from dataclasses import replace

import pytest
import torch

from limner.models.echo import Echo
from limner.parts import Ask, Image, Sample, Task, Text, Thinking, assistant, user
from limner.process.noise import Noise
from limner.turn import choose, draws, log_prob, rollout, stream

MODEL = Echo(seed=0)
PROMPTS = [(user("a red cat"),), (user("hi"),), (user("two dogs"),)]
TASKS = [Task(prompt) for prompt in PROMPTS]
PLAN = MODEL.plan(["thinking", "image", "text"])


def test_every_step_is_seen_and_progress_only_grows():
    steps = list(stream(MODEL, PROMPTS, PLAN, [1, 2, 3]))
    progress = [step.progress for step in steps]
    assert progress == sorted(progress) and progress[0] == 0.0 and progress[-1] == 1.0
    assert [step.part for step in steps if step.finished] == [0, 1, 2]
    for step in steps:
        assert all(len(reply) == step.part + step.finished for reply in step.replies)
        assert step.ask is PLAN[step.part] and step.process.view(step.state).shape[0] == 3
        assert step.finished == bool(step.state.done.all())


def test_a_rollout_is_the_end_of_a_stream():
    *_, last = stream(MODEL, PROMPTS, PLAN, [1, 2, 3])
    samples = rollout(MODEL, TASKS, PLAN, [1, 2, 3])
    assert [sample.reply for sample in samples] == list(last.replies)
    assert [sample.seed for sample in samples] == [1, 2, 3] and [sample.task for sample in samples] == TASKS


def test_a_rollout_does_not_depend_on_how_it_is_batched():
    seeds = list(range(7))
    tasks = [TASKS[i % 3] for i in range(7)]
    whole = rollout(MODEL, tasks, PLAN, seeds)
    assert all(rollout(MODEL, tasks, PLAN, seeds, batch=n) == whole for n in (1, 2, 3))


def test_the_same_seed_makes_different_numbers_for_every_part():
    steps = list(stream(MODEL, PROMPTS, (Ask("image"), Ask("image")), [1, 1, 1]))
    first, second = steps[-1].replies[0]
    assert first != second


def test_streams_leave_no_gradients_and_restore_the_mode():
    assert torch.is_grad_enabled()
    for step in stream(MODEL, PROMPTS, PLAN, [1, 2, 3]):
        assert torch.is_grad_enabled() and not step.process.view(step.state).requires_grad


def test_standing_parts_are_kept():
    standing = [(Thinking("mine"),), (Thinking("yours"),), ()]
    *_, last = stream(MODEL, PROMPTS, (Ask("text"),), [1, 2, 3], replies=standing)
    assert [reply[:-1] for reply in last.replies] == standing


def test_recorded_numbers_replace_the_seeds():
    noise = Noise.of([5, 6, 7])
    runs = [list(stream(MODEL, PROMPTS, PLAN, seeds, noise=noise))[-1].replies for seeds in ([1, 2, 3], [4, 5, 6])]
    assert runs[0] == runs[1]


def test_a_half_made_batch_can_go_on_with_fewer_rows():
    plan = (Ask("image", temperature=1.0),)
    whole = rollout(MODEL, TASKS, plan, [1, 2, 3])
    step = [step for step in stream(MODEL, PROMPTS, plan, [1, 2, 3]) if not step.finished][2]
    with torch.no_grad():
        rest = step.process.finish(step.state[[2, 0]])
    assert MODEL.decode("image", step.process.view(rest)) == [whole[2].reply[0], whole[0].reply[0]]


def test_missing_seeds_and_empty_plans_are_named():
    with pytest.raises(ValueError, match="3 conversations.*got 2"):
        next(stream(MODEL, PROMPTS, PLAN, [1, 2]))
    with pytest.raises(ValueError, match="plan is empty"):
        next(stream(MODEL, PROMPTS, (), [1, 2, 3]))
    with pytest.raises(ValueError, match="3 tasks.*got 4"):
        rollout(MODEL, TASKS, PLAN, [1, 2, 3, 4])
    assert rollout(MODEL, [], PLAN, []) == []


def test_each_part_is_scored_given_those_before_it():
    samples = rollout(MODEL, TASKS, PLAN, [1, 2, 3])
    drawn = draws(MODEL, samples, [1, 2, 3])
    scored = log_prob(MODEL, samples, drawn)
    assert [score.tokens.shape[1] for score in scored] == [16, 16, 24]
    alone = [replace(sample, reply=sample.reply[2:]) for sample in samples]
    without = log_prob(MODEL, alone, drawn[2:])
    assert not torch.equal(without[0].tokens, scored[2].tokens)


def test_the_reply_that_was_made_is_likelier_than_another_ones():
    samples = rollout(MODEL, TASKS, (Ask("text", limit=8),), [1, 2, 3])
    swapped = [replace(a, reply=b.reply) for a, b in zip(samples, samples[1:] + samples[:1], strict=True)]
    own, others = (log_prob(MODEL, s, draws(MODEL, s, [1, 2, 3]))[0].total for s in (samples, swapped))
    assert (own > others).all()


def test_samples_with_different_parts_cannot_be_scored_together():
    mixed = [Sample(TASKS[0], (Text("a"),)), Sample(TASKS[0], (Thinking("a"),))]
    with pytest.raises(ValueError, match="same parts"):
        draws(MODEL, mixed, [1, 2])
    with pytest.raises(ValueError, match="2 parts need as many draws, got 1"):
        two = [Sample(TASKS[0], (Text("a"), Text("b")))]
        log_prob(MODEL, two, draws(MODEL, two, [1])[:1])


def test_choices_are_probabilities_and_the_prompts_own_words_win():
    options = [Text("no"), Text("hi"), Text("hello")]
    chances = choose(MODEL, PROMPTS[1], options)
    assert sum(chances) == pytest.approx(1.0) and max(chances) == chances[1] > 0.9
    assert choose(MODEL, PROMPTS[1], options[::-1]) == pytest.approx(chances[::-1])
    with pytest.raises(ValueError, match="at least one option"):
        choose(MODEL, PROMPTS[1], [])


def test_pictures_and_earlier_turns_count():
    (red,) = rollout(MODEL, TASKS[:1], (Ask("image"),), [1])
    shown = red.first("image")
    assert isinstance(shown, Image)
    talks = [(user("a red cat"), assistant(shown), user("again")), (user("a red cat"), user("again"))]
    one, other = rollout(MODEL, [Task(talk) for talk in talks], (Ask("image"),), [1, 1])
    assert one.reply != other.reply
