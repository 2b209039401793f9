"""RGPO on a tiny model that thinks and draws: what is learned from, compared and reported."""

import copy
from dataclasses import replace

import pytest
import torch

from limner.algorithms.adapters import add_adapters, has_adapters, merge_adapters, without_adapters
from limner.algorithms.rgpo import RewardLearner, RewardSettings, cut_off, picture_apart, reward_terms, rgpo
from limner.algorithms.unigrpo import Exercise, Round, rounds
from limner.parts import Task, Verdict, user

WORDS = ["a red cat", "two blue dogs"]


@pytest.fixture(scope="module")
def shared(small_mindomni):
    model = small_mindomni(WORDS, connector=8.0, decoder=8.0)
    for part in (model.mllm.network.model.visual, model.connector, model.decoder):
        part.requires_grad_(False)
    return model


@pytest.fixture
def model(shared):
    return copy.deepcopy(shared)


def says(word):
    """1 for every time that a thought holds the word."""

    def judge(samples):
        return [Verdict(float(str(sample.thinking).split().count(word)), {"said": 1.0}) for sample in samples]

    return judge


def varied(samples):
    """Something that differs from chain to chain."""
    return [Verdict(float(sum(sample.reply[0].raw) % 7), {"said": 1.0}) for sample in samples]


def exercise(model, judge=None, prompts=2, kinds=("thinking", "image")):
    plan = tuple(replace(ask, temperature=1.0) for ask in model.plan(kinds))
    tasks = [Task((user(words),)) for words in WORDS]
    return Exercise("draw", plan, judge or varied, lambda seed, number: (tasks * number)[:number], prompts)


def learner_of(model, settings, reference=None, **more):
    own = reference if reference is not None else copy.deepcopy(model) if settings.compares else None
    return RewardLearner(model, own, [exercise(model, **more)], settings)


def first(learner, seed=3):
    return next(rounds(learner.exercises, learner.settings.updates)(seed, 0, 0))


def test_at_the_start_nothing_has_moved_and_every_ratio_is_one(model):
    learner = learner_of(model, RewardSettings(updates=2))
    loss, numbers = rgpo(learner, first(learner), torch.Generator())
    assert numbers["draw_kl_text"] == 0 and numbers["draw_kl_picture"] == 0
    assert numbers["draw_ratio"] == pytest.approx(1) and numbers["draw_clip_fraction"] == 0
    assert abs(float(loss.detach())) < 1e-5
    loss.backward()
    moved = [name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    assert moved and all(name.startswith("mllm.") for name in moved)
    assert {"draw_reward", "draw_reward_std", "draw_said", "draw_length", "draw_truncated"} <= numbers.keys()
    assert learner.reference is not None and all(p.grad is None for p in learner.reference.parameters())


def test_the_picture_term_sees_changed_states_and_reaches_the_language_model(model):
    learner = learner_of(model, RewardSettings(text_beta=0.0, picture_beta=1.0))
    now = first(learner)
    learner.roll(learner.exercises[0], now)
    with torch.no_grad():
        for weight in model.mllm.layers.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    learner.get_buffer("draw_advantages").zero_()
    found = list(learner.losses(learner.exercises[0], now))
    apart = sum(numbers.get("kl_picture", 0.0) for _, numbers in found)
    assert apart > 0
    sum(loss for loss, _ in found).backward()
    assert model.mllm.layers[0].self_attn.q_proj.weight.grad.abs().sum() > 0
    by_velocity = RewardLearner(
        model, learner.reference, learner.exercises, replace(learner.settings, picture="velocity")
    )
    by_velocity.load_state_dict(learner.state_dict(), strict=False)
    by_velocity.roll(learner.exercises[0], now)
    assert sum(n.get("kl_picture", 0.0) for _, n in by_velocity.losses(learner.exercises[0], now)) > 0


def test_the_picture_term_is_taken_of_as_many_rollouts_as_asked(model):
    learner = learner_of(model, RewardSettings(text_beta=0.0, picture_beta=1.0, trace_every=2))
    (made,), now = learner.exercises, first(learner)
    learner.roll(made, now)
    with torch.no_grad():
        for weight in model.mllm.layers.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    found = sum(numbers.get("kl_picture", 0.0) for _, numbers in learner.losses(made, now))
    some = [0, 2, 4, 6]
    traces = [learner.trace(one, made, now, 1, some) for one in (model, learner.reference)]
    assert found == pytest.approx(float(picture_apart(*traces, learner.settings).mean().detach()), rel=1e-4)


@pytest.mark.parametrize("rows", [1, 3])
def test_rows_scored_in_small_batches_add_up(model, rows):
    settings = RewardSettings(picture_beta=0.1, text_beta=0.1)
    gradients = []
    for size in (0, rows):
        policy = copy.deepcopy(model)
        learner = learner_of(policy, replace(settings, rows=size), copy.deepcopy(model))
        loss, _ = rgpo(learner, first(learner), torch.Generator())
        loss.backward()
        gradients.append(policy.mllm.layers[0].self_attn.v_proj.weight.grad.clone())
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-6)


