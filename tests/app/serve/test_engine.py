"""Rows of many requests step together, and each has the bytes that it has alone."""

import threading

import pytest
import torch
from live import PATIENCE, Held, until
from PIL import Image as pil

from limner.app.serve.engine import APART, CORES, STEPPERS, Engine, steppers_for
from limner.app.serve.events import Done, Failed, Preview, Words
from limner.app.serve.jobs import Busy, Choosing, Closing, Job, shown_steps
from limner.app.serve.lanes import Lane
from limner.parts import Image
from limner.process.noise import Noise
from limner.request import Request
from limner.turn import noise_of


class Heard:
    """Everything that was told of a job."""

    def __init__(self):
        self.events, self.over = [], threading.Event()

    def __call__(self, event):
        self.events.append(event)
        if isinstance(event, Failed) or sum(isinstance(e, Done) for e in self.events) == self.expected:
            self.over.set()

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    expected = 1


def job(request, *seeds, **options):
    heard = Heard()
    heard.expected = len(seeds) if "choosing" not in options else 1
    return Job(request, seeds, heard, **options), heard


@pytest.fixture
def engine(models, request):
    made = Engine(models[getattr(request, "param", "masked")], rows=8, queue=8, steppers=1)
    yield made
    made.close()


@pytest.fixture
def busy(models, request):
    """An engine of three steppers, all of which wait for work."""
    made = Engine(models[getattr(request, "param", "masked")], rows=8, queue=32, steppers=3)
    until(lambda: all(made._idle))
    yield made
    made.close()


@pytest.fixture
def held(engine, monkeypatch):
    made = Held(monkeypatch)
    yield made
    made.go()


DRAW = Request("generate", "a red cat", True)
TWO = Request("generate", "two blue dogs in the snow", True)


@pytest.mark.parametrize("engine", ["echo", "masked", "flow"], indirect=True)
def test_a_complete_picture_is_what_the_model_makes_of_it(engine, monkeypatch):
    model, seen = engine.limner.model, []

    def finished(ask, values, conversations, replies, noise):
        seen.append((ask.kind, conversations, replies, noise.seed.tolist()))
        return [Image(pil.new("RGB", (8, 8), "grey"), tuple(values[0].tolist()))]

    monkeypatch.setattr(model, "finished", finished)
    one, heard = job(Request("generate", "two dogs", think=False), 5)
    engine.submit(one)
    assert heard.over.wait(PATIENCE)
    (done,) = heard.of(Done)
    assert done.answer.image.size == (8, 8)
    (ask,) = one.request.plan(model)
    noise = noise_of(Noise.of([5]), ask, [()]).seed.tolist()
    assert seen == [("image", [one.request.conversation], [()], noise)]


@pytest.mark.parametrize("engine", ["echo", "masked", "flow"], indirect=True)
def test_rows_made_together_have_the_bytes_of_rows_alone(engine, held, models):
    limner = engine.limner
    jobs = [job(DRAW, 1, 2), job(TWO, 3), job(DRAW, 7), job(Request("say", "a red cat", False), 0)]
    for each, _ in jobs:
        engine.submit(each)
    held.go()
    for each, heard in jobs:
        assert heard.over.wait(PATIENCE)
        for done in heard.of(Done):
            (alone,) = limner.answer(each.request, [each.seeds[done.row]])
            assert (done.answer.thinking, done.answer.text) == (alone.thinking, alone.text)
            if alone.image is not None:
                assert done.answer.png() == alone.png()
    assert engine.inside == 0


@pytest.mark.parametrize("busy", ["echo", "masked", "flow"], indirect=True)
def test_rows_of_several_steppers_have_the_bytes_of_rows_alone(busy):
    wishes = [DRAW, TWO, Request("say", "a red cat", False), Request("generate", "a red cat", False)]
    jobs = [job(wish, seed) for seed in range(6) for wish in wishes]
    for each, _ in jobs:
        busy.submit(each)
    for each, heard in jobs:
        assert heard.over.wait(PATIENCE)
        (alone,) = busy.limner.answer(each.request, each.seeds)
        answer = heard.of(Done)[0].answer
        assert (answer.thinking, answer.text) == (alone.thinking, alone.text)
        assert alone.image is None or answer.png() == alone.png()
    assert busy.inside == 0


def test_steppers_step_at_the_same_time_and_share_what_waits(busy, monkeypatch):
    meeting, step, lanes = threading.Barrier(3, timeout=PATIENCE), Lane.step, []

    def meets(lane):
        lanes.append((lane.process, len(lane.rows)))
        meeting.wait()  # nobody gets on before all three are here
        step(lane)

    monkeypatch.setattr(Lane, "step", meets)
    each, heard = job(Request("generate", "a red cat", False, steps=3), *range(6))
    busy.submit(each)
    assert heard.over.wait(PATIENCE) and len(heard.of(Done)) == 6
    assert {rows for _, rows in lanes} == {2} and len({id(process) for process, _ in lanes}) == 3


