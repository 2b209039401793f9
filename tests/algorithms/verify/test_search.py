"""Policies carried out on a model: rows, pruning, events, costs."""

import pytest

from limner.algorithms.verify.policies import chance, none, orm, parm, prm, survey
from limner.algorithms.verify.search import SPENT, Event, Job, Ledger, Searcher, jobs_of
from limner.judges.verifier import About, Judged, Opinion, coincidence
from limner.models.echo import Echo
from limner.parts import Ask, Task, Verdict, user
from limner.turn import rollout, stream

MODEL = Echo(seed=0)
TASKS = [Task((user("a red cat"),), id="cat"), Task((user("hi"),), id="hi"), Task((user("two dogs"),), id="dogs")]
PLAN = (Ask("image"),)


def light(sample):
    return sum(sample.image.convert("L").tobytes()) / (255 * 256)


def search(model, jobs, plan, verifier, policy, **more):
    return Searcher(model, plan, verifier, policy, **more).search(jobs)


class Seen:
    """A verifier that likes light pictures and odd seeds, and remembers what it was asked."""

    about = About("light")

    def __init__(self, clear=3, passes=lambda sample: sample.seed % 2):
        self.clear, self.passes, self.asked = clear, passes, []

    def __call__(self, question, samples):
        self.asked += [(question, s.task.id, s.seed, s.progress) for s in samples]
        if question == "clarity":
            return [Opinion(float(s.progress >= self.clear / 4)) for s in samples]
        if question == "potential":
            return [Opinion(0.9 if self.passes(s) else 0.2) for s in samples]
        return [Opinion(light(s)) for s in samples]


def run(policy, n, verifier=None, **more):
    return search(MODEL, jobs_of(TASKS, n, [5]), PLAN, verifier or Seen(), policy, **more)


def alone(task, seed):
    (sample,) = rollout(MODEL, [task], PLAN, [seed])
    return sample.reply


@pytest.mark.parametrize("policy", [none(), chance(), orm(), parm(), survey()], ids=lambda p: p.name)
def test_a_chosen_picture_is_the_one_its_seed_makes_alone(policy):
    for task, found in zip(TASKS, run(policy, 6), strict=True):
        assert found.sample.reply == alone(task, found.sample.seed)
        assert found.sample.task == task and found.sample.progress == 1.0
        assert found.sample.seed == 5 + found.choice.path


def test_the_best_of_n_is_the_best_of_n():
    for task, found in zip(TASKS, run(orm(), 6), strict=True):
        lights = [light(sample) for sample in rollout(MODEL, [task] * 6, PLAN, range(5, 11))]
        assert found.opinion.yes == max(lights) and found.choice.path == lights.index(max(lights))


def test_rows_in_small_batches_choose_the_same():
    for policy in (orm(), parm(), prm()):
        together, apart = run(policy, 6), run(policy, 6, rows=1)
        assert [f.sample for f in together] == [f.sample for f in apart]


def test_rejected_rows_cost_nothing_more_and_looks_go_together():
    best, pruned = Ledger(), Ledger()
    run(orm(), 8, ledger=best)
    verifier = Seen(clear=2)
    found = run(parm(), 8, verifier, ledger=pruned)
    assert best.row_steps == 3 * 8 * 4 and best.passes == 4 and best.calls == 1
    assert pruned.row_steps < best.row_steps
    # two clarity looks, one for potential, at most one for the outcomes
    assert pruned.calls <= 4 and pruned.looks == len(verifier.asked)
    for task, each in zip(TASKS, found, strict=True):
        asked = [a for a in verifier.asked if a[1] == task.id]
        assert [a for a in asked if a[0] == "clarity" and a[3] == 0.25]
        assert all(progress == 1.0 for question, _, _, progress in asked if question == "outcome")
        assert each.sample.progress == 1.0


def test_a_task_without_a_promising_path_finishes_one_that_was_stopped():
    ledger = Ledger()
    found = run(parm(), 4, Seen(clear=1, passes=lambda sample: False), ledger=ledger)
    assert ledger.row_steps == 3 * (4 + 3)
    for task, each in zip(TASKS, found, strict=True):
        assert each.sample.reply == alone(task, each.sample.seed) and each.choice.rank[0] == 0.0


