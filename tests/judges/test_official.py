"""The published parsing of answers, on recorded cases."""

import json
from pathlib import Path

import pytest
import torch

from limner.judges.official import filtered, opinion

DATA = Path(__file__).parents[1] / "parity" / "data" / "image-generation-cot" / "scoring_cases.json"
SCORED = json.loads(DATA.read_text())


@pytest.mark.parametrize("case", SCORED["cases"], ids=lambda c: f"{c['method']}-{c['first_token']}")
def test_first_words_are_scored_as_published(case):
    words = SCORED["vocabulary"]
    given = torch.tensor([case["first_token_probs"].get(word, 0.0) for word in words])
    # the recording's script turned missing words into a tiny probability
    chances = (given + 1e-9).log().softmax(-1)
    yes, no = float(chances[words.index("yes")]), float(chances[words.index("no")])
    question = {"orm": "outcome"}.get(case["method"], case["method"])
    found = opinion(question, case["first_token"], yes, no)
    if case["method"] == "clarity":
        assert found.text == case["returned"] and found.says == (case["returned"] != "no")
        return
    flag, value = case["returned"]
    assert found.says == flag
    assert (found.yes if case["method"] == "orm" else found.no) == pytest.approx(value, rel=1e-5)


def test_sure_answers_become_certain_behind_the_filter():
    chances = filtered(torch.tensor([0.81, 0.1, 0.09]).log())
    assert chances.tolist() == [1.0, 0.0, 0.0]
    kept = filtered(torch.tensor([0.5, 0.4, 0.1]).log())
    assert kept.tolist() == pytest.approx([5 / 9, 4 / 9, 0.0])
    many = filtered(torch.zeros(30), top_k=20, top_p=1.0)
    assert torch.isfinite(many).all() and float(many.sum()) == pytest.approx(1.0)
