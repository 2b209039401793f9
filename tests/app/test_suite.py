import json

import pytest

from limner.app.cli import main


def ask(arguments, capsys):
    status = main([*arguments, "--json"])
    told = capsys.readouterr()
    return status, json.loads(told.out) if told.out else told.err


@pytest.fixture
def questions(tmp_path):
    path = tmp_path / "q.jsonl"
    rows = [{"id": f"q{i}", "question": f"{i} and {i}?", "answer": f"#### {2 * i}"} for i in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_run_is_made_judged_again_and_gated(echo, questions, tmp_path, capsys):
    made = ["eval", "suite", "gsm8k", "--model", echo, "--data", questions]
    status, first = ask([*made, "-o", "a"], capsys)
    assert status == 0 and first["manifest"]["count"] == 4
    assert sum(first["counts"].values()) == 4
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
    assert main(["eval", "suite", "gsm8k", "--model", echo, "--data", questions, "-o", "a"]) == 0
    assert main(["gate", "a", "--against", "a"]) == 0
    told = capsys.readouterr().out
    assert "protocol    flexible extract" in told and "passed: nothing fell" in told


def test_what_is_not_there_is_said(echo, capsys):
    assert main(["score", "nowhere"]) == 2
    assert "holds no manifest.json" in capsys.readouterr().err
    assert main(["eval", "suite", "gsm8k", "--model", echo]) == 2
    assert "give --data FILE.jsonl" in capsys.readouterr().err
    assert main(["eval", "suite", "gsm8k", "--seeds", "0"]) == 2
    assert "--seeds 0: give 1 or more" in capsys.readouterr().err
