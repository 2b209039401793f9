"""A batch job: every row once, whoever dies, and the same bytes however it was done."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from limner.batch import run as job
from limner.batch.manifest import Job
from limner.batch.pool import Died, Finished, Pool, Ready
from limner.batch.work import Done, Setup, Worker
from limner.models.echo import Echo

ROWS = 14


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An Echo checkpoint and a manifest of rows of three kinds, one of which fails."""
    folder = tmp_path_factory.mktemp("batch")
    Echo(seed=3).save(folder / "echo")
    rows = [
        {"do": "generate", "prompt": f"thing {i}", "n": 8 + i % 3, "seed": i, "think": i % 2 == 0} for i in range(ROWS)
    ]
    rows[2]["n"] = 300  # long enough to be killed in the middle of it
    rows[4] = {"id": "mined", "do": "mine", "prompt": "two red apples", "n": 4, "seed": 1}
    rows[7] = {"id": "wrong", "do": "generate", "prompt": "x", "size": 9}
    rows[9] = {"id": "best", "do": "verify", "prompt": "two red apples", "verify": "orm", "n": 3, "judge": "scenes"}
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def command(folder, out, *more):
    return [sys.executable, "-m", "limner.app.cli", "batch", str(folder / "manifest.jsonl"), "-o", str(out),
            "--model", str(folder / "echo"), "--json", *more]  # fmt: skip


def left_behind(out):
    """Digest of every file that a finished job promises to be the same."""
    files = [out / "results.jsonl", out / "pairs.jsonl", *sorted((out / "pictures").iterdir())]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.exists()}


def check_whole(out):
    results = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    journal = [json.loads(line) for line in (out / "journal.jsonl").read_text().splitlines()]
    assert len(results) == ROWS == len({row["id"] for row in results})
    assert sorted(row["id"] for row in journal) == sorted(row["id"] for row in results)  # each row exactly once
    assert [row["id"] for row in results if "error" in row] == ["wrong"]
    for row in results:
        for answer in row.get("answers", ()):
            assert hashlib.sha256((out / answer["picture"]).read_bytes()).hexdigest() == answer["sha256"]
    return results


@pytest.fixture(scope="module")
def plain(folder):
    """The job done by one worker in peace."""
    found = job.run(folder / "manifest.jsonl", folder / "plain", Setup(str(folder / "echo")))
    assert found == {"rows": ROWS, "failed": 1}
    results = check_whole(folder / "plain")
    assert len(results[4]["candidates"]) == 4 and results[9]["answers"][0]["request"]["verify"]["n"] == 3
    return left_behind(folder / "plain")


def events(out, kind):
    path = out / "log.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def kill_the_first_worker(process, out):
    """Wait for the first result, kill the worker that begins first, and let the job end."""
    assert process.stdout.readline(), process.stderr.read()
    pid = events(out, "worker")[0]["pid"]
    os.kill(pid, signal.SIGKILL)
    rest = process.communicate(timeout=550)
    assert process.returncode == 1, rest[1]  # one row of the manifest is wrong


