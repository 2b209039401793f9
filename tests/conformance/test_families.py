"""What every family promises, whatever it is made of."""

import copy
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from limner.parts import Ask, part_from_json, part_to_json
from limner.process.base import Rows, State, Tokens
from limner.process.noise import Noise
from limner.turn import draws, log_prob, rollout, stream


def warm(plan):
    """The plan with something left to chance in every part."""
    return tuple(replace(ask, temperature=1.0) for ask in plan)


def steps_of(case, plan):
    return list(stream(case.model, case.conversations, plan, case.seeds))


def same(state, other):
    (tensors, about), (others, other_about) = state.pack(), other.pack()
    return about == other_about and all(torch.equal(tensors[name], others[name]) for name in tensors)


def nudge(model):
    with torch.no_grad():
        for index, parameter in enumerate(model.parameters()):
            torch.manual_seed(index)
            parameter.add_(torch.randn_like(parameter) * 0.3)


def test_prompts_have_different_lengths(case):
    context = case.model.context(case.conversations, [()] * len(case.conversations), case.plan[0])
    assert not context.given.kept.all(), "the table must hold prompts of different lengths"
    assert context.given.kept[:, -1].all(), "prompts are padded on the left"


def test_the_plan_asks_for_the_wanted_parts_in_order(case):
    kinds = [ask.kind for ask in case.plan]
    assert [ask.kind for ask in case.model.plan(kinds)] == kinds
    assert all(ask.guidance is not None and ask.temperature is not None for ask in case.model.plan(kinds))
    assert [part.kind for part in case.samples()[0].reply] == kinds


@pytest.mark.parametrize("last", ["image", "text"])
def test_a_model_plans_a_thought_where_it_says_that_it_thinks(case, last):
    if case.model.thinks_of(last):
        assert [ask.kind for ask in case.model.plan(["thinking", last])] == ["thinking", last]
    else:
        with pytest.raises(ValueError, match="thinks"):
            case.model.plan(["thinking", last])


def test_a_thought_alone_is_the_thought_before_its_picture(case):
    if not case.model.thinks:
        return
    tasks = case.tasks[:1]
    alone, image = case.model.plan(["thinking"]), case.model.plan(["image"])
    (thought,) = rollout(case.model, tasks, alone, [3])
    (both,) = rollout(case.model, tasks, (*alone, *image), [3])
    (behind,) = rollout(case.model, tasks, image, [3], replies=[thought.reply])
    assert thought.thinking == both.thinking == behind.thinking
    assert behind.image is not None and both.image is not None
    assert behind.image.tobytes() == both.image.tobytes()


@pytest.mark.parametrize("chance", [False, True], ids=["default", "warm"])
def test_a_row_alone_equals_the_row_in_a_batch(case, chance):
    plan = warm(case.plan) if chance else case.plan
    together = case.samples(plan)
    for row, (task, seed) in enumerate(zip(case.tasks, case.seeds, strict=True)):
        assert rollout(case.model, [task], plan, [seed]) == [together[row]]
    backwards = rollout(case.model, case.tasks[::-1], plan, case.seeds[::-1], batch=2)
    assert backwards[::-1] == together


def test_threads_that_reply_at_once_reply_as_each_alone(case):
    before = sys.getswitchinterval()
    seeds = [tuple(seed + offset for seed in case.seeds) for offset in (0, 100, 200)]
    alone = [case.samples(seeds=some) for some in seeds]
    sys.setswitchinterval(1e-5)  # threads come between each other as often as can be
    try:
        with ThreadPoolExecutor(len(seeds)) as threads:
            together = list(threads.map(lambda some: case.samples(seeds=some), seeds))
    finally:
        sys.setswitchinterval(before)
    for own, others in zip(alone, together, strict=True):
        assert [sample.reply for sample in own] == [sample.reply for sample in others]


