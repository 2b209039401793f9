"""The tiny stages, each two steps of a smaller model, one going on from the other."""

import random
import sys
from collections import Counter
from dataclasses import asdict, replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch

from limner.codecs.vae import Vae
from limner.models.mindomni.model import MindOmni
from limner.models.mindomni.render import well_formed
from limner.models.mindomni.small import Sizes, vae_config
from limner.models.nexusgen import small as nexusgen_small
from limner.models.nexusgen.config import NexusConfig
from limner.models.nexusgen.config import tiny as nexusgen_tiny
from limner.models.nexusgen.model import NexusGen
from limner.models.nexusgen.tokenizer import make_tokenizer as nexusgen_tokenizer
from limner.parts import Image, Sample, Task, Thinking, user
from limner.recipes import RECIPES, tiny_clip, tiny_vae
from limner.recipes import tiny_mindomni as recipes
from limner.recipes import tiny_mindomni_data as data
from limner.recipes.mindomni import form
from limner.train.fit import fit
from limner.world import say

SMALL = Sizes(
    width=32, layers=2, heads=2, kv_heads=1, mlp=64, sight=32, sight_layers=1, sight_heads=2, sight_mlp=32, patch=16,
    decoder=32, decoder_layers=2, decoder_heads=2, decoder_mlp=64, vae=(16, 16, 16), vae_groups=4,
)  # fmt: skip
WORDS = data.Words(2, 1, 1, 1, 1)


@pytest.fixture(scope="module", autouse=True)
def small():
    """The recipes at small sizes."""
    before = recipes.SIZES, tiny_vae.SIZES
    recipes.SIZES = tiny_vae.SIZES = SMALL
    yield
    recipes.SIZES, tiny_vae.SIZES = before


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A Nexus-Gen of the same sizes, beside an autoencoder."""
    home = tmp_path_factory.mktemp("reader")
    Vae(vae_config(SMALL)).save(home / "vae")
    shared = {name: value for name, value in asdict(SMALL).items() if not name.startswith("decoder")}
    sizes = nexusgen_small.Sizes(**shared, painter_heads=2, painter_head=16, double=1, single=1, context=24, pooled=8)
    config = nexusgen_tiny(NexusConfig(side=2))
    tokenizer = nexusgen_tokenizer(say.vocabulary(), (config.system,))
    nexusgen_small.fresh(config, tokenizer, sizes, Vae.from_folder(home / "vae"), 1).save(home / "nexus")
    return home / "nexus"


@pytest.fixture(scope="module")
def runs(tmp_path_factory, reader):
    """Every stage's result by name, two steps each."""
    home, found = tmp_path_factory.mktemp("runs"), {}

    def go(run, size):
        own = replace(run, steps=2, batch_size=size, threads=1, prefetch=0, log_every=1, sample_every=0)
        found[run.name.removeprefix("mindomni.")] = result = fit(own, home / run.name, progress=False)
        return result.released

    vae = go(tiny_vae.tiny_vae(), 2)
    words = go(recipes.tiny_words(vae, reader, WORDS), 6)
    decoder = go(recipes.tiny_decoder(words), 2)
    one = go(recipes.tiny_stage_one(decoder), 2)
    two = go(recipes.tiny_stage_two(one), 2)
    clip = go(tiny_clip.tiny_clip(), 4)
    go(recipes.tiny_stage_three(two, replace(recipes.REWARDS, group=2), prompts=1, clip=clip, steps=1), 2)
    return found


def weights(result, part):
    return dict(MindOmni.load(result.released).get_submodule(part).state_dict())


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_every_stage_trains_its_own_parts_alone(runs):
    moved = {
        "tiny_words": {"mllm"},
        "tiny_decoder": {"decoder"},
        "tiny_stage_one": {"connector"},
        "tiny_stage_two": {"connector", "decoder"},
        "tiny_stage_three": {"mllm"},
    }
    order = list(moved)
    for before, after in zip(order, order[1:], strict=False):
        changed = {
            part
            for part in ("mllm", "connector", "decoder", "vae")
            if not same(weights(runs[before], part), weights(runs[after], part))
        }
        assert changed == moved[after]


