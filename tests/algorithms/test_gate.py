"""Ten faults between sampling and scoring, each of which stops the run with words that name the cause or the part."""

import copy
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from limner.algorithms import gate, recording, rgpo, unigrpo, workers
from limner.algorithms.gate import Mismatch
from limner.algorithms.rgpo import RewardLearner, RewardSettings
from limner.algorithms.unigrpo import Exercise, GroupLearner, GroupSettings, rounds
from limner.models.echo import Echo
from limner.models.mindomni import pictures
from limner.models.qwen25vl import Qwen25VL
from limner.parts import Ask, Task, Verdict, user
from limner.process.flow import Flow

sys.path.insert(0, str(Path(__file__).parents[1] / "train"))
import sharded  # noqa: E402

WORDS = ["a red cat", "two blue dogs"]


@pytest.fixture(scope="module")
def shared(small_mindomni):
    return small_mindomni(WORDS, mllm=4.0, connector=4.0, decoder=4.0)


@pytest.fixture
def model(shared):
    return copy.deepcopy(shared)


def varied(samples):
    return [Verdict(float(sum(sample.reply[0].raw) % 7)) for sample in samples]


def drawing(model, reference=None, **changes):
    """RGPO in words and in the steps of pictures, two updates a round, guidance 2."""
    plan = tuple(replace(ask, temperature=1.0) for ask in model.plan(("thinking", "image")))
    plan = (plan[0], replace(plan[1], guidance=2.0))
    tasks = [Task((user(words),)) for words in WORDS]
    exercise = Exercise("draw", plan, varied, lambda seed, number: tasks, 2)
    settings = RewardSettings(group=2, updates=2, decoder=1.0, decoder_steps=2, **changes)
    return RewardLearner(model, reference or copy.deepcopy(model), [exercise], settings)


def writing(**changes):
    """UniGRPO with a family that needs no network."""
    plan = (Ask("thinking", 16, temperature=1.0), Ask("image", temperature=1.0))
    exercise = Exercise("write", plan, varied, lambda seed, number: [Task((user("a red cat"),))], 1)
    return GroupLearner(Echo(seed=0), Echo(seed=0), [exercise], GroupSettings(group=4, updates=2, **changes))


def learn(learner, updates=1, between=lambda: None):
    objective = rgpo.rgpo if isinstance(learner, RewardLearner) else unigrpo.unigrpo
    for number, now in zip(range(updates), rounds(learner.exercises, 2)(3, 0, 0), strict=False):
        loss, numbers = objective(learner, now, torch.Generator())
        if number + 1 < updates:
            between()
    return numbers


def test_without_a_fault_the_gate_is_open_and_finds_no_difference_at_all(model, monkeypatch):
    monkeypatch.setattr(gate, "SAME", 0.0)
    numbers = learn(drawing(model), 3)
    assert numbers["draw_ratio"] == pytest.approx(1) and numbers["draw_decoder_ratio"] == pytest.approx(1)
    assert learn(writing(), 3)["write_image_ratio"] == pytest.approx(1)


def test_a_trajectory_cast_to_bfloat16(model, monkeypatch):
    own = recording.Recorded.path.fget
    monkeypatch.setattr(recording.Recorded, "path", property(lambda self: own(self).bfloat16().float()))
    with pytest.raises(Mismatch, match="draw: .*trajectory does not end in the picture.*latents were cast to bfloat16"):
        learn(drawing(model))


def test_a_stored_latent_cast_to_bfloat16(model, monkeypatch):
    own = type(model).encode

    def narrow(self, parts):
        values = own(self, parts)
        if parts[0].kind != "image":
            return values
        return values.int().view(torch.float32).bfloat16().float().view(torch.int32).long()

    monkeypatch.setattr(type(model), "encode", narrow)
    with pytest.raises(Mismatch, match=r"draw: the values kept of part 1 \(image\).*latents were cast to bfloat16"):
        learn(drawing(model))


def test_a_wrong_rotary_length(model, monkeypatch):
    own = Qwen25VL.laid_out

    def longer(self, prompt, more=None, apart=False):
        x, places, kept = own(self, prompt, more, apart)
        count = 0 if more is None else more.shape[1]
        if count:
            places = torch.cat([places[..., :-count], places[..., -count:] + 3], dim=-1)
        return x, places, kept

    monkeypatch.setattr(Qwen25VL, "laid_out", longer)
    with pytest.raises(Mismatch, match=r"draw: part 0 \(thinking\) is scored .* away from what its sampler.*positions"):
        learn(drawing(model))


