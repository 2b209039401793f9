import json
import random
from dataclasses import replace

import pytest
import torch
from PIL import Image as pil
from safetensors.torch import load_file, save_file

from limner.codecs.magvit import TINY, MagvitCodec
from limner.models.mmada import config as configs
from limner.models.mmada.model import MMaDA
from limner.models.mmada.tokenizer import find_specials, make_word_tokenizer
from limner.recipes import RECIPES, mmada, recipe
from limner.recipes.mmada import (
    ONE_1,
    ONE_2,
    ONE_3,
    TWO_1,
    TWO_2,
    closed,
    from_llada,
    from_stage,
    grown,
    objective,
    run_stage,
    stage_3,
    without_weights,
)
from limner.recipes.mmada_data import Lines, Mixed, caption, picture_of
from limner.train.fit import fit

WORDS = "a red cat dog what is this two and one so three . ? describe picture shown here can be seen in say shows"


def write(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    codec, tokenizer = MagvitCodec(TINY), make_word_tokenizer(WORDS.split(), "think\n")
    words = tokenizer.get_vocab_size()
    base = configs.small(words, find_specials(tokenizer), codec.num_codes)
    small = replace(base, width=24, layers=1, heads=2, kv_heads=2, mlp=32, text_budget=24, instruction="think\n")
    small = replace(small, attention="full", padding="fixed", words_only=False, suffix=0.0)
    return MMaDA(small, tokenizer, codec)


@pytest.fixture(scope="module")
def data(tmp_path_factory, model):
    folder = tmp_path_factory.mktemp("data")
    pil.new("RGB", (64, 64), (200, 0, 0)).save(folder / "red.png")
    codes = model.see([pil.new("RGB", (64, 64), (0, 200, 0))])[0].tolist()
    write(
        folder / "t2i" / "some.jsonl", [{"image": "../red.png", "text": "a red cat"}, {"codes": codes, "text": "dog"}]
    )
    write(folder / "lm" / "plain.jsonl", [{"text": "a red cat. a dog. " * 20}])
    write(folder / "lm" / "chats.jsonl", [{"prompt": "one and two?", "thought": "so three", "answer": "three"}])
    asked = {"image": "../red.png", "prompt": "what is this?", "answer": "a red cat"}
    turns = {"codes": codes, "turns": [["what is this?", "a cat"], ["one and two?", "three"]]}
    write(folder / "mmu" / "some.jsonl", [asked, turns, {"codes": codes, "text": "a dog"}])
    return folder


def stage(**changes):
    sources = {"t2i": {"some": 1.0}, "lm": {"plain": 1.0}, "mmu": {"some": 1.0}}
    return replace(ONE_1, size=128, text_budget=24, rows=(2, 1, 2), sources=sources, steps=2, **changes)


@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith("mmada.stage_")])
def test_every_full_stage_is_a_run_with_its_source_data_and_cost(name):
    run = recipe(name)
    assert run.name == name and run.seed == 10086 and json.dumps(run.config())
    text = getattr(mmada, name.removeprefix("mmada.")).__doc__
    assert all(word in text for word in ("Source:", "Data:", "Cost:"))


def test_the_published_hyperparameters_are_these():
    found = {s.name[-3:]: (s.size, s.text_budget, s.rows, s.accumulation, s.lr, s.weights) for s in ALL}
    assert found == {
        "1_1": (256, 128, (7, 2, 6), 2, 1e-4, (1.0, 0.1, 1.0)),
        "1_2": (256, 256, (7, 2, 3), 2, 5e-5, (1.0, 0.1, 0.5)),
        "1_3": (512, 512, (4, 1, 1), 4, 5e-5, (1.0, 0.4, 0.5)),
        "2_1": (512, 512, (1, 2, 1), 4, 5e-5, (1.0, 0.5, 0.5)),
        "2_2": (512, 512, (1, 2, 1), 4, 5e-5, (0.05, 0.6, 0.4)),
    }
    assert [s.row_length for s in ALL] == [387, 515, 1539, 1539, 1539]
    assert recipe("mmada.stage_1_1").batch_size == 64 * 2 * 15 and recipe("mmada.stage_2_2").warmup == 5000


ALL = (ONE_1, ONE_2, ONE_3, TWO_1, TWO_2)


def test_a_batch_is_micro_batches_of_the_stages_rows(model, data):
    maker = Mixed(without_weights(model), stage(), data)
    batch = maker(3, 10)
    assert len(batch) == 2 and [p.name for p in batch[0]] == ["t2i", "lm", "mmu"]
    t2i, lm, mmu = batch[0]
    assert t2i.values.shape == (2, 64) and lm.values.shape == (1, 24 + 64 + 3)
    assert lm.context.given.before.shape == (1, 0) and lm.values[0, 0] == model.config.specials.bos
    assert mmu.values.shape[1] + mmu.context.given.before.shape[1] == 24 + 64 + 3
    again = maker(3, 10)
    assert all(
        torch.equal(a.draw.hidden, b.draw.hidden)
        for x, y in zip(batch, again, strict=True)
        for a, b in zip(x, y, strict=True)
    )


def test_without_answer_lengths_words_are_divided_by_the_whole_row(model, data):
    by_row, by_answer = (Mixed(model, stage(by_row=flag), data)(3, 5)[0] for flag in (True, False))
    for a, b, full in zip(by_row, by_answer, (False, True, True), strict=True):
        assert a.weight == pytest.approx(b.weight * (a.values.shape[1] / 91 if full else 1))


