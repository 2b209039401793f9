"""Whole methods: time budgets and self-correction."""

from dataclasses import replace

import pytest

from limner.algorithms.verify.run import METHODS, Method, again, method, verify
from limner.algorithms.verify.search import Ledger, jobs_of
from limner.judges.verifier import About, Opinion, unjudged
from limner.models.base import UnknownWords
from limner.models.echo import Echo
from limner.parts import Ask, Task, assistant, user

MODEL = Echo(seed=0)
TASKS = [Task((user("a red cat"),), id="cat"), Task((user("two dogs"),), id="dogs")]
PLAN = (Ask("image"),)


def light(sample):
    return sum(sample.image.convert("L").tobytes()) / (255 * 256)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Slow:
    """A verifier that takes a second for a look and half a second for a call, and thinks what it is told to think."""

    about = About("slow")

    def __init__(self, clock=None, fits=lambda sample: True):
        self.clock, self.fits, self.reflected = clock or Clock(), fits, []

    def __call__(self, question, samples):
        self.clock.now += 0.5 + len(samples)
        if question == "reflection":
            self.reflected += samples
            return [Opinion(0.9 if self.fits(s) else 0.1 + 0.001 * s.seed, text="it is too dark") for s in samples]
        return [Opinion(light(s) if question in ("outcome", "step") else 1.0) for s in samples]


@pytest.mark.parametrize("name", ["orm", "parm", "prm", "parm++"])
@pytest.mark.parametrize("budget", [20.0, 60.0, 200.0])
def test_a_budget_is_kept_and_used(name, budget):
    clock = Clock()
    (found,) = verify(
        MODEL, jobs_of(TASKS[:1], 1000, [0]), PLAN, Slow(clock), method(name, 1000, budget), clock=clock
    )  # fmt: skip
    assert clock.now <= 1.05 * budget
    enough = {"parm++": 0.4}.get(name, 0.7 if budget == 20 else 0.9)
    assert clock.now >= enough * budget, "time that would have served is left"
    assert found.sample.progress == 1.0


def test_more_time_is_never_worse_and_waves_tell_the_whole_story():
    scores = []
    for budget in (5.0, 20.0, 80.0):
        clock, events = Clock(), []
        jobs = jobs_of(TASKS[:1], 500, [3])
        how = method("orm", 500, budget)
        (found,) = verify(MODEL, jobs, PLAN, Slow(clock), how, clock=clock, on_event=events.append)
        paths = [e.path for e in events if e.kind == "look"]
        assert paths == list(range(len(paths))), "candidates are numbered through all waves"
        assert [e.kind for e in events].count("choice") == 1 and f"best of {len(paths)}" in events[-1].why
        assert found.sample.seed == 3 + found.choice.path
        scores.append(found.choice.rank)
    assert scores == sorted(scores)


def test_a_budget_that_is_too_small_still_gives_a_picture():
    clock = Clock()
    (found,) = verify(MODEL, jobs_of(TASKS[:1], 9, [0]), PLAN, Slow(clock), method("orm", 9, 0.1), clock=clock)
    assert found.sample.seed == 0 and found.sample.progress == 1.0


def test_every_job_has_its_own_time():
    clock = Clock()
    found = verify(MODEL, jobs_of(TASKS, 100, [0]), PLAN, Slow(clock), method("orm", 100, 20.0), clock=clock)
    assert len(found) == 2 and 28 <= clock.now <= 42


def test_a_picture_that_fits_is_not_corrected():
    verifier, ledger = Slow(), Ledger()
    found = verify(MODEL, jobs_of(TASKS, 2, [0]), PLAN, verifier, method("parm++", 2), ledger=ledger)
    assert [f.rounds for f in found] == [0, 0] and len(verifier.reflected) == 2 and ledger.row_steps == 2 * 2 * 4