def test_a_second_update_uses_the_first_ones_probabilities(model):
    learner = learner_of(model, RewardSettings(updates=2, decoder=1.0, decoder_steps=1))
    batches = rounds(learner.exercises, 2)(3, 0, 0)
    loss, _ = rgpo(learner, next(batches), torch.Generator())
    loss.backward()
    with torch.no_grad():
        for p in model.parameters():
            if p.grad is not None:
                p.sub_(0.5 * p.grad)
    again = next(batches)
    assert again == Round(1, again.seed, again.tasks)
    whole = copy.deepcopy(learner)
    _, numbers = rgpo(learner, again, torch.Generator())
    assert numbers["draw_ratio"] != 1 and "draw_reward" not in numbers
    # put together again from the buffers alone
    whole._made.clear()
    _, resumed = rgpo(whole, again, torch.Generator())
    assert resumed == numbers


def test_groups_with_equal_rewards_feel_the_divergences_alone_or_nothing(model):
    same = exercise(model, lambda samples: [Verdict(1.0) for _ in samples])
    learner = RewardLearner(model, copy.deepcopy(model), [same], RewardSettings())
    _, numbers = rgpo(learner, first(learner), torch.Generator())
    assert numbers["draw_equal_groups"] == 1 and "draw_kl_text" in numbers
    assert not learner.get_buffer("draw_advantages").any()
    dropped = RewardLearner(model, copy.deepcopy(model), [same], RewardSettings(drop_equal=True, resample=2))
    loss, numbers = rgpo(dropped, first(dropped), torch.Generator())
    assert float(loss.detach()) == 0 and loss.requires_grad
    assert numbers["draw_tries"] == 3 and "draw_kl_text" not in numbers


def test_chains_cut_off_at_the_limit_are_counted_and_may_be_left_out(model):
    learner = learner_of(model, RewardSettings(truncated="mask"))
    now = first(learner)
    numbers = learner.roll(learner.exercises[0], now)
    values = learner.get_buffer("draw_values_0")
    cut = cut_off(model.process("thinking"), values)
    assert numbers["draw_truncated"] == pytest.approx(float(cut.float().mean())) and cut.any()
    _, counted = learner.words(model, learner.exercises[0], now, 0, list(range(len(values))))
    assert not counted[cut].any() and counted[~cut].any(dim=1).all()


def test_a_sequence_has_one_ratio_of_summed_log_probabilities():
    new = torch.tensor([[-1.0, -2.0, -3.0]], requires_grad=True)
    old, counted = new.detach() - torch.tensor([[0.1, 0.2, 9.0]]), torch.tensor([[True, True, False]])
    settings = RewardSettings(ratio="sequence", high=1.0)
    terms = reward_terms(new, old, None, torch.tensor([2.0]), counted, None, settings)
    assert float(terms.policy.detach()) == pytest.approx(2 * 2.718281828**0.3)
    terms.policy.backward()
    assert new.grad[0, 2] == 0 and new.grad[0, 0] == new.grad[0, 1] > 0


