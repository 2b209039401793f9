"""Everything about a Show-o model that is not a weight: the network's sizes, the vocabulary's layout, the defaults.

A released ``config.json`` says which tables there are and nothing of the network, which is Phi-1.5's: its values are
the defaults here. What the release keeps in its code stands in two more fields, ``phi`` and ``limner``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
THINK = "Think step by step about what is asked and write down your thoughts.\n"


@dataclass(frozen=True)
class Specials:
    """Ids with a role. ``eos`` also begins every text; codes follow the text vocabulary, the mask follows them."""

    eos: int = 50256
    pad: int = 50295
    soi: int = 50296
    eoi: int = 50297
    t2i: int = 50300
    mmu: int = 50301


# what the roles are called in a tokenizer that knows them by name
NAMES: dict[str, str] = {
    "eos": "<|endoftext|>",
    "pad": "[PAD]",
    "soi": "<|soi|>",
    "eoi": "<|eoi|>",
    "t2i": "<|t2i|>",
    "mmu": "<|mmu|>",
}


@dataclass(frozen=True)
class Templates:
    """How turns are written: a question in words, a question about a picture, what stands before an answer, the wish
    for a thought, and what stands before a picture's features (CLIP)."""

    user: str = "USER: "
    user_seeing: str = "USER: \n"
    assistant: str = " ASSISTANT:"
    think: str = THINK
    system: str = SYSTEM


@dataclass(frozen=True)
class Defaults:
    """What is done when nobody says otherwise. Lengths in tokens, sizes in pixels, guidance as w in (1+w)c - wu."""

    text_limit: int = 256
    thinking_limit: int = 256
    text_temperature: float = 0.0
    size: int = 256
    picture_steps: int = 18
    picture_guidance: float = 1.75
    picture_temperature: float = 1.0  # noise on which codes are kept
    codes_temperature: float = 1.0  # noise on what each code is
    turns: int | None = None  # earlier turns of a conversation to be shown; None: as many as fit


