"""Everything about a Nexus-Gen that is not a weight: texts around a prompt, choices, defaults, a decoder's sizes.

The released folder's ``config.json`` is a Qwen2.5-VL's; limner's fields stand in it under ``limner``, and are the
defaults of these classes where there are none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, Self

Painter = Literal["auto", "generation", "editing"]
Own = Literal["seen", "rows"]
RowsKind = Literal["table", "pad", "none"]
After = Literal["training", "official"]
Shapes = Literal["kept", "square"]


@dataclass(frozen=True)
class Texts:
    """Templates of one language; ``{}`` is the prompt."""

    draw: str = "Generate an image according to the following description: {}"
    drawn: str = "Here is an image based on the description: "
    edited: str = "Here is the image: "
    polish: str = "Please extend and polish the following image generation prompt: {}"


CHINESE = Texts("根据以下描述生成一张图像：{}", "这是根据您的描述生成的图像：", "以下为编辑后的图像：")


@dataclass(frozen=True)
class Defaults:
    """What is done when nobody says otherwise. Limits in tokens, size in pixels, guidance as w in (1+w)c - wu."""

    text_limit: int = 512
    thinking_limit: int = 256
    temperature: float = 0.0
    size: int = 512
    steps: int = 50
    guidance: float = 2.0
    turns: int | None = None  # earlier turns of a conversation to be shown; None: as many as fit


@dataclass(frozen=True)
class NexusConfig:
    """A Nexus-Gen as data.

    ``side`` squared embeddings make a picture. ``rows`` and ``after``: see ``Reader``. ``own``: how the model meets
    pictures that it drew before: "seen", as pictures that are shown (published inference), or "rows", as the constant
    rows that were there when they were predicted (published training). ``decoder``: "auto" paints with the editing
    decoder where the conversation holds a picture; the last one is its source. ``guided_edits`` guides edits too; as
    published they are not guided. ``distilled`` is the guidance number that the transformers are told. ``max_pixels``
    bounds a picture that is shown to the model. ``shapes``: an edit has its source's shape, in which the editing
    decoder sees the source too ("kept"), or both are squares, as published ("square"). ``keep_below``: an edit by the
    editing decoder has its source's own pixels wherever it differs by fewer levels of 255 from the source drawn anew
    (``keeping``); 0, as published: nowhere. Up to ``keep_until`` levels both are mixed. ``thinks_of_edits``: it was
    taught to think before a change as well.
    ``dit``: the transformers' sizes, None for FLUX.1-dev's.
    """

    system: str = "You are a helpful assistant."
    english: Texts = Texts()
    chinese: Texts = CHINESE
    side: int = 9
    rows: RowsKind = "table"
    after: After = "training"
    own: Own = "seen"
    decoder: Painter = "auto"
    guided_edits: bool = False
    distilled: float = 3.5
    max_pixels: int = 262_640
    shapes: Shapes = "kept"
    keep_below: float = 0.0
    keep_until: float = 0.0
    thinks_of_edits: bool = False
    dit: dict[str, Any] | None = None
    defaults: Defaults = Defaults()

    def __post_init__(self) -> None:
        known = {
            "rows": ("table", "pad", "none"),
            "after": ("training", "official"),
            "own": ("seen", "rows"),
            "decoder": ("auto", "generation", "editing"),
            "shapes": ("kept", "square"),
        }
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise ValueError(f"{name} is one of {', '.join(values)}, not {getattr(self, name)!r}")
        if self.side < 1 or self.max_pixels < 1:
            raise ValueError(f"side={self.side} and max_pixels={self.max_pixels} must be at least 1")
        for name in ("keep_below", "keep_until"):
            if not 0 <= getattr(self, name) <= 256:
                raise ValueError(f"{name}={getattr(self, name)} is counted in levels of 255; give 0 to 256")

    @property
    def keeps(self) -> bool:
        """Whether edits take pixels of their source."""
        return self.keep_below > 0 or self.keep_until > 0

    def to_json(self) -> dict[str, Any]:
        """limner's own fields of ``config.json``."""
        return {"family": "nexusgen", "limner": asdict(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The config that ``to_json`` wrote, or the defaults for a folder that says nothing."""
        if data.get("family", "nexusgen") != "nexusgen":
            raise ValueError(f"this folder holds a model of the family {data['family']!r}, not 'nexusgen'")
        own = dict(data.get("limner", {}))
        unknown = own.keys() - {item.name for item in fields(cls)}
        if unknown:
            raise ValueError(f"config.json has unknown fields under limner: {', '.join(sorted(unknown))}")
        for name, kind in (("english", Texts), ("chinese", Texts), ("defaults", Defaults)):
            if name in own:
                own[name] = kind(**own[name])
        return cls(**own)


def tiny(config: NexusConfig = NexusConfig(), **defaults: Any) -> NexusConfig:
    """Short texts and small pictures: what a model of a few million parameters is trained with."""
    usual: dict[str, Any] = {"text_limit": 24, "thinking_limit": 24, "size": 64, "steps": 16, "guidance": 0.0} | {
        "turns": 0
    }
    short = Texts("[draw] {}", "[drawn]", "[edited]", "[polish] {}")
    return replace(
        config,
        system="[answer]",
        english=short,
        chinese=short,
        max_pixels=64 * 64,
        defaults=Defaults(**usual | {"turns": 0} | defaults),
    )
