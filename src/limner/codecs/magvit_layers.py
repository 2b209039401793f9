"""The convolutional halves of MAGVIT-v2 (arXiv 2310.05737, as released with Show-o): an encoder and a decoder.

Both are residual stacks that halve (or double) the grid between levels, with one attention block at the coarsest
grid. ``Stack`` describes either half. The released codec works on single pixels (``patch=1``); a small codec first
folds ``patch`` x ``patch`` pixels into channels, so that no layer ever runs at full resolution. Parameter names are
those of the released files.

Shapes: ``B`` rows, ``C`` channels, ``H W`` pixels, ``h w`` codes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

COLOURS = 3
NORM_EPS = 1e-6


@dataclass(frozen=True)
class Stack:
    """One half of the codec. Level ``i`` has ``base * widths[i]`` channels and ``blocks[i]`` residual blocks.

    Level 0 is the finest grid. ``patch`` pixels along each side are folded into channels outside of it.

    ``local`` keeps a code to its own neighbourhood (the released codec is not): only the first convolution looks
    beyond a position, norms are taken position by position and there is no attention. A local encoder gives the
    same code to the same patch wherever it is and whatever else is in the picture, which is easier to predict.
    """

    base: int
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    patch: int = 1
    groups: int = 32
    local: bool = False

    def __post_init__(self) -> None:
        if not self.widths or len(self.widths) != len(self.blocks):
            raise ValueError(f"widths={self.widths} and blocks={self.blocks} must name the same levels, at least one")
        if self.patch < 1 or min(self.blocks) < 0:
            raise ValueError(f"patch={self.patch} and blocks={self.blocks} must not be below 1 and 0")
        for before, width, count in zip((self.base, *self.level_widths), self.level_widths, self.blocks, strict=False):
            if count == 0 and before != width:
                raise ValueError(f"a level without blocks cannot change the width from {before} to {width}")
        for width in self.level_widths:
            if width < 1 or width % self.groups:
                raise ValueError(f"a level of {width} channels cannot be normalised in {self.groups} groups")

    @property
    def level_widths(self) -> tuple[int, ...]:
        """Channels of each level, finest first."""
        return tuple(self.base * width for width in self.widths)

    @property
    def factor(self) -> int:
        """Pixels along the side of one code."""
        return self.patch * 2 ** (len(self.widths) - 1)


class PositionNorm(nn.Module):
    """Each position's channels to mean 0 and deviation 1, then scaled and shifted; knows no other position."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        normed = F.layer_norm(x.movedim(1, -1), self.weight.shape, self.weight, self.bias, NORM_EPS)
        return normed.movedim(-1, 1)


def _norm(width: int, groups: int, local: bool) -> nn.Module:
    return PositionNorm(width) if local else nn.GroupNorm(groups, width, NORM_EPS)


