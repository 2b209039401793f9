"""Pictures drawn with chance, and where their sampler went: what is scored step by step (Flow-GRPO 2505.05470)."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from limner.models.base import Model
from limner.parts import PartKind
from limner.process.base import Process
from limner.process.flow import Flow, FlowState


@dataclass(frozen=True)
class Recorder(Flow):
    """A flow that remembers where it went: ``trail`` is given the latents (B, N) at every step."""

    trail: list[Tensor] = field(default_factory=list)

    def start(self, context: Any, settings: Any, noise: Any) -> FlowState:
        state = super().start(context, settings, noise)
        self.trail.append(state.latents)
        return state

    def step(self, state: FlowState) -> FlowState:
        state = super().step(state)
        self.trail.append(state.latents)
        return state


class Recorded:
    """A model whose pictures are drawn with chance and recorded: everything else is the model's own."""

    def __init__(self, model: Model, chance: float) -> None:
        self._model, self._chance, self.trails = model, chance, list[list[Tensor]]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def process(self, kind: PartKind) -> Process[Any]:
        """The model's process; for pictures a recorder."""
        own = self._model.process(kind)
        if kind != "image":
            return own
        if not isinstance(own, Flow):
            raise ValueError("only pictures made by a flow can learn from their steps; set decoder=0")
        values = {item.name: getattr(own, item.name) for item in fields(Flow)} | {"chance": self._chance}
        recorder = Recorder(**values)
        self.trails.append(recorder.trail)
        return recorder

    @property
    def path(self) -> Tensor:
        """(B, S + 1, N) of all rollouts so far."""
        return torch.cat([torch.stack(trail, dim=1) for trail in self.trails])
