"""Supervised fine-tuning: minus the log-probability of given values, for any process.

MMaDA's losses (2505.15809 section 3.1; spec section 8) in these terms: words are weighted by 1/p and divided by the
answer's length, pictures are a plain mean over the hidden codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from limner.models.base import Model
from limner.parts import PartKind
from limner.process.base import Context, Draw, Scored


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


def sft(model: Model, pieces: Sequence[Piece], *, by_length: bool = True) -> tuple[Tensor, dict[str, float]]:
    """(loss, one number a piece): the weighted sum of the pieces' losses.

    ``by_length`` scores words as published; False takes the plain mean over hidden words, as for pictures, whose
    gradient varies much less from batch to batch (the published weight 1/p reaches the answer's length).
    """
    if not pieces:
        raise ValueError("sft needs at least one piece to learn from")
    losses, numbers = [], {}
    for piece in pieces:
        scored = model.process(piece.kind).log_prob(piece.context, piece.values, piece.draw)
        loss = piece_loss(scored, by_length=by_length and piece.kind != "image")
        numbers[piece.name] = float(loss.detach())
        losses.append(piece.weight * loss)
    return torch.stack(losses).sum(), numbers
