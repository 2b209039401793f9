import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image as pil

import limner
from limner.bench import harness
from limner.bench.harness import Asked
from limner.models.echo import Echo
from limner.parts import Sample, Task, Text, user
from limner.turn import draws, log_prob

PICTURE = pil.new("RGB", (8, 8), "red")


def test_answers_are_cut_at_the_first_end_and_do_not_depend_on_their_neighbours():
    model = Echo()
    (whole,) = harness.written(model, [Asked("3 red cats", {})])
    short = {"until": [whole[1]], "max_gen_toks": 4}
    asked = [Asked("2 dogs", {}), Asked("3 red cats", {}), Asked("3 red cats", short)]
    several = harness.written(model, asked, batch=2)
    assert several[1] == whole
    assert whole[1] not in several[2] and len(several[2]) <= 4
    assert harness.written(model, [Asked("3 red cats", {"until": ""})]) == [whole]


def test_what_a_model_does_not_understand_is_told():
    model, asked = limner.load("tiny-mmada").model, [Asked("what is 2+3?", {}), Asked("what is a syzygy?", {})]
    with pytest.warns(UserWarning, match="1 of 2 requests are not understood by the model.*syzygy"):
        assert harness.written(model, asked)[0] == "5"
    with pytest.warns(UserWarning, match="1 of 1 requests.*syzygy"):
        harness.likely(model, [(asked[1], "5")], draws=1)


def test_the_likelihood_of_words_from_left_to_right_is_exact_in_one_draw(monkeypatch):
    model, calls = Echo(), []
    real = harness.log_prob
    monkeypatch.setattr(harness, "log_prob", lambda *a: calls.append(1) or real(*a))
    pairs = [(Asked("cat", {}), "cat"), (Asked("cat", {}), "dog"), (Asked("cat", {}, (PICTURE,)), "cat")]
    found = harness.likely(model, pairs, batch=2)
    assert found[0] > found[1] and found[2] != found[0] and len(calls) == 2
    alone = Sample(Task((user("cat"),)), (Text("cat"),))
    with torch.no_grad():
        exact = log_prob(model, [alone], draws(model, [alone], [5]))[0].total
    assert found[0] == pytest.approx(float(exact[0]), abs=1e-4)


def test_masked_words_take_the_mean_of_as_many_draws_as_are_asked_for(monkeypatch):
    model, calls = Echo(), []
    masked = model.process("thinking")
    monkeypatch.setattr(model, "process", lambda kind: masked if kind == "text" else Echo.process(model, kind))
    real = harness.log_prob
    monkeypatch.setattr(harness, "log_prob", lambda *a: calls.append(1) or real(*a))
    pairs = [(Asked("cat", {}), "cat"), (Asked("cat", {}), "dog")]
    found = harness.likely(model, pairs, draws=32)
    assert len(calls) == 32 and found[0] > found[1]
    assert harness.likely(model, pairs, draws=32) == found != harness.likely(model, pairs, draws=32, seed=1)
    with pytest.raises(ValueError, match="draws=0"):
        harness.likely(model, pairs, draws=0)


