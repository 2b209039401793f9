import json

import numpy as np
import pytest
from PIL import Image

from limner.bench import page, run, score, suites
from limner.parts import Verdict

TAGS = ("one", "two", "three", "four", "five", "six")


def folder_of(path, texts, golds, name="gsm8k", seeds=1, tag="all"):
    """A run folder of questions in words, as if a model had answered ``texts`` (None: nothing)."""
    items = [
        run.Item(f"q{i}", tag, f"question {i}", {"answer": f"#### {gold}", "options": [], "group": ""})
        for i, gold in enumerate(golds)
    ]
    manifest = run.Manifest(name, run.digest_of_items(items), "m", "w", seeds, False, (), len(items))
    run._claim(path, manifest, items)
    rows = [
        {"id": f"q{i}", "tag": tag, "seed": 0, "prompt": f"question {i}", "thinking": None, "text": t, "image": None}
        for i, t in enumerate(texts)
        if t is not None
    ]
    (path / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_missing_and_unparsed_replies_are_counted_and_worth_nothing(tmp_path):
    folder = folder_of(tmp_path, ["it is 4", "5", None, "who knows"], [4, 6, 7, 8])
    report = score.score(folder)
    assert report["counts"] == {"judged": 2, "missing": 1, "unparsed": 1, "unanswered": 0}
    assert report["tags"]["all"]["mean"] == 0.25
    assert score.score(folder, missing="skip")["tags"]["all"]["mean"] == pytest.approx(1 / 3, abs=1e-4)
    with pytest.raises(ValueError, match="'q2', seed 0, is missing"):
        score.score(folder, missing="error")


def test_scoring_twice_writes_the_same_bytes(tmp_path):
    folder = folder_of(tmp_path, ["4", "5"], [4, 6])
    score.score(folder)
    page.write(folder)
    first = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    score.score(folder)
    page.write(folder)
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()} == first


def test_a_judge_of_the_callers_replaces_the_benchmarks_own(tmp_path):
    folder = folder_of(tmp_path, ["4", "5"], [4, 6])
    assert score.score(folder, judge=lambda item, row, where: Verdict(1.0))["tags"]["all"]["mean"] == 1.0


def lines(success, rng, seeds=2):
    """What a model with these shares of success per prompt scores in one run of so many samples a prompt."""
    return [
        {"id": f"{tag}{p}", "tag": tag, "seed": s, "score": float(rng.random() < share)}
        for tag, shares in success.items()
        for p, share in enumerate(shares)
        for s in range(seeds)
    ]


def test_an_unchanged_model_passes_the_gate_in_95_of_100_resamples_and_a_damaged_one_never():
    rng = np.random.default_rng(0)
    shares = {tag: rng.beta(1, 1, 30) for tag in TAGS}
    damaged = {**shares, "four": shares["four"] * 0.1}
    passed = 0
    for case in range(100):
        before, again = lines(shares, rng), lines(shares, rng)
        passed += not any(axis.fell for axis in score.compare(again, before, draws=600))
        if case < 10:
            fell = [axis.name for axis in score.compare(lines(damaged, rng), before, draws=600) if axis.fell]
            assert "four" in fell
    assert passed >= 95


@pytest.mark.parametrize(("prompts", "seeds"), [(2, 1), (10, 1), (12, 2)])
def test_an_unchanged_model_passes_with_few_prompts_too(prompts, seeds):
    rng = np.random.default_rng(0)
    shares = {f"tag {i}": rng.beta(1, 1, prompts) for i in range(18)}
    passed = 0
    for _ in range(40):
        before, again = lines(shares, rng, seeds), lines(shares, rng, seeds)
        passed += not any(axis.fell for axis in score.compare(again, before, draws=1000))
    assert passed >= 36, "95%: fewer than 36 of 40 happens about once in 70"


