"""`limner generate`: think about a prompt, then draw it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from limner.app.console import OWN
from limner.app.drawing import Drawing

if TYPE_CHECKING:
    from limner.request import Request


_FAST = (
    "Think in fewer or cheaper passes, so in other words at times. threshold: every word that is sure enough at once; "
    "factor: fewer at once where they are less sure; revoke: many at once, and back with those that no longer fit; "
    "prefix, dual: look at the words around those in work only now and then. Ways are joined by +, and = sets a way's "
    "number: threshold=0.8+dual."
)
Fast = Annotated[str, tyro.conf.arg(metavar="WAY", help_behavior_hint="(default: the exact way)", help=_FAST)]


@dataclass(frozen=True, kw_only=True)
class Generate(Drawing):
    """Think about a prompt, draw it, and save the picture with its request embedded."""

    prompt: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PROMPT")]
    """What to draw, in words."""
    size: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint=OWN)] = None
    """Side of the picture in pixels."""
    fast: Fast = ""

    def request(self) -> Request:
        """A picture from words."""
        from limner.request import Request

        return Request("generate", self.prompt, self.think, self.steps, self.guidance, self.size, fast=self.fast)