def test_the_stages_report_their_losses(runs):
    assert {"think", "change", "caption", "question", "fact"} <= runs["tiny_words"].numbers.keys()
    assert {"flow", "distilled", "kind_right"} <= runs["tiny_stage_one"].numbers.keys()
    assert {"draw_format", "draw_consistency", "draw_scene", "draw_kl_text"} <= runs["tiny_stage_three"].numbers.keys()
    assert "right" in runs["tiny_clip"].numbers


def test_latents_are_scaled_to_mean_zero_and_deviation_one(runs):
    vae = Vae.from_folder(runs["tiny_vae"].released)
    pixels = tiny_vae._pictures(1, 64).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        latents = vae.encode(pixels)
    assert abs(float(latents.mean())) < 0.2 and 0.7 < float(latents.std()) < 1.3


def test_a_small_clip_scores_pairs(runs):
    score = tiny_clip.clip_of(runs["tiny_clip"].released)
    pictures = [data.shown(data.known_content(random.Random(i)).scene(random.Random(i))).image for i in (1, 2)]
    found = score(pictures, ["two red apples, plain", "a blue cat, night"])
    assert len(found) == 2 and all(-1 <= value <= 1 for value in found)


def test_rows_are_those_that_training_may_see():
    rows = data.some_rows(recipes.THOUGHT, 3, 40)
    behind = [row for row in rows if row.reply]
    shown = [row for row in rows if any(isinstance(part, Image) for part in row.conversation[0].parts)]
    assert 10 <= len(behind) <= 30 and 2 <= len(shown) <= 18
    assert all(say.read_plan(row.own) is not None for row in rows)
    assert all(well_formed(row.reply[0].text) for row in behind)
    plain, seen = data.some_words(recipes.MIXTURE, 1, 0)
    assert Counter(row.task for row in plain + seen) == vars(recipes.MIXTURE)
    assert all(any(part.kind == "image" for part in row.conversation[0].parts) for row in seen)
    assert all(isinstance(row.part, Thinking) == (row.task in ("think", "change")) for row in plain + seen)


def test_chains_of_a_batch_are_of_like_length():
    def spread(rows):
        lengths = [len(row.part.text) for row in rows]
        return max(lengths) - min(lengths)

    batches = [data.some_words(data.Words(24, 0, 0, 0, 0), seed, 0)[0] for seed in range(6)]
    every = spread([row for rows in batches for row in rows])
    assert sum(map(spread, batches)) / len(batches) < 0.8 * every


def test_places_are_named_where_they_stand(runs):
    """A head that only repeats what a place is made of finds the names' own places."""
    trained = recipes.Named(MindOmni.load(runs["tiny_words"].released), 1)
    with torch.no_grad():
        trained.head.weight.fill_(1.0)
        trained.head.bias.zero_()
    states = torch.zeros(1, 64, 1)
    states[0, 2 * 8 + 1] = 1.0  # row 2, column 1 of 8 x 8
    said = trained.names(states)[0, 0]
    assert said.shape == (8, 8) and said.argmax() == 2 * 8 + 1


def test_the_language_model_begins_as_nexus_gens(reader):
    """All of the network, and of the tables the words that both know; their marks have other numbers."""
    model, known = recipes.new_model(reader.parent / "vae"), NexusGen.load(reader)
    before = {name: weight.clone() for name, weight in model.mllm.network.state_dict().items()}
    recipes.begin_as(model, known)
    wanted, found = known.reader.network.state_dict(), model.mllm.network.state_dict()
    tables = {"model.language_model.embed_tokens.weight", "lm_head.weight"}
    assert found.keys() == wanted.keys() and tables <= found.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in found.keys() - tables)
    for name in tables:
        for word in ("cat", "<|im_end|>"):
            own, there = model.tokenizer.token_to_id(word), known.tokenizer.token_to_id(word)
            assert torch.equal(found[name][own], wanted[name][there])
        new = model.tokenizer.token_to_id("<think>")
        assert torch.equal(found[name][new], before[name][new])