class ResidualBlock(nn.Module):
    """Norm, swish, 3x3 convolution (1x1 if local), twice, plus the input (through a 1x1 if the width changes)."""

    def __init__(self, in_width: int, out_width: int, groups: int, local: bool) -> None:
        super().__init__()
        kernel = 1 if local else 3
        self.norm1 = _norm(in_width, groups, local)
        self.conv1 = nn.Conv2d(in_width, out_width, kernel, padding=kernel // 2)
        self.norm2 = _norm(out_width, groups, local)
        self.conv2 = nn.Conv2d(out_width, out_width, kernel, padding=kernel // 2)
        self.nin_shortcut = nn.Conv2d(in_width, out_width, 1) if in_width != out_width else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv1(F.silu(self.norm1(x)))
        hidden = self.conv2(F.silu(self.norm2(hidden)))
        return self.nin_shortcut(x) + hidden


class AttentionBlock(nn.Module):
    """Single-head attention over all positions of the grid, plus the input."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, width, NORM_EPS)
        self.q = nn.Conv2d(width, width, 1)
        self.k = nn.Conv2d(width, width, 1)
        self.v = nn.Conv2d(width, width, 1)
        self.proj_out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        B, C, h, w = x.shape
        hidden = self.norm(x)
        q, k, v = (layer(hidden).flatten(2).transpose(1, 2).unsqueeze(1) for layer in (self.q, self.k, self.v))
        mixed = F.scaled_dot_product_attention(q, k, v)
        return x + self.proj_out(mixed.squeeze(1).transpose(1, 2).reshape(B, C, h, w))


class Downsample(nn.Module):
    """Halve the grid; the zero padding is on the right and at the bottom only."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Double the grid by repeating positions, then convolve."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """The residual blocks of one grid size and the step to the next grid, if there is one."""

    def __init__(self, in_width: int, width: int, blocks: int, groups: int, step: str, local: bool) -> None:
        super().__init__()
        widths = [in_width] + [width] * blocks
        self.block = nn.ModuleList(ResidualBlock(widths[i], widths[i + 1], groups, local) for i in range(blocks))
        if step == "down":
            self.downsample = Downsample(width)
        elif step == "up":
            self.upsample = Upsample(width)
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        if self.step == "down":
            return self.downsample(x)
        return self.upsample(x) if self.step == "up" else x


class Middle(nn.Module):
    """Residual block, attention (none if local), residual block, at the coarsest grid."""

    def __init__(self, width: int, groups: int, local: bool) -> None:
        super().__init__()
        self.block_1 = ResidualBlock(width, width, groups, local)
        self.attn_1 = nn.Identity() if local else AttentionBlock(width, groups)
        self.block_2 = ResidualBlock(width, width, groups, local)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Encoder(nn.Module):
    """Pixels (B, 3, H, W) in [-1, 1] to latents (B, channels, H/factor, W/factor) before quantisation."""

    def __init__(self, stack: Stack, channels: int) -> None:
        super().__init__()
        widths = stack.level_widths
        last = len(widths) - 1
        self.patch = stack.patch
        self.conv_in = nn.Conv2d(COLOURS * stack.patch**2, stack.base, 3, padding=1)
        self.down = nn.ModuleList(
            Level(
                (stack.base, *widths)[i],
                widths[i],
                stack.blocks[i],
                stack.groups,
                "down" if i < last else "",
                stack.local,
            )
            for i in range(len(widths))
        )
        self.mid = Middle(widths[-1], stack.groups, stack.local)
        kernel = 1 if stack.local else 3
        self.norm_out = _norm(widths[-1], stack.groups, stack.local)
        self.conv_out = nn.Conv2d(widths[-1], channels, kernel, padding=kernel // 2)
        self.quant_conv = nn.Conv2d(channels, channels, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        x = F.pixel_unshuffle(pixels, self.patch) if self.patch > 1 else pixels
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
        x = self.conv_out(F.silu(self.norm_out(self.mid(x))))
        return self.quant_conv(x)


class Decoder(nn.Module):
    """Quantised latents (B, channels, h, w) to pixels (B, 3, h*factor, w*factor), nominally in [-1, 1]."""

    def __init__(self, stack: Stack, channels: int) -> None:
        super().__init__()
        widths = stack.level_widths
        last = len(widths) - 1
        self.patch = stack.patch
        self.post_quant_conv = nn.Conv2d(channels, channels, 1)
        self.conv_in = nn.Conv2d(channels, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1], stack.groups, stack.local)
        self.up = nn.ModuleList(
            Level(
                widths[min(i + 1, last)], widths[i], stack.blocks[i], stack.groups, "up" if i > 0 else "", stack.local
            )
            for i in range(len(widths))
        )
        self.norm_out = _norm(widths[0], stack.groups, stack.local)
        self.conv_out = nn.Conv2d(widths[0], COLOURS * stack.patch**2, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        x = self.mid(self.conv_in(self.post_quant_conv(latents)))
        for level in reversed(self.up):
            x = level(x)
        x = self.conv_out(F.silu(self.norm_out(x)))
        return F.pixel_shuffle(x, self.patch) if self.patch > 1 else x
