"""The full-size stages: the published numbers, and that they run on small parts laid out as the released ones are."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image as pil
from safetensors.torch import load_file, save_file

from limner.models.nexusgen.lessons import Lesson
from limner.models.nexusgen.model import NexusGen
from limner.parts import Image, Text, Thinking, assistant, user
from limner.recipes import nexusgen as recipes
from limner.recipes import recipe
from limner.recipes.nexusgen_cache import Cache, content_key, weights_digest
from limner.recipes.nexusgen_learn import kept, laid, predicted, velocity_loss
from limner.train.fit import fit

sys.path.insert(0, str(Path(__file__).parents[1] / "models" / "nexusgen"))

from built import built  # noqa: E402


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Qwen2.5-VL's folder, FLUX.1-dev's and the empty text's vectors."""
    home, model = tmp_path_factory.mktemp("parts"), built()
    model.save(home / "whole")
    qwen = home / "qwen"
    (home / "whole").rename(qwen)
    config = json.loads((qwen / "config.json").read_text())
    (qwen / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k not in ("family", "limner")}))
    own = {k: v for k, v in load_file(qwen / "model.safetensors").items() if "vision_head" not in k}
    save_file({k: v for k, v in own.items() if "prefill" not in k}, qwen / "model.safetensors")
    model.generation.dit.save_pretrained(home / "flux" / "transformer")
    model.vae.save(home / "flux" / "vae")
    (qwen / "constants.safetensors").rename(home / "empty.safetensors")
    return home


@pytest.fixture(scope="module")
def begun(parts):
    return recipes.from_parts(parts / "qwen", parts / "flux", parts / "empty.safetensors")


def picture(colour, size=(24, 24)):
    return Image(pil.new("RGB", size, colour))


def edits():
    return [
        Lesson((user(picture("red", (24, 16)), "make it blue"),), (picture("blue", (24, 16)),)),
        Lesson((user(picture("red"), "make it green"),), (picture("green"),)),
    ]


@pytest.mark.parametrize(
    ("name", "lr", "schedule", "decay"),
    [
        ("reader_one", 1e-4, "cosine", 0.1),
        ("reader_two", 1e-5, "cosine", 0.1),
        ("reader_three", 1e-5, "cosine", 0.1),
        ("generation", 1e-5, "constant", 0.01),
        ("editing", 1e-5, "constant", 0.01),
    ],
)
def test_the_published_numbers_stand_in_the_recipes(name, lr, schedule, decay):
    run = recipe(f"nexusgen.{name}")
    assert (run.lr, run.schedule, run.weight_decay, run.batch_size) == (lr, schedule, decay, 128)
    assert run.warmup == (0.05 * run.steps if name.startswith("reader") else 100)


def test_the_model_begins_from_its_parents(parts, begun):
    given = load_file(parts / "qwen" / "model.safetensors")
    assert torch.equal(begun.reader.network.lm_head.weight, given["lm_head.weight"])
    assert 0 < float(begun.reader.vision_head.weight.detach().std()) < 0.03
    ours, theirs = (dict(decoder.dit.state_dict()) for decoder in (begun.generation, begun.editing))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert ours["x_embedder.weight"].data_ptr() != theirs["x_embedder.weight"].data_ptr()
    merger, first = begun.editing.condition.layers[0], begun.reader.layers[0]
    assert torch.equal(merger.mlp.up_proj.weight, first.mlp.up_proj.weight)


def test_the_stages_train_their_own_part_on_rows_of_data(parts, tmp_path, monkeypatch):
    edits_alone = tmp_path / "edits"
    edits_alone.mkdir()
    for name in ("red", "blue"):
        for folder in (tmp_path, edits_alone):
            pil.new("RGB", (24, 16), name).save(folder / f"{name}.png")
    change = {"images": ["red.png", "blue.png"], "messages": [
        {"role": "user", "content": "<image> make it blue"},
        {"role": "assistant", "content": "and <image>"}]}  # fmt: skip
    draw = {"images": ["red.png"], "messages": [
        {"role": "user", "content": "a red cat"},
        {"role": "assistant", "content": "a red cat <image>"}]}  # fmt: skip
    (tmp_path / "messages.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (change, draw)))
    (edits_alone / "messages.jsonl").write_text(json.dumps(change) + "\n")
    small = {"steps": 1, "batch_size": 2, "dtype": "float32", "prefetch": 0, "log_every": 1, "warmup": 0}

    def build():
        return recipes.from_parts(parts / "qwen", parts / "flux", parts / "empty.safetensors")

    one = fit(replace(recipes.reader_one(tmp_path, build), **small), tmp_path / "one", progress=False)
    assert {"words", "embeddings", "cosine"} <= one.numbers.keys() and trained(one.model) == {"reader"}
    monkeypatch.setattr(recipes, "SIZE", 16)
    run = recipes.editing(edits_alone, one.released, tmp_path / "cache")
    two = fit(replace(run, **small), tmp_path / "two", progress=False)
    assert two.numbers["velocity"] > 0 and trained(two.model) == {"editing"}
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 1
    before, after = (NexusGen.load(result.released).state_dict() for result in (one, two))
    assert {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])} == {"editing"}


