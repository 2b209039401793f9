"""The table of families. A new family adds one line here, and the whole suite runs on it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from PIL import Image as pil

from limner.codecs.magvit import MagvitCodec, MagvitConfig
from limner.codecs.magvit_layers import Stack
from limner.codecs.quantise import Quantiser
from limner.models.base import Model
from limner.models.echo import Echo
from limner.models.mindomni import config as mindomni_config
from limner.models.mindomni import small as mindomni_small
from limner.models.mindomni import tokenizer as mindomni_tokenizer
from limner.models.mmada.config import Defaults, MMaDAConfig
from limner.models.mmada.model import MMaDA
from limner.models.mmada.tokenizer import find_specials, make_word_tokenizer
from limner.models.nexusgen import config as nexusgen_config
from limner.models.nexusgen import small as nexusgen_small
from limner.models.nexusgen import tokenizer as nexusgen_tokenizer
from limner.models.showo import config as showo_config
from limner.models.showo import tokenizer as showo_tokenizer
from limner.models.showo.model import ShowO
from limner.parts import Conversation, Image, PartKind, Plan, Sample, Task, user
from limner.process.base import Draw, Scored
from limner.turn import draws, log_prob, rollout


@dataclass(frozen=True)
class Case:
    """A tiny model of a family, with prompts of different lengths. ``fillable``: kinds that can have known parts."""

    model: Model
    conversations: tuple[Conversation, ...]
    plan: Plan
    fillable: tuple[PartKind, ...] = ("image",)
    seeds: tuple[int, ...] = (11, 12, 13)

    @property
    def tasks(self) -> list[Task]:
        return [Task(conversation) for conversation in self.conversations]

    def samples(self, plan: Plan | None = None, seeds: tuple[int, ...] | None = None) -> list[Sample]:
        return rollout(self.model, self.tasks, plan or self.plan, seeds or self.seeds)

    def scored(self, samples: list[Sample], model: Model | None = None) -> tuple[list[Draw], tuple[Scored, ...]]:
        drawn = draws(model or self.model, samples, self.seeds)
        return drawn, log_prob(model or self.model, samples, drawn)


def ramp() -> Image:
    """A picture that no model drew."""
    return Image(pil.linear_gradient("L").resize((64, 64)).convert("RGB"))


def echo() -> Case:
    model = Echo(seed=0)
    conversations = ((user("a red cat"),), (user("what is this?", ramp()),), (user("two blue dogs in the snow"),))
    return Case(model, conversations, model.plan(["thinking", "image", "text"]), ("image", "thinking"))


def mmada() -> Case:
    tokenizer = make_word_tokenizer(["a red cat", "two blue dogs in the snow", "what is this?"])
    stack = Stack(base=16, widths=(1,), blocks=(1,), patch=8, groups=8)
    torch.manual_seed(0)
    codec = MagvitCodec(MagvitConfig(stack, stack, Quantiser("lfq", (2,) * 4)))
    config = MMaDAConfig(
        width=32,
        layers=2,
        heads=2,
        kv_heads=2,
        mlp=64,
        rows=tokenizer.get_vocab_size() + codec.num_codes,
        max_length=128,
        text_vocabulary=tokenizer.get_vocab_size(),
        codes=codec.num_codes,
        specials=find_specials(tokenizer),
        text_budget=64,
        grids={32: 4},
        defaults=Defaults(
            text_limit=8,
            thinking_limit=16,
            block=8,
            tokens_per_step=2,
            size=32,
            picture_steps=4,
            picture_guidance=1.0,
        ),
        stop_early=True,
    )
    model = MMaDA(config, tokenizer, codec)
    with torch.no_grad():
        for name, weight in model.network.named_parameters():
            if weight.ndim > 1:
                weight.mul_(8.0)  # fresh weights say almost the same of everything
            assert torch.isfinite(weight).all(), name
    conversations = ((user("a red cat"),), (user("what is this?", ramp()),), (user("two blue dogs in the snow"),))
    return Case(model, conversations, model.plan(["thinking", "image", "text"]), ("image", "thinking", "text"))


def showo() -> Case:
    tokenizer = showo_tokenizer.make_word_tokenizer(["a red cat", "two blue dogs in the snow", "what is this?"])
    stack = Stack(base=16, widths=(1,), blocks=(1,), patch=8, groups=8)
    torch.manual_seed(0)
    codec = MagvitCodec(MagvitConfig(stack, stack, Quantiser("lfq", (2,) * 4)))
    vocabulary = tokenizer.get_vocab_size()
    base = showo_config.small(vocabulary, showo_tokenizer.find_specials(tokenizer), codec.num_codes)
    defaults = replace(base.defaults, text_limit=6, thinking_limit=8, size=32, picture_steps=4)
    config = replace(
        base,
        width=32,
        layers=2,
        heads=2,
        mlp=64,
        text_budget=64,
        grids={32: 4},
        defaults=defaults,
        places=256,
        templates=showo_tokenizer.SHORT,
        thinks=True,
    )
    model = ShowO(config, tokenizer, codec)
    with torch.no_grad():
        for name, weight in model.network.named_parameters():
            if weight.ndim > 1:
                weight.mul_(8.0)
            assert torch.isfinite(weight).all(), name
    conversations = ((user("a red cat"),), (user("what is this?", ramp()),), (user("two blue dogs in the snow"),))
    return Case(model, conversations, model.plan(["thinking", "image", "text"]))


def mindomni() -> Case:
    config = mindomni_config.tiny(text_limit=4, thinking_limit=6, size=16, steps=4)
    config = replace(config, first_step="official", max_pixels=32 * 32, negative="a cat")
    words = ["a red cat", "two blue dogs in the snow", "what is this?"]
    tokenizer = mindomni_tokenizer.make_tokenizer(words, (config.system, config.think, config.instruction))
    sizes = mindomni_small.Sizes(
        width=32, layers=2, heads=2, kv_heads=1, mlp=64, length=256, sight=32, sight_layers=1, sight_heads=2,
        sight_mlp=32, patch=8, decoder=32, decoder_layers=2, decoder_heads=2, decoder_mlp=64, vae=(8, 8), vae_groups=4,
    )  # fmt: skip
    torch.manual_seed(0)
    model = mindomni_small.fresh(config, tokenizer, sizes)
    with torch.no_grad():
        for part in (model.mllm, model.connector, model.decoder):
            for weight in part.parameters():
                if weight.ndim > 1:
                    weight.mul_(8.0)
    conversations = ((user("a red cat"),), (user("what is this?", ramp()),), (user("two blue dogs in the snow"),))
    return Case(model, conversations, model.plan(["thinking", "image", "text"]), ())


def nexusgen() -> Case:
    config = nexusgen_config.tiny(text_limit=4, thinking_limit=6, size=16, steps=4, guidance=1.0)
    config = replace(config, side=3, guided_edits=True)
    words = ["a red cat", "two blue dogs in the snow", "what is this?"]
    texts = config.english
    templates = (config.system, texts.draw, texts.drawn, texts.edited, texts.polish)
    tokenizer = nexusgen_tokenizer.make_tokenizer(words, templates)
    sizes = nexusgen_small.Sizes(
        width=32, layers=2, heads=2, kv_heads=1, mlp=64, length=256, sight=32, sight_layers=1, sight_heads=2,
        sight_mlp=32, patch=4, painter_heads=2, painter_head=16, double=1, single=1, context=24, pooled=8, vae=(8, 8),
        vae_groups=4,
    )  # fmt: skip
    torch.manual_seed(0)
    model = nexusgen_small.fresh(config, tokenizer, sizes)
    with torch.no_grad():
        for part in nexusgen_small.parts(model):
            for weight in part.parameters():
                if weight.ndim > 1:
                    weight.mul_(8.0)
    conversations = ((user("a red cat"),), (user("what is this?", ramp()),), (user("two blue dogs in the snow"),))
    return Case(model, conversations, model.plan(["thinking", "image", "text"]), ())


def hurried(way: str, guidance: float = 0.0) -> Case:
    """MMaDA with a fast way for words."""
    case = mmada()
    plan = tuple(ask if ask.kind == "image" else replace(ask, fast=way, guidance=guidance) for ask in case.plan)
    return replace(case, plan=plan)


FAMILIES: dict[str, Callable[[], Case]] = {
    "echo": echo,
    "mindomni": mindomni,
    "mmada": mmada,
    "nexusgen": nexusgen,
    "showo": showo,
    "mmada-threshold-dual": lambda: hurried("threshold=0.3+dual+blocks=2"),
    "mmada-revoke": lambda: hurried("threshold=0.2+revoke=0.5"),
    "mmada-factor-prefix-guided": lambda: hurried("factor=1.5+prefix", 0.5),
}


@pytest.fixture(scope="session", params=sorted(FAMILIES))
def case(request: pytest.FixtureRequest) -> Case:
    return FAMILIES[request.param]()
