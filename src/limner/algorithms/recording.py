"""What samplers did: where pictures drawn with chance went, step by step (Flow-GRPO 2505.05470), and how likely words
and codes were when they were chosen."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from limner.models.base import Model
from limner.parts import PartKind
from limner.process.base import Draw, Process, Scored
from limner.process.flow import Flow, FlowState
from limner.process.noise import Noise


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


@dataclass(frozen=True)
class Telling(Noise):
    """Noise that notes what was chosen by it, and how likely that was."""

    told: list[tuple[int, Tensor, Tensor, Tensor | None]] = field(default_factory=list)

    def choose(self, name: str, step: int, logits: Tensor, temperature: float, wanted: Tensor | None = None) -> Tensor:
        choice = super().choose(name, step, logits, temperature, wanted)
        if wanted is None or step == 0:
            likely = logits.float().log_softmax(dim=-1).gather(-1, choice[..., None])[..., 0]
            self.told.append((step, choice, likely, wanted))
        return choice


@dataclass(frozen=True)
class Sampled:
    """What a sampler chose of a part: values, log_prob (B, N), wanted (B, N) bool where something is known.

    ``in_order``: all values, from left to right; else those of the first step, when everything was hidden.
    """

    values: Tensor
    log_prob: Tensor
    wanted: Tensor
    in_order: bool

    @staticmethod
    def of(told: list[tuple[int, Tensor, Tensor, Tensor | None]], length: int) -> Sampled | None:
        """Put together what ``Telling`` noted of a part of ``length`` values; None where that was nothing."""
        if not told:
            return None
        _, choice, likely, wanted = told[0]
        if wanted is not None:
            values = torch.zeros_like(wanted, dtype=torch.int64).masked_scatter(wanted, choice)
            found = torch.zeros(wanted.shape, device=likely.device).masked_scatter(wanted, likely)
            return Sampled(values, found, wanted, False)
        values = torch.cat([each[1] for each in told], dim=1)
        likely = torch.cat([each[2] for each in told], dim=1)
        missing = (0, length - values.shape[1])
        known = F.pad(torch.ones_like(values, dtype=torch.bool), missing)
        return Sampled(F.pad(values, missing), F.pad(likely, missing), known, True)


class _Watched(Process[Any]):
    """A process whose noise tells."""

    def __init__(self, own: Process[Any], told: list[Any]) -> None:
        self.own, self.told = own, told

    def start(self, context: Any, settings: Any, noise: Any) -> Any:
        return self.own.start(context, settings, Telling(noise.seed, self.told))

    def step(self, state: Any) -> Any:
        return self.own.step(state)

    def view(self, state: Any) -> Tensor:
        return self.own.view(state)

    def draw(self, values: Tensor, noise: Any, level: Tensor | None = None) -> Draw:
        return self.own.draw(values, noise, level)

    def log_prob(self, context: Any, values: Tensor, draw: Draw) -> Scored:
        return self.own.log_prob(context, values, draw)


class Watched:
    """A model that tells how likely its sampler found the first rows it made: part by part in ``told``."""

    def __init__(self, model: Any) -> None:
        self._model, self.told = model, list[list[Any]]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def process(self, kind: PartKind) -> Process[Any]:
        """The model's process, watched unless it makes a picture by a flow."""
        own = self._model.process(kind)
        self.told.append([])
        return own if isinstance(own, Flow) else _Watched(own, self.told[-1])
