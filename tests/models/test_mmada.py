"""MMaDA's own promises: its words and layouts read back, its checkpoints return, its configs are checked."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from PIL import Image as pil
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from limner import catalog
from limner.algorithms.sft import Piece, sft
from limner.bench.run import digest_of_weights
from limner.models.base import UnknownWords
from limner.models.mmada import weights
from limner.models.mmada.config import RELEASED, MMaDAConfig, Specials, released
from limner.models.mmada.model import MMaDA, crop, load_codec
from limner.models.mmada.network import Network
from limner.models.mmada.rows import lm_rows, mmu_rows, mmu_think_rows, r2i_rows, t2i_rows, think_rows
from limner.models.mmada.tokenizer import (
    CLOSE,
    OPEN,
    control_strings,
    find_specials,
    load_tokenizer,
    unknown_words,
)
from limner.parts import Ask, Image, Task, Text, Thinking, assistant, user
from limner.process.noise import Noise
from limner.turn import rollout


def names(model, ids):
    """The ids as words, codes as ``c``."""
    offset = model.config.text_vocabulary
    return [model.tokenizer.id_to_token(i) if i < offset else "c" for i in ids]


def before(model, conversation, reply, kind):
    context = model.context([conversation], [reply], Ask(kind))
    return names(model, context.given.before[0].tolist()), names(model, context.given.after[0].tolist())


def test_a_picture_that_many_rows_ask_about_is_read_once(model, monkeypatch):
    read, shades = [], [Image(pil.new("RGB", (32, 32), shade)) for shade in ("red", "blue")]
    see = model.see
    monkeypatch.setattr(model, "see", lambda pictures: read.append(pictures) or see(pictures))
    asked = [(user("what is this", shade),) for shade in (shades[0], shades[1], Image(shades[0].image.copy()))]
    many = model.context(asked, [()] * 3, Ask("text"))
    assert len(read) == 2
    for row, conversation in enumerate(asked):
        alone = model.context([conversation], [()], Ask("text"))
        assert torch.equal(alone.given.before[0], many.given.before[row])


# --- tokenizer -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "3+6=9; the animal with nine lives is the cat",
        "12+30=42. (so: one cat?)",
        "a red cat, a blue dog left of a cat",
    ],
)
def test_words_read_back_as_they_were_written(model, text):
    assert model.tokenizer.decode(model.tokenizer.encode(text).ids, False) == text


def test_spacing_and_case_do_not_matter(model):
    assert model.tokenizer.encode("( 3 + 6 ) Cat").ids == model.tokenizer.encode("(3+6) cat").ids


def test_headers_and_tags_are_single_tokens(model):
    given, after = before(model, (user("a cat"),), (), "thinking")
    assert given == [
        "<|startoftext|>",
        "<|start_header_id|>user<|end_header_id|>\n",
        model.config.instruction,
        "a",
        "cat",
        "<|eot_id|>",
        "<|start_header_id|>assistant<|end_header_id|>\n",
    ]
    assert after == []
    assert names(model, model.renderer.thought("one cat")) == [OPEN, "one", "cat", CLOSE]


def test_unknown_words_are_named_with_known_ones(model):
    assert unknown_words(model.tokenizer, "a Katt with zebras, a cat") == ["Katt", "zebras"]
    with pytest.raises(UnknownWords, match="'livez'.*lives"):
        model.check_prompt((user("an animal with nine livez"),))
    model.check_prompt((user("an animal with (3+6) lives"),))


@pytest.mark.parametrize("text, message", [("  ", "empty"), ("a <|eot_id|> cat", "control"), ("a cat " * 60, "tokens")])
def test_prompts_that_cannot_be_read_are_refused(model, text, message):
    with pytest.raises(ValueError, match=message):
        model.check_prompt((user(text),))


def test_control_strings_are_found_only_where_known(model):
    assert control_strings(model.tokenizer, "<|eot_id|> <|nothing|>") == ["<|eot_id|>"]


# --- layouts -------------------------------------------------------------------------------------------------------


def test_a_plain_prompt_is_drawn_from_the_picture_layout(model):
    given, after = before(model, (user("a cat"),), (), "image")
    assert given == ["<|t2i|>", "<|startoftext|>", "a", "cat", "<|endoftext|>", "<|soi|>"]
    assert after == ["<|eoi|>"]


def test_a_thought_stands_between_prompt_and_picture(model):
    given, after = before(model, (user("a cat"),), (Thinking("one cat"),), "image")
    assert given[0] == "<|r2i|>"
    assert given[-6:] == [OPEN, "one", "cat", CLOSE, "<|endoftext|>", "<|soi|>"]
    assert model.config.instruction in given
    assert after == ["<|eoi|>"]


def test_pictures_stand_in_front_of_questions(model):
    picture = Image(pil.new("RGB", (32, 32)), tuple(range(16)))
    given, _ = before(model, (user(picture, "what is the animal?"),), (), "text")
    assert given[:2] == ["<|mmu|>", "<|soi|>"]
    assert given[2:18] == ["c"] * 16
    assert given[18:20] == ["<|eoi|>", "<|startoftext|>"]
    asked, _ = before(model, (user("what?"),), (Thinking("a cat"), picture), "text")
    assert asked[:2] == ["<|mmu|>", "<|soi|>"]
    assert asked[-4:] == [OPEN, "a", "cat", CLOSE]


def test_earlier_turns_are_part_of_the_chat(model):
    conversation = (user("a cat"), assistant("one"), user("a dog"))
    given, _ = before(model, conversation, (), "text")
    assert given.count("<|eot_id|>") == 3
    # a picture after several turns needs the chat
    assert before(model, conversation, (), "image")[0][0] == "<|r2i|>"


def test_the_dropped_condition_is_one_for_all_pictures_and_masks_for_words(model):
    for reply in ((), (Thinking("one cat"),)):
        dropped = model.context([(user("a cat"),)], [reply], Ask("image")).dropped
        assert names(model, dropped.before[0].tolist()) == ["<|t2i|>", "<|startoftext|>", "<|endoftext|>", "<|soi|>"]
    words = model.context([(user("a cat"),)], [()], Ask("text")).dropped
    assert set(words.before[0].tolist()) == {model.config.specials.mask}


@pytest.mark.parametrize(
    "words, text",
    [
        ("<think>one cat</think>", "one cat"),
        ("<think>one cat", "one cat"),
        ("one cat</think> a dog", "one cat"),
        ("one cat", "one cat"),
        ("", ""),
    ],
)
def test_thoughts_are_read_with_or_without_their_tags(model, words, text):
    ids = model.renderer.ids(words)
    values = model.renderer.values([ids], 8)
    (part,) = model.decode("thinking", values)
    assert part == Thinking(text, tuple(values[0].tolist()))
    # what comes after sees the thought up to its closing tag
    assert model.renderer.said(part) == (
        ids[: ids.index(model.tokenizer.token_to_id(CLOSE)) + 1] if CLOSE in words else ids
    )


def test_a_closing_tag_of_several_tokens_is_found(model):
    # as in the released vocabulary: the tags are plain text
    letters = sorted(set("<think></think> a cat one"))
    tokenizer = Tokenizer(models.WordLevel({letter: i for i, letter in enumerate(letters)}, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    specials = Specials(*range(len(letters), len(letters) + 10))
    other = MMaDA(replace(model.config, specials=specials), tokenizer)
    whole, tail = "<think>a cat</think>", " one"
    ids = other.renderer.ids(whole + tail)
    assert len(ids) == len(whole + tail)
    assert other.renderer.said(Thinking("a cat", tuple(ids))) == ids[: len(whole)]


def test_text_ends_at_the_first_end_token(model):
    s = model.config.specials
    ids = model.renderer.ids("a cat")
    for end in (s.eos, s.eot):
        (part,) = model.decode("text", torch.tensor([[*ids, end, *ids]]))
        assert part.text == "a cat"


# --- training rows -------------------------------------------------------------------------------------------------


def test_training_rows_are_what_inference_writes(model):
    r, codes = model.renderer, torch.arange(16).view(1, 4, 4)
    picture = Image(pil.new("RGB", (32, 32)), tuple(range(16)))
    asked, drawn = (user("a cat"),), (user(picture, "a cat"),)
    pairs = [
        (t2i_rows(r, ["a cat"], codes), asked, (), "image"),
        (r2i_rows(r, ["a cat"], ["one cat"], codes), asked, (Thinking("one cat"),), "image"),
        (think_rows(r, ["a cat"], ["one cat"]), asked, (), "thinking"),
        (lm_rows(r, ["a cat"], ["one"]), asked, (), "text"),
        (lm_rows(r, ["a cat"], ["one"], ["one cat"]), asked, (Thinking("one cat"),), "text"),
        (mmu_rows(r, codes, ["a cat"], ["one"]), drawn, (), "text"),
        (mmu_think_rows(r, codes, ["a cat"], ["one cat"]), drawn, (), "thinking"),
    ]
    for (context, _), conversation, reply, kind in pairs:
        want = model.context([conversation], [reply], Ask(kind))
        for have, wanted in ((context.given, want.given), (context.dropped, want.dropped)):
            assert torch.equal(have.before, wanted.before)
            assert torch.equal(have.kept, wanted.kept)
            assert torch.equal(have.after, wanted.after)


def test_answers_end_with_filler_and_must_fit(model):
    eos = model.config.specials.eos
    _, values = lm_rows(model.renderer, ["a cat"] * 2, ["one", "one red cat"], length=6)
    assert values.tolist()[0][1:] == [eos] * 5
    assert values.tolist()[1][3:] == [eos] * 3
    with pytest.raises(ValueError, match="raise the length"):
        lm_rows(model.renderer, ["a cat"], ["one red cat"], length=2)


def test_dropped_rows_of_a_batch_have_the_empty_prompt(model):
    codes = torch.zeros(2, 16, dtype=torch.int64)
    context, _ = t2i_rows(model.renderer, ["a red cat", "a dog"], codes, [False, True])
    assert torch.equal(context.given.before[1][context.given.kept[1]], context.dropped.before[1])


def test_gradients_reach_the_network_and_not_the_codec(model):
    context, values = t2i_rows(model.renderer, ["a cat"], torch.zeros(1, 16, dtype=torch.int64))
    text, answer = lm_rows(model.renderer, ["a cat"], ["one"])
    pieces = [
        Piece("t2i", "image", context, values, model.process("image").draw(values, Noise.of([0]))),
        Piece("lm", "text", text, answer, model.process("text").draw(answer, Noise.of([0]))),
    ]
    sft(model, pieces)[0].backward()
    assert all(p.grad is not None for p in model.network.parameters())
    assert not any(p.requires_grad for p in model.codec.parameters())
    model.zero_grad()


# --- wishes --------------------------------------------------------------------------------------------------------


def test_a_limit_is_never_passed(model):
    long = replace(model.config.defaults, block=4, tokens_per_step=3)
    other = MMaDA(replace(model.config, defaults=long), model.tokenizer)
    for limit in range(1, 20):
        s = other.settings(Ask("text", limit=limit), 1)
        assert s.length <= limit
        assert s.length % s.block == 0
        assert s.steps % (s.length // s.block) == 0
    assert other.settings(Ask("text", limit=8, steps=3), 1).steps == 4


def test_wishes_spell_out_the_defaults(model):
    thinking, picture = model.plan(["thinking", "image"])
    assert (thinking.limit, picture.size, picture.steps) == (8, 32, 3)
    s = model.settings(picture, 2)
    assert (s.length, s.steps, s.guidance) == (16, 3, 2.0)
    assert model.settings(Ask("image", guidance=0.0), 1).guidance == 0.0
    with pytest.raises(ValueError, match=r"size=48.*\[32\]"):
        model.settings(Ask("image", size=48), 1)


def test_known_codes_stay(model):
    known = Image(pil.new("RGB", (32, 32)), tuple(range(16)))
    mask = tuple(i % 4 == 0 for i in range(16))
    plan = (replace(model.plan(["image"])[0], known=known, mask=mask),)
    (sample,) = rollout(model, [Task((user("a cat"),))], plan, [5])
    assert [c for c, free in zip(sample.reply[0].raw, mask, strict=True) if not free] == [i for i in range(16) if i % 4]
    with pytest.raises(ValueError, match="3 places"):
        model.settings(Ask("image", known=known, mask=(True,) * 3), 1)


def test_parts_without_raw_are_encoded(model):
    picture = Image(pil.linear_gradient("L").resize((60, 40)).convert("RGB"))
    assert model.encode([picture]).shape == (1, 16)
    values = model.encode([Thinking("one cat"), Thinking("cat")])
    assert names(model, values[1].tolist()) == [OPEN, "cat", CLOSE, "<|endoftext|>", "<|endoftext|>"]
    assert model.decode("text", model.encode([Text("a cat")]))[0].text == "a cat"


@pytest.mark.parametrize("size", [(32, 32), (64, 40), (33, 100)])
def test_pictures_are_cropped_in_the_middle(size):
    assert crop(pil.new("L", size), 32).size == (32, 32)


def test_a_model_without_a_codec_says_so(model):
    blind = MMaDA(model.config, model.tokenizer)
    with pytest.raises(ValueError, match="codec"):
        blind.show(torch.zeros(1, 16, dtype=torch.int64))


# --- checkpoints ---------------------------------------------------------------------------------------------------


def test_a_saved_model_answers_the_same(model, tmp_path):
    model.save(tmp_path)
    back = MMaDA.load(tmp_path)
    assert back.config == model.config
    tasks = [Task((user("a cat"),)), Task((user("a red dog"),))]
    plan = model.plan(["thinking", "image", "text"])
    assert rollout(back, tasks, plan, [1, 2]) == rollout(model, tasks, plan, [1, 2])
    assert back.certificate["names_matched"] == len(model.network.state_dict())


def test_half_precision_halves_the_file(model, tmp_path):
    model.save(tmp_path / "a")
    model.save(tmp_path / "b", torch.bfloat16)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in "ab"]
    assert sizes[1] < 0.6 * sizes[0]
    assert next(MMaDA.load(tmp_path / "b").network.parameters()).dtype == torch.float32


def test_shards_and_old_files_are_read(model, tmp_path):
    from safetensors.torch import save_file

    named = weights.released(model.network, torch.float32)
    halves = [dict(list(named.items())[:5]), dict(list(named.items())[5:])]
    (tmp_path / "s").mkdir()
    listed = {}
    for k, half in enumerate(halves):
        save_file(half, tmp_path / "s" / f"model-{k}.safetensors")
        listed |= dict.fromkeys(half, f"model-{k}.safetensors")
    (tmp_path / "s" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": listed}))
    (tmp_path / "b").mkdir()
    torch.save(named, tmp_path / "b" / "pytorch_model.bin")
    for folder in ("s", "b"):
        network = Network(model.config)
        weights.load_into(network, weights.read(tmp_path / folder), torch.float32)
        assert torch.equal(network.head.weight, model.network.head.weight)
    (tmp_path / "s" / "model-1.safetensors").unlink()
    with pytest.raises(ValueError, match="model-1"):
        list(weights.read(tmp_path / "s"))


def test_weights_that_do_not_fit_are_named(model):
    named = weights.released(model.network, torch.float32)
    with pytest.raises(ValueError, match="surplus"):
        weights.load_into(Network(model.config), iter([*named.items(), ("surplus", torch.zeros(1))]), torch.float32)
    with pytest.raises(ValueError, match="lack 1 .*ln_f"):
        rest = {k: v for k, v in named.items() if "ln_f" not in k}
        weights.load_into(Network(model.config), iter(rest.items()), torch.float32)
    with pytest.raises(ValueError, match="shape"):
        wrong = named | {"model.transformer.ln_f.weight": torch.zeros(3)}
        weights.load_into(Network(model.config), iter(wrong.items()), torch.float32)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json"])
def test_an_incomplete_folder_is_refused(model, tmp_path, missing):
    model.save(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(ValueError, match=missing.split(".")[0]):
        MMaDA.load(tmp_path)


def test_the_codec_may_stand_elsewhere(model, tmp_path):
    model.save(tmp_path / "m")
    (tmp_path / "m" / "codec").rename(tmp_path / "codec")
    assert MMaDA.load(tmp_path / "m").codec is None
    assert MMaDA.load(tmp_path / "m", codec=tmp_path / "codec").codec is not None
    assert load_codec(tmp_path / "codec").num_codes == 16


# --- config --------------------------------------------------------------------------------------------------------


def test_configs_go_to_json_and_back(model):
    for config in (model.config, RELEASED, released(256, 128)):
        assert MMaDAConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_a_released_config_is_read_by_its_own_names():
    data = {name: value for name, value in RELEASED.to_json().items() if name != "limner"}
    assert MMaDAConfig.from_json(data) == RELEASED


@pytest.mark.parametrize(
    "change, message",
    [
        ({"include_bias": True}, "include_bias"),
        ({"d_model": None}, "d_model"),
        ({"limner": {"surprise": 1}}, "surprise"),
        ({"embedding_size": 100}, "rows=100"),
    ],
)
def test_other_networks_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        MMaDAConfig.from_json(RELEASED.to_json() | change)


def test_the_tokenizer_must_fit_the_layout(model):
    with pytest.raises(ValueError, match="text_vocabulary"):
        MMaDA(replace(model.config, text_vocabulary=20), model.tokenizer)
    with pytest.raises(ValueError, match="codes"):
        MMaDA(replace(model.config, codes=8), model.tokenizer, model.codec)


def test_special_ids_are_found_by_name(model, tmp_path):
    assert find_specials(model.tokenizer) == Specials(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
    model.tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(tmp_path).to_str() == model.tokenizer.to_str()


def test_models_may_share_a_codec_that_stands_elsewhere(tmp_path):
    whole = catalog.find("tiny-mmada")
    folder = tmp_path / "models" / "sharing"
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        shutil.copy(whole / name, folder / name)
    (folder / "codec").write_text("../other/codec\n")
    with pytest.raises(ValueError, match=r"names the codec '../other/codec', and there is no folder"):
        catalog.load_model(folder)
    shutil.copytree(whole / "codec", folder.parent / "other" / "codec")
    codes = torch.arange(64)[None]
    one, other = (catalog.load_model(place).decode("image", codes)[0] for place in (whole, folder))
    assert one.image.tobytes() == other.image.tobytes()
    whole_copy = shutil.copytree(folder, folder.parent / "whole", ignore=shutil.ignore_patterns("codec"))
    shutil.copytree(whole / "codec", whole_copy / "codec")
    assert digest_of_weights(folder) == digest_of_weights(whole_copy)
    (folder.parent / "other" / "codec" / "config.json").write_text("{}")
    assert digest_of_weights(folder) != digest_of_weights(whole_copy)
    shutil.copy(whole / "codec" / "config.json", folder.parent / "other" / "codec" / "config.json")
    assert catalog.outline(str(folder)).parts[-1].parameters == catalog.outline("tiny-mmada").parts[-1].parameters