def start(folder, out, *more):
    return subprocess.Popen(command(folder, out, *more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_workers_one_killed_give_the_same_bytes(folder, plain):
    out = folder / "killed"
    with start(folder, out, "--workers", "2") as process:
        kill_the_first_worker(process, out)
    assert len(events(out, "died")) == 1
    check_whole(out)
    assert left_behind(out) == plain


def test_two_ray_workers_one_killed_give_the_same_bytes(folder, plain):
    pytest.importorskip("ray")
    out = folder / "ray"
    with start(folder, out, "--workers", "2", "--ray", "local") as process:
        kill_the_first_worker(process, out)
    assert len(events(out, "died")) == 1
    check_whole(out)
    assert left_behind(out) == plain


def test_a_job_that_was_killed_goes_on_where_it_was(folder, plain):
    out = folder / "again"
    with start(folder, out) as process:
        process.stdout.readline()
        process.kill()
    with (out / "journal.jsonl").open("a") as file:
        file.write('{"id": "000014", "do"')  # a line it was writing
    before = (out / "journal.jsonl").read_text().count("\n")
    deadline = time.monotonic() + 60
    while True:  # the worker of the killed job sees its pipe close and ends; the lock is the job's own
        try:
            job.run(folder / "manifest.jsonl", out, Setup(str(folder / "echo")))
            break
        except ValueError as error:
            assert "in use" in str(error) and time.monotonic() < deadline
            time.sleep(0.2)
    assert before >= 1
    check_whole(out)
    assert left_behind(out) == plain


def test_a_finished_job_does_nothing_again_and_another_is_refused(folder, plain):
    seen = []
    how = {"on_row": lambda *row: seen.append(row)}
    assert job.run(folder / "manifest.jsonl", folder / "plain", Setup(str(folder / "echo")), **how)["failed"] == 1
    assert seen == []
    with pytest.raises(ValueError, match="holds another job: threads was 1 and is now 2"):
        job.run(folder / "manifest.jsonl", folder / "plain", Setup(str(folder / "echo"), threads=2))


def test_a_damaged_line_of_the_journal_is_named_and_a_half_written_one_is_cut_off(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text('{"id": "a"}\n{"id": "b"')
    assert job._journal(path) == {"a": {"id": "a"}} and path.read_text() == '{"id": "a"}\n'
    path.write_text('{"id": "a"}\nnothing\n')
    with pytest.raises(ValueError, match="journal.jsonl, line 2: is no result of a row"):
        job._journal(path)


def test_a_model_that_cannot_be_loaded_ends_the_job(folder, tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "config.json").write_text('{"family": "echo"}')
    with pytest.raises(ValueError, match="KeyError: 'seed'"):
        job.run(folder / "manifest.jsonl", tmp_path / "out", Setup(str(tmp_path / "bad")))


class Fake(Pool):
    """Workers that die of the row "poison", and otherwise do rows at once."""

    def __init__(self):
        self.happens, self.hired = [], 0

    def hire(self, worker):
        self.hired += 1
        self.happens.append(Ready(worker, {}))

    def give(self, worker, row):
        event = Died(worker, "signal 9") if row.id == "poison" else Finished(worker, Done({"id": row.id}, {}))
        self.happens.append(event)

    def next(self):
        return self.happens.pop(0)

    def close(self):
        pass


def test_a_row_that_kills_its_workers_is_given_up_and_the_others_are_done(tmp_path):
    pool = Fake()
    rows = [Job(name, "generate", {}) for name in ("a", "poison", "b", "c")]
    job._work(pool, rows, 2, tmp_path, 4, None)
    found = {
        row["id"]: row.get("error", "")
        for row in map(json.loads, (tmp_path / "journal.jsonl").read_text().splitlines())
    }
    assert found.keys() == {"a", "b", "c", "poison"}
    assert "3 workers died with this row" in found["poison"] and not found["a"] + found["b"] + found["c"]
    assert pool.hired <= 2 + 3


def test_workers_that_die_before_they_begin_end_the_job(tmp_path):
    class Stillborn(Fake):
        def hire(self, worker):
            self.happens.append(Died(worker, "exit status 1"))

    with pytest.raises(ValueError, match="workers die before they begin"):
        job._work(Stillborn(), [Job("a", "generate", {})], 1, tmp_path, 1, None)


def test_a_picture_is_judged(folder, tmp_path):
    import random

    from limner.world.content import Content  # noqa: F401
    from limner.world.draw import to_image
    from limner.world.say import read_plan

    scene = read_plan("two red apples, plain").scene(random.Random(0))
    to_image(scene, 128).save(tmp_path / "a.png")
    worker = Worker(Setup(str(folder / "echo")))
    data = (tmp_path / "a.png").read_bytes()
    scores = [
        worker.do(Job("x", "judge", {"prompt": prompt, "judge": "scenes"}, data)).result.get("score")
        for prompt in ("two red apples", "three red apples")
    ]
    assert scores == [1.0, 0.0]
    assert "give the row's facts" in worker.do(Job("x", "judge", {"prompt": "who knows"}, data)).result["error"]
