"""`limner batch`, through the command line, and what docs/batch.md shows."""

import json
import re
import shlex
from pathlib import Path

import pytest

from limner.app.batch import Batch
from limner.app.cli import main, parse
from limner.batch.manifest import read_manifest
from limner.judges.remote import sample_from_json
from limner.models.echo import Echo

PAGE = (Path(__file__).parents[2] / "docs" / "batch.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def test_a_job_prints_its_results_and_says_what_failed(tmp_path, capsys):
    Echo(seed=1).save(tmp_path / "echo")
    rows = [{"do": "generate", "prompt": "a"}, {"id": "bad", "do": "generate", "prompt": "b", "size": 9}]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    line = ["batch", str(tmp_path / "m.jsonl"), "-o", str(tmp_path / "out"), "--model", str(tmp_path / "echo")]
    assert main(line) == 1
    told = capsys.readouterr()
    assert f"2 rows in {tmp_path / 'out' / 'results.jsonl'}" in told.out and "1 rows; --retry" in told.out
    assert told.err.strip() == "limner: row bad: size=9: echo draws 16 pixels a side; ask for that, or for 0"
    assert (tmp_path / "out" / "pictures" / "000001-0.png").is_file()


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ([], "there is no manifest"),
        (["--workers", "0"], "--workers 0: give 1 or more"),
        (["--threads", "0"], "--threads 0: give 1 or more"),
        (["--model", "nobody"], "no model called 'nobody'"),
    ],
)
def test_bad_wishes_are_one_line_and_status_two(tmp_path, capsys, more, reason):
    assert main(["batch", str(tmp_path / "none.jsonl"), "-o", str(tmp_path / "out"), *more]) == 2
    told = capsys.readouterr().err
    assert reason in told and told.count("\n") == 1


def test_the_manifest_and_the_sample_of_the_page_are_right(tmp_path):
    manifest, sample = blocks("json")
    (tmp_path / "cat.png").write_bytes(b"x")
    (tmp_path / "manifest.jsonl").write_text(manifest)
    jobs, _ = read_manifest(tmp_path / "manifest.jsonl")
    assert [job.do for job in jobs] == ["generate", "verify", "judge", "mine"]
    value = json.loads(sample.replace("iVBORw0KGgo…", ONE_PIXEL))
    assert sample_from_json(value).image.size == (1, 1)


def test_the_commands_of_the_page_are_understood():
    commands = [shlex.split(line[2:])[1:] for block in blocks("console") for line in block.splitlines()]
    assert len(commands) == 4
    assert sum(isinstance(parse(command), Batch) for command in commands) == 2


ONE_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
