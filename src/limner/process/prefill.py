"""A block of continuous vectors behind a context, from one causal pass (Nexus-Gen 2504.21356 section 3).

What stands at the block's places when its vectors are predicted is constant, so nothing predicted is read again and the
whole block is one pass. The older way, vector by vector with every one fed back, is kept beside it for comparison: its
errors grow along the block.

A block's values are the bits of its float32 numbers, as a flow's are. The likelihood is minus the error of the
embeddings: half the squared error and half of one minus the cosine, so that the mean over a row is the published loss.
Letters: B rows, n vectors of a block, D numbers of a vector.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from limner.process.base import Context, Draw, Process, Scored, Settings, State, Tokens
from limner.process.flow import to_latents, to_values


class BlockNet(Protocol):
    """A network that predicts a block in one pass."""

    def __call__(self, given: Tokens, fed: Tensor | None) -> Tensor:
        """(B, n, D) behind a context; what it reads at the block's places is its own, or ``fed`` (B, n - 1, D)."""
        ...


class NextNet(Protocol):
    """A network that predicts one vector after another."""

    def __call__(self, given: Tokens, last: Tensor | None, memory: Tensor | None) -> tuple[Tensor, Tensor]:
        """(The next vector (B, D), what it remembers); ``last`` (B, D) and ``memory`` are None at the first."""
        ...


@dataclass(frozen=True)
class BlockState(State):
    """vectors (B, N) float32 with N = n D, the first ``count`` (of n) written; memory of a network that is stepped."""

    vectors: Tensor
    memory: Tensor | None = None
    count: int = 0

    @property
    def done(self) -> Tensor:
        over = self.step > 0 and self.count * self.settings.block >= self.settings.length
        return torch.full((self.vectors.shape[0],), over, dtype=torch.bool, device=self.vectors.device)


@dataclass(frozen=True)
class Prefill(Process[BlockState]):
    """A block of vectors of ``width`` numbers. With ``following`` it is made vector by vector, else in one step.

    ``fed_back`` says that the network reads the vectors themselves: its likelihood then reads the true ones.
    Nothing is random: settings' temperature changes nothing.
    """

    net: BlockNet
    width: int
    following: NextNet | None = None
    fed_back: bool = False

    def settings(self, vectors: int) -> Settings:
        """The settings of a block of that many vectors."""
        return Settings(vectors * self.width, vectors if self.following else 1, 0.0, 0.0, self.width)

    def start(self, context: Context, settings: Settings, noise: Any) -> BlockState:
        settings.check()
        if settings.known is not None:
            raise ValueError("a block of vectors is made as a whole; it cannot be completed from known ones")
        if settings.length % self.width or settings.block != self.width:
            raise ValueError(f"{settings.length} numbers are no vectors of {self.width}; ask Prefill for its settings")
        empty = torch.zeros(context.num_rows, settings.length, device=context.given.before.device)
        return BlockState(context, settings, noise, empty)

    def step(self, state: BlockState) -> BlockState:
        n, k = state.settings.length // self.width, state.count
        if k >= n:
            return state
        given = state.context.given
        if self.following is None:
            vectors = self.net(given, None).float().flatten(1)
            return replace(state, vectors=vectors, count=n, step=1)
        last = state.vectors[:, (k - 1) * self.width : k * self.width] if k else None
        vector, memory = self.following(given, last, state.memory)
        vectors = state.vectors.clone()
        vectors[:, k * self.width : (k + 1) * self.width] = vector.float()
        return replace(state, vectors=vectors, memory=memory, count=k + 1, step=state.step + 1)

    def view(self, state: BlockState) -> Tensor:
        return to_values(state.vectors)

    def draw(self, values: Tensor, noise: Any, level: Tensor | None = None) -> Draw:
        """Every value is scored; nothing is random."""
        everything = torch.ones_like(values, dtype=torch.bool)
        return Draw(everything, torch.ones(values.shape[0], device=values.device))

    def log_prob(self, context: Context, values: Tensor, draw: Draw) -> Scored:
        wanted = to_latents(values).unflatten(1, (-1, self.width))
        found = self.net(context.given, wanted[:, :-1] if self.fed_back else None).float()
        return Scored(-embedding_error(found, wanted).flatten(1), draw.hidden, draw.weight)


def embedding_error(found: Tensor, wanted: Tensor) -> Tensor:
    """The error (..., D) of vectors (..., D), each number with its share: the mean is MSE / 2 + (1 - cosine) / 2."""
    apart = (1 - F.cosine_similarity(found, wanted, dim=-1)).clamp(min=0)
    return 0.5 * (found - wanted) ** 2 + 0.5 * apart[..., None]
