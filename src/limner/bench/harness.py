"""A limner model as a model of lm-evaluation-harness (the extra ``eval``) and of lmms-eval (the extra ``lmms``).

``plugged`` and ``plugged_lmms`` give an object for ``simple_evaluate(model=...)``. Words from left to right have an
exact likelihood; masked words have none, so theirs is a mean over ``draws`` of what is hidden (LLaDA, 2502.09992, takes
128), with its noise: the number of draws and the seed are part of such a result. Nothing is said to be greedy.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from limner.models.base import Model
from limner.parts import Image, Task, Text, user
from limner.parts import Sample as Answered
from limner.turn import draws as drawn
from limner.turn import log_prob, rollout

DRAWS = 128
ROLLING = "is not offered: whole texts are no answers; choose a task that generates or compares answers"


@dataclass(frozen=True)
class Asked:
    """One request: the words, the pictures before them, and the harness's options (``until``, ``max_gen_toks``)."""

    words: str
    options: Mapping[str, Any]
    pictures: tuple[Any, ...] = ()

    def task(self) -> Task:
        """What the model is asked."""
        return Task((user(*(Image(picture.convert("RGB")) for picture in self.pictures), self.words),))

    @property
    def limit(self) -> int:
        """The most tokens; 0 leaves it to the model."""
        return int(self.options.get("max_gen_toks") or self.options.get("max_new_tokens") or 0)


def written(
    model: Model, requests: Sequence[Asked], *, think: bool = False, seed: int = 0, batch: int = 16
) -> list[str]:
    """The model's answer to every request, cut before the first of the options' ``until``; requests with other limits
    are made apart."""
    _tell(model, requests)
    kinds = model.kinds("text", think)
    made = [""] * len(requests)
    for limit in dict.fromkeys(request.limit for request in requests):
        chosen = [i for i, request in enumerate(requests) if request.limit == limit]
        *before, last = model.plan(kinds)
        plan = (*before, replace(last, limit=limit or last.limit))
        tasks = [requests[i].task() for i in chosen]
        for i, sample in zip(chosen, rollout(model, tasks, plan, [seed] * len(tasks), batch=batch), strict=True):
            made[i] = _cut(sample.text or "", requests[i].options.get("until") or ())
    return made


def _tell(model: Model, requests: Sequence[Asked]) -> None:
    """Warn of requests that the model cannot understand: they are answered, and count, but say little."""
    wrong: list[ValueError] = []
    for request in requests:
        try:
            model.check_prompt(request.task().prompt)
        except ValueError as error:
            wrong.append(error)
    if wrong:
        warnings.warn(
            f"{len(wrong)} of {len(requests)} requests are not understood by the model: {wrong[0]}", stacklevel=3
        )


def _cut(text: str, until: str | Sequence[str]) -> str:
    for end in [until] if isinstance(until, str) else until:
        text = text.split(end)[0] if end else text
    return text


@torch.no_grad()
def likely(
    model: Model, pairs: Sequence[tuple[Asked, str]], *, draws: int = DRAWS, seed: int = 0, batch: int = 16
) -> list[float]:
    """The log-probability of every continuation as the whole answer: exact where one draw hides everything at weight 1,
    else the mean of ``draws`` estimates. The same draws are used for all, so that answers are compared fairly."""
    if draws < 1:
        raise ValueError(f"draws={draws} must be at least 1")
    _tell(model, [asked for asked, _ in pairs])
    found: list[float] = []
    for begin in range(0, len(pairs), batch):
        samples = [Answered(asked.task(), (Text(answer),)) for asked, answer in pairs[begin : begin + batch]]
        total, taken = torch.zeros(len(samples), dtype=torch.float64), 0
        while taken < draws:
            draw = drawn(model, samples, [seed * 100_003 + taken] * len(samples))
            total += log_prob(model, samples, draw)[0].total.double().cpu()
            taken += 1
            if bool(draw[0].hidden.all()) and bool((draw[0].weight == 1).all()):
                break
        found += (total / taken).tolist()
    return found


def plugged(model: Model, *, think: bool = False, seed: int = 0, batch: int = 16, draws: int = DRAWS) -> Any:
    """The model as an ``lm_eval.api.model.LM``: ``lm_eval.simple_evaluate(model=plugged(model), tasks=[...])``."""
    try:
        from lm_eval.api.model import LM
    except ImportError:
        raise ValueError("lm-evaluation-harness is not installed: pip install 'limner[eval]'") from None

    class Plugged(LM):
        def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
            asked = [Asked(request.args[0], request.args[1]) for request in requests]
            return written(model, asked, think=think, seed=seed, batch=batch)

        def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
            pairs = [(Asked(request.args[0], {}), request.args[1]) for request in requests]
            return [(value, False) for value in likely(model, pairs, draws=draws, seed=seed, batch=batch)]

        def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
            raise ValueError(f"loglikelihood_rolling {ROLLING}")

    return Plugged()


def plugged_lmms(
    model: Model,
    *,
    think: bool = False,
    seed: int = 0,
    batch: int = 16,
    draws: int = DRAWS,
    pictures: Path | None = None,
) -> Any:
    """The model as an ``lmms_eval.api.model.lmms``: ``lmms_eval.evaluator.simple_evaluate(model=plugged_lmms(model))``.

    With a folder ``pictures`` it draws: a request is answered with JSON of ``text`` and the path of a picture there, as
    lmms-eval's generation and editing tasks want it.
    """
    try:
        from lmms_eval.api.model import lmms
    except ImportError:
        raise ValueError("lmms-eval is not installed: pip install 'limner[lmms]'") from None

    class Plugged(lmms):
        def _shown(self, look: Callable[[Any], Any], number: Any, task: str, split: str) -> tuple[Any, ...]:
            return tuple(look(self.task_dict[task][split][number]) or ())

        def generate_until(self, requests: Sequence[Any]) -> list[str]:
            asked = []
            for request in requests:
                words, options, look, number, task, split = request.args
                asked.append(Asked(words, options, self._shown(look, number, task, split)))
            if pictures is not None:
                return _painted(model, asked, pictures, think=think, seed=seed, batch=batch)
            return written(model, asked, think=think, seed=seed, batch=batch)

        def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
            pairs = []
            for request in requests:
                words, answer, look, number, task, split = request.args
                said = answer(self.task_dict[task][split][number]) if callable(answer) else answer
                pairs.append((Asked(words, {}, self._shown(look, number, task, split)), said))
            return [(value, False) for value in likely(model, pairs, draws=draws, seed=seed, batch=batch)]

        def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
            raise ValueError("generate_until_multi_round is not offered; choose a task of one round")

    return Plugged()


def _painted(model: Model, requests: Sequence[Asked], folder: Path, *, think: bool, seed: int, batch: int) -> list[str]:
    """JSON of text (the thought, if there is one) and the paths of the pictures, a line a request."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = model.kinds("image", think)
    tasks = [request.task() for request in requests]
    first = len(list(folder.glob("*.png")))
    said = []
    for i, sample in enumerate(rollout(model, tasks, model.plan(kinds), [seed] * len(tasks), batch=batch)):
        assert sample.image is not None
        path = folder / f"{first + i:06d}.png"
        sample.image.save(path)
        said.append(json.dumps({"text": sample.thinking or "", "images": [str(path)]}))
    return said
