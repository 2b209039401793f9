"""The full-size stages: what they are made of, and that they run on the reference's small parts."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image as pil
from safetensors.torch import load_file

from limner.algorithms.adapters import has_adapters
from limner.models.mindomni.model import MindOmni
from limner.models.mindomni.small import initialise
from limner.parts import user
from limner.recipes import mindomni as recipes
from limner.recipes import recipe
from limner.train.fit import fit

DATA = Path(__file__).parents[1] / "parity" / "data" / "mindomni" / "checkpoint"


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A language model's folder and OmniGen's, as they are released apart."""
    home = tmp_path_factory.mktemp("parts")
    shutil.copytree(DATA / "mllm", home / "qwen")
    shutil.copytree(DATA / "image_decoder", home / "omnigen")
    shutil.copytree(DATA / "vae", home / "omnigen" / "vae")
    shutil.copyfile(DATA / "mllm" / "tokenizer.json", home / "omnigen" / "tokenizer.json")
    return home


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    pil.new("RGB", (40, 30), "red").save(folder / "red.png")
    line = {"image": "red.png", "text": "red", "thought": "a wall", "answer": "red", "inputs": ["red.png"]}
    line |= {"prompt": "a colour", "caption": "red"}
    (folder / "some.jsonl").write_text(json.dumps(line) + "\n")
    return folder


def small(run, **more):
    return replace(run, steps=1, dtype="float32", prefetch=0, log_every=1, **more)


@pytest.mark.parametrize(
    "name, lr, batch, decay",
    [("stage_one", 1e-4, 1024, 0.05), ("stage_two", 5e-5, 256, 0.05), ("stage_three", 1e-6, 128, 0.0)],
)
def test_the_published_numbers_stand_in_the_recipes(name, lr, batch, decay):
    run = recipe(f"mindomni.{name}")
    assert (run.lr, run.batch_size, run.weight_decay) == (lr, batch, decay)
    if name == "stage_three":
        rl = run.settings["rl"]
        assert (rl["group"], rl["text_beta"], rl["picture_beta"], run.schedule) == (4, 0.01, 0.06, "cosine")
        assert run.steps == 600


def test_stage_one_joins_two_released_models_and_trains_the_connector(parts, data, tmp_path, monkeypatch):
    run = recipes.stage_one(parts / "qwen", parts / "omnigen", data)
    model = run.build()
    assert {name.partition(".")[0] for name, p in model.named_parameters() if p.requires_grad} == {"connector"}
    omnigen = recipes.Teacher
    monkeypatch.setattr(recipes, "Teacher", lambda tokenizer: omnigen(tokenizer, "{}"))
    # the small decoder knows 96 words
    encode = omnigen.encoded
    monkeypatch.setattr(
        omnigen, "encoded", lambda self, model, texts, more: encode(self, model, ["!"] * len(texts), more)
    )
    rows = recipes.listed_rows(data, False)(0, 3)
    taught = recipes.Teacher(model.tokenizer)
    loss, numbers = recipes.micro_steps(
        lambda some: recipes.flow_loss(model, some, 32, torch.Generator().manual_seed(0), taught), rows, 2
    )
    loss.backward()
    assert numbers["flow"] > 0 and numbers["distilled"] > 0
    assert model.connector.linear.weight.grad.abs().sum() > 0 and model.decoder.proj_out.weight.grad is None


def test_stage_two_draws_behind_chains(parts, data, tmp_path, monkeypatch):
    model = recipes.from_parts(parts / "qwen", parts / "omnigen")
    initialise(model, 0)
    model.save(tmp_path / "start")
    run = recipes.stage_two(tmp_path / "start", data)
    make = run.batches(0, 0, 2)
    (row, _) = next(make)
    assert row.reply[0].text.endswith("</answer>") and len(row.conversation[0].parts) == 2
    loss, _ = recipes.flow_loss(run.build(), [row], 32, torch.Generator().manual_seed(0))
    loss.backward()


def test_chains_must_be_whole(data):
    (data / "some.jsonl").write_text(json.dumps({"image": "red.png", "text": "red"}) + "\n")
    with pytest.raises(ValueError, match="'thought'"):
        recipes.listed_rows(data, True)(0, 1)
    assert recipes.listed_rows(data, False)(0, 1)[0].conversation == (user("red"),)
    with pytest.raises(ValueError, match="no list"):
        recipes.listed_tasks(data / "none")(0, 1)


@pytest.mark.parametrize("adapters", [0, 2])
def test_stage_three_runs_and_writes_plain_weights(data, tmp_path, monkeypatch, adapters):
    monkeypatch.setattr(recipes, "ROLLOUT", (32, 1, 0.0))
    monkeypatch.setattr(recipes, "TOLD", 4)

    def score(pictures, texts):
        return [float(len(text)) for text in texts]

    settings = replace(recipes.RGPO, group=2, rows=0)
    run = recipes.stage_three(DATA, data, settings, prompts=1, clip=score, adapters=adapters)
    learner = run.build()
    assert has_adapters(learner.policy) == bool(adapters) and learner.based == bool(adapters)
    result = fit(small(run), tmp_path / "run", progress=False)
    assert {"draw_format", "draw_consistency", "draw_kl_picture"} <= result.numbers.keys()
    released = load_file(result.released / "mllm" / "model.safetensors")
    assert released.keys() == load_file(DATA / "mllm" / "model.safetensors").keys()
    assert MindOmni.load(result.released).certificate["mllm"]["names_matched"] == 81