def test_a_dropped_entry_of_a_trajectory(model, monkeypatch):
    own = recording.Recorder.step

    def forgetful(self, state):
        found = own(self, state)
        if state.step == 0:
            self.trail.pop()
        return found

    monkeypatch.setattr(recording.Recorder, "step", forgetful)
    with pytest.raises(Mismatch, match="draw: .*trajectory has 2 entries, but its sampler makes 3.*dropped"):
        learn(drawing(model))


def test_a_time_that_is_one_step_off(model, monkeypatch):
    own = Flow.step_log_prob
    monkeypatch.setattr(
        Flow, "step_log_prob", lambda self, c, s, before, after, step: own(self, c, s, before, after, 1 - step)
    )
    with pytest.raises(Mismatch, match="draw: step . of the picture, as it is scored.*time"):
        learn(drawing(model))


def test_another_mask_for_the_old_policy(monkeypatch):
    own = GroupLearner._remember
    monkeypatch.setattr(GroupLearner, "_remember", lambda self, e, now: own(self, e, replace(now, update=now.update)))
    draws = GroupLearner.draws
    calls = []

    def other(self, exercise, now, part):
        calls.append(part)
        # the first time in a round is for the old policy
        return draws(self, exercise, replace(now, seed=now.seed + (len(calls) <= 2)), part)

    monkeypatch.setattr(GroupLearner, "draws", other)
    with pytest.raises(Mismatch, match="write: unchanged weights score part 0 .* the same hidden values"):
        learn(writing())


@pytest.mark.parametrize("student", ["drawing", "writing"])
def test_shuffled_rows(student, model, monkeypatch):
    monkeypatch.setattr(workers, "joined_rows", lambda own, dim=0: own.flip(dim))
    with pytest.raises(Mismatch, match=r"the values kept of part 0 \(thinking\).*rows were shuffled"):
        learn(drawing(model) if student == "drawing" else writing())


def test_a_stale_cache(model, monkeypatch):
    monkeypatch.setattr(pictures, "fingerprint", lambda *modules: (0, 0))

    def change():
        with torch.no_grad():
            for weight in model.connector.parameters():
                weight.mul_(1.5)

    learner = drawing(model, copy.deepcopy(model))
    with pytest.raises(Mismatch, match="draw: step . of the picture.*condition or weights"):
        learn(learner, 3, change)


def test_dropout_left_on(model):
    learner = drawing(model)
    learner.policy.mllm.layers[0].self_attn.train()
    with pytest.raises(Mismatch, match=r"layers.0.self_attn .* is in training mode, so dropout may be on"):
        learn(learner)


def test_wrong_guidance(model, monkeypatch):
    own = Flow._guided

    def other(self, context, w, latents, time, first):
        return own(self, context, w + (self.making is None), latents, time, first)

    monkeypatch.setattr(Flow, "_guided", other)
    with pytest.raises(Mismatch, match="draw: step . of the picture.*guidance"):
        learn(drawing(model))


def test_a_reference_that_shares_weights(model):
    reference = copy.deepcopy(model)
    reference.mllm.layers[1].mlp.down_proj.weight = model.mllm.layers[1].mlp.down_proj.weight
    with pytest.raises(Mismatch, match=r"shares the weight 'mllm.*layers.1.mlp.down_proj.weight'"):
        drawing(model, reference)


def test_a_reference_whose_process_is_the_policys(monkeypatch):
    learner = writing()
    monkeypatch.setattr(learner.reference, "process", learner.policy.process)

    def change():
        with torch.no_grad():
            for weight in learner.policy.parameters():
                weight.add_(0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))

    with pytest.raises(Mismatch, match="write: the policy has changed .* both are the same weights"):
        learn(learner, 2, change)


@pytest.mark.parametrize("family", sharded.FAMILIES)
@pytest.mark.parametrize("kind", ["unigrpo", "rgpo"])
def test_in_float32_every_ratio_of_the_first_update_is_exactly_one(kind, family, monkeypatch):
    run, gaps = sharded.job(f"{kind}.{family}"), []
    own = gate.check_unchanged

    def noted(name, part, model, new, old, counted=None):
        gaps.append(float((new - old).abs().max()))
        own(name, part, model, new, old, counted)

    monkeypatch.setattr(gate, "check_unchanged", noted)
    learner = run.build()
    run.objective(learner, next(iter(run.batches(0, 0, 4))), torch.Generator())
    assert len(gaps) >= 4 and max(gaps) == 0.0