@pytest.mark.parametrize(("name", "plug"), [("lm_eval", harness.plugged), ("lmms_eval", harness.plugged_lmms)])
def test_without_the_harness_the_adapter_says_how_to_get_it(monkeypatch, name, plug):
    for module in (name, f"{name}.api", f"{name}.api.model"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(ValueError, match="is not installed: pip install"):
        plug(Echo())


@pytest.fixture
def lmms_model(monkeypatch):
    """The adapter on lmms-eval's own base class where it is installed, else on a bare one."""
    if importlib.util.find_spec("lmms_eval") is None:
        base = type("lmms", (), {"__init__": lambda self: setattr(self, "task_dict", {})})
        modules = __import__("sys").modules
        for module in ("lmms_eval", "lmms_eval.api"):
            monkeypatch.setitem(modules, module, SimpleNamespace())
        monkeypatch.setitem(modules, "lmms_eval.api.model", SimpleNamespace(lmms=base))

    def plug(**options):
        made = harness.plugged_lmms(Echo(), **options)
        made.task_dict = {"task": {"test": {7: {"picture": PICTURE, "answer": "cat"}}}}
        return made

    return plug


def look(document):
    return [document["picture"]]


def test_lmms_evals_requests_bring_their_pictures(lmms_model):
    ask = SimpleNamespace(args=("cat?", {"max_new_tokens": 6}, look, 7, "task", "test"))
    blind = SimpleNamespace(args=("cat?", {"max_new_tokens": 6}, lambda document: [], 7, "task", "test"))
    said = lmms_model().generate_until([ask, blind])
    assert said == harness.written(Echo(), [Asked("cat?", ask.args[1], (PICTURE,)), Asked("cat?", ask.args[1])])
    compare = SimpleNamespace(args=("cat?", lambda document: document["answer"], look, 7, "task", "test"))
    ((value, greedy),) = lmms_model().loglikelihood([compare])
    assert not greedy and value == harness.likely(Echo(), [(Asked("cat?", {}, (PICTURE,)), "cat")])[0]
    with pytest.raises(ValueError, match="task of one round"):
        lmms_model().generate_until_multi_round([ask])


def test_a_drawing_task_of_lmms_eval_gets_the_paths_of_its_pictures(lmms_model, tmp_path):
    ask = SimpleNamespace(args=("a cat", {}, lambda document: [], 7, "task", "test"))
    told = [json.loads(text) for text in lmms_model(pictures=tmp_path, think=True).generate_until([ask, ask])]
    assert told[0]["text"] and len({one["images"][0] for one in told}) == 2
    with pil.open(told[1]["images"][0]) as picture:
        assert picture.size == (16, 16)


def test_the_adapter_generates_and_compares_answers():
    pytest.importorskip("lm_eval")
    lm = harness.plugged(Echo())
    request = SimpleNamespace(args=("3 red cats", {"until": ["\n\n"]}))
    assert len(lm.generate_until([request])) == 1
    right, wrong = lm.loglikelihood([SimpleNamespace(args=("cat", "cat")), SimpleNamespace(args=("cat", "dog"))])
    assert right[0] > wrong[0] and right[1] is False
    with pytest.raises(ValueError, match="whole texts are no answers"):
        lm.loglikelihood_rolling([request])


@pytest.mark.filterwarnings("default")
def test_five_local_questions_run_through_gsm8k_of_the_harness(tmp_path):
    """The harness's own task gsm8k, with its prompt, filters and metric, on local files in place of the hub's."""
    evaluator, tasks = pytest.importorskip("lm_eval.evaluator"), pytest.importorskip("lm_eval.tasks")
    rows = [{"question": f"What is {i} and {i}?", "answer": f"It is {2 * i}.\n#### {2 * i}"} for i in range(7)]
    for name, some in (("test", rows[:5]), ("train", rows[5:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    task = {
        "include": str(Path(tasks.__file__).parent / "gsm8k" / "gsm8k.yaml"),
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {
            "data_files": {name: str(tmp_path / f"{name}.jsonl") for name in ("test", "train")},
            "cache_dir": str(tmp_path / "cache"),
        },
        "num_fewshot": 2,
    }
    path = tmp_path / "gsm8k_local.yaml"
    path.write_text(json.dumps(task))  # JSON is YAML
    manager = tasks.TaskManager(include_defaults=False)  # to read all of them takes ten seconds
    result = evaluator.simple_evaluate(
        model=harness.plugged(Echo()), tasks=[str(path)], bootstrap_iters=0, task_manager=manager
    )
    assert len({sample["doc_id"] for sample in result["samples"]["gsm8k"]}) == 5
    assert all("Question: What is 6 and 6?" in str(s["arguments"]) for s in result["samples"]["gsm8k"])
    metrics = result["results"]["gsm8k"]
    assert metrics["exact_match,strict-match"] == 0.0 and "exact_match,flexible-extract" in metrics
