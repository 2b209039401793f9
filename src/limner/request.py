"""A request as a value, and pictures read from files: checked before anything heavy is loaded."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from PIL import Image as pil
from PIL import ImageOps, UnidentifiedImageError

from limner.parts import Conversation, Image, PartKind, Plan, Text, user

if TYPE_CHECKING:
    from limner.models.base import Model

MOST_PIXELS = 64_000_000
MOST_STEPS = 1000
MOST_GUIDANCE = 100.0
SIZES = (8, 4096)  # smallest and largest side that may be asked for, in pixels; a model may allow less


@dataclass(frozen=True)
class Request:
    """What is wanted. ``image`` is the picture that a question is about; None elsewhere leaves the choice to the model.

    Impossible wishes raise ValueError on construction.
    """

    command: Literal["generate", "ask"]
    prompt: str
    think: bool
    steps: int | None = None
    guidance: float | None = None
    size: int | None = None
    image: pil.Image | None = None

    def __post_init__(self) -> None:
        what = "prompt" if self.command == "generate" else "question"
        if not self.prompt.strip():
            raise ValueError(f"the {what} is empty; say in words what you want")
        if self.steps is not None and not 1 <= self.steps <= MOST_STEPS:
            raise ValueError(f"steps={self.steps} is impossible; give 1 to {MOST_STEPS}")
        if self.guidance is not None and not (math.isfinite(self.guidance) and 0 <= self.guidance <= MOST_GUIDANCE):
            raise ValueError(f"guidance={self.guidance} is impossible; give 0 to {MOST_GUIDANCE:g}")
        if self.size is not None and not SIZES[0] <= self.size <= SIZES[1]:
            raise ValueError(f"size={self.size} is impossible; give a side of {SIZES[0]} to {SIZES[1]} pixels")
        if (self.image is None) != (self.command == "generate"):
            raise ValueError(f"{self.command} goes {'without' if self.command == 'generate' else 'with'} a picture")
        if self.image is not None:
            _checked(self.image, "the picture")

    @property
    def conversation(self) -> Conversation:
        """The request as the user's message."""
        words = Text(self.prompt.strip())
        return (user(Image(self.image), words) if self.image is not None else user(words),)

    def plan(self, model: Model) -> Plan:
        """The parts that are wanted, with the model's defaults where the request leaves the choice."""
        last: PartKind = "image" if self.command == "generate" else "text"
        asks = list(model.plan(["thinking", last] if self.think else [last]))
        if last == "image":
            own = asks[-1]
            guidance = own.guidance if self.guidance is None else self.guidance
            asks[-1] = replace(own, steps=self.steps or own.steps, guidance=guidance, size=self.size or own.size)
        return tuple(asks)


def open_picture(path: str | Path) -> pil.Image:
    """The picture file, opened but not read. Raises ValueError if it is missing, unreadable or too large."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", pil.DecompressionBombWarning)
        try:
            return _checked(pil.open(path), str(path))
        except FileNotFoundError:
            raise ValueError(f"there is no picture file {str(path)!r}") from None
        except IsADirectoryError:
            raise ValueError(f"{str(path)!r} is a folder; give a picture file") from None
        except UnidentifiedImageError:
            raise ValueError(f"{str(path)!r} is not a picture that can be read; give a PNG or JPEG file") from None
        except (pil.DecompressionBombError, pil.DecompressionBombWarning):
            raise ValueError(
                f"{str(path)!r} has more than {MOST_PIXELS // 10**6} million pixels; scale it down"
            ) from None
        except OSError as error:
            raise ValueError(f"{str(path)!r} cannot be read: {error.strerror or error}") from error


def read_picture(path: str | Path) -> pil.Image:
    """The picture in a file as RGB, upright, on white where it is transparent. ValueError as in `open_picture`."""
    with open_picture(path) as opened:
        try:
            picture = ImageOps.exif_transpose(opened)
            if picture.has_transparency_data:
                picture = picture.convert("RGBA")
                picture = pil.alpha_composite(pil.new("RGBA", picture.size, "white"), picture)
            return picture.convert("RGB")
        except (OSError, SyntaxError, ValueError) as error:
            raise ValueError(f"{str(path)!r} is damaged or cut short and cannot be read: {error}") from error


def _checked(picture: pil.Image, name: str) -> pil.Image:
    width, height = picture.size
    if width * height > MOST_PIXELS:
        picture.close()
        raise ValueError(f"{name} has {width} x {height} pixels; at most {MOST_PIXELS // 10**6} million can be read")
    return picture
