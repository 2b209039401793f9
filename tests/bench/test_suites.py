import json
from importlib.util import find_spec

import pytest
from PIL import Image

from limner.bench import prompts, run, suites
from limner.bench.figures import own_figures

VERIFY = pytest.mark.skipif(find_spec("math_verify") is None, reason="needs math-verify")


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_genevals_file_has_its_553_prompts_and_a_limit_takes_some_of_every_tag():
    items = suites.find_suite("geneval").items(None, 0)
    assert len(items) == 553
    tags = {tag: sum(item.tag == tag for item in items) for tag in {item.tag for item in items}}
    assert tags == {
        "single_object": 80,
        "two_object": 99,
        "counting": 80,
        "colors": 94,
        "position": 100,
        "color_attr": 100,
    }
    assert len(suites.find_suite("geneval").items(None, 3)) == 18


def test_questions_come_with_their_options_and_pictures(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    rows = [{"id": 7, "question": "What?", "answer": "B", "options": ["x", "y"], "image": "a.png"}]
    (item,) = prompts.question_items(write(tmp_path / "q.jsonl", rows))
    assert item.prompt == "What?\nA. x\nB. y"
    assert [part.kind for part in item.task().prompt[0].parts] == ["image", "text"]


def test_absent_data_says_what_is_wanted(tmp_path):
    with pytest.raises(ValueError, match="a line a question with id, question, answer"):
        prompts.question_items(tmp_path / "nothing.jsonl")
    with pytest.raises(ValueError, match="entry 1 lacks answer"):
        prompts.question_items(write(tmp_path / "q.jsonl", [{"question": "?"}]))
    with pytest.raises(ValueError, match="a.png is not beside"):
        prompts.question_items(write(tmp_path / "q.jsonl", [{"question": "?", "answer": "x", "image": "a.png"}]))
    with pytest.raises(ValueError, match="no benchmark called 'x'; there are geneval, world, dpg"):
        suites.find_suite("x")


@pytest.mark.parametrize(
    ("name", "said", "gold", "options", "score"),
    [
        ("mmmu", "The answer is B.", "B", ["x", "y"], 1),
        ("mmmu", "**B**", "B", ["x", "y"], None),
        ("mmmu", "x = 5", "5", [], 1),
        ("mmbench", "y", "B", ["x", "y"], 1),
        ("realworldqa", "downhill.", "Downhill", [], 1),
        ("pope", "No, it is not.", "yes", [], 0),
        ("pope", "maybe", "yes", [], None),
        ("mme", "Yes", "Yes", [], 1),
        ("gqa", "a cat", "cat", [], 0),
        ("seed", "It is B.", "B", ["x", "y"], 1),
        ("vqav2", "yes", ["yes"] * 3 + ["no"] * 7, [], 0.9),
        ("gsm8k", "so 12.", "#### 12", [], 1),
        pytest.param("math", "$\\frac12$", "\\boxed{\\frac{1}{2}}", [], 1, marks=VERIFY),
    ],
)
def test_a_reply_is_judged_by_its_benchmarks_parser(tmp_path, name, said, gold, options, score):
    item = run.Item("q", "all", "?", {"answer": gold, "options": options, "group": ""})
    verdict = suites.find_suite(name).own["fixed"][1](item, {"text": said, "seed": 0}, tmp_path)
    assert verdict.score == (None if score is None else pytest.approx(score))


def test_a_benchmarks_own_figures_stand_next_to_the_mean():
    facts = [{"answer": a, "options": [], "group": "g"} for a in ("Yes", "No")]
    items = [run.Item(f"q{i}", "count", "?", fact) for i, fact in enumerate(facts)]
    rows = {(f"q{i}", 0): {"text": text} for i, text in enumerate(("yes", "no"))}
    assert own_figures("mme", "official", items, rows, []) == {"perception": 200.0}
    assert own_figures("pope", "fixed", items, rows, [])["f1"] == 1.0
    hit = [{"id": f"q{i}", "seed": 0, "score": float(i == 0)} for i in range(2)]
    assert own_figures("mmbench", "fixed", items, rows, hit) == {"circular": 0.0, "questions": 1}
