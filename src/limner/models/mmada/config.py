"""Everything about an MMaDA model that is not a weight: the network's sizes, the vocabulary's layout, the defaults.

A released ``config.json`` uses LLaDA's field names (``d_model``, ``n_layers``, ...). They are read and written back as
they are; what the release keeps in its code (special ids, text budget, sampling defaults) stands in one more field,
``limner``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self

Attention = Literal["masked", "full", "legacy-soft"]
Padding = Literal["tight", "fixed"]

INSTRUCTION = (
    "You should first think about the reasoning process in the mind and then provide the user with the answer. "
    "The reasoning process is enclosed within <think> </think> tags, i.e. <think> reasoning process here </think> "
    "answer here\n"
)


@dataclass(frozen=True)
class Specials:
    """Ids with a role. ``eos`` is also the learned "nothing more" filler; ``pad`` is ``[iPAD]``."""

    bos: int = 126080
    eos: int = 126081
    soi: int = 126084
    eoi: int = 126085
    t2i: int = 126088
    mmu: int = 126089
    pad: int = 126093
    r2i: int = 126094
    mask: int = 126336
    eot: int = 126348


# what the roles are called in a tokenizer that knows them by name
NAMES: dict[str, str] = {
    "bos": "<|startoftext|>",
    "eos": "<|endoftext|>",
    "soi": "<|soi|>",
    "eoi": "<|eoi|>",
    "t2i": "<|t2i|>",
    "mmu": "<|mmu|>",
    "pad": "[iPAD]",
    "r2i": "<|r2i|>",
    "mask": "<|mdm_mask|>",
    "eot": "<|eot_id|>",
}


@dataclass(frozen=True)
class Defaults:
    """What is done when nobody says otherwise. Lengths in tokens, sizes in pixels, guidance as w in (1+w)c - wu."""

    text_limit: int = 512
    thinking_limit: int = 1024
    block: int = 64
    tokens_per_step: int = 2
    text_guidance: float = 0.0
    text_temperature: float = 0.0
    size: int = 512
    picture_steps: int = 50
    picture_guidance: float = 3.5
    picture_temperature: float = 1.0  # noise on which codes are kept
    codes_temperature: float = 1.0  # noise on what each code is
    turns: int | None = None  # earlier turns of a conversation to be shown; None: as many as fit


@dataclass(frozen=True)
class MMaDAConfig:
    """An MMaDA model as data.

    ``text_vocabulary`` is the tokenizer's length; picture code c has id ``text_vocabulary + c``. ``grids`` maps a
    picture size in pixels to the side of its square of codes; two sizes may share a grid (a codec with a larger
    decoder).

    ``attention``: "masked" never looks at padding (the official inference code today), "full" looks at everything (what
    the released weights were trained with), "legacy-soft" lets padding count one logit less (the official training code
    today). ``padding``: "tight" pads to the longest row, "fixed" to the text budget as the official code does.
    ``words_only`` restricts words to the text vocabulary; False lets every row of the table compete, as officially.
    ``compounding`` multiplies the picture sampler's temperature up over the steps, as everybody runs it; False gives
    the plain T (1 - k/S). ``over_all`` counts the schedule of an inpainted hole over the whole picture, as officially,
    which reveals one code a step and then many at once; the default counts the hole's own codes. ``plain_eot`` ends
    user turns with the nine characters of an end tag without its bars, a slip in the official captions and thinking
    data; the default is the chat template that inference uses. ``qkv_bias`` gives queries, keys and values a bias.
    ``stop_early`` ends a text at the first finished block that holds an end token. ``suffix`` is the share of training
    draws shaped like block decoding. ``places`` above 0 adds as many learned positions to rope's, counted from the
    middle one, where the part being made begins: a small network learns to find its place by rope alone more slowly
    (LLaDA's class knows such a table, ``wpe``, in place of rope; no released model has one).
    """

    width: int = 4096
    layers: int = 32
    heads: int = 32
    kv_heads: int = 32
    mlp: int = 12288
    rows: int = 134656
    norm_eps: float = 1e-5
    rope_theta: float = 500000.0
    max_length: int = 4096
    text_vocabulary: int = 126349
    codes: int = 8192
    specials: Specials = Specials()
    text_budget: int = 512
    grids: Mapping[int, int] = field(default_factory=lambda: {512: 32, 256: 16})
    defaults: Defaults = Defaults()
    instruction: str = INSTRUCTION
    attention: Attention = "masked"
    padding: Padding = "tight"
    words_only: bool = True
    compounding: bool = True
    over_all: bool = False
    plain_eot: bool = False
    qkv_bias: bool = False
    stop_early: bool = False
    suffix: float = 0.0
    places: int = 0

    def __post_init__(self) -> None:
        if self.rows < self.text_vocabulary + self.codes:
            raise ValueError(
                f"rows={self.rows} cannot hold {self.text_vocabulary} words and {self.codes} picture codes; "
                f"give at least {self.text_vocabulary + self.codes} (LLaDA itself has no rows for pictures)"
            )
        if self.width % self.heads or self.heads % self.kv_heads:
            raise ValueError(f"heads={self.heads} must divide width={self.width}, kv_heads={self.kv_heads} the heads")
        if self.attention not in ("masked", "full", "legacy-soft"):
            raise ValueError(f"attention is masked, full or legacy-soft, not {self.attention!r}")
        if self.padding not in ("tight", "fixed"):
            raise ValueError(f"padding is tight or fixed, not {self.padding!r}")
        if self.defaults.size not in self.grids:
            raise ValueError(f"the default size {self.defaults.size} is not among the sizes {sorted(self.grids)}")

    def grid(self, size: int) -> int:
        """Codes along the side of a picture of that many pixels; 0 means the default size."""
        size = size or self.defaults.size
        if size not in self.grids:
            raise ValueError(f"size={size} pixels cannot be drawn; this model draws {sorted(self.grids)}")
        return self.grids[size]

    def to_json(self) -> dict[str, Any]:
        """A ``config.json`` that the official classes read, with limner's own fields under ``limner``."""
        own = ["text_budget", "instruction", "attention", "padding", "words_only", "compounding", "over_all"]
        own += ["plain_eot", "stop_early", "suffix", "places"]
        return (
            {name: getattr(self, ours) for ours, name in LLADA.items()}
            | FIXED
            | {
                "embedding_size": self.rows,
                "new_vocab_size": self.rows,
                "num_vq_tokens": self.grid(0) ** 2,
                "mask_token_id": self.specials.mask,
                "eos_token_id": self.specials.eos,
                "pad_token_id": self.specials.eos,
                "limner": {name: getattr(self, name) for name in own}
                | {"specials": asdict(self.specials), "defaults": asdict(self.defaults)}
                | {"grids": {str(size): side for size, side in self.grids.items()}},
            }
        )

    @classmethod
    def from_json(cls, data: Mapping[str, Any], factor: int = 16) -> Self:
        """The config in a ``config.json``, released or written by ``to_json``; ValueError for another network.

        A released file does not say how large its pictures are: ``num_vq_tokens`` codes of ``factor`` pixels.
        """
        for name, wanted in FIXED.items():
            if name in data and data[name] != wanted and (name, data[name]) != ("model_type", "llada"):
                raise ValueError(f"config field {name} is {data[name]!r}, but MMaDA is built with {wanted!r}")
        values = {ours: data[name] for ours, name in LLADA.items() if data.get(name) is not None}
        missing = [LLADA[name] for name in ("width", "layers", "heads", "mlp", "rows") if name not in values]
        if missing:
            raise ValueError(f"config.json lacks {', '.join(missing)}; is it an MMaDA or LLaDA config?")
        # a LLaDA config may leave these to the number of heads and to the tables' size after training
        values.setdefault("kv_heads", 1 if data.get("multi_query_attention") else values["heads"])
        values["rows"] = data.get("embedding_size") or values["rows"]
        own = dict(data["limner"]) if "limner" in data else _unsaid(data, factor)
        if "specials" in own:
            own["specials"] = Specials(**own["specials"])
        if "defaults" in own:
            own["defaults"] = Defaults(**own["defaults"])
        if "grids" in own:
            own["grids"] = {int(size): side for size, side in own["grids"].items()}
        unknown = own.keys() - {item.name for item in fields(cls)}
        if unknown:
            raise ValueError(f"config.json has unknown fields under limner: {', '.join(sorted(unknown))}")
        return cls(**values, **own)


def _unsaid(data: Mapping[str, Any], factor: int) -> dict[str, Any]:
    """What a released ``config.json`` leaves to the code: ids, picture sizes, and the stage's text budget."""
    codes = data.get("num_vq_tokens") or 1024
    side = math.isqrt(codes)
    if side * side != codes:
        raise ValueError(f"config field num_vq_tokens is {codes}, which is no square grid of codes")
    specials = {role: data[name] for role, name in (("mask", "mask_token_id"), ("eos", "eos_token_id")) if name in data}
    return {
        "specials": specials,
        "grids": {512 * factor // 16: 32, 256 * factor // 16: 16, side * factor: side},
        "defaults": {"size": side * factor},
        # the 256 px stages were trained with 256 words
        "text_budget": min(512, max(256, codes // 2)),
    }


# the release with small pictures, by a part of its folder's name, whatever the number of codes in its config
PRETRAIN = "MMaDA-8B-Pretrain"

# our field -> LLaDA's
LLADA: dict[str, str] = {
    "width": "d_model",
    "layers": "n_layers",
    "heads": "n_heads",
    "kv_heads": "n_kv_heads",
    "mlp": "mlp_hidden_size",
    "rows": "vocab_size",
    "norm_eps": "rms_norm_eps",
    "rope_theta": "rope_theta",
    "max_length": "max_sequence_length",
    "qkv_bias": "include_qkv_bias",
    "text_vocabulary": "text_vocab_size",
    "codes": "codebook_size",
}

# what an MMaDA network is made of; a config that says otherwise describes something else
FIXED: dict[str, Any] = {
    "family": "mmada",
    "model_type": "mmada",
    "block_type": "llama",
    "activation_type": "silu",
    "layer_norm_type": "rms",
    "rope": True,
    "rope_full_precision": True,
    "alibi": False,
    "include_bias": False,
    "bias_for_layer_norm": False,
    "weight_tying": False,
    "scale_logits": False,
    "input_emb_norm": False,
    "attention_layer_norm": False,
}

RELEASED = MMaDAConfig()


def released(size: int = 512, text_budget: int = 512) -> MMaDAConfig:
    """The 8 B models: 512 px and 512 words (Base, MixCoT) or 256 px and 256 words (Pretrain)."""
    defaults = Defaults(size=size)
    return MMaDAConfig(defaults=defaults, text_budget=text_budget)


def small(text_vocabulary: int, specials: Specials, codes: int = 4096) -> MMaDAConfig:
    """A model of about three million parameters for 64 px pictures of 8 x 8 codes, to be trained from scratch."""
    return MMaDAConfig(
        width=192,
        layers=6,
        heads=6,
        kv_heads=6,
        mlp=512,
        rows=text_vocabulary + codes,
        max_length=512,
        text_vocabulary=text_vocabulary,
        codes=codes,
        specials=specials,
        text_budget=96,
        grids={64: 8},
        defaults=Defaults(
            text_limit=32,
            thinking_limit=64,
            block=16,
            tokens_per_step=1,
            size=64,
            picture_steps=16,
            picture_guidance=2.0,
            turns=0,
        ),
        stop_early=True,
    )
