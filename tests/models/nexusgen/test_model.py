"""Nexus-Gen: how conversations stand before it, what paints them, and its folders; a tiny model with random weights."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from built import PICTURE, ROWS, built, picture, published
from safetensors.torch import load_file

from limner import catalog
from limner.models.compact import CompactLinear
from limner.models.nexusgen import objective
from limner.models.nexusgen.model import NexusGen
from limner.models.nexusgen.network import Reader
from limner.models.nexusgen.render import source
from limner.parts import Ask, Message, Task, Text, Thinking, assistant, user
from limner.process.noise import Noise
from limner.turn import rollout


@pytest.fixture(scope="module")
def model():
    return built()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    where = tmp_path_factory.mktemp("saved") / "model"
    model.save(where)
    return where


def text_of(renderer, conversation, reply=(), kind="image"):
    return renderer.script(conversation, reply, Ask(kind)).text


# what stands before the model


def test_a_prompt_without_a_picture_stands_in_the_published_template():
    assert text_of(published(), (user("a red cat"),)) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
        "Generate an image according to the following description: a red cat<|im_end|>\n<|im_start|>assistant\n"
    )
    assert "根据以下描述生成一张图像：一只猫<|im_end|>" in text_of(published(), (user("一只猫"),))


def test_an_edit_shows_its_source_before_the_words():
    text = text_of(published(), (user(picture(), "make it blue"),))
    assert f"<|im_start|>user\n{PICTURE} make it blue<|im_end|>" in text
    marked = text_of(published(), (user(picture(), "make <image> blue"),))
    assert f"user\nmake {PICTURE} blue<|im_end|>" in marked


def test_a_question_stands_directly_behind_its_picture():
    text = text_of(published(), (user(picture(), "what is this?"),), kind="text")
    assert f"<|im_start|>user\n{PICTURE}what is this?<|im_end|>" in text


def test_marks_and_pictures_must_be_as_many():
    with pytest.raises(ValueError, match="give one for each"):
        text_of(published(), (user("make <image> blue"),))


def test_a_story_shows_the_models_own_picture_or_its_rows():
    story = (user("a red cat"), assistant(picture()), user("make it blue"))
    script = published().script(story, (), Ask("image"))
    assert f"assistant\n{PICTURE}<|im_end|>\n<|im_start|>user\nmake it blue<|im_end|>" in script.text
    assert [shown.own for shown in script.pictures] == [True]
    rows = published(own="rows").script(story, (), Ask("image"))
    assert ROWS in rows.text and not rows.pictures


def test_a_thought_takes_the_place_of_the_prompt(model):
    renderer = model.renderer
    told = text_of(renderer, (user("a red cat"),), (), "thinking")
    assert "[polish] a red cat" in told
    drawn = text_of(renderer, (user("a red cat"),), (Thinking("a red cat and a dog"),))
    assert "[draw] a red cat and a dog<|im_end|>" in drawn and "[polish]" not in drawn


def test_a_reply_that_begins_with_words_is_free(model):
    renderer = model.renderer
    script = renderer.script((user("a red cat"),), (Text("a cat"),), Ask("image"))
    assert "[draw]" not in script.text
    assert script.said == [*renderer.ids("a cat"), *renderer.ids("<|vision_start|>")]
    assert model.reader.begins in model.process("text").stops


def test_pictures_of_a_reply_stand_between_their_marks(model):
    replies = [(picture(), Text("and a dog"), picture("blue"))]
    prompt = model.context([(user("a red cat"),)], replies, Ask("text")).given
    ids = prompt.before[0].tolist()
    assert ids.count(model.reader.begins) == ids.count(model.reader.ends) == 2
    assert ids.count(int(model.reader.config.image_token_id)) == 2 * model.config.side**2
    assert prompt.grids.tolist() == [[[1, 6, 6], [1, 6, 6]]]


def test_the_last_picture_is_the_source():
    red, blue = picture("red"), picture("blue")
    story = (user(red, "make it blue"), Message("assistant", (blue,)), user("and a dog"))
    assert source(story, ()) is blue and source(story, (red,)) is red and source((user("a cat"),), ()) is None


# what paints


def test_rows_with_a_source_go_to_the_editing_decoder(model):
    conversations = [(user("a red cat"),), (user(picture(), "make it blue"),)]
    context = model.context(conversations, [(), ()], Ask("image"))
    assert context.given.edits.tolist() == [False, True]
    with torch.no_grad():
        groups = model.pictures().net.__self__.groups(context.given)
    assert [(group.rows, group.edits, group.source) for group in groups] == [((0,), False, None), ((1,), True, (3, 5))]
    assert [group.tokens.shape[1] for group in groups] == [9, 9 + 15]


def test_the_decoder_can_be_chosen(model):
    before, edit = model.config, [(user(picture(), "make it blue"),)]
    try:
        model.config = replace(before, decoder="generation")
        assert not model.context(edit, [()], Ask("image")).given.edits.any()
        model.config = replace(before, decoder="editing")
        with pytest.raises(ValueError, match="begin from"):
            model.context([(user("a red cat"),)], [()], Ask("image"))
    finally:
        model.config = before


def test_edits_are_not_guided_as_published(model):
    edit = [Task((user(picture(), "make it blue"),))]
    plans = [tuple(replace(ask, guidance=w) for ask in model.plan(["image"])) for w in (0.0, 3.0)]
    plain, guided = (rollout(model, edit, plan, [1])[0].reply for plan in plans)
    assert plain == guided
    draw = [Task((user("a red cat"),))]
    plain, guided = (rollout(model, draw, plan, [1])[0].reply for plan in plans)
    assert plain != guided


def test_a_story_of_three_edits_and_words_about_them_come_out(model):
    conversation = (user("a red cat"),)
    for words in ("make it blue", "and a dog", "what is this?"):
        (sample,) = rollout(model, [Task(conversation)], model.plan(["image", "text"]), [0])
        assert sample.image is not None and sample.image.size == (16, 16)
        conversation = (*conversation, Message("assistant", sample.reply), user(words))


def test_a_block_in_one_pass_equals_its_vectors_one_by_one_in_a_batch(model):
    conversations = [(user("a red cat"),), (user(picture(), "make it blue and a dog"),)]
    context = model.context(conversations, [(), ()], Ask("image"))
    blocks = []
    for stepwise in (False, True):
        process = model.embeddings(stepwise)
        with torch.no_grad():
            state = process.finish(process.start(context, process.settings(9), Noise.of([0, 1])))
        blocks.append(state.vectors)
    torch.testing.assert_close(blocks[0], blocks[1], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_last_states_alone_are_the_last_of_all(model):
    reader, prompt = model.reader, model.context([(user("a red cat"),), (user("a"),)], [(), ()], Ask("image")).given
    for one in (prompt, prompt[[0]]):  # with what is left out, and without
        x, places, kept = reader.laid_out(one)
        states, memory = reader.run(x, places, kept, remember=True)
        for last in (1, 3, x.shape[1]):
            some, found = reader.run(x, places, kept, remember=True, last=last)
            torch.testing.assert_close(some, states[:, -last:], rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(found, memory)
        behind = reader.run(x[:, -4:], places[:, :, -4:], kept, memory[..., :-4, :], last=2)[0]
        torch.testing.assert_close(behind, states[:, -2:], rtol=1e-5, atol=1e-5)


def test_a_disturbance_grows_only_where_vectors_are_fed_back(model):
    prompt = model.context([(user("a red cat"),)], [()], Ask("image")).given
    still = objective.drift(model.reader, prompt, 1e-3)
    assert still[0] > 0 and not still[1:].any()
    fed = Reader(model.reader_config, 3, "none")
    fed.load_state_dict(model.reader.state_dict(), strict=False)
    assert objective.drift(fed.eval(), prompt, 1e-3)[1:].all()


# folders


def as_released(folder, target):
    """The same model by the released files: pickles, and a config that names no family."""
    shutil.copytree(folder, target)
    for name in ("generation_decoder", "edit_decoder"):
        torch.save(load_file(target / f"{name}.safetensors"), target / f"{name}.bin")
        (target / f"{name}.safetensors").unlink()
    config = json.loads((target / "config.json").read_text())
    del config["family"]
    (target / "config.json").write_text(json.dumps(config))
    return target


def test_a_released_folder_is_known_by_its_files(model, folder, tmp_path):
    released = as_released(folder, tmp_path / "released")
    assert catalog.laid_out(released) == "nexusgen" and catalog.lacking(released) == []
    loaded = catalog.load_model(released)
    assert isinstance(loaded, NexusGen) and loaded.certificate["editing"]["known_as"] is None
    ours, theirs = model.state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_first_version_is_read_too(folder, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(folder, old)
    given = load_file(old / "generation_decoder.safetensors")
    bare = {name.removeprefix("pipe.dit.").removeprefix("adapter."): tensor for name, tensor in given.items()}
    torch.save(bare, old / "decoder_81_512.bin")
    for name in ("generation_decoder", "edit_decoder", "model"):
        tensors = load_file(old / f"{name}.safetensors")
        (old / f"{name}.safetensors").unlink()
    del tensors["image_prefill_embeds.weight"]
    torch.save(tensors, old / "pytorch_model.bin")
    config = json.loads((old / "config.json").read_text())
    config["limner"]["rows"] = "pad"
    (old / "config.json").write_text(json.dumps(config))
    loaded = NexusGen.load(old)
    assert loaded.reader.rows == "pad" and loaded.editing is None and loaded.generation is not None
    (sample,) = rollout(loaded, [Task((user(picture(), "make it blue"),))], loaded.plan(["image"]), [0])
    assert sample.image is not None


def test_what_is_no_decoder_is_refused_in_one_line(folder, tmp_path):
    wrong = tmp_path / "wrong"
    shutil.copytree(folder, wrong)
    shutil.copyfile(wrong / "generation_decoder.safetensors", wrong / "edit_decoder.safetensors")
    with pytest.raises(ValueError, match="no embedding_merger; it is no editing decoder"):
        NexusGen.load(wrong)
    (wrong / "edit_decoder.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="damaged"):
        NexusGen.load(wrong)
    (wrong / "constants.safetensors").unlink()
    (wrong / "edit_decoder.safetensors").unlink()
    with pytest.raises(ValueError, match="empty text"):
        NexusGen.load(wrong)


def test_without_decoders_it_still_answers_questions(folder, tmp_path):
    alone = tmp_path / "alone"
    shutil.copytree(folder, alone)
    for name in ("generation_decoder.safetensors", "edit_decoder.safetensors", "constants.safetensors"):
        (alone / name).unlink()
    loaded = NexusGen.load(alone)
    (sample,) = rollout(loaded, [Task((user(picture(), "what is this?"),))], loaded.plan(["text"]), [0])
    assert sample.text is not None
    with pytest.raises(ValueError, match="loaded without a decoder"):
        rollout(loaded, [Task((user("a red cat"),))], loaded.plan(["image"]), [0])


@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_eight_bits_and_offload_change_little(model, folder, kind):
    loaded = NexusGen.load(folder, quantise=kind, offload="model")
    assert any(isinstance(module, CompactLinear) for module in loaded.editing.dit.modules())
    task = [Task((user(picture(), "make it blue"),))]
    ours, theirs = (rollout(one, task, one.plan(["image"]), [0])[0].image for one in (model, loaded))
    apart = torch.tensor([abs(a - b) for a, b in zip(ours.tobytes(), theirs.tobytes(), strict=True)])
    assert apart.float().mean() < 24
    with pytest.raises(ValueError, match="without quantise"):
        loaded.save(folder.parent / "compact")


@pytest.mark.parametrize(
    ("wish", "message"), [({"offload": "half"}, "offload"), ({"quantise": "int3"}, "int3"), ({"own": "none"}, "own")]
)
def test_impossible_wishes_are_refused(folder, wish, message):
    with pytest.raises(ValueError, match=message):
        NexusGen.load(folder, **wish)


def test_prompts_that_cannot_be_read_are_refused(model):
    with pytest.raises(ValueError, match="zebra"):
        model.check_prompt((user("a zebra"),))
    with pytest.raises(ValueError, match="too narrow"):
        model.check_prompt((user(picture(size=(4000, 4)), "make it blue"),))
    with pytest.raises(ValueError, match="tokens"):
        model.check_prompt((user("a red cat " * 200),))


# shapes


def test_an_edit_keeps_its_sources_shape(model):
    wide = picture(size=(64, 32))
    assert model.shape_of(wide.image.size, 16) == (20, 8) and model.shape_of((32, 32), 16) is None
    ask = replace(model.plan(["image"])[0], shape=(24, 12))
    (sample,) = rollout(model, [Task((user(wide, "make it blue"),))], (ask,), [0])
    assert sample.image.size == (24, 12)
    part = sample.reply[0]
    assert part.raw[:2] == (6, 12) and model.decode("image", model.encode([part])) == [part]
    process, values = model.process("image"), model.encode([part])
    context = model.context([(user(wide, "make it blue"),)], [()], Ask("image"))
    scored = process.log_prob(context, values, process.draw(values, Noise.of([0]), torch.tensor([0.5])))
    assert scored.tokens.shape == (1, len(part.raw) - 2) and bool(scored.tokens.isfinite().all())


def test_sources_of_several_shapes_go_together_and_stand_where_they_would_alone(model):
    tasks = [Task((user(picture(size=size), "make it blue"),)) for size in ((40, 24), (24, 24), (24, 40))]
    plan = model.plan(["image"])
    together = rollout(model, tasks, plan, [3, 4, 5])
    alone = [rollout(model, [task], plan, [seed])[0] for task, seed in zip(tasks, (3, 4, 5), strict=True)]
    assert [sample.image.tobytes() for sample in together] == [sample.image.tobytes() for sample in alone]


def test_as_published_an_edit_and_its_source_are_squares(model):
    before, source_ = model.config, picture(size=(64, 32)).image
    assert model.reference(source_)[1] == (1, 8, 16)
    try:
        model.config = replace(before, shapes="square")
        assert model.reference(source_)[1] == (1, 12, 12) and model.shape_of((64, 32)) is None
    finally:
        model.config = before
