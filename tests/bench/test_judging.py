"""Benchmarks that are judged by asking: a local endpoint plays the judge, a family without a network the painter."""

import csv
import json

import pytest
from PIL import Image as pil

from limner.bench import prompts, rubrics, run, score, suites
from limner.bench.judging import Judging, bench
from limner.models.echo import Echo

WISE = [
    {"prompt_id": 1, "Prompt": "the flower of Mother's Day", "Explanation": "a carnation"},
    {"prompt_id": 401, "Prompt": "noon", "Explanation": "the sun is high"},
]
DPG = [
    ("a", 1, "0", "entity - whole (cup)", "Is there a cup?"),
    ("a", 2, "1", "attribute - color (cup, red)", "Is the cup red?"),
    ("b", 1, "0", "entity - whole (dog)", "Is there a dog?"),
]


def data_of(name, folder):
    """The published layout of a benchmark's data, with two prompts or so."""
    pil.new("RGB", (20, 10), "red").save(folder / "source.png")
    if name == "dpg":
        names = ("item_id", "text", "keywords", "proposition_id", "dependency", "category_broad", "category_detailed")
        with (folder / "dpg.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow([*names, "tuple", "question_natural_language"])
            rows.writerows([i, f"text of {i}", "", n, parents, "", "", about, q] for i, n, parents, about, q in DPG)
        return folder / "dpg.csv"
    path = folder / f"{name}.json"
    if name.startswith("wise"):
        path.write_text(json.dumps(WISE))
    elif name == "imgedit":
        edits = {
            str(i): {"id": "source.png", "prompt": "make it blue", "edit_type": t}
            for i, t in enumerate(["add", "style"])
        }
        path.write_text(json.dumps(edits))
    else:
        row = {"task_type": "text_change", "instruction": "make it blue", "input_image": "source.png"}
        languages = {"k0": "en", "k1": "cn"}
        rows = [{"key": key, "instruction_language": language, **row} for key, language in languages.items()]
        path.write_text(json.dumps(rows))
    return path


def made(name, tmp_path, seeds=1):
    suite = suites.find_suite(name)
    items = suite.items(data_of(name, tmp_path), 0)
    model, folder = Echo(), tmp_path / "run"
    plan = model.plan(("image",))
    manifest = run.Manifest(
        name, run.digest_of_items(items), "echo", "none", seeds, False, run.described(plan), len(items)
    )
    run.make(run.plain(model, plan), items, manifest, folder)
    return folder


def said(body):
    """A judge that likes everything, in the form that is asked for; no cup is red."""
    parts = body["messages"][-1]["content"]
    text = next(part["text"] for part in parts if part["type"] == "text")
    if "Score: 1" in text:
        return "<think>Score: 0?</think>\nScore: 1"
    if "Aesthetic" in text:
        return "Consistency: 2\nRealism: 1\nAesthetic Quality: 0"
    if "Compliance" in text:
        return "Compliance: 5\nNaturalness: 4\nIntegrity: 3"
    if "JSON" in text:
        return '{"score": [9, 4], "reasoning": "fine"}'
    return "no" if "red" in text else "yes"


EXPECTED = {"wise-legacy": (0.7 * 2 + 0.2) / 2, "wise-verified": 1.0, "imgedit": 0.8, "gedit": 0.4, "dpg": 0.75}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_served_judge_is_asked_and_its_replies_are_scored_as_published(name, tmp_path, served):
    url, seen, answers = served
    answers.append(said)
    folder = made(name, tmp_path)
    report = score.score(folder, judging=Judging(f"{url}#vlm-2026"))
    assert report["tags"]["all"]["mean"] == pytest.approx(EXPECTED[name], abs=1e-4)
    assert report["counts"] == {"judged": 2, "missing": 0, "unparsed": 0, "unanswered": 0}
    about = report["judging"]
    assert about["judge"] == "vlm-2026" and about["rubric"] == rubrics.RUBRICS[name].version
    # questions are asked side by side, in any order; one of gedit's two is about the edited picture alone
    shown = {sum(part["type"] == "image_url" for part in body["messages"][0]["content"]) for _, _, body in seen}
    assert shown == {"imgedit": {2}, "gedit": {1, 2}}.get(name, {1})
    first = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    asked = len(seen)
    again = score.score(folder, judging=Judging("replay"))
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()} == first
    assert len(seen) == asked and again["replies"]["failed"] == 0