def test_a_thought_and_its_answer_are_learned_together(model, data):
    some = stage(by_row=False)
    maker = Mixed(model, replace(some, rows=(0, 1, 0), sources={**some.sources, "lm": {"chats": 1.0}}), data)
    piece = maker(0, 1)[0][0]
    said = model.tokenizer.decode([i for i in piece.values[0].tolist() if i != model.config.specials.eos], False)
    assert said.replace(" ", "") == "<think>sothree</think>three"
    assert (piece.values[0] == model.config.specials.eos).any()


def test_micro_steps_add_up_to_the_mean_gradient(model, data):
    batch = Mixed(model, stage(), data)(5, 10)
    grads = []
    for some in (batch, batch[:1], batch[1:]):
        model.zero_grad()
        loss, numbers = objective(model, some, torch.Generator())
        loss.backward()
        grads.append(model.network.layers[0].q_proj.weight.grad.clone())
    assert torch.allclose(grads[0], (grads[1] + grads[2]) / 2, atol=1e-6) and set(numbers) == {"t2i", "lm", "mmu"}


def test_a_stage_runs_and_releases_a_model_for_the_next(model, data, tmp_path):
    model.save(tmp_path / "start")
    codec = tmp_path / "start" / "codec"
    run = run_stage(stage(), lambda: from_stage(tmp_path / "start", codec, 128, 24), data, ranks=1)
    run = replace(run, dtype="float32", warmup=0, lr=1e-3)
    assert run.batch_size == 2 * 5
    done = fit(run, tmp_path / "run", progress=False)
    after = MMaDA.load(done.released)
    assert after.config.attention == "full" and after.config.text_budget == 24
    assert not torch.equal(after.network.head.weight, model.network.head.weight)


def test_a_language_model_grows_rows_for_pictures(model, tmp_path, monkeypatch):
    small = model.config
    monkeypatch.setattr(mmada, "released", lambda size, budget: small)
    model.save(tmp_path / "m")
    named = load_file(tmp_path / "m" / "model.safetensors")
    rows = small.text_vocabulary + 7
    save_file(
        {n: t[:rows].contiguous() if n in mmada.TABLES else t for n, t in named.items()},
        tmp_path / "m" / "model.safetensors",
    )
    found = from_llada(tmp_path / "m", tmp_path / "m" / "codec", 64, 24)
    table = found.network.embed.weight
    assert table.shape[0] == small.rows and torch.equal(table[:rows], named[mmada.TABLES[0]][:rows])
    assert torch.allclose(table[rows:].mean(0), table[:rows].mean(0), atol=1e-4)
    assert not torch.equal(table[rows], table[rows + 1])
    with pytest.raises(ValueError, match="more than the 3 wanted"):
        grown(table, 3)


def test_captions_lose_their_openings_and_name_persons():
    rng = random.Random(0)
    found = {caption("The image features a <person> with a cat. It is red.", rng) for _ in range(60)}
    assert any(text.endswith("It is red.") for text in found) and any(text.endswith("a cat.") for text in found)
    assert not any("<person>" in text or "image features" in text for text in found)


def test_lists_are_read_anywhere_and_their_faults_named(tmp_path):
    write(tmp_path / "a.jsonl", [{"n": i} for i in range(5)])
    lines = Lines(tmp_path / "a.jsonl")
    assert len(lines) == 5 and [lines[i]["n"] for i in (4, 0, 2)] == [4, 0, 2]
    (tmp_path / "b.jsonl").write_text('{"n": 1}\nnothing\n')
    with pytest.raises(ValueError, match="line 2 of .*b.jsonl is no JSON object"):
        Lines(tmp_path / "b.jsonl")[1]
    (tmp_path / "c.jsonl").write_text("")
    for name, message in (("c", "is empty"), ("d", "there is no")):
        with pytest.raises(ValueError, match=message):
            Lines(tmp_path / f"{name}.jsonl")
    assert picture_of({"codes": [1, 2]}, tmp_path).raw == (1, 2)


def test_stage_three_judges_words_and_pictures_as_published(model, tmp_path, monkeypatch):
    model.save(tmp_path / "start")
    write(tmp_path / "data" / "text" / "gsm8k.jsonl", [{"prompt": "one and two?", "answer": "3"}])
    write(tmp_path / "data" / "draw" / "prompts.jsonl", [{"prompt": "a red cat"}])
    small = replace(model.config.defaults, size=64, block=8)
    monkeypatch.setattr(
        mmada, "from_stage", lambda *a: MMaDA(replace(model.config, defaults=small), model.tokenizer, model.codec)
    )
    monkeypatch.setattr(mmada, "SAID", (8, 8))
    monkeypatch.setattr(mmada, "DRAWN", (64, 2))
    settings = replace(mmada.THREE, group=2)
    run = stage_3(
        tmp_path / "start",
        tmp_path / "data",
        tmp_path / "none",
        settings,
        1,
        0,
        1,
        lambda p, t: [30.0] * len(p),
        lambda p, t: [1.0] * len(p),
    )
    learner = run.build()
    _, numbers = run.objective(learner, next(run.batches(0, 0, 1)), torch.Generator())
    assert numbers["draw_reward"] == pytest.approx(3.1) and numbers["draw_clip"] == 30.0
    assert {"text_correct", "text_format", "text_thinking_kl", "text_text_ratio", "draw_image_clip_fraction"} <= set(
        numbers
    )
    from limner.parts import Thinking

    ends = model.renderer.thought("so")
    assert closed(Thinking("so", tuple(ends)), model) and not closed(Thinking("so", tuple(ends[:-1])), model)
    with pytest.raises(ValueError, match="there is no list in .*look"):
        next(stage_3(tmp_path / "start", tmp_path / "data", tmp_path, settings, 0, 1, 0).batches(0, 0, 1))
