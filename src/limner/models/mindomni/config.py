"""Everything about a MindOmni model that is not a weight: the decoder's sizes, the texts around a prompt, the defaults.

The released folder describes each part by that part's own config file; what the release keeps in its code stands in a
``config.json`` of limner's beside them, and is the default of these classes where there is none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, Self

# OmniGen's own prompt, which stage one's teacher is given
OMNIGEN = "<|user|>\n{}<|end|>\n<|assistant|>\n<|diffusion|>"

FirstStep = Literal["official", "full"]
Condition = Literal["all", "answer"]

SYSTEM = "You are a helpful assistant."
THINK = (
    "You are a helpful assistant. When the user requests an image, the assistant first thinks about the reasoning "
    "process in the mind and then provides the user with concise prompt as the answer. The reasoning process and "
    "answer are enclosed within <think> </think> and <answer> </answer> tags, respectively, i.e., <think> reasoning "
    "process here </think><answer> answer here </answer>."
)
INSTRUCTION = "Generate an image according to the following instructions\n"
NEGATIVE = (
    "\nlow quality, jpeg artifacts, ugly, duplicate, morbid, mutilated, extra fingers, mutated hands, poorly drawn "
    "hands, poorly drawn face, mutation, deformed, blurry, dehydrated, bad anatomy, bad proportions, extra limbs, "
    "cloned face, disfigured, gross proportions, malformed limbs, missing arms, missing legs, extra arms, extra legs, "
    "fused fingers, too many fingers.\n"
)


@dataclass(frozen=True)
class Defaults:
    """What is done when nobody says otherwise. Limits in tokens, size in pixels, guidance as w in (1+w)c - wu."""

    text_limit: int = 512
    thinking_limit: int = 512
    temperature: float = 0.0
    size: int = 1024
    steps: int = 50
    guidance: float = 2.0
    shift: float = 1.0  # of the time grid
    turns: int | None = None  # earlier turns of a conversation to be shown; None: as many as fit


@dataclass(frozen=True)
class MindOmniConfig:
    """A MindOmni model as data.

    ``first_step``: in the sampler's first step "official" lets time and picture look at the condition alone, as the
    released code does with its cache; "full" is what training does. ``condition``: "all" draws from the whole chain of
    thought (official), "answer" from its answer alone, as from a prompt. ``rounded`` keeps latents and times in the
    decoder's type between steps, as officially; False keeps float32. ``max_pixels`` bounds a picture that is shown to
    the model. ``instructed`` leaves the drawing instruction before a plain question, a slip of the official code.
    ``negative`` is what guidance goes away from. ``picture_guidance`` guides by shown pictures and by words apart, as
    OmniGen does (its number is 1.6); None: by both at once, as released.
    """

    system: str = SYSTEM
    think: str = THINK
    instruction: str = INSTRUCTION
    negative: str = NEGATIVE
    first_step: FirstStep = "official"
    condition: Condition = "all"
    rounded: bool = False
    max_pixels: int = 1024 * 1024
    instructed: bool = False
    picture_guidance: float | None = None
    defaults: Defaults = Defaults()

    def __post_init__(self) -> None:
        for name, known in (("first_step", ("official", "full")), ("condition", ("all", "answer"))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is one of {', '.join(known)}, not {getattr(self, name)!r}")
        if self.max_pixels < 1:
            raise ValueError(f"max_pixels={self.max_pixels} must be at least 1; 1048576 is usual")
        if self.picture_guidance is not None and not 0 <= self.picture_guidance < math.inf:
            raise ValueError(f"picture_guidance={self.picture_guidance} must be 0 or more; OmniGen's is 1.6")

    def to_json(self) -> dict[str, Any]:
        """The ``config.json`` beside the parts' own."""
        return {"family": "mindomni", "limner": asdict(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The config that ``to_json`` wrote, or the defaults for a folder that says nothing."""
        if data.get("family", "mindomni") != "mindomni":
            raise ValueError(f"this folder holds a model of the family {data['family']!r}, not 'mindomni'")
        own = dict(data.get("limner", {}))
        unknown = own.keys() - {item.name for item in fields(cls)}
        if unknown:
            raise ValueError(f"config.json has unknown fields under limner: {', '.join(sorted(unknown))}")
        if "defaults" in own:
            own["defaults"] = Defaults(**own["defaults"])
        return cls(**own)


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes of the image decoder (a Phi-3 body) and of the connector's layers, by the released config's numbers."""

    width: int = 3072
    layers: int = 32
    heads: int = 32
    kv_heads: int = 32
    mlp: int = 8192
    eps: float = 1e-5
    theta: float = 10000.0
    positions: int = 131072
    original_positions: int = 4096
    short_factor: tuple[float, ...] = ()
    long_factor: tuple[float, ...] = ()
    vocabulary: int = 32064
    pad: int = 32000
    patch: int = 2
    channels: int = 4
    table: int = 192  # patches a side that the position table covers
    cells: int = 64  # its coordinates run from 0 to this

    def __post_init__(self) -> None:
        if self.width % self.heads or self.heads % self.kv_heads:
            raise ValueError(f"heads={self.heads} must divide width={self.width}, kv_heads={self.kv_heads} the heads")
        if self.width % 4 or self.head % 2:
            raise ValueError(f"width={self.width} must be a multiple of 4, and a head's {self.head} numbers even")
        for name in ("short_factor", "long_factor"):
            factor = getattr(self, name)
            if factor and len(factor) != self.head // 2:
                raise ValueError(f"{name} has {len(factor)} numbers, a head of {self.head} needs {self.head // 2}")

    @property
    def head(self) -> int:
        """Numbers in a head."""
        return self.width // self.heads

    def to_json(self) -> dict[str, Any]:
        """The decoder's ``config.json`` (that of a Phi-3)."""
        ones = [1.0] * (self.head // 2)
        rope = {"type": "longrope", "short_factor": list(self.short_factor) or ones}
        rope["long_factor"] = list(self.long_factor) or ones
        named = {theirs: getattr(self, ours) for ours, theirs in PHI.items()}
        return named | {"model_type": "phi3", "hidden_act": "silu", "rope_scaling": rope}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], channels: int = 4) -> Self:
        """The config in the decoder's ``config.json``; ValueError for another network."""
        if data.get("model_type", "phi3") != "phi3" or data.get("hidden_act", "silu") != "silu":
            raise ValueError(f"the image decoder's config is of {data.get('model_type')!r}, wanted a phi3 with silu")
        missing = [theirs for theirs in PHI.values() if theirs not in data and theirs != "num_key_value_heads"]
        if missing:
            raise ValueError(f"the image decoder's config lacks {', '.join(missing)}")
        values = {ours: data[theirs] for ours, theirs in PHI.items() if data.get(theirs) is not None}
        values.setdefault("kv_heads", values["heads"])
        rope = data.get("rope_scaling") or {}
        for name in ("short_factor", "long_factor"):
            values[name] = tuple(rope.get(name, ()))
        return cls(**values, channels=channels)


# our field -> the released config's
PHI: dict[str, str] = {
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "mlp": "intermediate_size",
    "eps": "rms_norm_eps",
    "theta": "rope_theta",
    "positions": "max_position_embeddings",
    "original_positions": "original_max_position_embeddings",
    "vocabulary": "vocab_size",
    "pad": "pad_token_id",
}


def tiny(config: MindOmniConfig = MindOmniConfig(), **defaults: Any) -> MindOmniConfig:
    """Short texts and small pictures: what a model of a few million parameters is trained with."""
    usual: dict[str, Any] = {"text_limit": 24, "thinking_limit": 64, "size": 64, "steps": 16, "guidance": 1.0} | {
        "turns": 0
    }
    return replace(
        config,
        system="[answer]",
        think="[think]",
        instruction="[draw]\n",
        negative="",
        first_step="full",
        max_pixels=64 * 64,
        defaults=Defaults(**usual | {"turns": 0} | defaults),
    )
