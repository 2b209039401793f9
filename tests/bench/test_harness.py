import importlib.util
import json
from types import SimpleNamespace

import pytest

from limner.bench import harness
from limner.models.echo import Echo


def test_answers_are_cut_at_the_first_end_and_do_not_depend_on_their_neighbours():
    model = Echo()
    (whole,) = harness.written(model, [("3 red cats", {})])
    short = {"until": [whole[1]], "max_gen_toks": 4}
    several = harness.written(model, [("2 dogs", {}), ("3 red cats", {}), ("3 red cats", short)], batch=2)
    assert several[1] == whole
    assert whole[1] not in several[2] and len(several[2]) <= 4
    assert harness.written(model, [("3 red cats", {"until": ""})]) == [whole]


def test_without_the_harness_the_adapter_says_how_to_get_it():
    if importlib.util.find_spec("lm_eval"):
        pytest.skip("lm-evaluation-harness is installed")
    with pytest.raises(ValueError, match="limner\\[eval\\]"):
        harness.plugged(Echo())


def test_the_adapter_generates_and_refuses_likelihoods():
    pytest.importorskip("lm_eval")
    lm = harness.plugged(Echo())
    request = SimpleNamespace(args=("3 red cats", {"until": ["\n\n"]}))
    assert len(lm.generate_until([request])) == 1
    with pytest.raises(ValueError, match="choose a task that generates"):
        lm.loglikelihood([request])


@pytest.mark.filterwarnings("default")
def test_five_local_questions_run_through_the_harness(tmp_path):
    evaluator = pytest.importorskip("lm_eval.evaluator")
    rows = [{"question": f"What is {i} and {i}?", "answer": f"#### {2 * i}"} for i in range(5)]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "task": "gsm8k_local",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "q.jsonl")}, "cache_dir": str(tmp_path / "cache")},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": ["\n\n"], "do_sample": False},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }
    result = evaluator.simple_evaluate(model=harness.plugged(Echo()), tasks=[task], bootstrap_iters=0)
    assert len(result["samples"]["gsm8k_local"]) == 5
    assert result["results"]["gsm8k_local"]["exact_match,none"] == 0.0