def trained(model):
    """The parts that have something to learn; never the vision tower."""
    names = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert not any("visual" in name for name in names)
    return {name.partition(".")[0] for name in names}


# the cache


def test_a_key_is_that_of_the_content():
    same = content_key("redraw", "w", 16, picture("red")), content_key("redraw", "w", 16, picture("red"))
    assert same[0] == same[1]
    others = [
        content_key("redraw", "w", 16, picture("blue")),
        content_key("redraw", "v", 16, picture("red")),
        content_key("redraw", "w", 32, picture("red")),
        content_key("redraw", "w", 16, picture("red", (24, 25))),
        content_key([user("a b")], []),
        content_key([user("a"), assistant("b")], []),
        content_key([user("a")], [Text("b")]),
        content_key([user("a")], [Thinking("b")]),
    ]
    assert len({same[0], *others}) == len(others) + 1
    with pytest.raises(ValueError, match="no content"):
        content_key({})


def test_what_is_kept_is_not_computed_again_and_is_the_same(begun, tmp_path):
    rows, digest = edits(), weights_digest(begun.reader)
    cache = Cache(tmp_path / "one")
    first = kept(begun, rows, 16, True, digest, cache)
    assert cache.made == 2
    again, fresh = kept(begun, rows[::-1], 16, True, digest, cache), kept(begun, rows, 16, True, digest, Cache(None))
    assert cache.made == 2
    for name in ("target", "source", "latents"):
        assert torch.equal(getattr(first, name), getattr(fresh, name))
        assert torch.equal(getattr(first, name).flip(0), getattr(again, name))
    kept(begun, rows, 16, True, "other weights", cache)
    assert cache.made == 4
    several = Cache(tmp_path / "several")
    for way in ((True, True), (True, False), (False, True), (False, False)):
        kept(begun, rows, 16, way[0], digest, several, way[1])
    assert several.made == 8
    next(cache.folder.rglob("*.safetensors")).write_bytes(b"nothing")
    with pytest.raises(ValueError, match="damaged"):
        for key in (digest, "other weights"):
            kept(begun, rows, 16, True, key, cache)


def test_a_decoder_learns_from_what_the_reader_predicts_and_sees_the_source(begun):
    rows = edits()
    batch = kept(begun, rows, 16, True, "", Cache(None))
    assert batch.source.shape == (2, 324, 32) and batch.target.shape == (2, 81, 32)
    with torch.no_grad():
        wanted = predicted(begun, laid(begun, rows))
    torch.testing.assert_close(batch.target, wanted)
    own = kept(begun, rows, 16, True, "", Cache(None), predicts=False)
    torch.testing.assert_close(own.target, kept(begun, rows, 16, False, "", Cache(None)).target)
    torch.testing.assert_close(own.source, batch.source)
    torch.testing.assert_close(kept(begun, rows, 16, False, "", Cache(None), predicts=True).target, wanted)
    with pytest.raises(ValueError, match="no picture to begin from"):
        kept(begun, [Lesson((user("a red cat"),), (picture("red"),))], 16, True, "", Cache(None))
    with pytest.raises(ValueError, match="holds none"):
        kept(begun, [Lesson((user("a red cat"),), (Text("a cat"),))], 16, False, "", Cache(None))


def test_every_time_counts_alike_where_that_is_asked_for(begun):
    batch = kept(begun, edits(), 16, True, "", Cache(None))
    found = {}
    for flat in (False, True):
        loss, numbers = velocity_loss(begun, begun.editing, batch, torch.Generator().manual_seed(0), flat=flat)
        found[flat] = float(loss.detach())
        assert flat == (abs(found[flat] - numbers["velocity"]) < 1e-6 * numbers["velocity"])
    assert found[False] != found[True]


def test_noise_on_the_condition_is_asked_for(begun):
    batch = kept(begun, edits(), 16, False, "", Cache(None))
    losses = [
        float(velocity_loss(begun, begun.generation, batch, torch.Generator().manual_seed(0), noisy)[0].detach())
        for noisy in (0.0, 0.0, 0.5)
    ]
    assert losses[0] == losses[1] and torch.isfinite(torch.tensor(losses)).all()
