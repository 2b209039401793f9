import json
import os
import signal
import time

import pytest

from limner.algorithms.verify.run import method
from limner.bench import run
from limner.judges.verifier import Judged
from limner.models.base import Model
from limner.models.echo import Echo
from limner.parts import Verdict

ITEMS = [run.Item(f"p{i}", "even" if i % 2 == 0 else "odd", f"a photo of {i} things", {"n": i}) for i in range(5)]


@pytest.fixture(scope="module")
def model() -> Model:
    return Echo()


def manifest(model, batch=3, seeds=2, items=ITEMS):
    plan = model.plan(("image",))
    return run.Manifest(
        "geneval", run.digest_of_items(items), "echo", "none", seeds, False, run.described(plan), len(items), batch
    )


def make(model, folder, items=ITEMS, **more):
    run.make(run.plain(model, model.plan(("image",))), items, manifest(model, items=items), folder, **more)


def contents(folder):
    files = (p for p in folder.rglob("*") if p.is_file() and p.name != "times.jsonl")
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def test_every_prompt_and_seed_is_written_once_with_its_picture(model, tmp_path):
    make(model, tmp_path)
    rows = list(run.rows_of(tmp_path))
    assert [(row["id"], row["seed"]) for row in rows] == [(item.id, seed) for item in ITEMS for seed in (0, 1)]
    assert len({row["image"] for row in rows}) == 10
    assert all((tmp_path / row["image"]).is_file() for row in rows)
    assert run.items_of(tmp_path) == ITEMS
    assert run.cost_of(tmp_path)["seconds"] > 0


@pytest.mark.parametrize("left", [0, 1, 200, 700, 1100])
def test_a_run_that_was_stopped_anywhere_ends_with_the_same_bytes(model, tmp_path, left):
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    make(model, whole)
    make(model, torn)
    written = (torn / "samples.jsonl").read_bytes()[:left]
    (torn / "samples.jsonl").write_bytes(written)
    rows = [json.loads(line) for line in written.decode().split("\n")[:-1]]
    for picture in (torn / "images").iterdir():
        if f"images/{picture.name}" not in {row["image"] for row in rows}:
            picture.unlink()
    make(model, torn)
    assert contents(torn) == contents(whole)


def test_a_torn_batch_is_made_again_and_whole_ones_are_not(model, tmp_path, monkeypatch):
    make(model, tmp_path)
    before = contents(tmp_path)
    lines = (tmp_path / "samples.jsonl").read_bytes().split(b"\n")
    (tmp_path / "samples.jsonl").write_bytes(b"\n".join(lines[:4]) + b"\n" + lines[4][:20])
    asked = []
    real = run.rollout
    monkeypatch.setattr(run, "rollout", lambda m, tasks, *a, **k: asked.append(len(tasks)) or real(m, tasks, *a, **k))
    make(model, tmp_path)
    assert contents(tmp_path) == before
    assert asked == [3, 3, 1]  # the first batch of three stood, the fourth sample's batch did not


def test_ranks_make_each_sample_once(model, tmp_path):
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    make(model, alone)
    for rank in (0, 1):
        make(model, shared, rank=rank, ranks=2)
    one, two = ({(r["id"], r["seed"]): r for r in run.rows_of(f)} for f in (alone, shared))
    assert one == two
    with pytest.raises(ValueError, match="rank 2 of 2"):
        make(model, shared, rank=2, ranks=2)


def test_a_folder_of_another_run_is_refused(model, tmp_path):
    make(model, tmp_path)
    with pytest.raises(ValueError, match="another run, which differs in seeds"):
        run.make(run.plain(model, model.plan(("image",))), ITEMS, manifest(model, seeds=3), tmp_path)


def test_the_digests_see_a_changed_prompt_and_a_changed_weight(tmp_path):
    other = [*ITEMS[:-1], run.Item("p4", "even", "something else", {"n": 4})]
    assert run.digest_of_items(ITEMS) != run.digest_of_items(other)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"1")
    before = run.digest_of_weights(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"2")
    assert run.digest_of_weights(tmp_path) != before
    with pytest.raises(ValueError, match="no weights"):
        run.digest_of_weights(tmp_path / "nowhere")


def test_a_folder_without_a_manifest_is_no_run(tmp_path):
    with pytest.raises(ValueError, match="limner eval MODEL --suite"):
        run.manifest_of(tmp_path)
    assert json.dumps(list(run.rows_of(tmp_path))) == "[]"


