"""What the autoregressive part is trained on: words and embeddings in one loss (section 3; spec section 6)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from limner.models.nexusgen.network import Reader
from limner.models.qwen25vl import Prompt
from limner.process.prefill import embedding_error

UNTRAINED = -100


@dataclass(frozen=True)
class Weights:
    """Of words and of embeddings; the published ones of V2 (V1: 0.1 and 1)."""

    words: float = 3.0
    embeddings: float = 3.0


@dataclass(frozen=True)
class Terms:
    """A micro-batch's terms, scalars with gradients, and what was predicted (M, D) for its M places of pictures."""

    words: Tensor
    embeddings: Tensor
    predicted: Tensor

    def loss(self, weights: Weights = Weights()) -> Tensor:
        """The weighted sum."""
        return weights.words * self.words + weights.embeddings * self.embeddings


def terms(
    reader: Reader, prompt: Prompt, labels: Tensor, targets: Tensor | None = None, fed: Tensor | None = None
) -> Terms:
    """Losses of whole conversations. labels (B, T): ids of the words that are trained, -100 elsewhere; places of
    predicted pictures are known by their ids. targets (M, D): the embeddings of these places, row after row.

    ``fed`` (M, D) are read at these places in place of the constant rows (teacher forcing, for comparison). Raises
    ValueError where targets do not fit the places.
    """
    x, places, kept = reader.laid_out(prompt)
    at = prompt.before == reader.drawn
    if int(at.sum()) != (0 if targets is None else len(targets)):
        raise ValueError(f"there are {int(at.sum())} places of pictures, and targets for another number of them")
    if fed is not None:
        x = x.masked_scatter(at[:, :, None], fed.to(x.dtype))
    states = reader.run(x, places, kept)[0][:, :-1]
    trained = (labels != UNTRAINED) & ~at
    wanted = trained[:, 1:]
    # a row without any trained word has no cross-entropy, and must not make the sum one that is not a number
    words = F.cross_entropy(reader.logits(states[wanted]).float(), labels[:, 1:][wanted], reduction="sum")
    predicted = reader.predict(states[at[:, 1:]])
    if targets is None or not len(targets):
        return Terms(words / wanted.sum().clamp(min=1), predicted.sum() * 0.0, predicted)
    error = embedding_error(predicted.float(), targets.detach().float()).mean()
    return Terms(words / wanted.sum().clamp(min=1), error, predicted)


@torch.no_grad()
def drift(reader: Reader, prompt: Prompt, size: float = 1e-6, seed: int = 0) -> Tensor:
    """(n,) by how much a disturbance of the first vector, ``size`` of its length, has grown at each vector of a block,
    relative to that vector's length and averaged over rows. Where nothing is fed back it is zero behind the first."""
    generator = torch.Generator().manual_seed(seed)

    def run(disturbed: bool) -> Tensor:
        vectors, memory, last = [], None, None
        for k in range(reader.side**2):
            last, memory = reader.following(prompt, last, memory)
            if disturbed and k == 0:
                push = torch.randn(last.shape, generator=generator).to(last)
                last = last + size * push * last.norm(dim=1, keepdim=True) / push.norm(dim=1, keepdim=True)
            vectors.append(last)
        return torch.stack(vectors, dim=1)

    plain, pushed = run(False), run(True)
    return ((pushed - plain).norm(dim=2) / plain.norm(dim=2)).mean(dim=0)