@dataclass(frozen=True)
class ShowOConfig:
    """A Show-o model as data.

    ``text_vocabulary`` counts all ids before the codes, so code c has id ``text_vocabulary + c`` and the mask comes
    last. ``text_budget`` is the most words of a picture's prompt. ``grids`` maps a picture size in pixels to the side
    of its square of codes. ``clip`` is the width of CLIP's features, which a model that reads them is shown in place
    of codes; 0 for one that reads codes.

    ``words_only`` chooses words among the text vocabulary; False lets every row of the table compete, as officially.
    ``compounding`` multiplies the picture sampler's temperature up over the steps, as officially; False gives the plain
    T (1 - k/S). ``over_all`` counts the schedule of an inpainted hole over the whole picture, as officially, which
    fills one code a step and then many at once; the default counts the hole's own codes. ``places`` above 0 adds as
    many learned positions to rope's, counted from the middle one, where the part being made begins: a small network
    learns to find its place by rope alone more slowly. No released model has them. ``thinks`` says
    that it was taught to think before it draws or answers, which no released model was.
    """

    width: int = 2048
    layers: int = 24
    heads: int = 32
    mlp: int = 8192
    norm_eps: float = 1e-5
    rotary: float = 0.5
    rope_theta: float = 10000.0
    max_length: int = 2048
    text_vocabulary: int = 50305
    codes: int = 8192
    specials: Specials = Specials()
    text_budget: int = 128
    grids: Mapping[int, int] = field(default_factory=lambda: {256: 16})
    clip: int = 0
    defaults: Defaults = Defaults()
    templates: Templates = Templates()
    words_only: bool = True
    compounding: bool = True
    over_all: bool = False
    places: int = 0
    thinks: bool = False

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"heads={self.heads} must divide width={self.width}")
        if self.turned < 2 or self.turned % 2:
            raise ValueError(
                f"rotary={self.rotary} turns {self.turned} of the {self.width // self.heads} numbers of a head; "
                "an even number is wanted"
            )
        if max(asdict(self.specials).values()) >= self.text_vocabulary:
            raise ValueError(f"the special ids {asdict(self.specials)} reach beyond {self.text_vocabulary} words")
        if self.defaults.size not in self.grids:
            raise ValueError(f"the default size {self.defaults.size} is not among the sizes {sorted(self.grids)}")

    @property
    def mask(self) -> int:
        """The id of a hidden code: the last of all."""
        return self.text_vocabulary + self.codes

    @property
    def rows(self) -> int:
        """Rows of both tables."""
        return self.mask + 1

    @property
    def turned(self) -> int:
        """How many of a head's numbers are turned by their place."""
        return int(self.rotary * (self.width // self.heads))

    def grid(self, size: int) -> int:
        """Codes along the side of a picture of that many pixels; 0 means the default size."""
        size = size or self.defaults.size
        if size not in self.grids:
            raise ValueError(f"size={size} pixels cannot be drawn; this model draws {sorted(self.grids)}")
        return self.grids[size]

    def to_json(self) -> dict[str, Any]:
        """A ``config.json`` that the official classes read, with limner's own fields under ``phi`` and ``limner``."""
        own = ["text_budget", "clip", "words_only", "compounding", "over_all", "places", "thinks"]
        return {
            "_class_name": "Showo",
            "family": "showo",
            "w_clip_vit": self.clip > 0,
            "vocab_size": self.rows,
            "llm_vocab_size": self.text_vocabulary - TASKS,
            "codebook_size": self.codes,
            "num_vq_tokens": self.grid(0) ** 2,
            "mask_token_id": self.mask,
            "phi": {name: getattr(self, ours) for ours, name in PHI.items()} | FIXED,
            "limner": {name: getattr(self, name) for name in own}
            | {name: asdict(getattr(self, name)) for name in PARTS}
            | {"grids": {str(size): side for size, side in self.grids.items()}},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], factor: int = 16) -> Self:
        """The config in a ``config.json``, released or written by ``to_json``; ValueError for another network.

        ``factor`` is the codec's pixels a code: a released file says only how many codes a picture has.
        """
        if data.get("family", "showo") != "showo" or data.get("_class_name", "Showo") != "Showo":
            named = data.get("family", data.get("_class_name"))
            raise ValueError(f"config.json describes a {named}, not a Show-o")
        missing = [name for name in ("vocab_size", "llm_vocab_size", "codebook_size") if name not in data]
        if missing:
            raise ValueError(f"config.json lacks {', '.join(missing)}; is it a Show-o config?")
        phi = dict(data.get("phi", {}))
        for name, wanted in FIXED.items():
            if phi.get(name, wanted) != wanted:
                raise ValueError(f"config field phi.{name} is {phi[name]!r}, but Show-o is built with {wanted!r}")
        values: dict[str, Any] = {ours: phi[name] for ours, name in PHI.items() if name in phi}
        values |= {"text_vocabulary": data["llm_vocab_size"] + TASKS, "codes": data["codebook_size"]}
        own = dict(data["limner"]) if "limner" in data else _unsaid(data, factor)
        own |= {name: PARTS[name](**own[name]) for name in PARTS if name in own}
        own["grids"] = {int(size): side for size, side in own["grids"].items()}
        unknown = own.keys() - {item.name for item in fields(cls)}
        if unknown:
            raise ValueError(f"config.json has unknown fields under limner: {', '.join(sorted(unknown))}")
        config = cls(**values, **own)
        for name, found in (("vocab_size", config.rows), ("mask_token_id", config.mask)):
            if data.get(name, found) != found:
                raise ValueError(
                    f"config field {name} is {data[name]}, but {config.text_vocabulary} ids of text and tasks and "
                    f"{config.codes} codes make it {found}"
                )
        return config


def _unsaid(data: Mapping[str, Any], factor: int) -> dict[str, Any]:
    """What a released ``config.json`` leaves to the code: the picture's size, the sampler's settings, the features."""
    codes = data.get("num_vq_tokens") or 256
    side = math.isqrt(codes)
    if side * side != codes:
        raise ValueError(f"config field num_vq_tokens is {codes}, which is no square grid of codes")
    large = {"picture_steps": 50, "picture_guidance": 5.0} if codes >= 1024 else {}
    return {
        "clip": CLIP if data.get("w_clip_vit") else 0,
        "grids": {side * factor: side},
        "defaults": {"size": side * factor} | large,
    }


TASKS = 10  # ids between the language model's own and the codes: padding and the nine tokens of tasks and borders
CLIP = 1024  # width of openai/clip-vit-large-patch14-336
PARTS: dict[str, type] = {"specials": Specials, "defaults": Defaults, "templates": Templates}

# our field -> Phi's
PHI: dict[str, str] = {
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "mlp": "intermediate_size",
    "norm_eps": "layer_norm_eps",
    "rotary": "partial_rotary_factor",
    "rope_theta": "rope_theta",
    "max_length": "max_position_embeddings",
}

# what a Show-o network is made of; a config that says otherwise describes something else
FIXED: dict[str, Any] = {"hidden_act": "gelu_new", "qk_layernorm": True, "tie_word_embeddings": False}

RELEASED = ShowOConfig()


def released(size: int = 256, clip: bool = False) -> ShowOConfig:
    """The 1.3 B models: 256 or 512 px, reading codes or CLIP's features."""
    side = size // 16
    return ShowOConfig(**_own(_unsaid({"num_vq_tokens": side * side, "w_clip_vit": clip}, 16)))


def _own(values: dict[str, Any]) -> dict[str, Any]:
    return values | {name: PARTS[name](**values[name]) for name in PARTS if name in values}


def small(text_vocabulary: int, specials: Specials, codes: int = 4096) -> ShowOConfig:
    """A model of about three million parameters for 64 px pictures of 8 x 8 codes, to be trained from scratch."""
    return ShowOConfig(
        width=192,
        layers=6,
        heads=6,
        mlp=768,
        max_length=512,
        text_vocabulary=text_vocabulary,
        codes=codes,
        specials=specials,
        text_budget=96,
        grids={64: 8},
        defaults=Defaults(text_limit=32, thinking_limit=64, size=64, picture_steps=16, picture_guidance=1.0, turns=0),
    )
