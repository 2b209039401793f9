"""A request as a value, and pictures read from files: checked before anything heavy is loaded."""

from __future__ import annotations

import io
import math
import re
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from PIL import Image as pil
from PIL import ImageOps, UnidentifiedImageError

from limner.canvas import Canvas, Margins
from limner.parts import Ask, Conversation, Image, PartKind, Plan, Text, user

if TYPE_CHECKING:
    from limner.models.base import Model

Command = Literal["generate", "edit", "inpaint", "extend", "ask", "say", "fill"]
DRAWS = ("generate", "edit", "inpaint", "extend")  # the others answer in words
ALTERS = ("inpaint", "extend")  # keep a part of a given picture
SEES: dict[str, bool] = {"say": False, "edit": True, "inpaint": True, "extend": True, "ask": True}

MOST_PIXELS = 64_000_000
NARROW = 200  # how many times one side of a picture may be the other: models look at squares
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")  # of pictures that come from outside
MOST_STEPS = 1000
MOST_GUIDANCE = 100.0
MOST_TEMPERATURE = 100.0
SIZES = (8, 4096)  # smallest and largest side that may be asked for, in pixels; a model may allow less
BLANK = re.compile(r"_{2,}")
BLANKS = (1, 2, 3)  # tokens in a blank that are tried
_WANTED = {"ask": "question", "fill": "text", "edit": "instruction"}


