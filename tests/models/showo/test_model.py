"""Layouts, modes and features: what stands before the network, and what the commands make of it."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image as pil

sys.path.insert(0, str(Path(__file__).parent))

from tiny import make_model  # noqa: E402

import limner  # noqa: E402
from limner.answer import Limner  # noqa: E402
from limner.models.showo.config import ShowOConfig, released  # noqa: E402
from limner.models.showo.network import FEATURE  # noqa: E402
from limner.parts import Ask, Image, Task, Thinking, assistant, user  # noqa: E402
from limner.turn import rollout  # noqa: E402


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def opened(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "small"
    model.save(folder)
    return limner.load(folder)


def picture(colour="red"):
    return pil.new("RGB", (32, 32), colour)


def before(model, conversation, kind, reply=()):
    context = model.context([conversation], [reply], Ask(kind))
    offset = model.config.text_vocabulary
    ids = context.given.before[0].tolist()
    return " ".join(model.tokenizer.id_to_token(i) if i < offset else "c" for i in ids)


def test_layouts(model):
    eos, soi, eoi = "<|endoftext|>", "<|soi|>", "<|eoi|>"
    shown = f"{soi} {' '.join('c' * 16)} {eoi}"
    cat, see = (user("a red cat"),), (user("what is this?", Image(picture())),)
    assert before(model, cat, "image") == f"<|t2i|> {eos} a red cat {eos} {soi}"
    assert before(model, cat, "text") == f"{eos} <|user|> a red cat <|assistant|>"
    assert before(model, cat, "thinking") == f"{eos} <|user|> think\n a red cat <|assistant|>"
    assert before(model, see, "text") == f"<|mmu|> {shown} {eos} <|user|> what is this ? <|assistant|>"
    thought = (Thinking("two dogs"),)
    assert before(model, cat, "image", thought) == f"<|t2i|> {eos} a red cat <think> two dogs </think> {eos} {soi}"
    again = (*cat, assistant(Image(picture())), user("two blue dogs"))
    said = f"<|user|> a red cat <|assistant|> {eos} <|user|> two blue dogs <|assistant|>"
    assert before(model, again, "image") == f"<|t2i|> {shown} {eos} {said} {eos} {soi}"
    # the published end of a text that is too long
    short = replace(model.config, text_budget=4)
    renderer = replace(model.renderer, config=short)
    assert renderer.told([9, 10, 11, 12]) == [short.specials.eos, 9, 10, short.specials.eos]


def test_a_model_with_clip_is_shown_features(model, monkeypatch):
    seeing = make_model(clip=24)
    asked = (user("what is this?", Image(picture())),)
    with pytest.raises(ValueError, match="as vision when loading it"):
        seeing.context([asked], [()], Ask("text"))
    object.__setattr__(seeing, "vision", lambda some: torch.linspace(0, 1, 5 * 24).view(1, 5, 24) * some[0].width)
    context = seeing.context([asked, (user("a red cat"),)], [(), ()], Ask("text"))
    s = seeing.config.specials
    ids = context.given.before[0].tolist()
    assert ids[:7] == [s.mmu, s.soi, *[FEATURE] * 5] and ids[7] == s.eoi
    assert context.given.features.shape == (2, 5, 24)
    made = rollout(seeing, [Task(asked), Task(asked)], seeing.plan(["text"]), [1, 2])
    assert made[0].reply == made[1].reply
    process, values = seeing.process("text"), seeing.encode([made[0].reply[0]])
    alone = seeing.context([asked], [()], Ask("text"))
    seeing.network.zero_grad()
    process.log_prob(alone, values, process.draw(values, None)).total.sum().backward()
    assert seeing.network.projector[0].weight.grad.abs().sum() > 0
    # pictures are drawn from codes as ever
    assert FEATURE not in seeing.context([asked], [()], Ask("image")).given.before[0].tolist()


def test_every_command_goes_through_the_same_contract(opened, tmp_path):
    scene = picture()
    drawn = opened.generate("a red cat", seed=1, think=False)
    assert drawn.image.size == (32, 32)
    mask = pil.new("L", (32, 32))
    mask.paste(255, (0, 0, 16, 16))
    filled = opened.inpaint(scene, "a red cat", mask=mask).image
    assert filled.crop((16, 0, 32, 32)).tobytes() == scene.crop((16, 0, 32, 32)).tobytes()
    assert opened.extend(scene, "two blue dogs", right=16, up=8).image.size == (48, 40)
    assert isinstance(opened.say("what is this?").text, str)
    begun = opened.ask(scene, "what is this?", begin="two")
    assert begun.text.startswith("two")
    with pytest.raises(ValueError, match="left to right"):
        opened.fill("a ___ cat")
    with pytest.raises(ValueError, match="left to right"):
        opened.say("what is this?", fast="threshold")


def test_prompts_that_cannot_be_read_are_refused(model):
    for text, message in (("  ", "empty"), ("a <|soi|> cat", "control"), ("a cat " * 60, "tokens"), ("a yak", "yak")):
        with pytest.raises(ValueError, match=message):
            model.check_prompt((user(text),))


def test_released_configs_and_their_quirks():
    assert (released().rows, released().mask, released().turned) == (58498, 58497, 32)
    large = released(512, clip=True)
    assert (large.grids, large.clip, large.defaults.picture_steps, large.defaults.picture_guidance) == (
        {512: 32},
        1024,
        50,
        5.0,
    )
    odd = replace(make_model().config, words_only=False, over_all=True, compounding=False, places=8)
    assert ShowOConfig.from_json(odd.to_json()) == odd
    model = make_model(over_all=True, compounding=False)
    assert (model.process("image").over_all, model.process("image").compounding) == (True, False)


def test_one_that_was_not_taught_to_think_draws_at_once(opened):
    assert not opened.model.thinks
    plain = opened.generate("a red cat", seed=1)
    assert plain.thinking is None and plain.request["think"] is False
    assert plain.image.tobytes() == opened.generate("a red cat", seed=1, think=False).image.tobytes()
    with pytest.raises(ValueError, match="not taught to think"):
        opened.generate("a red cat", fast="threshold")
    taught = Limner(make_model(thinks=True), "taught").generate("a red cat", seed=1)
    assert taught.thinking is not None and taught.request["think"] is True
