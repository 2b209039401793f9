"""OmniGen's own way of conditioning the decoder (2409.11340): token ids, and input pictures as decoder tokens.

Stage one of MindOmni's training takes it as the teacher of the connector. MindOmni's inference never uses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limner.models.mindomni.network import Encoded, ImageDecoder

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


def encode(
    decoder: ImageDecoder, ids: Tensor, kept: Tensor, more: int, pictures: Sequence[tuple[int, int, Tensor]] = ()
) -> Encoded:
    """A condition of token ids (B, L), kept (B, L) bool, padding on the left. ``pictures`` are (row, first place,
    latents (C, h, w)): each takes the places of its tokens, and sees itself both ways."""
    x: Tensor = decoder.embed_tokens(ids)
    spans = torch.zeros_like(ids)
    for number, (row, begin, latents) in enumerate(pictures, start=1):
        tokens = decoder.embed_input(latents[None].to(decoder.dtype))[0]
        end = begin + len(tokens)
        if not 0 <= begin < end <= ids.shape[1]:
            raise ValueError(f"a picture of {len(tokens)} tokens has no room at place {begin} of {ids.shape[1]}")
        places = torch.zeros_like(spans, dtype=torch.bool)
        places[row, begin:end] = True
        x = x.masked_scatter(places[:, :, None], tokens.to(x.dtype))
        spans[row, begin:end] = number
    return decoder.encode(x, kept, more, spans if pictures else None)


def fitting(picture: Picture, most: int, cell: int = 16) -> Picture:
    """A picture as OmniGen reads it: halved while its short side is at least twice ``most``, its long side shrunk to
    ``most``, its short side grown to a cell, and both cropped in the middle to whole cells."""
    from PIL import Image as pil

    picture = picture.convert("RGB")
    while min(picture.size) >= 2 * most:
        picture = picture.resize((picture.width // 2, picture.height // 2), pil.Resampling.BOX)
    if max(picture.size) > most:
        picture = _scaled(picture, most / max(picture.size))
    if min(picture.size) < cell:
        picture = _scaled(picture, cell / min(picture.size))
    wide, high = picture.width // cell * cell, picture.height // cell * cell
    left, top = (picture.width - wide) // 2, (picture.height - high) // 2
    return picture.crop((left, top, left + wide, top + high))


def _scaled(picture: Picture, scale: float) -> Picture:
    from PIL import Image as pil

    return picture.resize((round(picture.width * scale), round(picture.height * scale)), pil.Resampling.BICUBIC)
