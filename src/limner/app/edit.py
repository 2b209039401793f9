"""`limner edit`: change a picture as an instruction says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from limner.app.console import OWN
from limner.app.drawing import Drawing

if TYPE_CHECKING:
    from limner.request import Request


@dataclass(frozen=True, kw_only=True)
class Edit(Drawing):
    """Change a picture as an instruction says: limner edit cat.png "make it blue".

    For models of a family that can edit. The new picture has the shape of the old one where the model can draw it.
    """

    image: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE")]
    """A PNG or JPEG file of at most 64 million pixels."""
    prompt: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="INSTRUCTION")]
    """What to change, in words."""
    think: bool = True
    """Think before drawing, if the model was taught to think about changes."""
    size: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint=OWN)] = None
    """Side of the picture in pixels; of one that is not square, of the square with as many."""

    def request(self) -> Request:
        """The picture, and what to do with it."""
        from limner.request import Request, read_picture

        picture = read_picture(self.image)
        wish = (self.prompt, self.think, self.steps, self.guidance, self.size)
        return Request("edit", *wish, image=picture, fast=self.fast)
