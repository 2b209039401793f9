import json
import re
import shutil
from pathlib import Path

import pytest

from limner.app.cli import main


def ask(arguments, capsys):
    status = main([*arguments, "--json"])
    told = capsys.readouterr()
    return status, json.loads(told.out) if told.out else told.err


@pytest.fixture
def questions(tmp_path):
    path = tmp_path / "q.jsonl"
    rows = [{"id": f"q{i}", "question": f"{i} and {i}?", "answer": f"#### {2 * i}"} for i in range(8)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_run_is_made_judged_again_and_gated(echo, questions, tmp_path, capsys):
    made = ["eval", echo, "--suite", "gsm8k", "--data", questions]
    status, first = ask([*made, "-o", "a"], capsys)
    assert status == 0 and (first["manifest"]["count"], first["manifest"]["prompt_set"]) == (8, "q.jsonl")
    assert sum(first["counts"].values()) == 8
    before = (tmp_path / "a" / "scores.jsonl").read_bytes()
    assert ask(["score", "a"], capsys)[0] == 0
    assert (tmp_path / "a" / "scores.jsonl").read_bytes() == before
    status, second = ask([*made, "-o", "b", "--baseline", "a"], capsys)
    assert status == 0 and [axis["change"] for axis in second["axes"]] == [0.0]
    status, passed = ask(["gate", "b", "--against", "a"], capsys)
    assert (status, passed["passed"], passed["fell"]) == (0, True, [])
    assert (tmp_path / "b" / "report.html").read_text().startswith("<!doctype html>")
    better = before.replace(b'"score": 0.0', b'"score": 1.0')
    (tmp_path / "a" / "scores.jsonl").write_bytes(better)
    status, stopped = ask(["gate", "b", "--against", "a"], capsys)
    assert (status, stopped["fell"]) == (1, ["all"])


def test_the_tables_are_printed(echo, questions, capsys):
    assert main(["eval", echo, "--suite", "gsm8k", "--data", questions, "-o", "a"]) == 0
    assert main(["gate", "a", "--against", "a"]) == 0
    told = capsys.readouterr().out
    assert "protocol    flexible extract" in told and "passed: nothing fell" in told


def test_what_is_not_there_is_said(echo, capsys):
    assert main(["score", "nowhere"]) == 2
    assert "holds no manifest.json" in capsys.readouterr().err
    assert main(["eval", echo, "--suite", "gsm8k"]) == 2
    assert "give --data FILE, JSON lines" in capsys.readouterr().err
    assert main(["eval", "--suite", "gsm8k", "--seeds", "0"]) == 2
    assert "--seeds 0: give 1 or more" in capsys.readouterr().err
    for wrong, said in (
        (["--suite", "nothing"], "there are gen-core, und-core, text, edit"),
        (["--suite", "world", "--judge", "http://x#y"], "world has no judge 'http://x#y'"),
        (["--suite", "wise-legacy", "--judge", "http://x"], "say which: http://x#MODEL"),
        (["--suite", "wise-legacy", "--judge", "replay:gone"], "gone is missing"),
        (["--suite", "world", "--baseline", "nowhere"], "was not scored yet"),
        (["--suite", "gsm8k", "--data", "nowhere"], "nowhere is missing"),
    ):
        assert main(["eval", echo, *wrong, "-o", "made"]) == 2
        assert said in capsys.readouterr().err
    assert not Path("made").exists()


def damaged(folder):
    """tiny-mmada with half of the entries of every matrix set to 0."""
    import torch

    from limner import catalog

    model = catalog.load_model("tiny-mmada")
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.network.parameters():
            if parameter.ndim == 2:
                parameter.mul_((torch.rand(parameter.shape, generator=rng) < 0.5).float())
    model.save(folder)
    return str(folder)


def drawn(model, items, folder, steps=6):
    """One picture for each of the prompts, judged."""
    from limner import catalog
    from limner.bench import run, score

    loaded = catalog.load_model(model)
    plan = run.wish(loaded, ("image",), steps=steps, guidance=None)
    about = (run.digest_of_items(items), model, run.digest_of_weights(catalog.find(model)), 1, False)
    manifest = run.Manifest("world", *about, run.described(plan), len(items))
    run.make(run.plain(loaded, plan), items, manifest, folder)
    score.score(folder)


def test_the_gate_stops_a_damaged_checkpoint_and_passes_an_unchanged_one(tmp_path, capsys):
    from limner.bench.suites import find_suite

    items = [item for item in find_suite("world").items(None, 16) if item.tag == "single"]
    drawn("tiny-mmada", items, tmp_path / "before")
    shutil.copytree(tmp_path / "before", tmp_path / "same")
    drawn(damaged(tmp_path / "damaged"), items, tmp_path / "worse")
    assert ask(["gate", "same", "--against", "before"], capsys)[0] == 0
    status, stopped = ask(["gate", "worse", "--against", "before"], capsys)
    assert status == 1 and stopped["fell"] == ["single"]


def test_a_group_is_a_folder_each_and_what_needs_a_judge_says_so(echo, questions, tmp_path, capsys):
    data = tmp_path / "data"
    data.mkdir()
    (data / "gsm8k.jsonl").write_text((tmp_path / "q.jsonl").read_text())
    line = {"question": "?", "answer": "\\boxed{2}", "options": ["x"]}
    (data / "math.jsonl").write_text(json.dumps(line) + "\n")
    (data / "choices.jsonl").write_text(json.dumps({**line, "answer": "A"}) + "\n")
    made = ["eval", echo, "--suite", "text", "--data", str(data), "--protocol", "official"]
    assert main([*made, "-o", "all"]) == 0
    assert sorted(p.name for p in (tmp_path / "all").iterdir()) == ["choices", "gsm8k", "math"]
    assert "strict match" in capsys.readouterr().out
    assert main([*made, "-o", "again", "--baseline", "all"]) == 0
    assert capsys.readouterr().out.count("against all/") == 3
    (data / "wise-verified.json").write_text(json.dumps([{"prompt_id": 1, "Prompt": "p", "Explanation": "e"}]))
    status = main(["eval", echo, "--suite", "wise-verified", "--data", str(data), "-o", "wise"])
    assert status == 0 and "judge them: limner score wise --judge URL#MODEL" in capsys.readouterr().out
    assert main(["score", "wise", "--judge", "local"]) == 0
    told = capsys.readouterr().out
    assert "asked " in told and "replies" in told and (tmp_path / "wise" / "replies.jsonl").is_file()


def test_the_world_is_compared_in_pairs_with_what_both_cost(capsys):
    made = ["eval", "tiny-mmada", "--suite", "world", "--limit", "1", "--seeds", "1", "--steps", "2"]
    status, plain = ask([*made, "-o", "plain"], capsys)
    assert status == 0 and plain["manifest"]["candidates"] == 1
    best = [*made, "-o", "best", "--verify", "oracle", "-n", "3", "--baseline", "plain"]
    assert main(best) == 0
    told = capsys.readouterr().out
    assert "against plain: paired on prompts and seeds" in told and "compute" in told
    assert re.search(r"\ball +\S+ +\S+ +\+\S+ \[.*\] +\d+ +6 +2\b", told), told
    status, again = ask(best, capsys)  # nothing is made again
    assert status == 0 and (again["manifest"]["candidates"], again["manifest"]["verify"]) == (3, "oracle")
    assert {(axis["passes"], axis["passes_before"]) for axis in again["axes"]} == {(6.0, 2.0)}
    assert all(axis["change"] >= 0 for axis in again["axes"])
    status, told = ask([*made, "-o", "plain", "--think"], capsys)
    assert status == 2 and "another run, which differs in" in told and "thinking (False there, True now)" in told


@pytest.mark.slow
def test_the_whole_of_genevals_prompts_runs_on_the_tiny_model(capsys):
    status, report = ask(["eval", "tiny-mmada", "--suite", "geneval", "--seeds", "1", "-o", "whole"], capsys)
    assert status == 0 and report["counts"]["judged"] == 553 and report["official"]["missing"] == []