def test_the_benchmarks_own_figures_stand_beside_the_mean(tmp_path, served):
    url, _, answers = served
    answers.append(said)
    report = score.score(made("gedit", tmp_path), judging=Judging(f"{url}#vlm"))
    assert report["official"]["en"]["overall"] == pytest.approx(4.0)
    (tmp_path / "d").mkdir()
    report = score.score(made("dpg", tmp_path / "d", seeds=2), judging=Judging(f"{url}#vlm"))
    assert report["official"]["dpg_score"] == pytest.approx(75.0)
    assert report["official"]["l1"] == {"entity": 100.0, "attribute": 0.0}


@pytest.mark.parametrize(
    ("answer", "why"),
    [(3.0, "no answer in time"), ((500, b"oh"), "answered 500"), ((200, b"<html>"), "no completion")],
    ids=["late", "500", "garbage"],
)
def test_a_judge_that_fails_leaves_samples_unanswered_and_nothing_is_compared(tmp_path, served, answer, why):
    url, _, answers = served
    folder = made("wise-verified", tmp_path)
    answers.append(answer)
    report = score.score(folder, judging=Judging(f"{url}#vlm", timeout=1.0))
    assert report["counts"] == {"judged": 0, "missing": 0, "unparsed": 0, "unanswered": 2}
    assert all(why in line["why"] for line in score.scores_of(folder))
    with pytest.raises(ValueError, match="2 samples of .* were not answered by their judge"):
        score.gate(folder, folder)
    answers[:] = [said]  # asked again, it answers, and what it says is all that counts
    assert score.score(folder, judging=Judging(f"{url}#vlm"))["tags"]["all"]["mean"] == 1.0


def test_a_reply_that_cannot_be_read_is_asked_for_again_and_then_counted(tmp_path, served):
    url, seen, answers = served
    folder = made("wise-verified", tmp_path)
    answers += [lambda body: "it is lovely", lambda body: "very", lambda body: "Score: 1"]
    report = score.score(folder, judging=Judging(f"{url}#vlm"))
    assert report["counts"]["judged"] == 2 and len(seen) == 4
    answers[:] = [lambda body: "it is lovely"]
    report = score.score(folder, judging=Judging(f"{url}#other"))
    assert report["counts"]["unparsed"] == 2 and len(seen) == 4 + 2 * rubrics.TRIES
    assert report["tags"]["all"]["mean"] == 0.0


def test_judges_that_do_not_fit_are_refused_and_say_what_does(tmp_path):
    folder = made("wise-verified", tmp_path)
    for judge, match in (
        ("", "judged by asking, and none was given; give --judge URL#MODEL"),
        ("x", "there is none called 'x'"),
        ("http://127.0.0.1:9/v1", "say which"),
        ("replay", "replies.jsonl is missing"),
    ):
        with pytest.raises(ValueError, match=match):
            score.score(folder, judging=Judging(judge))
    with pytest.raises(ValueError, match="gsm8k has no judge 'local'"):
        bench(suites.find_suite("gsm8k"), folder, Judging("local"), "echo")


def test_other_texts_are_another_rubric_with_replies_of_their_own(tmp_path, served):
    url, seen, answers = served
    answers.append(said)
    folder = made("wise-verified", tmp_path)
    score.score(folder, judging=Judging(f"{url}#vlm"))
    (tmp_path / "mine.json").write_text(json.dumps(["{prompt}? {explanation}! Score: 1 or 0"]))
    report = score.score(folder, judging=Judging(f"{url}#vlm", rubric=tmp_path / "mine.json"))
    assert report["judging"]["rubric"] != rubrics.RUBRICS["wise-verified"].version and len(seen) == 4
    texts = {body["messages"][0]["content"][1]["text"] for _, _, body in seen[2:]}
    assert texts == {f"{row['Prompt']}? {row['Explanation']}! Score: 1 or 0" for row in WISE}
    (tmp_path / "mine.json").write_text("[1]")
    with pytest.raises(ValueError, match="a JSON list of 1 text"):
        score.score(folder, judging=Judging(f"{url}#vlm", rubric=tmp_path / "mine.json"))


def test_absent_data_says_what_is_wanted(tmp_path):
    for items, match in (
        (prompts.dpg_items, "dpg_bench.csv of the ELLA repository"),
        (prompts.wise_items("legacy"), "prompt_id, Prompt, Explanation"),
        (prompts.imgedit_items, "edit_type"),
        (prompts.gedit_items, "instruction_language"),
    ):
        with pytest.raises(ValueError, match=match):
            items(None, 0)
        (tmp_path / "bad").write_text('[{"x": 1}]')
        with pytest.raises(ValueError, match="lacks|cannot be read"):
            items(tmp_path / "bad", 0)
