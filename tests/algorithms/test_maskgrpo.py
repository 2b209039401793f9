import torch

from limner.algorithms.maskgrpo import Emerging, EmergingCanvas
from limner.models.echo import Echo
from limner.parts import Ask, Task, user
from limner.process.schedules import cosine
from limner.turn import rollout, stream

MODEL = Echo(seed=0)
TASKS = [Task((user("a red cat"),)), Task((user("hi"),))]


def test_codes_emerge_as_often_as_the_schedule_says_and_never_change():
    conversations = [(user("a red cat"),)] * 300
    states = [s.state for s in stream(Emerging(MODEL), conversations, (Ask("image", steps=5),), list(range(300)))]
    for k, state in enumerate(states[1:], start=1):
        assert abs(float(state.hidden.float().mean()) - cosine(k / 5)) < 0.03
    for before, after in zip(states, states[1:], strict=False):
        shown = ~before.hidden
        assert torch.equal(before.values[shown], after.values[shown]) and not after.hidden[shown].any()


def test_only_pictures_are_made_otherwise():
    seen = Emerging(MODEL)
    assert isinstance(seen.process("image"), EmergingCanvas)
    assert type(seen.process("thinking")) is type(MODEL.process("thinking"))
    words = (Ask("thinking", 16, temperature=1.0), Ask("text", 8))
    assert rollout(seen, TASKS, words, [0, 1]) == rollout(MODEL, TASKS, words, [0, 1])


def test_a_row_alone_equals_the_row_in_a_batch():
    seen, plan = Emerging(MODEL), (Ask("image"),)
    assert rollout(seen, TASKS, plan, [4, 5])[1] == rollout(seen, TASKS[1:], plan, [5])[0]
