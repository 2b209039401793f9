"""Training help for the two tables: what should be alike starts out shared.

The output table learns what it adds to the input table: a small model is to copy words from its prompt long before it
has seen every word often enough to learn apart how each is read and how it is written.

A finite scalar code is a handful of digits, and codes with equal digits show alike things. Learned one by one,
thousands of rows need thousands of pictures each; here a row is its own part plus a sum over its digits, in the input
and in the output table. ``folded`` adds everything up, so that the saved network is a plain one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from limner.codecs.quantise import Quantiser
from limner.models.mmada.network import Network

TABLES = ("embed", "head")


def digit_features(quantiser: Quantiser) -> Tensor:
    """(codes, sum of levels + channels) float32: every digit as one-hot, and its value in [-1, 1]."""
    codes = torch.arange(quantiser.num_codes)
    values = quantiser.values(codes.view(1, 1, -1))[0, :, 0, :].T  # (codes, channels)
    columns = []
    for stride, level in zip(quantiser.strides, quantiser.levels, strict=True):
        columns.append(nn.functional.one_hot(codes // stride % level, level).float())
    return torch.cat([*columns, values.float()], dim=1)


class SharedDigits(nn.Module):
    """A table (rows, D) whose code rows, from ``first`` on, get ``features @ mix`` added."""

    features: Tensor

    def __init__(self, features: Tensor, first: int, width: int) -> None:
        super().__init__()
        self.first, self.last = first, first + features.shape[0]
        self.register_buffer("features", features, persistent=False)
        self.mix = nn.Parameter(torch.zeros(features.shape[1], width))

    def forward(self, weight: Tensor) -> Tensor:
        shared = self.features @ self.mix
        return torch.cat([weight[: self.first], weight[self.first : self.last] + shared, weight[self.last :]])


class SharedRows(nn.Module):
    """A table (rows, D) that another table is added to."""

    def __init__(self, table: nn.Module) -> None:
        super().__init__()
        self._table = [table]  # in a list: its weights are not this module's

    def forward(self, weight: Tensor) -> Tensor:
        other = self._table[0].weight
        assert isinstance(other, Tensor)
        return weight + other


def share_digits(network: Network, quantiser: Quantiser, *, fresh: bool, seed: int = 0) -> None:
    """Let the codes of both tables share their digits, and the output table the input table's rows. ``fresh`` starts
    the codes' own parts and the output table's at nothing and the digits at random; otherwise the network computes what
    it did before, up to rounding."""
    features = digit_features(quantiser)
    generator = torch.Generator().manual_seed(seed)
    first, width = network.config.text_vocabulary, network.config.width
    shared = SharedDigits(features, first, width), SharedDigits(features, first, width)
    with torch.no_grad():
        if fresh:
            network.embed.weight[shared[0].first : shared[0].last].zero_()
            network.head.weight.zero_()
            shared[0].mix.normal_(0.0, 0.01, generator=generator)
        else:
            network.head.weight.sub_(network.embed.weight)
    parametrize.register_parametrization(network.embed, "weight", shared[0])
    parametrize.register_parametrization(network.head, "weight", shared[1])
    parametrize.register_parametrization(network.head, "weight", SharedRows(network.embed))


def folded(network: Network) -> dict[str, Tensor]:
    """The state dict of the plain network that computes the same."""
    plain = {name: tensor for name, tensor in network.state_dict().items() if ".parametrizations." not in name}
    return plain | {f"{name}.weight": getattr(network, name).weight.detach() for name in TABLES}