def test_likelihoods_do_not_depend_on_the_batch(case):
    samples = case.samples()
    drawn, together = case.scored(samples)
    for row, sample in enumerate(samples):
        alone = log_prob(case.model, [sample], [draw[[row]] for draw in drawn])
        for one, all_ in zip(alone, together, strict=True):
            torch.testing.assert_close(one.tokens, all_[[row]].tokens, rtol=1e-4, atol=1e-5)


def test_a_state_saved_at_every_step_resumes_to_the_unbroken_reply(case, tmp_path):
    ends = {step.part: step for step in steps_of(case, warm(case.plan)) if step.finished}
    for step in steps_of(case, warm(case.plan)):
        tensors, about = step.state.pack()
        save_file(tensors, tmp_path / "state.safetensors")
        about = json.loads(json.dumps(about))
        state = Rows.unpack(load_file(tmp_path / "state.safetensors"), about)
        assert isinstance(state, State) and same(state, step.state)
        with torch.no_grad():
            finished = step.process.finish(state)
        assert torch.equal(step.process.view(finished), step.process.view(ends[step.part].state))


def test_a_reply_goes_on_from_its_finished_parts(case):
    whole = case.samples(warm(case.plan))
    for standing in range(1, len(case.plan)):
        replies = [sample.reply[:standing] for sample in whole]
        rest = warm(case.plan)[standing:]
        *_, last = stream(case.model, case.conversations, rest, case.seeds, replies=replies)
        assert last.replies == tuple(sample.reply for sample in whole)


