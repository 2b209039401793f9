"""Training help for picture codes with structure: what a code's digits share, its two table rows share too.

A finite scalar code is a handful of digits, and codes with equal digits show alike things. Learned one by one,
thousands of rows need thousands of pictures each; here a row is its own part plus a sum over its digits, in the input
and in the output table. ``folded`` adds both up, so that the saved network is a plain one.
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


def share_digits(network: Network, quantiser: Quantiser, *, fresh: bool, seed: int = 0) -> None:
    """Let the codes of both tables share their digits. ``fresh`` starts the codes' own parts at nothing and the
    shared part at random; otherwise the network computes what it did before."""
    features = digit_features(quantiser)
    generator = torch.Generator().manual_seed(seed)
    for name in TABLES:
        table = getattr(network, name)
        shared = SharedDigits(features, network.config.text_vocabulary, table.weight.shape[1])
        if fresh:
            with torch.no_grad():
                table.weight[shared.first : shared.last].zero_()
                shared.mix.normal_(0.0, 0.01, generator=generator)
        parametrize.register_parametrization(table, "weight", shared)


def folded(network: Network) -> dict[str, Tensor]:
    """The state dict of the plain network that computes the same."""
    plain = {name: tensor for name, tensor in network.state_dict().items() if ".parametrizations." not in name}
    return plain | {f"{name}.weight": getattr(network, name).weight.detach() for name in TABLES}
