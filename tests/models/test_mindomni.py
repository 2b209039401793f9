"""MindOmni: what it does with thoughts, answers, pictures and folders, on a tiny model with random weights."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image as pil
from safetensors.torch import load_file, save_file

from limner import catalog
from limner.answer import Limner
from limner.models.mindomni.config import DecoderConfig, MindOmniConfig
from limner.models.mindomni.model import MindOmni
from limner.models.mindomni.network import position_crop, turned
from limner.models.mindomni.pictures import Pictures
from limner.models.mindomni.render import LENIENT, answer_of, prompt_of, well_formed
from limner.models.mindomni.teacher import fitting
from limner.models.qwen25vl import Eyes, Prompt, stack
from limner.parts import Ask, Image, Sample, Task, Text, Thinking, user
from limner.process.flow import to_latents
from limner.turn import draws, log_prob, rollout, stream

DATA = Path(__file__).parents[1] / "parity" / "data" / "mindomni" / "checkpoint"
PROMPT = (user("An animal with (3 + 6) lives"),)


@pytest.fixture(scope="module")
def shared():
    return MindOmni.load(DATA)


@pytest.fixture
def model(shared):
    before = shared.config
    shared.config = replace(before, defaults=replace(before.defaults, size=64, steps=3, thinking_limit=8, text_limit=6))
    yield shared
    shared.config = before


def test_turning_in_place_gives_the_numbers_of_training():
    x, turn = torch.randn(2, 3, 5, 8), (torch.randn(2, 1, 5, 8), torch.randn(2, 1, 5, 8))
    wanted, before = turned(x, turn), x.clone()
    with torch.no_grad():
        assert torch.equal(turned(x, turn), wanted)
    assert torch.equal(x, before)


def picture(colour="red", size=(56, 84)):
    return Image(pil.new("RGB", size, colour))


def thought(model, text, ended=True):
    ids = model.renderer.ids(text)
    return Thinking(text, (*ids, min(model.renderer.ends)) if ended else tuple(ids))


def before(model, conversation, reply, kind="image"):
    script = model.renderer.script(conversation, reply, Ask(kind))
    return script.text + model.renderer.decode(script.said)


# modes


def test_a_picture_is_drawn_from_every_token_that_was_fed(model):
    chain = thought(model, "<think>x</think><answer>y</answer>")
    ended = model.context([PROMPT], [(chain,)], Ask("image")).given
    assert ended.before[0].tolist()[-len(chain.raw) + 1 :] == list(chain.raw[:-1])
    cut = thought(model, "<think>x y z", ended=False)
    interrupted = model.context([PROMPT], [(cut,)], Ask("image")).given
    assert interrupted.before[0].tolist()[-len(cut.raw) + 1 :] == list(cut.raw[:-1])


def test_interrupted_thinking_still_gives_a_picture(model):
    cut = thought(model, "<think>nine lives mean a c", ended=False)
    (shown,) = model.decode("thinking", torch.tensor([cut.raw]))
    assert shown.text == "nine lives mean a c" and shown.raw == cut.raw
    (sample,) = rollout(model, [Task(PROMPT)], model.plan(["image"]), [0], replies=[(cut,)])
    assert sample.image is not None and sample.image.size == (64, 64)
    assert not well_formed(model.renderer.whole(cut))


def test_an_answer_without_tags_is_shown_and_drawn_from(model):
    plain = thought(model, "a cat by a window")
    assert model.decode("thinking", torch.tensor([plain.raw]))[0].text == "a cat by a window"
    assert before(model, PROMPT, (plain,)).endswith("a cat by a window")
    model.config = replace(model.config, condition="answer")
    assert "\na cat by a window<|im_end|>" in before(model, PROMPT, (plain,))


def test_a_tag_without_its_picture_is_refused(model):
    for words in ("next to <img><|image_2|></img>", "<img><|image_0|></img>"):
        with pytest.raises(ValueError, match="1 picture is given"):
            model.context([(user(picture(), words),)], [()], Ask("image"))
    with pytest.raises(ValueError, match="0 pictures are given"):
        model.check_prompt((user("this <img><|image_1|></img> at night"),))
    twice = "<img><|image_1|></img> and <img><|image_1|></img>"
    with pytest.raises(ValueError, match="twice"):
        model.context([(user(picture(), twice),)], [()], Ask("image"))


def test_pictures_stand_where_their_tags_are(model):
    told = "first <img><|image_2|></img> then <img><|image_1|></img>"
    script = model.renderer.script((user(picture("red"), picture("blue"), told),), (), Ask("image"))
    assert [part.image.getpixel((0, 0)) for part in script.pictures] == [(0, 0, 255), (255, 0, 0)]
    seen = "<|vision_start|><|image_pad|><|vision_end|>"
    assert f"first {seen}<img><|image_2|></img> then {seen}<img><|image_1|></img><|im_end|>" in script.text


def test_several_pictures_are_understood_in_one_question(model):
    conversation = (user(picture("red"), picture("blue", (112, 56)), "which is wider?"),)
    prompt = model.context([conversation], [()], Ask("text")).given
    assert isinstance(prompt, Prompt) and prompt.grids.shape == (1, 2, 3)
    (sample,) = rollout(model, [Task(conversation)], model.plan(["text"]), [0])
    assert isinstance(sample.text, str)
    assert "Generate" not in before(model, conversation, (), "text")


def test_a_plain_question_carries_the_instruction_only_where_that_slip_is_wanted(model):
    question = (user("What is a cat?"),)
    assert "Generate" not in before(model, question, (), "text")
    model.config = replace(model.config, instructed=True)
    assert "Generate an image" in before(model, question, (), "text")


def test_cascade_thinking_asks_again_with_the_first_answer(model):
    first = thought(model, "<think>t</think><answer> a cat </answer>")
    again = before(model, PROMPT, (first,), "thinking")
    assert "\na cat </answer><|im_end|>" in again and "lives" not in again
    second = thought(model, "<think>u</think><answer>a grey cat</answer>")
    drawn = before(model, PROMPT, (first, second))
    assert drawn.endswith("<think>u</think><answer>a grey cat</answer>") and "\na cat </answer>" in drawn
    silent = thought(model, "   ")
    assert before(model, PROMPT, (silent, second)).count("lives") == 1
    assert not before(model, PROMPT, (silent, second)).endswith("cat</answer>")
    plan = model.plan(["thinking", "thinking", "image"])
    (sample,) = rollout(model, [Task(PROMPT)], plan, [0])
    assert [part.kind for part in sample.reply] == ["thinking", "thinking", "image"]


def test_an_input_picture_conditions_with_and_without_thinking(model):
    conversation = (user(picture(), "the same at night"),)
    for kinds in (["image"], ["thinking", "image"]):
        (sample,) = rollout(model, [Task(conversation)], model.plan(kinds), [0])
        assert sample.image is not None
    other = (user(picture("blue"), "the same at night"),)
    red, blue = rollout(model, [Task(conversation), Task(other)], model.plan(["image"]), [0, 0])
    assert red.image.tobytes() != blue.image.tobytes()


def test_only_the_answer_conditions_where_that_is_wanted(model):
    chain = thought(model, "<think>long thought</think><answer>a cat</answer>")
    everything = before(model, PROMPT, (chain,))
    model.config = replace(model.config, condition="answer")
    answer = before(model, PROMPT, (chain,))
    assert "long thought" in everything and "long thought" not in answer
    assert answer == before(model, (user("a cat"),), ())


def test_thinking_before_mere_words_is_refused(model):
    with pytest.raises(ValueError, match="thinks before it draws"):
        model.plan(["thinking", "text"])


@pytest.mark.parametrize(
    "chain, answer, prompt",
    [
        ("<think>a</think><answer> b </answer>", "b </answer>", "b"),
        ("<think> a </think> c", "a", "a"),
        ("plain", "plain", "plain"),
        ("  ", "", ""),
    ],
)
def test_the_answer_of_a_chain(chain, answer, prompt):
    assert answer_of(chain) == answer and prompt_of(chain) == prompt


def test_a_lenient_form_allows_words_around():
    assert well_formed("x <think>a</think> y <answer>b</answer> z", lenient=True)
    assert not well_formed("<answer>b</answer><think>a</think>", lenient=True)
    assert LENIENT.pattern.startswith(".*")


# making


def test_eight_prompts_together_equal_eight_single_runs_bit_for_bit(model):
    prompts = ["a cat", "two cats", "a cat by a window at dusk", "an animal", "it", "a b c d e f g", "9", "night"]
    tasks = [Task((user(words),)) for words in prompts]
    tasks[3] = Task((user(picture(), "the same again"),))
    plan = model.plan(["thinking", "image"])
    together = rollout(model, tasks, plan, range(8))
    for row, task in enumerate(tasks):
        (alone,) = rollout(model, [task], plan, [row])
        assert alone.reply == together[row].reply
        assert alone.image.tobytes() == together[row].image.tobytes()


def test_pictures_are_guided_apart_from_words_where_that_is_wanted(model):
    edit, plain = Task((user(picture(), "the same at night"),)), Task((user("a cat"),))
    plan = model.plan(["image"])
    both, word = rollout(model, [edit, plain], plan, [0, 1])
    model.config = replace(model.config, picture_guidance=1.6)
    context = model.context([edit.prompt, plain.prompt], [(), ()], plan[0])
    ids = context.shown.before[0][context.shown.kept[0]]
    assert model.tokenizer.decode(ids.tolist(), skip_special_tokens=False).count("<|vision_start|>") == 1
    assert "night" not in model.renderer.shown(edit.prompt).text
    apart, same = rollout(model, [edit, plain], plan, [0, 1])
    assert same.reply == word.reply and apart.reply != both.reply
    # where both are guided as strongly, the pictures' branch cancels
    model.config = replace(model.config, picture_guidance=1 + plan[0].guidance)
    (equal,) = rollout(model, [edit], plan, [0])
    found, wanted = (to_latents(model.encode(list(sample.reply))) for sample in (equal, both))
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match="picture_guidance=-1"):
        replace(model.config, picture_guidance=-1.0)


def test_conditions_looked_at_together_agree_with_one_after_another(model):
    context = model.context([PROMPT], [()], Ask("image"))
    process, latents, time = model.process("image"), torch.randn(1, 256), torch.full((1,), 0.3)
    for first in (False, True):
        both = process.making([context.given, context.dropped], latents, time, first)
        for side, velocity in zip((context.given, context.dropped), both, strict=True):
            torch.testing.assert_close(process.making([side], latents, time, first)[0], velocity, rtol=1e-4, atol=1e-4)


def test_rows_that_are_drawn_together_come_out_as_those_drawn_apart(model, monkeypatch):
    tasks = [Task((user(words),)) for words in ("a cat", "a much longer prompt about two dogs", "a cat")]
    apart = rollout(model, tasks, model.plan(["image"]), [0, 1, 2])
    model.rows_apart = False
    monkeypatch.setattr(Pictures, "_one_by_one", lambda *_: pytest.fail("these rows go together"))
    together = rollout(model, tasks, model.plan(["image"]), [0, 1, 2])
    one, other = (to_latents(model.encode([sample.reply[0] for sample in some])) for some in (apart, together))
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_previews_come_at_every_step_and_near_the_picture(model):
    plan = model.plan(["image"])
    seen = [
        model.decode("image", step.process.view(step.state))[0].image for step in stream(model, [PROMPT], plan, [0])
    ]
    assert len(seen) == 4 and all(shown.size == (64, 64) for shown in seen)


def test_rows_padded_together_agree_with_rows_alone(model):
    tasks = [Task((user(words),)) for words in ("a cat", "a much longer prompt about two dogs", "night")]
    plan = model.plan(["image"])
    samples = rollout(model, tasks, plan, [0, 1, 2])
    context = model.context([task.prompt for task in tasks], [()] * 3, plan[0])
    process = model.process("image")
    latents = to_latents(model.encode([sample.reply[0] for sample in samples]))
    time = torch.full((3,), 0.4)
    with torch.no_grad():
        for first in (False, True):
            for name, side in (("given", context.given), ("dropped", context.dropped)):
                (alone,) = process.making([side], latents, time, first)
                (together,) = process.net([side], latents, time, first)
                (batched,) = [process.making._together(side, latents, time, first)]
                torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-4, msg=name)
                torch.testing.assert_close(alone, batched, rtol=1e-4, atol=1e-4, msg=name)


def test_the_first_step_has_two_rules(model):
    plan = model.plan(["image"])
    pictures = []
    for rule in ("official", "full"):
        model.config = replace(model.config, first_step=rule)
        (sample,) = rollout(model, [Task(PROMPT)], plan, [0])
        pictures.append(sample.image.tobytes())
    assert pictures[0] != pictures[1]


def test_the_negative_condition_is_encoded_once_until_a_weight_changes(model):
    calls = []
    states = model.mllm.states
    model.mllm.states = lambda *given, **more: calls.append(1) or states(*given, **more)
    try:
        plan = model.plan(["image"])
        model.remembered.found.clear()
        for _ in range(2):
            rollout(model, [Task(PROMPT)], plan, [0])
        assert len(calls) == 3
        with torch.no_grad():
            model.connector.linear.bias.add_(0.0)
        rollout(model, [Task(PROMPT)], plan, [0])
        assert len(calls) == 5
    finally:
        del model.mllm.states


def test_words_may_begin_with_known_ones(model):
    limner = Limner(model, "tiny")
    answer = limner.ask(picture().image, "What is it?", begin="a cat")
    assert answer.text.startswith("a cat")


def test_a_repetition_penalty_changes_choices_and_not_scores(model):
    prompt = (user("What is a cat?"),)
    (sample,) = rollout(model, [Task(prompt)], model.plan(["text"]), [0])
    drawn = draws(model, [sample], [0])
    before_ = log_prob(model, [sample], drawn)[0].tokens
    model.generation["repetition_penalty"] = 1.0
    try:
        assert torch.equal(log_prob(model, [sample], drawn)[0].tokens, before_)
    finally:
        model.generation["repetition_penalty"] = 1.05


def test_places_of_pictures_are_no_words(model):
    process = model.process("text")
    context = model.context([(user("say"),)], [()], Ask("text"))
    logits = process.opening(context, 4)
    assert torch.isinf(logits[0, model.mllm.config.image_token_id])


# sizes


def test_input_pictures_are_bounded(model):
    large = picture(size=(500, 300))
    model.config = replace(model.config, max_pixels=56 * 56)
    _, grid = model.eyes.patches(large.image, model.config.max_pixels)
    assert grid[1] * grid[2] * 14 * 14 <= 56 * 56
    with pytest.raises(ValueError, match="max_pixels"):
        replace(model.config, max_pixels=0)


@pytest.mark.parametrize("size", [(10, 10), (300, 20), (1000, 700), (28, 5000)])
def test_pictures_fit_whole_cells_within_bounds(size):
    wide, high = Eyes(most=28 * 28 * 40).fitting(size)
    assert wide % 28 == 0 and high % 28 == 0 and wide * high <= 28 * 28 * 40
    with pytest.raises(ValueError, match="narrow"):
        Eyes().fitting((1, 400))


def test_a_prompt_that_is_too_long_is_refused(model):
    with pytest.raises(ValueError, match="this model reads 4096"):
        model.check_prompt((user("cat " * 5000),))


def test_sizes_that_cannot_be_drawn_are_refused(model):
    assert model.side(64) == 8
    for size in (24, 8, 16 * 200):
        with pytest.raises(ValueError, match="multiple of 16 up to 3072"):
            model.side(size)
    with pytest.raises(ValueError, match="too large"):
        position_crop(model.decoder.config, 193, 2)


def test_omnigen_crops_to_whole_cells():
    assert fitting(pil.new("RGB", (400, 250)), 96).size == (96, 48)
    assert fitting(pil.new("RGB", (40, 9)), 96).size == (64, 16)


def test_grouped_heads_equal_repeated_ones():
    from limner.models.mindomni.network import attend

    torch.manual_seed(0)
    q, k, v = torch.randn(2, 4, 3, 8), torch.randn(2, 2, 5, 8), torch.randn(2, 2, 5, 8)
    wide = attend(q, k.repeat_interleave(2, 1), v.repeat_interleave(2, 1))
    torch.testing.assert_close(attend(q, k, v), wide)


# folders


def test_a_released_folder_without_a_config_is_known_by_its_parts():
    assert catalog.find(DATA) == DATA
    assert catalog.family_class(DATA) is MindOmni
    limner = Limner.load(DATA, max_pixels=3136)
    assert limner.model.config.max_pixels == 3136 and limner.model.certificate["mllm"]["names_matched"] == 81


@pytest.mark.parametrize(
    "file, change, message",
    [
        ("connector.safetensors", "more", "connector hold"),
        ("image_decoder/model.safetensors", "more", "image decoder hold"),
        ("mllm/model.safetensors", "more", "language model hold"),
        ("mllm/model.safetensors", "less", "lack 1 tensors"),
        ("image_decoder/model.safetensors", "shape", "rows|shape"),
        ("vae/diffusion_pytorch_model.safetensors", "less", "do not fit"),
    ],
)
def test_names_that_do_not_match_are_errors(tmp_path, file, change, message):
    folder = tmp_path / "copy"
    shutil.copytree(DATA, folder)
    tensors = load_file(folder / file)
    name = next(name for name in tensors if tensors[name].ndim > 1)
    if change == "more":
        tensors["surplus.weight"] = torch.zeros(2)
    elif change == "less":
        del tensors[name]
    else:
        tensors = {n: t[:-1].contiguous() if "qkv_proj" in n else t for n, t in tensors.items()}
    save_file(tensors, folder / file)
    with pytest.raises(ValueError, match=message):
        MindOmni.load(folder)


def test_a_position_table_is_checked_and_not_loaded(tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(DATA, folder)
    file = folder / "image_decoder" / "model.safetensors"
    width = DecoderConfig.from_json(json.loads((DATA / "image_decoder" / "config.json").read_text())).width
    table = position_crop(DecoderConfig(width=width, heads=4, kv_heads=4), 192, 192)
    tensors = load_file(file)
    save_file(tensors | {"pos_embed": table}, file)
    assert "pos_embed" not in MindOmni.load(folder).decoder.state_dict()
    save_file(tensors | {"pos_embed": table + 1}, file)
    with pytest.raises(ValueError, match="sines and cosines"):
        MindOmni.load(folder)


def test_a_pickled_decoder_is_read(tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(DATA, folder)
    file = folder / "image_decoder" / "model.safetensors"
    torch.save(load_file(file), folder / "image_decoder" / "model.pt")
    file.unlink()
    assert MindOmni.load(folder).certificate["image_decoder"]["names_matched"] == 42


def test_saved_weights_have_the_released_names(shared, tmp_path):
    shared.save(tmp_path)
    for file in ("mllm/model.safetensors", "image_decoder/model.safetensors", "connector.safetensors"):
        ours, theirs = load_file(tmp_path / file), load_file(DATA / file)
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert MindOmniConfig.from_json(json.loads((tmp_path / "config.json").read_text())) == shared.config


@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_a_quantised_language_model_says_nearly_the_same_and_is_not_saved(shared, tmp_path, kind):
    small = MindOmni.load(DATA, quantise=kind)
    prompt = shared.prompt([shared.renderer.negative()])
    with torch.no_grad():
        far = (small.mllm.states(prompt) - shared.mllm.states(prompt)).abs().mean()
    assert 0 < far < 0.5
    with pytest.raises(ValueError, match="no released name"):
        small.save(tmp_path / "new")
    with pytest.raises(ValueError, match="int8, fp8"):
        MindOmni.load(DATA, quantise="int4")


@pytest.mark.parametrize("offload", ["model", "sequential"])
def test_an_offloaded_model_draws_the_same(model, offload):
    plan = model.plan(["thinking", "image"])
    away = MindOmni.load(DATA, offload=offload)
    away.config = model.config
    assert rollout(away, [Task(PROMPT)], plan, [3]) == rollout(model, [Task(PROMPT)], plan, [3])
    with pytest.raises(ValueError, match="offload"):
        MindOmni.load(DATA, offload="disk")


def test_smaller_types_run_and_round_as_published():
    model = MindOmni.load(DATA, dtype=torch.bfloat16, rounded=True)
    model.config = replace(model.config, defaults=replace(model.config.defaults, size=64, steps=2))
    (sample,) = rollout(model, [Task(PROMPT)], model.plan(["image"]), [0])
    latents = to_latents(model.encode([sample.reply[0]]))
    assert torch.equal(latents, latents.bfloat16().float())


def test_a_batch_of_prompts_holds_the_same_picture_once(model):
    part = picture()
    prompt = model.prompt([model.renderer.script((user(part, "x"),), (), Ask("text"))] * 3)
    assert prompt.patches.shape[0] == 3
    calls = []
    tower = model.mllm.network.model.visual
    hook = tower.merger.register_forward_hook(lambda *given: calls.append(1))
    with torch.no_grad():
        model.mllm.see(prompt.patches, prompt.grids, apart=True)
    hook.remove()
    assert len(calls) == 1


def test_a_prompt_without_pictures_needs_no_tower(model):
    prompt = stack([[1, 2, 3]], [[]], 0)
    assert prompt.grids.shape == (1, 0, 3)
    with torch.no_grad():
        assert model.mllm.states(prompt).shape == (1, 3, model.mllm.width)


def test_a_sample_with_words_by_a_person_can_be_scored(model):
    reply = (Thinking("a cat has nine lives"), Image(pil.new("RGB", (64, 64), "grey")), Text("a cat"))
    sample = Sample(Task(PROMPT), reply)
    scored = log_prob(model, [sample], draws(model, [sample], [0]))
    assert all(torch.isfinite(score.tokens).all() for score in scored)


def test_a_decoder_that_the_hub_keeps_as_a_pickle_is_fetched(tmp_path, monkeypatch):
    import huggingface_hub

    asked = []

    def fetch(name, allow_patterns):
        asked.append(allow_patterns[-1])
        folder = tmp_path / "snapshot"
        if not folder.exists():
            shutil.copytree(DATA, folder)
            weights = folder / "image_decoder" / "model.safetensors"
            torch.save(load_file(weights), tmp_path / "model.pt")
            weights.unlink()
        if "*.pt" in allow_patterns:
            shutil.copyfile(tmp_path / "model.pt", folder / "image_decoder" / "model.pt")
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    folder = catalog.find("EasonXiao-888/MindOmni")
    assert asked == ["*.safetensors", "*.bin", "*.pt"]
    assert MindOmni.load(folder).certificate["image_decoder"]["names_matched"] == 42