@pytest.mark.parametrize("rows", [[2], [0, 2], [1, 1, 0, 1], [2, 0, 1], [False, True, True], [-1], []], ids=str)
def test_rows_of_a_state_are_those_rows_own_run(case, rows):
    plan = warm(case.plan)
    steps = steps_of(case, plan)
    for part in range(len(plan)):
        run = [step for step in steps if step.part == part]
        process, end = run[-1].process, run[-1].process.view(run[-1].state)
        index = torch.tensor(rows)
        index = index.nonzero().flatten() if index.dtype == torch.bool else index.long()
        for step in (run[0], run[len(run) // 2], run[-1]):
            with torch.no_grad():
                chosen = process.finish(step.state[rows])
            assert torch.equal(process.view(chosen), end[index])


def test_rows_that_are_joined_go_on_as_they_would_have_alone(case):
    plan = warm(case.plan)
    whole = case.samples(plan)
    for part, ask in enumerate(plan):
        alone = {}
        for row in (0, 2):
            before, conversation = [whole[row].reply[:part]], [case.conversations[row]]
            alone[row] = list(stream(case.model, conversation, (ask,), [case.seeds[row]], replies=before))
        for one, other in list(zip(alone[0], alone[2], strict=False))[:3]:
            if one.finished or other.finished or one.state.step != other.state.step:
                continue
            try:
                joined = State.joined([other.state, one.state])
            except ValueError:
                assert ask.kind != "image", "pictures of several users are made together"
                continue
            with torch.no_grad():
                found = one.process.view(one.process.finish(joined))
            assert torch.equal(found, torch.cat([alone[row][-1].process.view(alone[row][-1].state) for row in (2, 0)]))


def test_what_has_settled_never_changes(case):
    steps = steps_of(case, warm(case.plan))
    for part in range(len(case.plan)):
        run = [step for step in steps if step.part == part]
        end = run[-1].process.view(run[-1].state)
        assert run[-1].process.settled(run[-1].state).tolist() == [end.shape[1]] * len(end)
        for step in run:
            view, counts = step.process.view(step.state), step.process.settled(step.state).tolist()
            assert all(torch.equal(view[row, :count], end[row, :count]) for row, count in enumerate(counts))


def test_a_step_leaves_the_state_it_was_given_alone(case):
    for step in steps_of(case, warm(case.plan)):
        tensors, about = step.state.pack()
        before = Rows.unpack(tensors, about)
        with torch.no_grad():
            step.process.step(step.state)
        assert same(before, step.state)


def test_rows_that_are_done_stay_as_they_are(case):
    for step in steps_of(case, warm(case.plan)):
        done = step.state.done
        with torch.no_grad():
            later = step.process.finish(step.state)
        assert torch.equal(step.process.view(step.state)[done], step.process.view(later)[done])


def test_known_values_never_change(case):
    samples = case.samples(warm(case.plan))
    for index, ask in enumerate(warm(case.plan)):
        if ask.kind not in case.fillable:
            continue
        known = samples[0].reply[index]
        kept = torch.tensor(known.raw)
        free = Noise.of([5]).uniform("holes", 0, len(kept))[0] < 0.5
        hole = replace(ask, known=known, mask=tuple(free.tolist()))
        replies = [sample.reply[:index] for sample in samples]
        for step in stream(case.model, case.conversations, (hole,), (21, 22, 23), replies=replies):
            values = step.process.view(step.state)
            assert (values[:, ~free] == kept[~free]).all()
        parts = [reply[-1] for reply in step.replies]
        assert all(torch.equal(torch.tensor(part.raw)[~free], kept[~free]) for part in parts)
        assert any(part != known for part in parts), "nothing was made anew"


def test_a_part_that_is_wholly_known_comes_back(case):
    samples = case.samples()
    for index, ask in enumerate(case.plan):
        if ask.kind in case.fillable:
            known = samples[1].reply[index]
            whole = replace(ask, known=known, mask=(False,) * len(known.raw))
            steps = list(stream(case.model, case.conversations, (whole,), case.seeds))
            assert len(steps) == 1 and all(reply == (known,) for reply in steps[-1].replies)


def test_a_deep_copy_has_weights_of_its_own(case):
    samples = case.samples(warm(case.plan))
    for changed_is_copy in (False, True):
        model = copy.deepcopy(case.model)
        reference = copy.deepcopy(model)
        changed, kept = (reference, model) if changed_is_copy else (model, reference)
        drawn = draws(model, samples, case.seeds)
        with torch.no_grad():
            before = log_prob(kept, samples, drawn)
            nudge(changed)
            after, other = log_prob(kept, samples, drawn), log_prob(changed, samples, drawn)
        for old, new, far in zip(before, after, other, strict=True):
            assert torch.equal(old.tokens, new.tokens)
            assert not torch.equal(old.tokens, far.tokens)


def test_every_importance_ratio_is_one_while_the_weights_stand(case):
    samples = case.samples(warm(case.plan))
    drawn = draws(case.model, samples, case.seeds)
    with torch.no_grad():
        old = log_prob(case.model, samples, drawn)
    case.samples()  # a rollout in between changes nothing
    reference = copy.deepcopy(case.model).train()
    for model in (case.model, reference):
        for new, was in zip(log_prob(model, samples, drawn), old, strict=True):
            assert new.tokens.dtype == torch.float32
            assert torch.equal((new.tokens - was.tokens).exp(), torch.ones_like(was.tokens))
            assert torch.equal((new.total - was.total).exp(), torch.ones_like(was.total))


def test_saved_and_loaded_a_model_replies_the_same(case, tmp_path):
    folder = tmp_path / "model"
    case.model.save(folder)
    files = sorted(path.name for path in folder.rglob("*"))
    assert not [name for name in files if "part" in name], "files that were written beside their place are moved there"
    case.model.save(folder)
    assert sorted(path.name for path in folder.rglob("*")) == files
    assert json.loads((folder / "config.json").read_text())["family"] == case.model.family
    loaded = type(case.model).load(folder)
    ours, theirs = case.model.state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert rollout(loaded, case.tasks, warm(case.plan), case.seeds) == case.samples(warm(case.plan))


def test_another_familys_folder_is_refused(case, tmp_path):
    case.model.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"family": "another"}))
    with pytest.raises(ValueError, match="another"):
        type(case.model).load(tmp_path)


