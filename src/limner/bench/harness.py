"""A limner model as a model of lm-evaluation-harness (the extra ``eval``), for tasks that let it write.

Tasks that compare likelihoods are refused: a masked model has no exact likelihood, and an estimate by draws is another
protocol that has to be asked for by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from limner.models.base import Model
from limner.parts import PartKind, Task, user
from limner.turn import rollout


def written(
    model: Model,
    requests: Sequence[tuple[str, Mapping[str, Any]]],
    *,
    think: bool = False,
    seed: int = 0,
    batch: int = 16,
) -> list[str]:
    """The model's answer to every (context, options), cut before the first of the options' ``until``.

    ``max_gen_toks`` of the options limits the words; requests with other limits are made apart.
    """
    kinds: tuple[PartKind, ...] = ("thinking", "text") if think else ("text",)
    made = [""] * len(requests)
    limits = [int(options.get("max_gen_toks") or 0) for _, options in requests]
    for limit in dict.fromkeys(limits):
        chosen = [i for i, each in enumerate(limits) if each == limit]
        *before, last = model.plan(kinds)
        plan = (*before, replace(last, limit=limit or last.limit))
        tasks = [Task((user(requests[i][0]),)) for i in chosen]
        for i, sample in zip(chosen, rollout(model, tasks, plan, [seed] * len(tasks), batch=batch), strict=True):
            made[i] = _cut(sample.text or "", requests[i][1].get("until") or ())
    return made


def _cut(text: str, until: str | Sequence[str]) -> str:
    for end in [until] if isinstance(until, str) else until:
        text = text.split(end)[0] if end else text
    return text


def plugged(model: Model, *, think: bool = False, seed: int = 0, batch: int = 16) -> Any:
    """The model as an ``lm_eval.api.model.LM``: ``lm_eval.simple_evaluate(model=plugged(model), tasks=[...])``."""
    try:
        from lm_eval.api.model import LM  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise ValueError("lm-evaluation-harness is not installed: pip install 'limner[eval]'") from None
    refused = "is not offered for this model: choose a task that generates, such as gsm8k"

    class Plugged(LM):  # type: ignore[misc, unused-ignore]
        def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
            asked = [(request.args[0], request.args[1]) for request in requests]
            return written(model, asked, think=think, seed=seed, batch=batch)

        def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
            raise ValueError(f"loglikelihood {refused}")

        def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
            raise ValueError(f"loglikelihood_rolling {refused}")

    return Plugged()
