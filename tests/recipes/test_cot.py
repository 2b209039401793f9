"""The published recipes: their settings, their data, and a step on small stand-ins."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image as pil
from tokenizers import Tokenizer, models, pre_tokenizers

from limner.algorithms.dpo import OFFICIAL, DpoSettings
from limner.models.echo import Echo
from limner.models.llava.network import load
from limner.models.llava.render import ASKED, PICTURE
from limner.recipes import RECIPES, cot, recipe
from limner.recipes.cot_data import part_of, prompts_in, read_labelled, read_preferences, world_tasks
from limner.train.fit import fit

LLAVA = Path(__file__).parents[1] / "parity" / "data" / "image-generation-cot" / "llava_onevision_tiny"


@pytest.fixture
def data(tmp_path):
    """Small lists in the published formats."""
    for name in ("a", "b", "c"):
        pil.new("RGB", (16, 16), {"a": "red", "b": "blue", "c": "white"}[name]).save(tmp_path / f"{name}.png")

    def record(image, *turns):
        said = []
        for asked, answer in turns:
            said += [{"from": "human", "value": asked}, {"from": "gpt", "value": answer}]
        return {"image": image, "conversations": said}

    outcome = PICTURE + ASKED["outcome"][0].replace("{prompt}", "a red cat")
    clarity, potential = (form.replace("{prompt}", "a red cat") for form in ASKED["potential"])
    (tmp_path / "orm.json").write_text(
        json.dumps([record("a.png", (outcome, "yes")), record("b.png", (outcome, "no"))])
    )
    both = record("b.png", (PICTURE + clarity, "yes"), (potential, "no"))
    (tmp_path / "parm.json").write_text(json.dumps([record("c.png", (PICTURE + clarity, "no")), both]))
    pairs = [{"prompt": "a red cat", "chosen": "a.png", "rejected": "b.png"}] * 3
    (tmp_path / "dpo.json").write_text(json.dumps(pairs))
    (tmp_path / "dpo_iter.json").write_text("\n".join(json.dumps(pair) for pair in pairs))
    return tmp_path


def test_published_settings_are_the_recipes():
    runs = {name: recipe(name) for name in RECIPES if name.startswith("cot.") and "tiny" not in name}
    assert set(runs) == {"cot.orm", "cot.parm", "cot.dpo", "cot.dpo_iter", "cot.dpo_iter_parm"}
    assert (runs["cot.orm"].steps, runs["cot.orm"].batch_size, runs["cot.parm"].steps) == (2250, 64, 6250)
    for name, steps in (("cot.dpo", 1000), ("cot.dpo_iter", 700), ("cot.dpo_iter_parm", 700)):
        run = runs[name]
        assert (run.steps, run.batch_size, run.lr, run.warmup, run.weight_decay) == (steps, 10, 1e-5, steps // 10, 0.01)
        assert (run.seed, run.clip, run.dtype, run.schedule) == (10086, 0.0, "bfloat16", "cosine")
    assert runs["cot.dpo"].settings["dpo"]["beta"] == 0.1 and runs["cot.dpo"].settings["dpo"]["shared"] is False
    assert (OFFICIAL.draws, OFFICIAL.drop, OFFICIAL.table, OFFICIAL.length) == (1, 0.1, True, "sum")


def test_published_lists_are_read(data):
    outcome, wrong = read_labelled(data / "orm.json")
    assert (outcome.question, outcome.prompt, outcome.yes, wrong.yes) == ("outcome", "a red cat", True, False)
    clarity, potential = read_labelled(data / "parm.json")
    assert (clarity.question, clarity.prompt, potential.question, potential.yes) == (
        "clarity", "a red cat", "potential", False,
    )  # fmt: skip
    asked, answer = potential.conversation()
    assert [m.role for m in asked] == ["user", "assistant", "user"] and answer == "no"
    assert asked[0].parts[0].image.size == (16, 16) and PICTURE not in asked[0].text
    pairs = list(read_preferences(data / "dpo.json", "first:2"))
    assert len(pairs) == 2 and pairs[0].chosen[0].image.getpixel((0, 0)) == (255, 0, 0)
    for text, said in (('[{"image": "a.png"}]', "no conversation"), ("[3", "neither")):
        (data / "bad.json").write_text(text)
        with pytest.raises(ValueError, match=said):
            read_labelled(data / "bad.json")
    with pytest.raises(ValueError, match="there is no"):
        read_labelled(data / "none.json")


def test_parts_of_lists():
    rows = [{"n": i} for i in range(7)]
    assert [r["n"] for r in part_of(rows, "first:2")] == [0, 1] and [r["n"] for r in part_of(rows, "end:2")] == [5, 6]
    assert len(part_of(rows, "random:50%")) == 4 and part_of(rows, "all") == rows
    assert part_of(rows, "random:3", 1) == part_of(rows, "random:3", 1)
    for wrong in ("some", "first:x", "last:3"):
        with pytest.raises(ValueError, match="no part of a list"):
            part_of(rows, wrong)


def test_prompts_are_different_and_come_again(tmp_path):
    assert [t.id for t in world_tasks(1, 5)] == [t.id for t in world_tasks(1, 5)] and len(world_tasks(2, 20)) == 20
    (tmp_path / "p.txt").write_text("a cat\n\na dog\na cat\n")
    assert [t.id for t in prompts_in(tmp_path / "p.txt", 9)] == ["a cat", "a dog"]
    with pytest.raises(ValueError, match="no file of prompts"):
        prompts_in(tmp_path / "none.txt", 1)


def test_batches_hold_every_row_once_an_epoch():
    made = cot.in_turn(list("abcde"), 0, 0, 2)
    rows = [row for _ in range(5) for row in next(made)]
    assert sorted(rows[:5]) == sorted(rows[5:]) == list("abcde") and rows[:5] != rows[5:]
    assert next(cot.in_turn(list("abcde"), 0, 3, 2)) == rows[6:8]


@pytest.fixture
def stand_ins(data, tmp_path, monkeypatch):
    Echo().save(tmp_path / "echo")
    words = {text for r in read_labelled(data / "orm.json") + read_labelled(data / "parm.json")
             for turn in r.turns for part in turn for text in part.split()}  # fmt: skip
    table = ["?", "yes", "no", "<|im_start|>", "<|im_end|>", "\n", *sorted(words)]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(dict.fromkeys(table))}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])

    def small(folder, **options):
        looker = load(LLAVA, dtype=torch.float32, form=options["form"])
        looker.tokenizer = tokenizer
        return looker

    monkeypatch.setattr(cot, "load", small)
    return tmp_path / "echo"


def test_reward_models_learn_their_answers(data, stand_ins, tmp_path):
    run = replace(cot.orm(data=data, which="all", rows=2), steps=3, batch_size=2, lr=1e-3, warmup=0, log_every=1,
                  dtype="float32", prefetch=0)  # fmt: skip
    result = fit(run, tmp_path / "orm", progress=False)
    lines = [json.loads(line) for line in (tmp_path / "orm" / "numbers.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < lines[0]["loss"] and (result.released / "model.safetensors").is_file()
    looker = run.build()
    rates = {round(rate, 9) for rates in cot._both_rates(looker, 1e-5, 0.0).rates for rate in rates}
    assert rates == {2e-6, 1e-5}
    assert len(next(cot.parm(data=data).batches(0, 0, 4))) == 4


@pytest.mark.parametrize("guided", ["", "official", "policy"])
def test_pairs_align_a_generator(data, stand_ins, tmp_path, guided, monkeypatch):
    how = DpoSettings(draws=1, kinds=("image",))
    if guided:
        from limner.judges import named
        from limner.judges.verifier import About, Opinion

        class Verifier:
            about = About("half")

            def __call__(self, question, samples):
                return [Opinion(0.5)] * len(samples)

        monkeypatch.setattr(named, "find_verifier", lambda name, model: Verifier())
        run = cot.dpo_iter_parm(stand_ins, data, None, how, guided=guided)
    else:
        run = cot.dpo(stand_ins, data, None, how)
    quick = replace(run, steps=2, batch_size=3, lr=1e-2, warmup=0, log_every=1, dtype="float32", prefetch=0)
    result = fit(quick, tmp_path / "run", progress=False)
    assert Echo.load(result.released).seed == 0 and ("guide" in result.numbers) == bool(guided)
