"""Traces are kept, read back, and replayed under other policies."""

import pytest

from limner.algorithms.verify.policies import orm, parm, prm, survey
from limner.algorithms.verify.search import Ledger, Searcher, jobs_of
from limner.algorithms.verify.trace import Gap, Remembering, Trace, read_trace, replay
from limner.judges.verifier import About, Opinion, unjudged
from limner.models.echo import Echo
from limner.parts import Ask, Task, user

MODEL = Echo(seed=0)
TASKS = [Task((user("a red cat"),), id="cat"), Task((user("hi"),), id="hi")]
PLAN = (Ask("image"),)


class Verifier:
    about = About("tables")

    def __init__(self):
        self.looks = 0

    def __call__(self, question, samples):
        self.looks += len(samples)
        if question == "clarity":
            return [Opinion(float(s.progress > 0.3 + 0.1 * (s.seed % 3))) for s in samples]
        mixed = [(sum(s.reply[0].raw) * 37 + s.seed * 13) % 100 / 100 for s in samples]
        return [Opinion(m) for m in mixed]


def run(policy, path=None, verifier=None, ledger=None, n=5):
    events = []
    trace = Trace(path) if path else None

    def watch(event):
        events.append(event)
        if trace:
            trace(event)

    searcher = Searcher(MODEL, PLAN, verifier or Verifier(), policy, on_event=watch, ledger=ledger)
    return searcher.search(jobs_of(TASKS, n, [0, 50])), events


def test_a_trace_is_read_back_as_it_was_told_even_if_cut_short(tmp_path):
    _, events = run(parm(), tmp_path / "deep" / "trace.jsonl")
    path = tmp_path / "deep" / "trace.jsonl"
    assert read_trace(path) == events
    text = path.read_text()
    path.write_text(text[:-5])
    assert read_trace(path) == events[:-1]
    path.write_text("{}\n" + text)
    with pytest.raises(ValueError, match="line 1"):
        read_trace(path)


@pytest.mark.parametrize("policy", [parm(), parm(begin=0.5), orm()], ids=["parm", "late", "orm"])
def test_a_survey_replays_any_policy_to_the_live_choice_and_cost(policy):
    _, events = run(survey())
    ledger = Ledger()
    found, _ = run(policy, ledger=ledger)
    played = replay(events, policy)
    assert [f.choice for f in found] == [
        played[f.sample.task.id, output].choice for f, output in zip(found, [0, 1, 0, 1], strict=True)
    ]
    assert sum(p.row_steps for p in played.values()) == ledger.row_steps
    assert sum(p.looks for p in played.values()) == ledger.looks


def test_fewer_candidates_are_replayed_too():
    _, events = run(survey())
    few, _ = run(parm(), n=3)
    played = replay(events, parm(), 3)
    assert [f.choice.path for f in few[::2]] == [played["cat", 0].choice.path, played["hi", 0].choice.path]


def test_what_was_not_recorded_is_a_gap():
    _, events = run(parm())
    with pytest.raises(Gap, match="survey"):
        replay(events, orm())
    with pytest.raises(Gap, match="5 candidates"):
        replay(events, parm(), 9)
    with pytest.raises(ValueError, match="copies"):
        replay(events, prm())


def test_a_run_whose_judge_failed_goes_on_from_what_was_answered():
    class Failing(Verifier):
        def __call__(self, question, samples):
            good = super().__call__(question, samples)
            return [unjudged("time") if s.seed % 4 == 1 else o for s, o in zip(samples, good, strict=True)]

    wanted, _ = run(survey())
    _, events = run(survey(), verifier=Failing())
    second = Verifier()
    found, again = run(survey(), verifier=Remembering(second, events))
    assert [f.choice for f in found] == [f.choice for f in wanted]
    failed = [e for e in events if e.kind == "look" and not e.opinion.judged]
    assert 0 < second.looks == len(failed) < len([e for e in again if e.kind == "look"])
    third = Verifier()
    run(survey(), verifier=Remembering(third, again))
    assert third.looks == 0 and Remembering(third, []).about.name == "tables"