def test_times_are_drawn_nearer_to_the_noise(runs):
    process = MindOmni.load(runs["tiny_words"].released).process("image")
    values = torch.zeros(512, 4, dtype=torch.int64)
    draw = recipes._early(process, values, torch.Generator().manual_seed(0))
    assert abs(float(draw.time.logit().mean()) + recipes.EARLY) < 0.2 and float(draw.time.max()) > 0.7


def test_tasks_know_their_captions():
    for task in data.tasks(0, 8):
        assert say.read_plan(task.facts["caption"]) is not None


def test_the_form_is_judged_by_the_whole_chain(runs):
    model = MindOmni.load(runs["tiny_stage_two"].released)
    good = data.chained("2+2=4; two cats, plain")
    samples = [Sample(Task((user("x"),)), (part,)) for part in (good, replace(good, text="", raw=(1, 2)))]
    assert [verdict.score for verdict in form(model)(samples)] == [1.0, 0.0]
    assert form(model)([Sample(Task((user("x"),)), ())])[0].score == 0.0


def test_a_stage_without_its_beginning_says_what_to_train(tmp_path):
    with pytest.raises(ValueError, match="train the recipe that releases it first"):
        recipes.tiny_stage_two(tmp_path / "none").build()


def test_the_recipes_are_listed():
    names = ("vae", "words", "decoder", "stage_one", "stage_two", "stage_three", "clip")
    assert {f"mindomni.tiny_{name}" for name in names} <= RECIPES.keys()


def benchmark_of(name):
    found = spec_from_file_location(name, Path(__file__).parents[2] / "benchmarks" / f"{name}.py")
    benchmark = module_from_spec(found)
    found.loader.exec_module(benchmark)
    return benchmark


def test_the_benchmark_of_stage_two_compares_two_models(runs, monkeypatch, capsys):
    folders = [str(runs[name].released) for name in ("tiny_stage_one", "tiny_stage_two")]
    benchmark = benchmark_of("mindomni_stages")
    monkeypatch.setattr(benchmark, "GROUPS", {"explicit": ("counting",), "reasoning": ("arithmetic",)})
    monkeypatch.setattr(sys, "argv", ["mindomni_stages.py", *folders, "--prompts", "1"])
    benchmark.main()
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split("  ")[-1].strip() == "stages one and two"
    assert [row.partition("  ")[0] for row in rows] == [
        f"{name}, {way}" for way in ("at once", "after thinking") for name in ("explicit", "reasoning")
    ]
    assert all(row.count("[") == 2 for row in rows)


def test_the_benchmark_of_stage_three_goes_on_from_what_is_measured(runs, tmp_path, monkeypatch, capsys):
    benchmark = benchmark_of("rgpo")
    monkeypatch.setattr(recipes, "PROMPTS", 1)
    folders = [str(runs[name].released) for name in ("tiny_stage_two", "tiny_clip")]
    given = [folders[0], "--clip", folders[1], "--only", "group 2", "--updates", "1", "--prompts", "1"]
    monkeypatch.setattr(sys, "argv", ["rgpo.py", *given, "-o", str(tmp_path)])
    benchmark.main()
    first = capsys.readouterr().out
    head, before, group = first.splitlines()
    assert "questions" in head and before.startswith("before") and group.startswith("group 2")
    monkeypatch.setattr(benchmark, "measured", lambda *_: pytest.fail("this was measured before"))
    benchmark.main()
    assert capsys.readouterr().out == first
