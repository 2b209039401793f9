"""The image decoder as a flow sees it: where pictures are made, where they are scored.

Pictures are made with conditions encoded once. On a CPU every row is computed alone and without padding, so a row of a
batch has the bits of the row by itself; on other devices, and where a model's ``rows_apart`` is False, rows are padded
to the longest condition and go together.
Pictures are scored together, with and without gradients by the same operations.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from limner.codecs.vae import Vae
from limner.models.mindomni.config import MindOmniConfig
from limner.models.mindomni.network import Connector, Encoded, ImageDecoder
from limner.models.qwen25vl import Prompt, Qwen25VL, alone
from limner.process.base import Tokens

MOST = 8  # negative conditions that a model remembers


class Remembered:
    """Encoded conditions that belong to a model's present weights. A copy of the model begins with none."""

    def __init__(self) -> None:
        self.found: OrderedDict[Any, Encoded] = OrderedDict()

    def __deepcopy__(self, memo: Any) -> Remembered:
        return Remembered()

    def __getstate__(self) -> dict[str, Any]:
        return {"found": OrderedDict()}


class Drawing(Protocol):
    """What of a model is needed to draw."""

    mllm: Qwen25VL
    connector: Connector
    decoder: ImageDecoder
    vae: Vae
    remembered: Remembered
    rows_apart: bool

    @property
    def config(self) -> MindOmniConfig:
        """The choices."""
        ...

    @property
    def device(self) -> torch.device:
        """Where everything is computed."""
        ...

    def square(self, length: int) -> tuple[int, int]:
        """(high, wide) in latents of a square picture of that many numbers."""
        ...

    def in_place(self, part: Literal["mllm", "decoder"]) -> AbstractContextManager[None]:
        """A part on the device where it computes."""
        ...


def fingerprint(*modules: nn.Module) -> tuple[int, ...]:
    """Changes whenever a weight does: where weights lie and how often each was written."""
    weights = [weight for module in modules for weight in module.parameters()]
    return (sum(weight._version for weight in weights), hash(tuple(weight.data_ptr() for weight in weights)))


def key_of(prompt: Prompt) -> bytes:
    """The content of a row without padding."""
    return b"|".join(tensor.cpu().numpy().tobytes() for tensor in (prompt.before, prompt.grids, prompt.patches))


@dataclass
class Pictures:
    """A ``FlowNet`` over a model. ``shape`` (high, wide) in latents; None: square. It lives as long as its process
    does, and keeps the conditions of that process's rows."""

    model: Drawing
    shape: tuple[int, int] | None = None
    found: dict[bytes, Encoded] = field(default_factory=dict, repr=False)
    batches: dict[Any, Encoded] = field(default_factory=dict, repr=False)

    def __call__(self, sides: Sequence[Tokens], latents: Tensor, time: Tensor, first: bool) -> list[Tensor]:
        apart = first and self.model.config.first_step == "official"
        if len(latents) > 1 and not (latents.device.type == "cpu" and self.model.rows_apart):
            return [self._together(side, latents, time, apart) for side in sides]
        return self._one_by_one(sides, latents, time, apart)

    def scored(self, sides: Sequence[Tokens], latents: Tensor, time: Tensor, first: bool) -> list[Tensor]:
        """The same, rows together and nothing remembered."""
        grid = self.grid(latents)
        apart = first and self.model.config.first_step == "official"
        found = []
        for side in sides:
            encoded = self._encoded(_prompt(side), self._tokens(grid))
            found.append(self.model.decoder.denoise(encoded, grid, time, apart).flatten(1))
        return found

    def levels(self, side: Tokens, latents: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """(velocity (B, N), states (B, L, n, D) of the picture's tokens after every level), rows together."""
        every: list[Tensor] = []
        grid = self.grid(latents)
        encoded = self._encoded(_prompt(side), self._tokens(grid))
        velocity = self.model.decoder.denoise(encoded, grid, time, levels=every)
        return velocity.flatten(1).float(), torch.stack(every, dim=1)

    def grid(self, latents: Tensor) -> Tensor:
        """Latents (B, N) as (B, C, h, w)."""
        return latents.unflatten(1, (self.model.vae.channels, *(self.shape or self.model.square(latents.shape[1]))))

    def _tokens(self, grid: Tensor) -> int:
        """Places that time and the picture take."""
        return 1 + grid.shape[-2] * grid.shape[-1] // self.model.decoder.config.patch**2

    def _encoded(self, prompt: Prompt, more: int, apart: bool = False) -> Encoded:
        model = self.model
        with model.in_place("mllm"):
            states = model.mllm.states(prompt, apart=apart)
        with model.in_place("decoder"):
            condition = model.connector(states.to(model.decoder.dtype), prompt.kept)
            return model.decoder.encode(condition, prompt.kept, more)

    def _one_by_one(self, sides: Sequence[Tokens], latents: Tensor, time: Tensor, apart: bool) -> list[Tensor]:
        """Each row by itself, under all its conditions at once; conditions that are the same are looked at once."""
        if not len(latents):
            return [latents for _ in sides]
        grid = self.grid(latents)
        more, rows = self._tokens(grid), []
        for row in range(len(latents)):
            prompts = [alone(_prompt(side), row) for side in sides]
            keys = [key_of(prompt) for prompt in prompts]
            own = {
                key: self._known(prompt, more, key in keys[1:2])
                for key, prompt in dict(zip(keys, prompts, strict=True)).items()
            }
            with self.model.in_place("decoder"):
                found = self.model.decoder.denoise(
                    list(own.values()), grid[[row] * len(own)], time[[row] * len(own)], apart
                )
            velocity = dict(zip(own, found.flatten(1), strict=True))
            rows.append([velocity[key] for key in keys])
        return [torch.stack(side) for side in zip(*rows, strict=True)]

    def _known(self, one: Prompt, more: int, negative: bool) -> Encoded:
        key = key_of(one) + more.to_bytes(4, "little")
        if not negative:
            if key not in self.found:
                self.found[key] = self._encoded(one, more, True)
            return self.found[key]
        model = self.model
        whole = (key, str(model.device), fingerprint(model.mllm, model.connector, model.decoder))
        kept = model.remembered.found
        if whole not in kept:
            kept[whole] = self._encoded(one, more, True)
            while len(kept) > MOST:
                kept.popitem(last=False)
        kept.move_to_end(whole)
        return kept[whole]

    def _together(self, side: Tokens, latents: Tensor, time: Tensor, apart: bool) -> Tensor:
        prompt, grid = _prompt(side), self.grid(latents)
        more = self._tokens(grid)
        keys = tuple(key_of(alone(prompt, row)) for row in range(len(latents)))
        if (keys, more) not in self.batches:
            self.batches[keys, more] = self._shared(prompt, more, len(set(keys)) == 1)
        with self.model.in_place("decoder"):
            return self.model.decoder.denoise(self.batches[keys, more], grid, time, apart).flatten(1)

    def _shared(self, prompt: Prompt, more: int, same: bool) -> Encoded:
        """All rows encoded; rows that are the same share one."""
        if not same:
            return self._encoded(prompt, more)
        one, rows = self._known(alone(prompt, 0), more, True), prompt.num_rows
        pairs = [(k.expand(rows, -1, -1, -1), v.expand(rows, -1, -1, -1)) for k, v in one.pairs]
        return Encoded(pairs, one.kept.expand(rows, -1), one.whole)


def _prompt(side: Tokens) -> Prompt:
    if not isinstance(side, Prompt):
        raise ValueError("a picture's condition is a Prompt, as the family's context gives it")
    return side