@dataclass(frozen=True)
class Request:
    """What is wanted. None leaves the choice to the model. Impossible wishes raise ValueError on construction.

    ``image`` is the picture that a question is about, that a drawing begins from, or that is kept in part: ``mask``
    (of its size) is not black where it is made anew, ``margins`` are the pixels it grows by. ``begin`` is how an answer
    begins. In a text to ``fill`` two or more underscores are a blank of ``blank`` tokens (None: the likeliest number),
    and ``question`` is what the text replies to. ``temperature`` is that of words, and ``fast`` a way to make them in
    fewer passes, such as "threshold" ("": the exact way). ``history`` are the messages that stand before, the oldest
    first; a last one of the user's that nobody answered is gone on with.
    """

    command: Command
    prompt: str
    think: bool
    steps: int | None = None
    guidance: float | None = None
    size: int | None = None
    image: pil.Image | None = None
    mask: pil.Image | None = None
    margins: Margins = (0, 0, 0, 0)
    begin: str = ""
    question: str = ""
    blank: int | None = None
    temperature: float | None = None
    fast: str = ""
    history: Conversation = ()

    def __post_init__(self) -> None:
        if self.fast and self.command in DRAWS and not self.think:
            raise ValueError(f"fast={self.fast!r} is for words, but without thinking there are none to be made")
        what = _WANTED.get(self.command, "prompt")
        if not self.prompt.strip():
            raise ValueError(f"the {what} is empty; say in words what you want")
        _within("steps", self.steps, 1, MOST_STEPS)
        _within("guidance", self.guidance, 0, MOST_GUIDANCE)
        _within("temperature", self.temperature, 0, MOST_TEMPERATURE)
        if self.size is not None and not SIZES[0] <= self.size <= SIZES[1]:
            raise ValueError(f"size={self.size} is impossible; give a side of {SIZES[0]} to {SIZES[1]} pixels")
        shown = any(isinstance(part, Image) for message in self.history for part in message.parts)
        seen = self.image is not None or (shown and self.command == "ask")
        if seen != SEES.get(self.command, seen):
            raise ValueError(f"{self.command} goes {'with' if self.image is None else 'without'} a picture")
        if self.image is not None:
            _checked(self.image, "the picture")
        if self.command == "inpaint":
            self._check_mask()
        if self.command == "extend":
            self._check_margins()
        if self.command == "fill":
            self._check_blanks()

    def _check_mask(self) -> None:
        assert self.image is not None
        if self.mask is None:
            raise ValueError("inpaint goes with a mask: a picture that is white where something is to be made anew")
        if self.mask.size != self.image.size:
            raise ValueError(
                f"the mask has {self.mask.width} x {self.mask.height} pixels, the picture {self.image.width} x "
                f"{self.image.height}; give a mask of the picture's size"
            )
        if self.mask.getbbox() is None:
            raise ValueError("the mask leaves nothing to be made anew; mark at least one pixel")

    def _check_margins(self) -> None:
        assert self.image is not None
        for name, margin in zip(("left", "right", "up", "down"), self.margins, strict=True):
            if margin < 0:
                raise ValueError(f"{name}={margin} is impossible; give a number of pixels, 0 or more")
        left, right, up, down = self.margins
        if not any(self.margins):
            raise ValueError("there is nothing to extend; give the pixels to add: left, right, up or down")
        width, height = self.image.width + left + right, self.image.height + up + down
        if width * height > MOST_PIXELS:
            raise ValueError(
                f"the extended picture would have {width} x {height} pixels; at most {MOST_PIXELS // 10**6} million "
                "can be made"
            )

    def _check_blanks(self) -> None:
        _within("blank", self.blank, 1, 64)
        if not BLANK.search(self.prompt):
            raise ValueError(f"there is no blank in {self.prompt!r}; write ___ where words are missing")
        if not self._asked:
            raise ValueError(f"{self.prompt!r} is nothing but blanks; give words around them, or a question")

    @property
    def _asked(self) -> str:
        """The words that a reply is made to."""
        words = self.prompt if self.command != "fill" else self.question or BLANK.sub(" ", self.prompt)
        return " ".join(words.split()) if self.command == "fill" else words.strip()

    @property
    def conversation(self) -> Conversation:
        """The history, and the request as the user's message. A picture that is kept in part is not in it: the model
        completes it."""
        before = self.history
        said = user(Text(self._asked))
        if self.image is not None and self.command not in ALTERS:
            said = user(Image(self.image), *said.parts)
        if before and before[-1].role == "user":
            before, said = before[:-1], user(*before[-1].parts, *said.parts)
        return (*before, said)

    @property
    def given_words(self) -> tuple[str, ...]:
        """Words of the reply that stand already."""
        given = (self.begin, *(BLANK.split(self.prompt) if self.command == "fill" else ()))
        return tuple(text.strip() for text in given if text.strip())

    def plan(self, model: Model, blank: int = 1) -> Plan:
        """The parts that are wanted, with the model's defaults where the request leaves the choice.

        ``blank`` is the number of tokens in a blank if the request does not say.
        """
        if self.command == "edit" and not model.edits:
            raise ValueError(
                f"models of the family {model.family} cannot edit a picture as words say; choose another with --model"
            )
        last: PartKind = "image" if self.command in DRAWS else "text"
        taught = last != "image" or model.thinks_of(last, edits=self.image is not None)
        asks = list(model.plan(model.kinds(last, self.think and taught)))
        if self.fast:
            if all(ask.kind == "image" for ask in asks):
                raise ValueError(
                    f"fast={self.fast!r} is for words, but this model was not taught to think; leave it out"
                )
            asks = [ask if ask.kind == "image" else replace(ask, fast=self.fast) for ask in asks]
        own = asks[-1]
        if last == "image":
            guidance = own.guidance if self.guidance is None else self.guidance
            size, like = self.size or own.size, None
            if self.command == "edit" and self.image is not None:
                like = model.shape_of(self.image.size, size)
            asks[-1] = replace(own, steps=self.steps or own.steps, guidance=guidance, size=size, shape=like)
            return tuple(asks)
        if self.temperature is not None:
            asks = [replace(ask, temperature=self.temperature) for ask in asks]
        if self.command == "fill":
            asks[-1] = _with_blanks(model, asks[-1], self.prompt, self.blank or blank)
        elif self.begin.strip():
            asks[-1] = _with_beginning(model, asks[-1], self.begin.strip())
        return tuple(asks)

    def canvas(self, model: Model, ask: Ask) -> Canvas:
        """The kept picture, ready to be completed by an ask for pictures. ValueError where the model cannot do it."""
        assert self.image is not None
        length = model.settings(ask, 1).length
        grid = math.isqrt(length)
        if grid * grid != length:
            raise ValueError(f"a picture of {length} codes is no square; this model cannot complete pictures")
        anything = Image(pil.new("RGB", (1, 1)), (0,) * length)
        model.settings(replace(ask, known=anything, mask=(True,) * length), 1)  # refused by models that cannot
        if self.command == "extend":
            return Canvas.extend(self.image, self.margins, grid)
        assert self.mask is not None
        return Canvas.inpaint(self.image, self.mask, grid)


