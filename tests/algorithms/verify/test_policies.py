"""The published decision tables, played against scripted answers."""

import json
from pathlib import Path

import pytest

from limner.algorithms.verify.policies import Go, Look, Note, chance, none, orm, parm, prm, survey
from limner.judges.official import opinion
from limner.judges.verifier import Opinion, unjudged

DATA = Path(__file__).parents[2] / "parity" / "data" / "image-generation-cot" / "selection_cases.json"
TABLES = json.loads(DATA.read_text())
CASES = TABLES["cases"]


class Table:
    """Answers from a case's lists for one output, and a record of what was asked."""

    def __init__(self, case, output):
        self.case, self.output, self.step, self.calls, self.rows = case, output, {}, [], 0

    def answer(self, question, path):
        step = self.step.get(path, 0) - 1
        e = self.output
        if question == "clarity":
            said = self.case["clarity"][e][path][step]
            self.calls.append(["clarity", e, path, step, said])
            return opinion("clarity", said, float(said == "yes"), float(said == "no"))
        if question == "potential":
            verdict, no = self.case["potential"][e][path][step]
            self.calls.append(["potential", e, path, step, verdict, no])
            return Opinion(1 - no, no, verdict)
        flag, yes = self.case["orm"][e][path]
        self.calls.append(["orm", e, path, flag, yes])
        return Opinion(yes, None, flag)


def play(policy, table, n, steps):
    search, answer = policy.search(n, steps, 0), None
    try:
        while True:
            wish = next(search) if answer is None else search.send(answer)
            answer = []
            if isinstance(wish, Go):
                table.rows += len(wish.paths)
                for path in wish.paths:
                    table.step[path] = table.step.get(path, 0) + 1
            elif isinstance(wish, Look):
                answer = [table.answer(wish.question, path) for path in wish.paths]
            else:
                assert isinstance(wish, Note)
    except StopIteration as end:
        return end.value


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_official_mode_decides_asks_and_pays_as_published(case):
    for policy, recorded in ((parm(official=True), case["parm"]), (orm(official=True), case["orm_selection"])):
        chosen, calls, rows = [], [], 0
        for output in range(case["eval_num"]):
            table = Table(case, output)
            chosen.append(play(policy, table, case["search_num"], case["timesteps"]).path)
            calls += table.calls
            rows += table.rows
        assert chosen == recorded["chosen"], case["why"]
        assert calls == recorded["verifier_calls"]
        assert rows == recorded["forward_calls"]


# where the sampled word contradicts its own probability, or the word is no answer, the exact mode decides otherwise
OTHERWISE = {"pass_with_high_no_prob", "potential_invalid_answer", "clarity_garbage_is_clear"}


@pytest.mark.parametrize("case", [c for c in CASES if c["name"] not in OTHERWISE], ids=lambda case: case["name"])
def test_stopping_rejected_paths_and_asking_less_changes_no_decision(case):
    for output in range(case["eval_num"]):
        table = Table(case, output)
        choice = play(parm(), table, case["search_num"], case["timesteps"])
        assert choice.path == case["parm"]["chosen"][output], case["why"]
        assert table.rows <= case["search_num"] * case["timesteps"]
        assert table.step[choice.path] == case["timesteps"], "the chosen picture is finished"
        recorded = [call for call in case["parm"]["verifier_calls"] if call[1] == output]
        assert len(table.calls) <= len(recorded)


class Scripted:
    """``answers(question, path, step)`` gives opinions."""

    def __init__(self, answers):
        self.answers, self.step, self.calls, self.rows, self.calls = answers, {}, [], 0, []

    def answer(self, question, path):
        self.calls.append((question, path, self.step.get(path, 0)))
        return self.answers(question, path, self.step.get(path, 0))


def test_rejected_paths_stop_at_once_and_a_single_survivor_is_not_asked_for_its_outcome():
    table = Scripted(lambda q, path, step: Opinion(float(step >= 3) if q == "clarity" else float(path == 2)))
    choice = play(parm(), table, 5, 10)
    assert choice.path == 2 and table.rows == 5 * 3 + 7
    assert not [call for call in table.calls if call[0] == "outcome"]
    assert table.step == {0: 3, 1: 3, 2: 10, 3: 3, 4: 3}


def test_where_none_is_promising_only_the_chosen_path_is_finished():
    table = Scripted(lambda q, path, step: Opinion(float(step >= 4) if q == "clarity" else 0.1 * path))
    choice = play(parm(), table, 4, 9)
    assert choice.path == 3 and table.rows == 4 * 4 + 5 and choice.rank == (0.0, pytest.approx(-0.7))


