"""`--verify` on the command line: one chosen picture, its trace, and what is said of both."""

import json
from pathlib import Path

import pytest

import limner
from limner.algorithms.verify.policies import orm
from limner.algorithms.verify.trace import read_trace, replay
from limner.answer import Answer, Limner
from limner.app.cli import main
from limner.app.verifying import seconds
from limner.judges.verifier import About, Opinion
from limner.models.echo import Echo


def run(*arguments):
    return main([str(argument) for argument in arguments])


class Codes:
    about = About("codes")

    def __call__(self, question, samples):
        return [Opinion((sum(s.reply[-1].raw) % 100) / 100) for s in samples]


def test_the_chosen_picture_is_saved_with_its_trace_and_request(echo, capsys):
    assert run("generate", "a red cat", "--model", echo, "--verify", "random", "-n", 6, "--seed", 3) == 0
    out = capsys.readouterr().out
    assert [row.split()[0] for row in out.splitlines()] == ["chosen", "cost", "picture", "trace"]
    path = Path("out/a-red-cat-3-random.png")
    about = Answer.request_of(path)
    assert about["verify"]["n"] == 6 and about["seed"] == 3 + about["verify"]["path"]
    assert run("generate", "a red cat", "--model", echo, "--seed", about["seed"], "-o", "same.png") == 0
    from PIL import Image

    with Image.open(path) as one, Image.open("same.png") as other:
        assert one.tobytes() == other.tobytes()
    assert read_trace(path.with_suffix(".trace.jsonl"))[-1].kind == "choice"


def test_a_judge_that_cannot_judge_costs_no_picture_and_says_so(echo, capsys):
    assert run("generate", "a cat", "--model", echo, "--verify", "orm", "-n", 3, "--json") == 0
    out, err = capsys.readouterr()
    row = json.loads(out)
    assert row["verdicts"]["unjudged"] == 3 and Path(row["path"]).is_file() and Path(row["trace"]).is_file()
    assert err.startswith("limner: 3 of 3 looks could not be judged") and err.count("\n") == 1


def test_the_same_from_python_with_any_verifier(tmp_path):
    model = Limner(Echo().eval(), "echo")
    events = []
    answer = model.verified("a cat", "orm", 5, judge=Codes(), on_event=events.append, trace=tmp_path / "t.jsonl")
    codes = [(sum(e.view) % 100) / 100 for e in events if e.kind == "look"]
    assert len(codes) == 5 and answer.request["verify"]["path"] == codes.index(max(codes))
    assert answer.image.tobytes() == model.generate("a cat", seed=answer.seed).image.tobytes()
    assert answer.thinking and answer.request["verify"]["cost"]["looks"] == 5
    played = replay(read_trace(tmp_path / "t.jsonl"), orm())
    assert played["a cat", 0].choice.path == answer.request["verify"]["path"]


def test_a_trace_answers_what_it_holds_and_is_begun_anew_for_another_request(tmp_path):
    model, trace = Limner(Echo().eval(), "echo"), tmp_path / "t.jsonl"

    class Counting(Codes):
        calls = 0

        def __call__(self, question, samples):
            self.calls += len(samples)
            return super().__call__(question, samples)

    judge = Counting()
    first = model.verified("a cat", "orm", 4, judge=judge, trace=trace)
    again = model.verified("a cat", "orm", 6, judge=judge, trace=trace)
    assert judge.calls == 6 and first.request["verify"]["path"] <= again.request["verify"]["path"] or judge.calls == 6
    model.verified("a dog", "orm", 4, judge=judge, trace=trace)
    assert judge.calls == 10 and {e.job for e in read_trace(trace)} == {"a dog"}


def test_the_tiny_model_is_chosen_from_by_itself_and_by_the_exact_reader():
    model = limner.load("tiny-mmada")
    answer = model.verified("three red apples", "oracle", 2, think=False, steps=3)
    assert answer.request["verify"]["judge"] == "scenes" and answer.request["verify"]["looks"] == 2
    with pytest.raises(ValueError, match="cannot tell what"):
        model.verified("an animal with four legs", "oracle", 2)


def test_budgets_are_times():
    assert (seconds("30s"), seconds("2m"), seconds("1.5"), seconds("")) == (30.0, 120.0, 1.5, None)
    for wrong in ("soon", "-3s", "0", "infs", "nan"):
        with pytest.raises(ValueError, match="--budget"):
            seconds(wrong)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--verify", "magic"], "verify"),
        (["--budget", "30s"], "--verify"),
        (["--verify", "orm", "--budget", "soon"], "--budget soon"),
        (["--verify", "orm", "-n", "0"], "-n 0"),
        (["--verify", "orm", "--judge", "nobody"], "no judge called 'nobody'"),
        (["--verify", "orm", "--preview"], "--preview"),
        (["--verify", "orm", "-o", "cat.jpg"], "PNG"),
        (["--verify", "oracle"], "cannot tell what"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_impossible_wishes_are_one_line(echo, capsys, arguments, said):
    assert run("generate", "an echo", "--model", echo, *arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and said in err
    assert not list(Path().rglob("*.png"))


def test_the_world_is_measured_with_verification(capsys):
    arguments = ["eval", "world", "--verify", "parm", "-n", 2, "--judge", "scenes", "--prompts", 1, "--outputs", 1]
    arguments += ["--groups", "single", "counting", "--steps", 3, "-o", "out/eval"]
    assert run(*arguments) == 0
    out, err = capsys.readouterr()
    assert {row.split()[0] for row in out.splitlines()} >= {"measured", "single", "counting", "overall", "numbers"}
    assert "metric itself" in err
    report = json.loads(Path("out/eval/report.json").read_text())
    assert report["verify"] == "parm" and report["prompts"] == 1 and len(report["rows"]) == 2
    assert run(*arguments, "--json") == 0
    row = json.loads(capsys.readouterr().out)
    assert row["overall"] == report["overall"]
    assert run(*arguments[:5], 3, *arguments[6:]) == 2
    assert "another trial" in capsys.readouterr().err