def test_the_gate_lists_the_axes_and_refuses_runs_that_were_not_asked_the_same(tmp_path):
    good = folder_of(tmp_path / "good", ["4"] * 30, [4] * 30)
    bad = folder_of(tmp_path / "bad", ["5"] * 30, [4] * 30)
    other = folder_of(tmp_path / "other", ["4"] * 5, [4] * 5)
    with pytest.raises(ValueError, match="not scored yet: limner score"):
        score.gate(good, bad)
    for folder in (good, bad, other):
        score.score(folder)
    assert [axis.fell for axis in score.gate(good, good)] == [False]
    (axis,) = score.gate(bad, good)
    assert axis.fell and axis.change == -1.0 and axis.prompts == 30
    with pytest.raises(ValueError, match="the prompts differ"):
        score.gate(other, good)


def test_the_page_stands_alone_and_shows_what_changed(tmp_path):
    good = folder_of(tmp_path / "good", ["4", "5 <b>"], [4, 5])
    bad = folder_of(tmp_path / "bad", ["4", "<script>"], [4, 5])
    score.score(good), score.score(bad)
    text = page.write(bad, good).read_text()
    assert "question 1" in text and "-1.00" in text and "changed most" in text
    assert "<script>" not in text and "&lt;script&gt;" in text
    assert "http://" not in text and "https://" not in text


def test_the_world_reader_sees_what_genevals_rules_ask_for(tmp_path):
    import random

    from limner.world.content import Content
    from limner.world.draw import render

    content = Content("row", (("cat", "red"), ("dog", "blue")), "plain")
    (tmp_path / "images").mkdir()
    Image.fromarray(render(content.scene(random.Random(0), vary=False), 64)).save(tmp_path / "images" / "a.png")
    row = {"image": "images/a.png"}
    judge = suites.find_suite("geneval").own["fixed"][1]

    def verdict(*include):
        return judge(run.Item("a", "position", "", {"include": list(include)}), row, tmp_path)

    cat, dog = {"class": "cat", "count": 1, "color": "red"}, {"class": "dog", "count": 1, "position": ["right of", 0]}
    assert verdict(cat, dog).score == 1
    assert verdict(cat, {**dog, "position": ["left of", 0]}).why == "expected dog left of target, found right of target"
    assert verdict({"class": "cat", "count": 2}).why == "expected cat>=2, found 1"


def test_judging_that_is_killed_at_any_write_ends_with_the_same_bytes(tmp_path, monkeypatch):
    folder = folder_of(tmp_path, ["4", "5"], [4, 6])
    score.score(folder)
    page.write(folder)
    whole = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    real, places = run.os.replace, 0
    for at in range(3):
        left = [at]

        def replace(source, target, left=left):
            if left[0] == 0:
                raise KeyboardInterrupt
            left[0] -= 1
            real(source, target)

        for name in ("scores.jsonl", "report.json", "report.html"):
            (folder / name).unlink(missing_ok=True)
        monkeypatch.setattr(run.os, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            score.score(folder)
            page.write(folder)
        places += 1
        monkeypatch.setattr(run.os, "replace", real)
        score.score(folder)
        page.write(folder)
        assert {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()} == whole
    assert places == 3


def test_official_and_fixed_protocols_read_the_same_replies_otherwise(tmp_path):
    cases = {
        "mmmu": ("**C**", "C", ["w", "x", "y", "z"]),
        "pope": ("Yes.", "yes", []),
        "mme": ("Noted: yes", "no", []),
        "seed": ("Because of B, it is C", "B", ["x", "y", "z"]),
        "gsm8k": ("it is 4", "#### 4", []),
    }
    for name, (said, gold, options) in cases.items():
        suite = suites.find_suite(name)
        item = run.Item("q0", "all", "?", {"answer": gold, "options": options, "group": ""})
        found = {p: suite.own[p][1](item, {"text": said, "seed": 0}, tmp_path).score for p in suites.PROTOCOLS}
        assert suite.own["fixed"][0] != suite.own["official"][0]
        assert found["official"] != found["fixed"] or name == "mmmu", (name, found)
    guessed = suites.find_suite("mmmu").own["official"][1]
    item = run.Item("q0", "all", "?", {"answer": "C", "options": ["w", "x", "y", "z"], "group": ""})
    drawn = {guessed(item, {"text": "?", "seed": s}, tmp_path).why for s in range(40)}
    assert drawn == {f"guessed {letter}" for letter in "ABCD"}
