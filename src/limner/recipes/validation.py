"""What a run is measured by while it trains, on what it never trains on: the picture world, or held-out rows.

Each is a `Run.validate`: (model with averaged weights, step) -> numbers. Prompts, rows and noise are the same every
time, so that two steps of a run, and two runs, can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice

import torch
from torch import nn

from limner.bench.world import tasks
from limner.data.stream import Report, Stream, parts_of
from limner.judges.scenes import scene_judge
from limner.models.base import Model
from limner.recipes.messages import objective
from limner.turn import rollout
from limner.world import lessons

Validate = Callable[[nn.Module, int], Mapping[str, float]]
WORLD = "world"


def _checked(model: nn.Module) -> Model:
    if not isinstance(model, Model):
        raise ValueError(f"only a model that makes replies can be validated so, not a {type(model).__name__}")
    return model


def on_world(
    prompts: int = 8, groups: Sequence[str] = lessons.EXPLICIT, *, think: bool = False, seed: int = 1
) -> Validate:
    """Strict success (0 to 1) of new compositions, ``prompts`` a group: ``score`` over all that could be judged, one
    number a group, and how many were ``unjudged``."""
    every = [task for group in groups for task in tasks(group, "new_compositions", prompts, seed)]

    def validate(model: nn.Module, step: int) -> dict[str, float]:
        plan = _checked(model).plan(("thinking", "image") if think else ("image",))
        verdicts = scene_judge()(rollout(_checked(model), every, plan, list(range(len(every)))))
        scores = [verdict.score for verdict in verdicts]
        found = {group: _mean(scores[i * prompts : (i + 1) * prompts]) for i, group in enumerate(groups)}
        known = {group: mean for group, mean in found.items() if mean is not None}
        return {"score": _mean(scores) or 0.0, **known, "unjudged": float(scores.count(None))}

    return validate


def _mean(scores: Sequence[float | None]) -> float | None:
    known = [score for score in scores if score is not None]
    return sum(known) / len(known) if known else None


def on_rows(names: Sequence[str], rows: int = 64, *, batch: int = 8, seed: int = 1) -> Validate:
    """Minus the log-probability of the answers in held-out rows, as ``sft`` learns them: ``loss``, and one number a
    kind of part. The first ``rows`` of each source, by weight. Broken ones are an error."""
    parts_of(names)  # complains now

    def validate(model: nn.Module, step: int) -> dict[str, float]:
        stream = Stream(parts_of(names), seed=seed, shuffle=False, report=Report("stop"))
        sums: dict[str, list[float]] = {}
        for index in range(0, rows, batch):
            some = list(islice(stream, min(batch, rows - index)))
            loss, numbers = objective(_checked(model), some, torch.Generator().manual_seed(seed + index))
            for name, value in {"loss": float(loss.detach()), **numbers}.items():
                sums.setdefault(name, []).append(value)
        sums.pop("tokens", None)
        return {name: sum(found) / len(found) for name, found in sums.items()}

    return validate


def named(name: str) -> Validate:
    """``world``, or the name of a source of rows. Raises ValueError for a source that cannot be read."""
    return on_world() if name == WORLD else on_rows([name])