def test_a_picture_that_does_not_is_drawn_again_three_times_and_the_best_is_kept():
    verifier, events = Slow(fits=lambda s: False), []
    found = verify(MODEL, jobs_of(TASKS, 2, [0]), PLAN, verifier, method("parm++", 2), on_event=events.append)
    assert [f.rounds for f in found] == [3, 3] and len(verifier.reflected) == 8
    for f in found:
        mine = [s for s in verifier.reflected if s.task.id == f.sample.task.id]
        assert f.sample.seed == max(s.seed for s in mine), "later seeds are liked better here"
    rounds = [e for e in events if e.kind == "round"]
    assert [e.why for e in rounds] == ["it is too dark"] * 6 and {e.round for e in rounds} == {1, 2, 3}
    assert all(s.task.prompt == TASKS[0].prompt for s in verifier.reflected if s.task.id == "cat")


def test_picture_and_critique_stand_before_the_generator_in_a_round():
    seen = []

    class Watched(Echo):
        def context(self, conversations, replies, ask):
            seen.extend(conversations)
            return super().context(conversations, replies, ask)

    verifier = Slow(fits=lambda s: s.seed >= 2)
    (found,) = verify(Watched(seed=0), jobs_of(TASKS[:1], 1, [1]), PLAN, verifier, method("parm++", 1))
    assert found.rounds == 1 and found.sample.seed == 2
    first, second = dict.fromkeys(seen)
    assert first == TASKS[0].prompt
    assert second == again(TASKS[0].prompt, verifier.reflected[0].reply[0], "it is too dark")
    assert [m.role for m in second] == ["user", "assistant", "user"] and second[2].text == "it is too dark"
    assert again(TASKS[0].prompt, verifier.reflected[0].reply[0], "")[1] == assistant(verifier.reflected[0].reply[0])


def test_the_earlier_picture_is_kept_where_later_ones_are_worse():
    verifier = Slow(fits=lambda s: False)
    verifier_answers = iter([0.4, 0.1, 0.2, 0.3])

    def ask(question, samples):
        if question == "reflection":
            return [Opinion(next(verifier_answers), text="no")]
        return verifier(question, samples)

    (found,) = verify(MODEL, jobs_of(TASKS[:1], 1, [7]), PLAN, ask, method("parm++", 1))
    assert found.sample.seed == 7 and found.rounds == 3 and found.opinion.yes == 0.4


def test_a_critique_that_the_generator_cannot_read_ends_the_rounds_with_a_word():
    class Closed(Echo):
        def check_prompt(self, conversation):
            if any("dark" in message.text for message in conversation):
                raise UnknownWords(["dark"], "try others")

    events = []
    verifier = Slow(fits=lambda s: False)
    (found,) = verify(Closed(), jobs_of(TASKS[:1], 1, [7]), PLAN, verifier, method("parm++", 1), on_event=events.append)
    assert found.rounds == 0 and found.sample.seed == 7
    assert "cannot be told" in next(e.why for e in events if e.kind == "round")


def test_a_check_that_fails_keeps_the_picture():
    (found,) = verify(MODEL, jobs_of(TASKS[:1], 2, [7]), PLAN, lambda q, s: [unjudged("down")] * len(s),
                      method("parm++", 2))  # fmt: skip
    assert found.sample.progress == 1.0 and found.rounds == 0 and not found.opinion.judged


def test_methods_have_names():
    for name in METHODS:
        assert method(name, 2).n == 2
    assert method("parm", 2, official=True).policy.fades and method("parm++", 4).rounds == 3
    for wrong, said in (
        (lambda: method("alchemy", 2), "no way to verify"),
        (lambda: method("prm", 2, official=True), "no code for prm"),
        (lambda: method("orm", 0), "n=0"),
        (lambda: method("orm", 2, -1.0), "budget=-1"),
        (lambda: replace(method("orm", 2), rounds=-1), "rounds=-1"),
    ):
        with pytest.raises(ValueError, match=said):
            wrong()
    assert Method(method("orm", 1).policy).rounds == 0
