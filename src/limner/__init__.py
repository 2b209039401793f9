"""limner: unified multimodal models that think before they draw.

import limner

answer = limner.load("tiny-mmada").generate("an animal with (3+6) lives")
answer.thinking, answer.image, answer.seed, answer.seconds
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from limner.answer import Limner

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def load(model: str = "tiny-mmada", **options: Any) -> Limner:
    """The model of that name, or in that checkpoint folder, ready to be asked; see `limner.answer.Limner.load`."""
    from limner.answer import Limner

    return Limner.load(model, **options)
