"""`limner inpaint` and `limner extend`: make a part of a picture anew, or make it larger."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from limner.app.drawing import Drawing

if TYPE_CHECKING:
    from limner.request import Request

Kept = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE")]
Prompt = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PROMPT")]
Pixels = Annotated[int, tyro.conf.arg(metavar="PX")]


@dataclass(frozen=True, kw_only=True)
class Inpaint(Drawing):
    """Make a part of a picture anew; every pixel outside it stays as it is."""

    image: Kept
    """A PNG or JPEG file of at most 64 million pixels."""
    prompt: Prompt
    """The whole picture in words, as it shall be."""
    mask: Annotated[Path | None, tyro.conf.arg(metavar="M", help_behavior_hint="")] = None
    """A picture of the same size: white (or transparent) is made anew, black is kept."""
    keep: Annotated[Path | None, tyro.conf.arg(metavar="M", help_behavior_hint="")] = None
    """Instead of --mask, the other way round: white (or transparent) is kept, black is made anew."""

    def request(self) -> Request:
        """The picture with a hole."""
        from limner.request import Request, read_picture, what_is_free

        picture, free = read_picture(self.image), what_is_free(self.mask, self.keep)
        wish = (self.prompt, self.think, self.steps, self.guidance)
        return Request("inpaint", *wish, image=picture, mask=free, fast=self.fast)


@dataclass(frozen=True, kw_only=True)
class Extend(Drawing):
    """Make a picture larger; the old one stands in it unchanged.

    The pixels to add are multiples of one code of the model: 16 for the tiny model's own pictures.
    """

    image: Kept
    """A PNG or JPEG file of at most 64 million pixels."""
    prompt: Prompt
    """The whole picture in words, as it shall be."""
    left: Pixels = 0
    """How many pixels to add on the left."""
    right: Pixels = 0
    """How many pixels to add on the right."""
    up: Pixels = 0
    """How many pixels to add above."""
    down: Pixels = 0
    """How many pixels to add below."""

    def request(self) -> Request:
        """The picture with margins."""
        from limner.request import Request, read_picture

        picture, margins = read_picture(self.image), (self.left, self.right, self.up, self.down)
        wish = (self.prompt, self.think, self.steps, self.guidance)
        return Request("extend", *wish, image=picture, margins=margins, fast=self.fast)
