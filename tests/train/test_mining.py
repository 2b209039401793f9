"""Pairs from a model's own replies."""

import json

import pytest

from limner.models.echo import Echo
from limner.parts import Ask, Task, Verdict, user
from limner.train.mining import Mining, mine, read_pairs, summary, write_pairs

MODEL = Echo()
PLAN = (Ask("thinking"), Ask("image"))
TASKS = [Task((user(text),), {"n": i}, id=text) for i, text in enumerate(("a red cat", "hi", "two dogs"))]


def value(sample):
    return sum(sample.reply[-1].raw) % 10 / 10


def judge(samples):
    return [Verdict(value(sample)) for sample in samples]


def rows(folder):
    return [json.loads(line) for line in (folder / "candidates.jsonl").read_text().splitlines()]


def test_the_best_is_paired_with_the_worst_and_pairs_are_read_back(tmp_path):
    pairs = mine(MODEL, TASKS, PLAN, judge, Mining(6), tmp_path)
    assert len(pairs) == 3
    for pair, row in zip(pairs, rows(tmp_path), strict=True):
        scores = [c["score"] for c in row["candidates"]]
        assert pair.gap == pytest.approx(max(scores) - min(scores)) and pair.task.facts
        assert pair.chosen[0].kind == "thinking" and len(pair.chosen[1].raw) == 16
    again = read_pairs(tmp_path / "pairs.jsonl")
    assert [(p.task.id, p.chosen[-1].raw, p.rejected[-1].raw, p.gap) for p in again] == [
        (p.task.id, p.chosen[-1].raw, p.rejected[-1].raw, p.gap) for p in pairs
    ]
    assert summary(tmp_path)["candidates"] == 18 and summary(tmp_path)["pairs"] == 3


def test_rules(tmp_path):
    ranked = mine(MODEL, TASKS, PLAN, judge, Mining(6, "ranked", 3), tmp_path)
    assert 3 < len(ranked) <= 9 and all(pair.gap > 0 for pair in ranked)
    published = mine(MODEL, TASKS, PLAN, judge, Mining(6, "random"), tmp_path)
    for pair in published:
        assert sum(pair.chosen[-1].raw) % 10 >= 5 > sum(pair.rejected[-1].raw) % 10
    same = mine(MODEL, TASKS, PLAN, lambda samples: [Verdict(1.0)] * len(samples), Mining(3), tmp_path / "same")
    assert same == []


def test_a_stopped_run_goes_on_to_the_same_pairs(tmp_path):
    calls = []

    def stopping(samples):
        calls.append(len(samples))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return judge(samples)

    how = Mining(4, rows=4)
    whole = mine(MODEL, TASKS, PLAN, judge, how, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        mine(MODEL, TASKS, PLAN, stopping, how, tmp_path / "cut")
    path = tmp_path / "cut" / "candidates.jsonl"
    path.write_text(path.read_text() + '{"id": "hal')
    again = mine(MODEL, TASKS, PLAN, stopping, how, tmp_path / "cut")
    assert [p.chosen[-1].raw for p in again] == [p.chosen[-1].raw for p in whole] and sum(calls) == 4 * 4
    with pytest.raises(ValueError, match="other candidates: number was 4 and is now 5"):
        mine(MODEL, TASKS, PLAN, judge, Mining(5), tmp_path / "cut")


def test_what_was_not_judged_is_in_no_pair_and_asked_for_again(tmp_path):
    half = mine(MODEL, TASKS, PLAN, lambda s: [Verdict(None) if i % 2 else v for i, v in enumerate(judge(s))],
                Mining(6), tmp_path)  # fmt: skip
    assert half and all(c["score"] is None for row in rows(tmp_path) for c in row["candidates"][1::2])
    with pytest.raises(ValueError, match="nothing was judged for 3 prompts"):
        mine(MODEL, TASKS, PLAN, lambda s: [Verdict(None)] * len(s), Mining(3), tmp_path / "none")
    assert len(mine(MODEL, TASKS, PLAN, judge, Mining(3), tmp_path / "none")) <= 3
    assert len(rows(tmp_path / "none")) == 3


def test_bad_pairs_and_wishes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="number=1"):
        Mining(1)
    with pytest.raises(ValueError, match="every prompt once"):
        mine(MODEL, TASKS[:1] * 2, PLAN, judge, Mining(2), tmp_path)
    with pytest.raises(ValueError, match="no pairs"):
        read_pairs(tmp_path / "none.jsonl")
    (tmp_path / "bad.jsonl").write_text('{"prompt": "x"}\n')
    with pytest.raises(ValueError, match="line 1"):
        read_pairs(tmp_path / "bad.jsonl")
    write_pairs(tmp_path / "empty.jsonl", [])
    assert read_pairs(tmp_path / "empty.jsonl") == []