class Killed(BaseException):
    """Nothing after it runs, as after SIGKILL: whatever was flushed stays, whatever was not is lost."""


def test_a_run_that_is_killed_at_any_write_ends_with_the_same_bytes(model, tmp_path, monkeypatch):
    """Every place where something reaches the disk is a place to die at: before it, and for appended lines after half
    of them. What is left is what a killed process leaves, so the next start must end with an uninterrupted run's bytes
    and nothing else in the folder."""
    whole = tmp_path / "whole"
    make(model, whole, ITEMS[:2])
    places = 0
    real_replace, real_append = run.os.replace, run._append

    def dying(at):
        left = [at]

        def reached():
            left[0] -= 1
            return left[0] < 0

        def replace(source, target):
            if reached():
                raise Killed
            real_replace(source, target)

        def append(path, rows):
            text = "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)
            for share in (0, len(text) // 3, len(text) - 1):
                if reached():
                    with path.open("a", encoding="utf-8") as file:
                        file.write(text[:share])
                    raise Killed
            real_append(path, rows)

        monkeypatch.setattr(run.os, "replace", replace)
        monkeypatch.setattr(run, "_append", append)

    for at in range(1000):
        folder = tmp_path / f"killed-{at}"
        dying(at)
        try:
            make(model, folder, ITEMS[:2])
            break
        except Killed:
            places += 1
        monkeypatch.setattr(run.os, "replace", real_replace)
        monkeypatch.setattr(run, "_append", real_append)
        make(model, folder, ITEMS[:2])
        assert contents(folder) == contents(whole), f"killed at write {at}"
    assert places == 2 + 4 + 2 * 2 * 3  # manifest and items, four pictures, two batches of times and samples


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # newer Pythons warn of a fork beside threads
def test_a_process_that_is_killed_again_and_again_ends_with_the_same_bytes(model, tmp_path):
    whole, torn, kills = tmp_path / "whole", tmp_path / "torn", 0
    make(model, whole)
    for attempt in range(40):
        child = os.fork()
        if child == 0:  # pragma: no cover
            make(model, torn)
            os._exit(0)
        time.sleep(0.01 * 1.5**attempt - 0.01)  # longer each time, however busy the machine is
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            break
        kills += 1
    assert kills > 0 and contents(torn) == contents(whole)


def test_the_best_of_several_begins_with_the_plain_sample_and_says_what_it_cost(model):
    plan = model.plan(("image",))
    tasks, seeds = [item.task() for item in ITEMS], list(range(len(ITEMS)))
    plain = run.plain(model, plan)(tasks, seeds)
    bright = Judged(lambda samples: [Verdict(sum(s.image.convert("L").tobytes()) / 2**20) for s in samples])
    best = run.chosen(model, plan, bright, method("orm", 3))(tasks, seeds)
    same = run.chosen(model, plan, None, method("none", 3))(tasks, seeds)
    assert [each.image.tobytes() for each, _ in same] == [each.image.tobytes() for each, _ in plain]
    light = [[sum(each.image.convert("L").tobytes()) for each, _ in some] for some in (best, plain)]
    assert all(a >= b for a, b in zip(*light, strict=True)) and light[0] != light[1]
    assert {passes for _, passes in plain} == {4.0} and {passes for _, passes in best} == {12.0}


def test_passes_are_counted_for_every_part_and_the_time_of_a_batch_once(model, tmp_path):
    plan = model.plan(("thinking", "image"))
    thought = [passes for _, passes in run.plain(model, plan[:1])([ITEMS[0].task()], [0])]
    both = [passes for _, passes in run.plain(model, plan)([ITEMS[0].task()], [0])]
    assert both[0] == thought[0] + 4
    make(model, tmp_path)
    first = run.cost_of(tmp_path)
    assert first["passes_per_sample"] == 4.0
    (tmp_path / "samples.jsonl").unlink()
    make(model, tmp_path)  # every batch again: the last note of each counts
    notes = (tmp_path / "times.jsonl").read_text().splitlines()
    assert len(notes) == 8 and run.cost_of(tmp_path)["seconds"] == pytest.approx(
        sum(json.loads(note)["seconds"] for note in notes[4:]), abs=1e-3
    )
