"""Supervised fine-tuning: minus the log-probability of given values, for any process.

The losses of 2505.15809 section 3.1 in these terms: words are weighted by 1/p and divided by the answer's length,
pictures are a plain mean over the hidden codes. Its code lets words compete with picture codes and also asks for the
two tokens around a picture, which are always shown; ``table_loss`` does that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from limner.models.base import Model
from limner.parts import PartKind
from limner.process.base import Context, Draw, Scored
from limner.process.masked import MaskedBlocks, MaskedCanvas


@dataclass(frozen=True)
class Piece:
    """Rows of one kind to learn: values (B, N) given a context, with their draw; ``weight`` scales the piece's loss."""

    name: str
    kind: PartKind
    context: Context
    values: Tensor
    draw: Draw
    weight: float = 1.0

    def to(self, device: torch.device | str) -> Piece:
        """The same piece on another device."""
        moved = self.context.to(device), self.values.to(device), self.draw.to(device)
        return Piece(self.name, self.kind, *moved, self.weight)


def piece_loss(scored: Scored, *, by_length: bool) -> Tensor:
    """Scalar: minus the weighted log-probability by the row's length (words) or by the count scored (pictures)."""
    if by_length:
        return -(scored.total / scored.hidden.shape[1]).mean()
    return -scored.tokens.sum() / scored.hidden.sum().clamp(min=1)


def table_scores(model: Model, context: Context, values: Tensor, draw: Draw) -> tuple[Tensor, Tensor, Tensor]:
    """What the published losses of pictures score: (logits (M, V) over the whole output table, labels (M,), at (B, T)
    bool: a picture's hidden codes and the tokens just before and behind it). Raises ValueError for a model whose words
    and pictures have no table in common."""
    canvas, blocks = model.process("image"), model.process("text")
    beside = blocks.net if isinstance(blocks, MaskedBlocks) else None
    net = canvas.table or beside if isinstance(canvas, MaskedCanvas) else None
    if not isinstance(canvas, MaskedCanvas) or net is None:
        raise ValueError(f"only masked pictures and words that have one table are scored so; {model.family} has none")
    nothing = torch.zeros_like(draw.hidden)
    clean, _, _ = context.given.around(canvas.how.ids(values, nothing))
    ids, kept, where = context.given.around(canvas.how.ids(values, draw.hidden))
    at = torch.zeros_like(kept)
    at[:, where] = draw.hidden
    at[:, max(0, where.start - 1) : where.start] = True
    at[:, where.stop : where.stop + 1] = True
    logits = net(ids, kept, at, where.start).float()
    if logits.shape[-1] <= int(clean[at].max()):
        raise ValueError(
            f"words are chosen among {logits.shape[-1]} values and picture codes reach {int(clean[at].max())}; let "
            "words compete over the whole table, or score pictures over codes alone"
        )
    return logits, clean[at], at


def table_loss(model: Model, piece: Piece) -> Tensor:
    """Scalar: mean cross-entropy of ``table_scores`` (as published). ValueError for a piece that is no picture."""
    if piece.kind != "image":
        raise ValueError(f"only masked pictures and words that have one table have such a loss, not {piece.name!r}")
    logits, labels, _ = table_scores(model, piece.context, piece.values, piece.draw)
    return torch.nn.functional.cross_entropy(logits, labels)


def sft(
    model: Model, pieces: Sequence[Piece], *, by_length: bool = True, pictures: Literal["codes", "table"] = "codes"
) -> tuple[Tensor, dict[str, float]]:
    """(loss, one number a piece): the weighted sum of the pieces' losses.

    ``by_length`` scores words as published; False takes the plain mean over hidden words, as for pictures, whose
    gradient varies much less from batch to batch (the published weight 1/p reaches the answer's length). ``pictures``
    "codes" scores hidden codes among codes, "table" is the published ``table_loss``.
    """
    if not pieces:
        raise ValueError("sft needs at least one piece to learn from")
    losses, numbers = [], {}
    for piece in pieces:
        if pictures == "table" and piece.kind == "image":
            loss = table_loss(model, piece)
        else:
            scored = model.process(piece.kind).log_prob(piece.context, piece.values, piece.draw)
            loss = piece_loss(scored, by_length=by_length and piece.kind != "image")
        numbers[piece.name] = float(loss.detach())
        losses.append(piece.weight * loss)
    return torch.stack(losses).sum(), numbers