def test_one_answer_after_another_comes_from_one_stepper(busy, monkeypatch):
    threads, step = set(), Lane.step

    def noted(lane):
        threads.add(threading.current_thread().name)
        step(lane)

    monkeypatch.setattr(Lane, "step", noted)
    for seed in range(5):
        each, heard = job(Request("generate", "a red cat", False), seed)
        busy.submit(each)
        assert heard.over.wait(PATIENCE)
        until(lambda: all(busy._idle))
    assert len(threads) == 1


def test_steppers_have_no_more_rows_together_than_one_would(busy, monkeypatch):
    held = Held(monkeypatch)
    each, heard = job(DRAW, *range(20))
    busy.submit(each)
    until(lambda: busy.in_work == 8)
    held.go(3)
    until(lambda: held.steps == 3)
    assert [sum(len(lane.rows) for lane in lanes) for lanes in busy._lanes] == [3, 3, 2]
    held.go()
    assert heard.over.wait(PATIENCE) and busy.inside == 0


def test_who_leaves_several_steppers_is_in_no_step_that_begins_later(busy, monkeypatch):
    stays, heard = job(DRAW, 0, 1, 2, 3)
    leaves, left = job(TWO, 4, 5, 6, 7)
    steps, step, lock = [], Lane.step, threading.Lock()

    def counted(lane):
        with lock:
            steps.append((id(lane), sum(row.job.gone for row in lane.rows)))
            if len(steps) == 6:
                leaves.cancel()
        step(lane)

    monkeypatch.setattr(Lane, "step", counted)
    busy.submit(stays)
    busy.submit(leaves)
    assert heard.over.wait(PATIENCE)
    until(lambda: busy.inside == 0)
    assert leaves.gone and not left.of(Done)
    # a step of each of the others may have been about to begin
    assert sum(gone > 0 for _, gone in steps) <= 2


def test_there_are_as_many_steppers_as_steps_fit_into_the_cores():
    assert torch.get_num_threads() == 1 and steppers_for(torch.device("cpu")) == min(STEPPERS, CORES)
    torch.set_num_threads(CORES)
    try:
        assert steppers_for(torch.device("cpu")) == 1
    finally:
        torch.set_num_threads(1)
    assert steppers_for(torch.device("cuda")) == 1


def test_requests_that_wait_step_together(engine, held):
    first, heard_first = job(DRAW, 0)
    engine.submit(first)
    until(lambda: engine.in_work == 1)
    others = [job(TWO, seed) for seed in range(5)]
    for each, _ in others:
        engine.submit(each)
    held.go()
    for _, heard in [(first, heard_first), *others]:
        assert heard.over.wait(PATIENCE)
    counts = engine.meter.text({}, {})
    steps, rows = (
        int(line.split()[1]) for line in counts.splitlines() if line.startswith(("limner_steps", "limner_row_"))
    )
    assert rows / steps > 2.5


@pytest.mark.parametrize("engine", ["masked", "flow"], indirect=True)
def test_who_comes_later_catches_up_and_goes_on_with_the_others(engine, held):
    wishes = [Request("generate", words, False, steps=8) for words in ("a red cat", "two blue dogs in the snow")]
    first, second = job(wishes[0], 5), job(wishes[1], 6)
    engine.submit(first[0])
    held.go(3)
    until(lambda: held.steps == 3)
    engine.submit(second[0])
    held.go()
    for each, heard in (first, second):
        assert heard.over.wait(PATIENCE)
        (alone,) = engine.limner.answer(each.request, each.seeds)
        assert heard.of(Done)[0].answer.png() == alone.png()
    assert held.steps in (3 + 3 + 5, 4 + 4 + 4)  # of the first, of the second, of both; apart they would be 16
    assert "limner_joined_total 1" in engine.meter.text({}, {})


def test_who_leaves_frees_the_place_within_one_step(engine, held):
    stays, heard = job(DRAW, 0)
    leaves, left = job(TWO, 1, 2, 3)
    engine.submit(stays)
    engine.submit(leaves)
    held.go(2)
    until(lambda: engine.in_work == 4 and held.steps >= 2)
    leaves.cancel()
    before = held.steps
    held.go(2)  # one may have begun already
    until(lambda: engine.in_work == 1)
    assert held.steps - before <= 2
    held.go()
    assert heard.over.wait(PATIENCE)
    assert not left.of(Done) and engine.inside == 0


def test_who_finds_no_place_is_told_when_to_come_again(engine, held):
    engine.submit(job(DRAW, *range(16))[0])
    with pytest.raises(Busy) as caught:
        engine.submit(job(DRAW, 0)[0])
    assert 1 <= caught.value.after <= 60
    held.go()
    until(lambda: engine.inside == 0)
    engine.submit(job(DRAW, 0)[0])