def test_looks_may_begin_late():
    table = Scripted(lambda q, path, step: Opinion(1.0))
    play(parm(begin=0.5), table, 2, 10)
    assert min(step for _, _, step in table.calls) == 5


def test_what_could_not_be_judged_is_neither_clear_nor_rejected_nor_chosen_over_what_was():
    silent = Scripted(lambda q, path, step: unjudged("no answer"))
    choice = play(parm(), silent, 3, 4)
    assert choice.path == 0 and silent.rows == 12
    half = Scripted(lambda q, path, step: unjudged("no answer") if q == "potential" and path == 1 else
                    Opinion(1.0 if q == "clarity" else 0.2))  # fmt: skip
    assert play(parm(), half, 3, 4).path == 1, "not knowing beats knowing that it fails"
    outcomes = Scripted(lambda q, path, step: unjudged("late") if path == 0 else Opinion(0.01))
    assert play(orm(), outcomes, 2, 3).path == 1
    assert play(orm(), silent, 3, 4).path == 0


def test_step_wise_selection_goes_on_from_the_best_of_every_step():
    sources = []

    class Watched(Scripted):
        pass

    table = Watched(lambda q, path, step: Opinion([0.1, 0.9, 0.5][(path + step) % 3]))
    search, answer = prm().search(3, 4, 0), None
    with pytest.raises(StopIteration) as end:
        while True:
            wish = next(search) if answer is None else search.send(answer)
            answer = []
            if isinstance(wish, Go):
                sources.append(wish.source)
                for path in wish.paths:
                    table.step[path] = len(sources)
            elif isinstance(wish, Look):
                answer = [table.answer(wish.question, path) for path in wish.paths]
    assert sources == [None, 0, 2, 1] and end.value.value.path == 0
    assert len(table.calls) == 12


def test_none_makes_one_path_and_chance_any_of_them():
    quiet = Scripted(lambda *_: Opinion(1.0))
    assert play(none(), quiet, 5, 6).path == 0 and quiet.rows == 6
    picked = set()
    for seed in range(30):
        search = chance().search(5, 1, seed)
        wish = next(search)
        picked.add(wish.paths)
    assert picked == {(i,) for i in range(5)}


def test_a_survey_asks_everything_at_every_step():
    table = Scripted(lambda q, path, step: Opinion(0.1 * path))
    assert play(survey(), table, 3, 5).path == 2
    assert len(table.calls) == 3 * 5 * 2 + 3


def test_a_survey_may_ask_at_one_step_alone_and_serves_what_asks_there():
    table = Scripted(lambda q, path, step: Opinion(0.1 * path))
    assert play(survey(0.4, 0.4), table, 3, 5).path == 2
    assert {step for question, _, step in table.calls if question != "outcome"} == {2}


def test_at_most_so_many_of_the_promising_go_on_those_of_the_highest_potential():
    potential = [0.6, 0.9, 0.2, 0.8, 0.9, 0.7]
    table = Scripted(lambda q, path, step: Opinion(float(step >= 2) if q == "clarity" else potential[path]))
    choice = play(parm(within=0.72, fewest=1), table, 6, 5)  # 12 of 21 steps are taken: 9 are left for 3 each
    assert table.step == {0: 2, 1: 5, 2: 2, 3: 5, 4: 5, 5: 2} and choice.path == 1
    asked = [path for question, path, _ in table.calls if question == "outcome"]
    assert asked == [1, 3, 4]


def test_a_path_that_becomes_promising_late_takes_the_place_of_a_worse_one():
    def answers(question, path, step):
        return Opinion(float(step >= 2 + path) if question == "clarity" else 0.6 + 0.1 * path)

    table = Scripted(answers)
    choice = play(parm(within=0.1, fewest=1), table, 3, 6)
    assert choice.path == 2 and table.step == {0: 3, 1: 4, 2: 6}


def test_the_sooner_pictures_are_clear_the_more_of_them_are_finished():
    for first, finished in ((1, 11), (3, 9), (6, 4), (9, 4)):
        table = Scripted(lambda q, path, step, first=first: Opinion(float(step >= first)))
        play(parm(within=0.6), table, 20, 12)
        assert list(table.step.values()).count(12) == finished
        assert table.rows <= 0.6 * 20 * 12 or finished == 4


def test_without_a_limit_all_of_the_promising_go_on_as_in_the_paper():
    table = Scripted(lambda q, path, step: Opinion(1.0))
    play(parm(), table, 6, 5)
    assert table.rows == 6 * 5
