"""MaskGRPO's picture rollouts (2510.02880): codes emerge by chance, not by confidence.

The usual sampler keeps the surest codes, so replies of a group look alike and are not samples of what is scored. Here
every hidden code stays hidden with probability gamma(s)/gamma(t) and is otherwise drawn, which is the exact reverse of
hiding codes at random. ``unigrpo.maskgrpo`` turns it on together with the shares of hidden codes that go with it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from limner.models.base import Model
from limner.parts import PartKind
from limner.process.base import Process
from limner.process.masked import MaskedCanvas, MaskedState


@dataclass(frozen=True)
class EmergingCanvas(MaskedCanvas):
    """A masked canvas whose codes are revealed independently, as many in the mean as its schedule says."""

    def step(self, state: MaskedState) -> MaskedState:
        """One step; the last one draws whatever is still hidden."""
        steps, N = state.settings.steps, state.hidden.shape[1]
        done = super().step(state)
        wanted = state.hidden & ~state.over[:, None]
        share = self.schedule(done.step / steps) / max(self.schedule(state.step / steps), 1e-9)
        if done.step >= steps:
            share = 0.0
        stays = state.noise.uniform("emerge", state.step, N).to(wanted.device) < share
        hidden = wanted & stays
        values = torch.where(wanted & ~hidden, done.guess, state.values)
        return replace(done, values=values, hidden=hidden, over=state.over | ~hidden.any(dim=1))


class Emerging:
    """A model seen through the sampler above: everything is the model's own but how its masked pictures are made."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def process(self, kind: PartKind) -> Process[Any]:
        """The model's process, or its masked canvas with independent reveals."""
        own = self._model.process(kind)
        if not isinstance(own, MaskedCanvas):
            return own
        return EmergingCanvas(**{item.name: getattr(own, item.name) for item in fields(MaskedCanvas)})
