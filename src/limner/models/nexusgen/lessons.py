"""Conversations as the autoregressive part learns them: ids, labels, and the embeddings that are to be predicted.

One sequence holds a whole conversation; ``Renderer.lesson`` says what stands in it as rows. Letters: B rows, T places,
M places of predicted pictures in all rows, D width, n places of one picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limner.models.base import Reply
from limner.models.nexusgen.config import Own
from limner.models.nexusgen.network import Reader
from limner.models.nexusgen.objective import UNTRAINED, Terms, terms
from limner.models.qwen25vl import Prompt, stack
from limner.parts import Conversation, Image

if TYPE_CHECKING:
    from limner.models.nexusgen.model import NexusGen


@dataclass(frozen=True)
class Lesson:
    """What is asked, and the reply that is taught. ``ends``: the model's turn ends there, which it learns too."""

    conversation: Conversation
    reply: Reply
    ends: bool = True


def lessons_of(conversation: Conversation, own: Own) -> list[Lesson]:
    """What a whole conversation teaches. Where the model's own pictures stand as rows (``own`` "rows"), one sequence
    teaches all of its turns, as published; where they are seen, a turn, and every picture in it, is a lesson.

    Raises ValueError for a conversation that does not end with the model's turn.
    """
    if not conversation or conversation[-1].role != "assistant" or not conversation[-1].parts:
        raise ValueError("there is no reply to learn; a conversation in the data ends with the assistant's turn")
    if own == "rows":
        return [Lesson(conversation[:-1], conversation[-1].parts)]
    found = []
    for i, message in enumerate(conversation):
        if message.role != "assistant":
            continue
        last = len(message.parts) - 1
        ends = [k for k, part in enumerate(message.parts) if isinstance(part, Image) or k == last]
        found += [Lesson(conversation[:i], message.parts[: k + 1], k == last) for k in ends]
    return found


@dataclass(frozen=True)
class Laid:
    """Lessons laid out. labels (B, T) int64: the ids that are trained, -100 elsewhere. The pictures that are predicted,
    row after row: patches (G, K, P) float32 and grids (G, 1, 3)."""

    prompt: Prompt
    labels: Tensor
    patches: Tensor
    grids: Tensor

    def to(self, device: torch.device | str) -> Laid:
        """The same on another device."""
        rest = (each.to(device) for each in (self.labels, self.patches, self.grids))
        return Laid(self.prompt.to(device), *rest)


def lay_out(model: NexusGen, lessons: Sequence[Lesson], own: Own | None = None) -> Laid:
    """Lessons as one batch, padded on the left. Only the model's words and choices are used, not its weights; ``own``
    says how pictures that the model drew stand there (None: as its config says)."""
    config = model.config if own is None else replace(model.config, own=own)
    renderer = replace(model.renderer, config=config)
    rows, learned = list[list[int]](), list[list[bool]]()
    shown: list[list[tuple[Tensor, tuple[int, int, int]]]] = []
    predicted: list[Image] = []
    for lesson in lessons:
        script, drawn = renderer.lesson(lesson.conversation, lesson.reply, lesson.ends)
        pictures = [model.own(p.part.image) if p.own else model.shown(p.part.image) for p in script.pictures]
        before, said = renderer.halves(script, [model.eyes.tokens(grid) for _, grid in pictures])
        rows.append(before + said)
        learned.append(renderer.taught(before, said))
        shown.append(pictures)
        predicted += drawn
    prompt = stack(rows, shown, min(renderer.ends))
    trained = torch.zeros_like(prompt.kept)
    trained[prompt.kept] = torch.tensor([one for row in learned for one in row])
    labels = torch.where(trained, prompt.before, UNTRAINED)
    targets = [model.own(part.image) for part in predicted]
    if not targets:
        return Laid(prompt, labels, torch.zeros(0, 0, 0), torch.zeros(0, 1, 3, dtype=torch.int64))
    return Laid(
        prompt,
        labels,
        torch.stack([patches for patches, _ in targets]),
        torch.tensor([[grid] for _, grid in targets], dtype=torch.int64),
    )


def embeddings(reader: Reader, laid: Laid) -> Tensor | None:
    """(M, D) what the vision tower makes of the pictures that are predicted; None without any."""
    if not len(laid.patches):
        return None
    with torch.no_grad():
        return reader.see(laid.patches, laid.grids)


def loss_terms(reader: Reader, laid: Laid, targets: Tensor | None) -> Terms:
    """The losses of a micro-batch. Where vectors are fed back ("none") the true ones are read (teacher forcing)."""
    return terms(reader, laid.prompt, laid.labels, targets, targets if reader.rows == "none" else None)