def test_impossible_wishes_are_refused_before_they_are_let_in(engine):
    with pytest.raises(ValueError, match="zebra"):
        engine.submit(job(Request("generate", "zebra", True), 0)[0])
    assert engine.inside == 0


def test_one_that_fails_does_not_fail_the_others(engine, held, monkeypatch):
    model = engine.limner.model
    context = type(model).context

    def breaks(self, conversations, replies, ask):
        if any("snow" in conversation[-1].text for conversation in conversations):
            raise RuntimeError("broken")
        return context(self, conversations, replies, ask)

    monkeypatch.setattr(type(model), "context", breaks)
    filler, heard_filler = job(DRAW, 9)
    engine.submit(filler)
    until(lambda: engine.in_work == 1)
    good, heard_good = job(DRAW, 1)
    bad, heard_bad = job(TWO, 2)
    engine.submit(good)
    engine.submit(bad)
    held.go()
    assert heard_bad.over.wait(PATIENCE) and heard_good.over.wait(PATIENCE) and heard_filler.over.wait(PATIENCE)
    assert isinstance(heard_bad.events[-1].error, RuntimeError) and heard_good.of(Done)
    assert engine.inside == 0


@pytest.mark.parametrize("engine", ["echo", "masked", "flow"], indirect=True)
def test_words_told_on_the_way_are_never_taken_back(engine):
    each, heard = job(DRAW, 0, 1, words=True)
    engine.submit(each)
    assert heard.over.wait(PATIENCE)
    for row in (0, 1):
        told = [event.text for event in heard.of(Words) if event.row == row]
        assert all(later.startswith(earlier) for earlier, later in zip(told, told[1:], strict=False))
        assert told[-1] == heard.of(Done)[0].answer.thinking or row == 1


def test_every_step_of_a_picture_can_be_watched(engine):
    each, heard = job(Request("generate", "a red cat", False, steps=6), 0, previews=None)
    engine.submit(each)
    assert heard.over.wait(PATIENCE)
    assert [event.step for event in heard.of(Preview)] == [1, 2, 3, 4, 5]


def test_altered_pictures_and_searches_run_between_the_steps_of_others(engine, ramp):
    from PIL import Image as pil

    altered, heard = job(Request("inpaint", "a red cat", True, image=ramp, mask=pil.new("L", ramp.size, 255)), 4)
    chosen, heard_chosen = job(DRAW, 0, choosing=Choosing("orm", 3))
    drawn, heard_drawn = job(TWO, 1)
    for each in (altered, chosen, drawn):
        engine.submit(each)
    assert heard.over.wait(PATIENCE) and heard_chosen.over.wait(PATIENCE) and heard_drawn.over.wait(PATIENCE)
    (alone,) = engine.limner.answer(altered.request, [4])
    assert heard.of(Done)[0].answer.png() == alone.png()
    assert engine.inside == 0


def test_a_search_is_given_up_between_two_passes(engine, monkeypatch):
    seen = []
    each, heard = job(DRAW, 0, choosing=Choosing("orm", 8))
    turns = engine.turns.give

    def give():
        seen.append(1)
        if len(seen) == 3:
            each.cancel()
        turns()

    monkeypatch.setattr(engine.turns, "give", give)
    engine.submit(each)
    until(lambda: engine.inside == 0)
    assert not heard.of(Done) and len(seen) <= 5


def test_who_leaves_the_line_of_searches_frees_the_place_at_once(engine):
    engine.turns.take()  # nobody gets on
    try:
        jobs = [job(DRAW, 0, choosing=Choosing("orm", 3)) for _ in range(APART + 2)]
        for each, _ in jobs:
            engine.submit(each)
        until(lambda: len(engine._line) == 2)
        assert engine.inside == APART + 2
        jobs[-1][0].cancel()
        assert engine.inside == APART + 1
    finally:
        engine.turns.give()
    for _, heard in jobs[:-1]:
        assert heard.over.wait(PATIENCE) and heard.of(Done)
    assert not jobs[-1][1].events


def test_closing_tells_everybody(models, monkeypatch):
    engine = Engine(models["masked"], rows=2, queue=8)
    held = Held(monkeypatch)
    each, heard = job(DRAW, 0, 1, 2)
    engine.submit(each)
    until(lambda: engine.in_work == 2)
    closing = threading.Thread(target=engine.close)
    closing.start()
    assert heard.over.wait(PATIENCE) and isinstance(heard.events[-1].error, Closing)
    held.go(100)
    closing.join(10)
    assert not closing.is_alive()
    with pytest.raises(Closing):
        engine.submit(job(DRAW, 0)[0])


@pytest.mark.parametrize(
    ("previews", "steps", "shown"),
    [(0, 12, []), (2, 12, [4, 8]), (3, 4, [1, 2, 3]), (9, 4, [1, 2, 3]), (None, 3, [1, 2]), (2, 1, [])],
)
def test_previews_are_evenly_spread(previews, steps, shown):
    assert sorted(shown_steps(previews, steps)) == shown
