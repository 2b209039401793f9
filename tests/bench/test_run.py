import json

import pytest

from limner.bench import run
from limner.models.base import Model
from limner.models.echo import Echo

ITEMS = [run.Item(f"p{i}", "even" if i % 2 == 0 else "odd", f"a photo of {i} things", {"n": i}) for i in range(5)]


@pytest.fixture(scope="module")
def model() -> Model:
    return Echo()


def manifest(model, batch=3, seeds=2):
    plan = model.plan(("image",))
    return run.Manifest(
        "geneval", run.digest_of_items(ITEMS), "echo", "none", seeds, False, run.described(plan), len(ITEMS), batch
    )


def make(model, folder, **more):
    run.make(model, ITEMS, manifest(model), model.plan(("image",)), folder, **more)


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
        run.make(model, ITEMS, manifest(model, seeds=3), model.plan(("image",)), tmp_path)


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
    with pytest.raises(ValueError, match="limner eval suite"):
        run.manifest_of(tmp_path)
    assert json.dumps(list(run.rows_of(tmp_path))) == "[]"