def test_step_wise_selection_copies_the_best_row_with_fresh_noise():
    ledger = Ledger()
    found = run(prm(), 4, ledger=ledger)
    assert ledger.row_steps == 3 * 4 * 4 and ledger.looks == 3 * 4 * 4
    assert [f.sample.reply for f in found] == [f.sample.reply for f in run(prm(), 4)]
    assert all(f.opinion.yes == light(f.sample) for f in found)
    several = {s.reply[0].raw for s in (f.sample for f in run(prm(), 2))}
    assert len(several) == 3


def test_every_look_is_an_event_that_goes_to_json_and_back():
    events = []
    ledger = Ledger()
    run(parm(), 5, Seen(clear=2), on_event=events.append, ledger=ledger)
    looks = [event for event in events if event.kind == "look"]
    assert len(looks) == ledger.looks and len(events) == ledger.looks + len(TASKS)
    assert {event.decision for event in looks} <= {
        "clear", "not clear", "promising", "rejected", "chosen", "dropped",
    }  # fmt: skip
    assert all(event.decision and len(event.view) == 16 and event.steps == 4 for event in looks)
    for event in events:
        assert Event.from_json(event.to_json()) == event
    chosen = [event for event in events if event.kind == "choice"]
    assert [event.job for event in chosen] == ["cat", "hi", "dogs"] and all(event.why for event in chosen)


def test_thoughts_without_chance_are_made_once_and_stand_in_front_of_every_candidate():
    plan = MODEL.plan(["thinking", "image"])
    (found,) = search(MODEL, jobs_of(TASKS[:1], 4, [2]), plan, Seen(), orm())
    (whole,) = rollout(MODEL, TASKS[:1], plan, [found.sample.seed])
    assert found.sample.reply == whole.reply


def test_the_published_temperature_fades_after_the_first_path():
    """Only the first path has confidence noise; all of them choose their codes by chance."""
    (found,) = search(MODEL, jobs_of(TASKS[:1], 3, [0]), PLAN, Seen(passes=lambda s: s.seed > 0), parm(official=True))
    seed = found.sample.seed
    assert seed > 0
    *_, faded = stream(MODEL, [TASKS[0].prompt], (Ask("image", temperature=SPENT),), [seed])
    assert found.sample.reply == faded.replies[0]
    temperatures = [faded.process._temperature(faded.state.settings, k) for k in range(1, 5)]
    assert max(temperatures) < 1e-29


def test_a_judge_becomes_a_verifier_with_its_reasons():
    def judge(samples):
        return [Verdict(None, why="too dark") if i else Verdict(0.7, why="fine") for i, _ in enumerate(samples)]

    samples = rollout(MODEL, TASKS[:2], PLAN, [0, 1])
    verifier = Judged(judge, threshold=0.8)
    first, second = verifier("outcome", samples)
    assert (first.yes, first.says, first.text) == (0.7, False, "fine")
    assert not second.judged and second.text == "too dark"
    assert [o.says for o in verifier("clarity", samples)] == [True, True]


def test_a_verifier_that_is_the_metric_or_knows_its_prompts_is_told():
    assert coincidence(About("clip"), "scenes", "world") == ""
    assert "metric itself" in coincidence(About("oracle", "scenes"), "scenes", "world")
    assert "same source" in coincidence(About("tiny", "", "world"), "scenes", "world")


def test_impossible_wishes_are_refused():
    with pytest.raises(ValueError, match="give a verifier"):
        search(MODEL, jobs_of(TASKS, 2, [0]), PLAN, None, orm())
    with pytest.raises(ValueError, match="n=0"):
        jobs_of(TASKS, 0, [0])
    with pytest.raises(ValueError, match="1 opinions on 6"):
        run(orm(), 2, lambda question, samples: [Opinion(1.0)])
    assert search(MODEL, [], PLAN, None, none()) == []


def test_a_job_may_show_the_generator_more_than_the_task_that_is_judged():
    job = Job(TASKS[0], (3,), "cat", conversation=(user("a blue dog"),))
    (found,) = search(MODEL, [job], PLAN, None, none())
    assert found.sample.task == TASKS[0]
    assert found.sample.reply == alone(Task((user("a blue dog"),)), 3)