def _with_beginning(model: Model, ask: Ask, begin: str) -> Ask:
    """An ask for words that begin with these and go on for as long as the ask allows."""
    ids = _ids(model, begin)
    ask = _with_room(model, ask, len(ids) + model.settings(ask, 1).length)
    missing = model.settings(ask, 1).length - len(ids)
    mask = (*[False] * len(ids), *[True] * missing)
    return replace(ask, known=Text(begin, (*ids, *[0] * missing)), mask=mask)


def _with_blanks(model: Model, ask: Ask, text: str, blank: int) -> Ask:
    """An ask for a text with its blanks filled in, so many tokens each."""
    *before, last = BLANK.split(text.strip())
    ids: list[int] = []
    free: list[bool] = []
    for piece in before:
        # a word brings the space in front of it along
        known = _ids(model, piece.rstrip())
        ids += [*known, *[0] * blank]
        free += [False] * len(known) + [True] * blank
    end = model.encode([Text(last)])[0].tolist()
    ids, free = ids + end, free + [False] * len(end)
    ask = _with_room(model, ask, len(ids))
    missing = model.settings(ask, 1).length - len(ids)
    return replace(ask, known=Text(text, (*ids, *end[-1:] * missing)), mask=(*free, *[False] * missing))


def _ids(model: Model, text: str) -> list[int]:
    """The values of words that go on: without the end."""
    return [int(value) for value in model.encode([Text(text)])[0, :-1]]


def _with_room(model: Model, ask: Ask, needed: int) -> Ask:
    """An ask for at least that many values."""
    own = model.settings(ask, 1)
    return ask if own.length >= needed else replace(ask, limit=-(-needed // own.block) * own.block)


def _within(name: str, value: float | None, low: int, high: float) -> None:
    if value is not None and not (math.isfinite(value) and low <= value <= high):
        raise ValueError(f"{name}={value} is impossible; give {low} to {high:g}")


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
            return _on_white(ImageOps.exif_transpose(opened))
        except (OSError, SyntaxError, ValueError) as error:
            raise ValueError(f"{str(path)!r} is damaged or cut short and cannot be read: {error}") from error


def read_content(content: bytes, most: int = MOST_PIXELS) -> pil.Image:
    """The picture in a file's content, as `read_picture` reads one; the first of several frames. ValueError for other
    formats than `FORMATS`, for more than ``most`` pixels, and for what is damaged."""
    try:
        with pil.open(io.BytesIO(content), formats=FORMATS) as opened:
            _checked(opened, "the picture", most)
            return _on_white(ImageOps.exif_transpose(opened))
    except UnidentifiedImageError:
        raise ValueError(f"this is no picture that can be read; send one of: {', '.join(FORMATS)}") from None
    except (pil.DecompressionBombError, pil.DecompressionBombWarning):
        raise ValueError(f"the picture has more than {most / 10**6:g} million pixels; scale it down") from None
    except Impossible:
        raise
    except Exception as error:  # decoders fail in many ways on damaged files
        raise ValueError(f"the picture is damaged or cut short and cannot be read: {error}") from error


def a_picture(image: pil.Image | str | Path) -> pil.Image:
    """A picture as it is, or the one in a file."""
    return image if isinstance(image, pil.Image) else read_picture(image)


def what_is_free(mask: pil.Image | str | Path | None = None, keep: pil.Image | str | Path | None = None) -> pil.Image:
    """Black and white (mode "L", 0 or 255): white where something is to be made anew.

    ``mask`` is white or transparent there already (lighter than middle grey); ``keep`` is so where it is to be kept.
    ValueError unless exactly one is given, and for files that cannot be read.
    """
    given = mask if mask is not None else keep
    if given is None or (mask is not None and keep is not None):
        raise ValueError("give either a mask (white is made anew) or a picture of what to keep (white is kept)")
    light, dark = (255, 0) if mask is not None else (0, 255)
    table = [dark] * 128 + [light] * 128
    return _on_white(a_picture(given)).convert("L").point(table)


def _on_white(picture: pil.Image) -> pil.Image:
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = pil.alpha_composite(pil.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


class Impossible(ValueError):
    """A picture of a size that is not taken."""


def _checked(picture: pil.Image, name: str, most: int = MOST_PIXELS) -> pil.Image:
    width, height = picture.size
    if width * height > most:
        picture.close()
        raise Impossible(f"{name} has {width} x {height} pixels; at most {most / 10**6:g} million can be read")
    if max(width, height) > NARROW * min(width, height):
        picture.close()
        raise Impossible(f"{name} has {width} x {height} pixels; one side may be {NARROW} times the other at most")
    return picture
