"""Randomness as a value: one stream of numbers per row, a pure function of (seed, name, step, position).

A counter-based generator (the finaliser of SplitMix64) instead of a stateful one: a row's numbers depend on nothing but
its seed, so row 3 is the same alone, in a batch of 8, after a resume, and on another device. One uniform number per
decision: a choice among V values takes one draw by the inverse of the cumulative distribution.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from limner.process.base import Rows

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(x: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser on uint64, element by element."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@dataclass(frozen=True)
class Noise(Rows):
    """One seed per row: seed (B,) int64 on the CPU."""

    seed: Tensor

    @staticmethod
    def of(seeds: Sequence[int]) -> Noise:
        """Noise for rows with these seeds."""
        return Noise(torch.tensor([int(seed) & (2**63 - 1) for seed in seeds], dtype=torch.int64))

    def fork(self, name: str, index: int | Sequence[int] = 0) -> Noise:
        """Independent noise for each row, named: for another part, or another try. ``index`` may differ by row."""
        return Noise(torch.from_numpy((self._bits(name, index, 1)[:, 0] >> np.uint64(1)).astype(np.int64)))

    def _bits(self, name: str, step: int | Sequence[int], n: int) -> np.ndarray:
        steps = np.atleast_1d(np.asarray(step, dtype=np.int64)).astype(np.uint64)
        stream = np.uint64(zlib.crc32(name.encode())) | steps << np.uint64(32)
        key = _mix(self.seed.cpu().numpy().astype(np.uint64) * _GOLDEN + _GOLDEN)
        key = _mix(key ^ _mix(stream + _GOLDEN))
        counter = np.arange(1, n + 1, dtype=np.uint64) * _GOLDEN
        return _mix(key[:, None] + counter[None, :])

    def uniform(self, name: str, step: int, n: int) -> Tensor:
        """(B, n) float32 in [0, 1)."""
        return torch.from_numpy((self._bits(name, step, n) >> np.uint64(40)).astype(np.float32) * np.float32(2**-24))

    def normal(self, name: str, step: int, n: int) -> Tensor:
        """(B, n) float32 standard normal numbers (inverse of the normal distribution)."""
        middle = (self.uniform(name, step, n).double() + 2.0**-25).clamp(1e-12, 1 - 1e-12)
        return torch.special.ndtri(middle).float()

    def choose(self, name: str, step: int, logits: Tensor, temperature: float, wanted: Tensor | None = None) -> Tensor:
        """(B, n) values chosen from logits (B, n, V); temperature 0 takes the likeliest, the first among equals.

        With ``wanted`` (B, n) bool, logits are (M, V), those of the M wanted places alone, and so are the values (M,):
        a place's number is the same whatever else is wanted.
        """
        if temperature <= 0:
            return logits.argmax(dim=-1)
        uniform = self.uniform(name, step, logits.shape[1] if wanted is None else wanted.shape[1]).to(logits.device)
        if wanted is not None:
            uniform = uniform[wanted]
        logits = logits.float() - logits.float().amax(dim=-1, keepdim=True)  # a tiny temperature must not overflow
        cumulative = (logits / temperature).softmax(dim=-1).cumsum(dim=-1).contiguous()
        point = uniform[..., None] * cumulative[..., -1:]
        return torch.searchsorted(cumulative, point, right=True)[..., 0].clamp(max=logits.shape[-1] - 1)
