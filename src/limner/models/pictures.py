"""Pictures as rows of codes and back, for every family that draws with a codec of squares."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image as pil
from torch import Tensor

from limner.codecs.magvit import MagvitCodec, to_pixels, to_uint8
from limner.parts import Conversation, Image


def present(codec: MagvitCodec | None) -> MagvitCodec:
    """The codec; ValueError where a model was loaded without one."""
    if codec is None:
        raise ValueError("this model was loaded without its picture codec; give the codec's folder when loading it")
    return codec


def see(codec: MagvitCodec, pictures: Sequence[pil.Image], grid: int, device: torch.device | str = "cpu") -> Tensor:
    """Codes (B, grid * grid) of pictures, each cropped to a square in the middle."""
    square = np.stack([np.asarray(crop(picture, grid * codec.factor)) for picture in pictures])
    return codec.encode(to_pixels(torch.from_numpy(square)).to(device)).flatten(1)


@torch.no_grad()
def show(codec: MagvitCodec, codes: Tensor, size: int | None = None) -> list[pil.Image]:
    """Codes (B, N) of square pictures as pictures of ``size`` pixels a side."""
    side = math.isqrt(codes.shape[1])
    if side * side != codes.shape[1]:
        raise ValueError(f"{codes.shape[1]} codes are not a square picture")
    # one by one: in a batch the same codes come out a rounding error apart, and the bytes would differ
    each = [codec.decode(row.view(1, side, side), size) for row in codes]
    return [pil.fromarray(to_uint8(pixels)[0].cpu().numpy()) for pixels in each]


def size_of(num_codes: int, grids: Mapping[int, int], default: int) -> int | None:
    """The size in pixels to show so many codes at: the default or the least with that grid; None where none has it."""
    sizes = [size for size, grid in grids.items() if grid * grid == num_codes]
    return default if default in sizes else min(sizes, default=None)


def crop(picture: pil.Image, side: int) -> pil.Image:
    """The shorter side resized to ``side`` (bicubic), then the square in the middle, as RGB."""
    picture = picture.convert("RGB")
    width, height = picture.size
    if (width, height) == (side, side):
        return picture
    wide, high = (max(side, side * length // min(width, height)) for length in (width, height))
    resized = picture.resize((wide, high), pil.Resampling.BICUBIC)
    left, top = round((wide - side) / 2), round((high - side) / 2)
    return resized.crop((left, top, left + side, top + side))


def check_room(conversation: Conversation, words: int, codes: int, most: int) -> None:
    """Raise ValueError where the pictures of a conversation, two marks with each, do not fit beside so many words.

    ``codes`` are those of a picture that no model drew, ``most`` is what the model reads in all.
    """
    shown = [part for message in conversation for part in message.parts if isinstance(part, Image)]
    length = words + sum((codes if part.raw is None else len(part.raw)) + 2 for part in shown)
    if shown and length > most:
        raise ValueError(
            f"the prompt takes {length} tokens with its pictures ({len(shown)}), but this model reads {most}; "
            "show fewer, or say less"
        )
