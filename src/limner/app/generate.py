"""`limner generate`: think about a prompt, then draw it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from limner.app.console import OWN
from limner.app.drawing import Drawing

if TYPE_CHECKING:
    from limner.request import Request


@dataclass(frozen=True, kw_only=True)
class Generate(Drawing):
    """Think about a prompt, draw it, and save the picture with its request embedded."""

    prompt: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PROMPT")]
    """What to draw, in words."""
    size: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint=OWN)] = None
    """Side of the picture in pixels."""

    def request(self) -> Request:
        """A picture from words."""
        from limner.request import Request

        return Request("generate", self.prompt, self.think, self.steps, self.guidance, self.size, fast=self.fast)
