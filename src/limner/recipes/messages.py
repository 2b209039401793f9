"""`sft`: supervised fine-tuning of any family on rows of messages, minus log-probability of every answer of the model.

    limner train sft --model tiny-mmada --data mine.jsonl --data other.parquet@0.3 --broken skip

Every message of the assistant is learned given all that stands before it, thought and pictures included. Each kind of
part is averaged over its own values (words over words, codes over codes), and the parts' losses are added with the
share of the rows that have them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from limner import catalog
from limner.algorithms.sft import piece_loss
from limner.data.batches import from_names
from limner.data.stream import Broken, Example, Report
from limner.models.base import Model
from limner.parts import PartKind, Sample, Task, Text, Thinking
from limner.train.run import Run
from limner.turn import draws, log_prob

Kinds = tuple[PartKind, ...]


def answers(examples: Sequence[Example]) -> list[Sample]:
    """Every message of the assistant as a sample: what stands before it is the task."""
    return [
        Sample(Task(one.conversation[:i], one.row.facts, id=one.row.id), message.parts)
        for one in examples
        for i, message in enumerate(one.conversation)
        if message.role == "assistant"
    ]


def objective(model: nn.Module, batch: Sequence[Example], rng: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
    """(loss, one number a kind of part, and how many values were learned)."""
    assert isinstance(model, Model)
    samples = answers(batch)
    groups: dict[Kinds, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(tuple(part.kind for part in sample.reply), []).append(sample)
    total, told, tokens = torch.zeros((), device=model.device), dict[str, list[float]](), 0
    for kinds, some in groups.items():
        seeds = torch.randint(2**62, (len(some),), generator=rng).tolist()
        scored = log_prob(model, some, draws(model, some, seeds))
        for kind, one in zip(kinds, scored, strict=True):
            loss = piece_loss(one, by_length=False)
            total = total + loss * len(some) / len(samples)
            told.setdefault(kind, []).append(float(loss.detach()))
            tokens += one.tokens.numel()
    return total, {kind: sum(found) / len(found) for kind, found in told.items()} | {"tokens": float(tokens)}


def length(one: Example) -> int:
    """Letters of a row, by which rows of like length come together."""
    return sum(len(part.text) for turn in one.row.turns for part in turn.parts if isinstance(part, Text | Thinking))


def save(model: nn.Module, folder: Path) -> None:
    """Write the model's folder."""
    assert isinstance(model, Model)
    model.save(folder)


def sft(
    data: Sequence[str] = (), model: str = catalog.DEFAULT, broken: Broken = "stop", report: str = "",
    by_length: bool = False,
) -> Run:  # fmt: skip
    """A run on sources by name, each with its weight behind ``@``, from a model by name or folder. ``broken`` rows stop
    the run, or are left out and written to the file ``report``. ``by_length``: rows of like length share a batch.

    Raises ValueError where there are no sources, or one that cannot be read.
    """
    if not data:
        raise ValueError("the recipe sft needs rows to learn from: --data FILE, or FILE@WEIGHT for each of several")
    catalog.find(model)
    kept = Report(broken, Path(report) if report else None)
    settings: dict[str, Any] = {"data": list(data), "model": model, "broken": broken, "by_length": by_length}
    return Run(
        name="sft",
        build=lambda: catalog.load_model(model),
        objective=objective,
        batches=from_names(data, length=length if by_length else None, report=kept),
        finish=save,
        steps=1000,
        batch_size=8,
        lr=1e-5,
        warmup=20,
        ema=0.0,
        settings=settings,
    )