def test_gradients_reach_every_trainable_parameter(case):
    model = copy.deepcopy(case.model).train()
    samples = case.samples(warm(case.plan))
    for level in (None, 0.3, 1.0):
        drawn = draws(model, samples, case.seeds, level)
        sum(scored.total.sum() for scored in log_prob(model, samples, drawn)).backward()
    silent = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.abs().sum() > 0)
    ]
    assert not silent, f"no gradient reaches {silent}"
    assert all(parameter.grad is None for parameter in case.model.parameters())


def test_draws_depend_on_the_row_and_its_seed_alone(case):
    samples = case.samples()
    drawn = draws(case.model, samples, case.seeds)
    again = draws(copy.deepcopy(case.model), samples, case.seeds)
    assert all(same(one, other) for one, other in zip(drawn, again, strict=True))
    for row in range(len(samples)):
        alone = draws(case.model, [samples[row]], [case.seeds[row]])
        assert all(same(one, all_[[row]]) for one, all_ in zip(alone, drawn, strict=True))


def test_draws_hide_something_in_every_row_and_more_at_higher_levels(case):
    samples = case.samples()
    for low, high in zip(
        draws(case.model, samples, case.seeds, 0.2), draws(case.model, samples, case.seeds, 1.0), strict=True
    ):
        assert low.hidden.any(dim=1).all() and high.hidden.any(dim=1).all()
        assert (low.hidden <= high.hidden).all()
        assert (low.weight > 0).all() and low.weight.dtype == torch.float32


def test_raw_values_survive_decoding_and_json(case):
    for sample in case.samples(warm(case.plan)):
        for part in sample.reply:
            values = case.model.encode([part])
            assert values.dtype == torch.int64 and tuple(values[0].tolist()) == part.raw
            (again,) = case.model.decode(part.kind, values)
            assert again == part
            told = part_from_json(json.loads(json.dumps(part_to_json(part))))
            assert told == part and torch.equal(case.model.encode([told]), values)


def test_log_probabilities_are_finite_and_at_most_zero(case):
    samples = case.samples(warm(case.plan))
    drawn, scored = case.scored(samples)
    for draw, score, part in zip(drawn, scored, samples[0].reply, strict=True):
        assert score.tokens.shape == (len(samples), len(part.raw))
        assert torch.isfinite(score.tokens).all() and (score.tokens <= 0).all()
        assert (score.tokens[~score.hidden] == 0).all() and torch.equal(score.hidden, draw.hidden)
        assert torch.isfinite(score.total).all() and (score.total <= 0).all() and (score.mean <= 0).all()


def test_guidance_zero_never_looks_at_the_dropped_condition(case):
    model = case.model
    for index, ask in enumerate(warm(case.plan)):
        plain = replace(ask, guidance=0.0)
        samples = case.samples()
        context = model.context(case.conversations, [sample.reply[:index] for sample in samples], plain)
        other = replace(context, dropped=Tokens(context.given.before.flip(0), context.given.kept, context.given.after))
        process, settings = model.process(ask.kind), model.settings(plain, len(samples))
        with torch.no_grad():
            ends = [process.finish(process.start(c, settings, Noise.of(case.seeds))) for c in (context, other)]
        assert torch.equal(process.view(ends[0]), process.view(ends[1]))


def test_temperature_zero_leaves_nothing_to_chance(case):
    cold = tuple(replace(ask, temperature=0.0) for ask in case.plan)
    one, other = case.samples(cold), case.samples(cold, (91, 92, 93))
    assert [sample.reply for sample in one] == [sample.reply for sample in other]


def test_seeds_make_different_replies_when_warm(case):
    one, other = case.samples(warm(case.plan)), case.samples(warm(case.plan), (91, 92, 93))
    for index in range(len(case.plan)):
        assert any(a.reply[index] != b.reply[index] for a, b in zip(one, other, strict=True))


def test_a_size_that_cannot_be_drawn_is_refused(case):
    with pytest.raises(ValueError, match="17"):
        case.model.settings(Ask("image", size=17), 1)


def test_an_empty_prompt_is_refused(case):
    with pytest.raises(ValueError):
        case.model.check_prompt(())