def test_a_stochastic_picture_teaches_the_decoder(model):
    model.decoder.layers.requires_grad_(True)
    settings = RewardSettings(decoder=1.0, decoder_steps=2, decoder_beta=0.1, text_beta=0.0, picture_beta=0.0)

    def bright(samples):
        return [Verdict(float(torch.tensor(list(s.image.convert("L").tobytes())).float().mean())) for s in samples]

    learner = learner_of(model, settings, judge=bright)
    loss, numbers = rgpo(learner, first(learner), torch.Generator())
    assert numbers["draw_decoder_ratio"] == pytest.approx(1)
    loss.backward()
    assert model.decoder.layers[0].self_attn.to_q.weight.grad.abs().sum() > 0
    path, values = learner.get_buffer("draw_path"), learner.get_buffer("draw_values_1")
    assert path.shape == (8, 3, 256) and torch.equal(path[:, -1], values.int().view(torch.float32))


def test_adapters_have_the_base_as_reference_and_merge_into_it(model):
    before = set(model.state_dict())
    names = add_adapters(model, r"mllm\.network\.model\.language_model\.layers\..*(q|v)_proj", rank=2)
    assert len(names) == 4 and has_adapters(model)
    learner = RewardLearner(model, None, [exercise(model)], RewardSettings(text_beta=0.1))
    assert learner.based
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=5.0)
    for _ in range(2):
        optimizer.zero_grad()
        loss, numbers = rgpo(learner, first(learner), torch.Generator())
        loss.backward()
        optimizer.step()
    _, numbers = rgpo(learner, first(learner), torch.Generator())
    assert numbers["draw_kl_text"] > 0 and numbers["draw_kl_picture"] > 0
    prompt = model.prompt([model.renderer.negative()])
    with torch.no_grad():
        with without_adapters(model):
            base = model.mllm.states(prompt)
        moved = model.mllm.states(prompt)
        merge_adapters(model)
        merged = model.mllm.states(prompt)
    assert not torch.equal(base, moved)
    torch.testing.assert_close(merged, moved, rtol=1e-4, atol=1e-5)
    assert model.state_dict().keys() == before and not has_adapters(model)
    with pytest.raises(ValueError, match="no linear layer"):
        add_adapters(model, "nothing")


def test_a_reward_rises(model):
    learner = learner_of(
        model, RewardSettings(group=16, text_beta=0.001, picture_beta=0.001), judge=says("cat"), prompts=1
    )
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    rewards = []
    for now in rounds(learner.exercises, 1)(1, 0, 0):
        optimizer.zero_grad()
        loss, numbers = rgpo(learner, now, torch.Generator())
        loss.backward()
        optimizer.step()
        rewards.append(numbers["draw_reward"])
        if len(rewards) == 12:
            break
    assert sum(rewards[-3:]) > 3 * sum(rewards[:3]) + 1


@pytest.mark.parametrize(
    "wrong", [{"group": 1}, {"ratio": "row"}, {"low": 1.0}, {"picture": "pixels"}, {"decoder": 1.0, "chance": 0.0}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)).split("_")[0] + "|chance"):
        RewardSettings(**wrong)


def test_a_learner_needs_a_reference_and_something_left_to_chance(model):
    with pytest.raises(ValueError, match="reference"):
        RewardLearner(model, None, [exercise(model)], RewardSettings())
    cold = replace(exercise(model), plan=model.plan(("thinking", "image")))
    with pytest.raises(ValueError, match="temperature 0"):
        RewardLearner(model, copy.deepcopy(model), [cold], RewardSettings())
    with pytest.raises(ValueError, match="name"):
        RewardLearner(model, model, [exercise(model)] * 2, RewardSettings())
