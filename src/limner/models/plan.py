"""What a model takes before anything is loaded: bytes and rough seconds, from networks without numbers (torch's meta
device), so that a plan and the model it is for can never have other sizes.

A family's ``sizes.py`` says of which parts its models are and which work makes a reply. Memory is weights, what stands
between layers, kept keys and values, and what CUDA itself takes. Time is the longer of computing and of reading the
weights, at the shares of a card's peak that such networks usually reach; attention's own sums are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

SIZES = {"float32": 4, "bfloat16": 2, "float16": 2}
COMPUTES, READS = 0.4, 0.7  # shares of a device's peak that are usually reached
BUS = 20e9  # bytes a second between main and graphics memory
CUDA = 0.6e9  # bytes that CUDA's own context takes
WORKING = 12  # tensors of a layer's width that are alive at once in a forward pass
LAYER = 34  # bytes a token and unit of width that a layer keeps for the backward pass in 16 bit (2205.05198, table 2)


@dataclass(frozen=True)
class Part:
    """A network on the meta device. ``small``: the modules whose linear layers eight-bit weights are for. ``wide``: it
    stands in float32 always. ``moves``: it leaves the device while another part computes (offload "model").
    ``trained``: it learns unless a recipe says otherwise. ``beside``: it moves together with that other part."""

    name: str
    network: nn.Module
    small: tuple[nn.Module, ...] = ()
    wide: bool = False
    moves: bool = True
    trained: bool = True
    beside: str = ""

    @property
    def parameters(self) -> int:
        """How many numbers it has."""
        return sum(p.numel() for p in self.network.parameters())

    def nbytes(self, dtype: str, quantise: str = "") -> int:
        """Bytes of its weights; ``quantise`` counts one byte a number and a scale an output where that is done."""
        size = 4 if self.wide else SIZES[dtype]
        total = size * self.parameters + sum(b.nbytes for b in self.network.buffers())
        if quantise:
            for module in self.small:
                for each in module.modules():
                    if isinstance(each, nn.Linear):
                        total += each.weight.numel() * (1 - size) + each.out_features * size
        return total

    @property
    def read(self) -> int:
        """Numbers that a pass multiplies: all but those of tables that are looked up."""
        tables = sum(m.weight.numel() for m in self.network.modules() if isinstance(m, nn.Embedding))
        return self.parameters - tables


@dataclass(frozen=True)
class Work:
    """What a part does for one reply: ``passes`` over ``tokens`` (a row's, with its context). ``width`` is of what
    stands between layers, ``kept`` bytes of keys and values of a row, ``live`` further bytes at its peak (logits,
    pixels). ``share`` of the part's numbers are used. ``operations`` of a pass, where numbers are used more than once
    a token, as by convolutions."""

    name: str
    part: str
    tokens: int
    passes: int
    width: int
    kept: int = 0
    live: int = 0
    share: float = 1.0
    operations: float = 0.0
    either: str = ""  # works of one name here are choices, of which a reply has one


@dataclass(frozen=True)
class Outline:
    """A model before it is loaded. ``offloads`` are the ways it may wait for its turn; ``row`` are tokens of a training
    row, ``depth`` the layers they pass and ``width`` what stands between these, ``table`` the rows of the output."""

    name: str
    parts: tuple[Part, ...]
    works: tuple[Work, ...]
    offloads: tuple[str, ...] = ()
    quantises: bool = True
    row: int = 0
    depth: int = 0
    width: int = 0
    table: int = 0

    def __post_init__(self) -> None:
        known = {part.name for part in self.parts}
        assert all(work.part in known for work in self.works)


@dataclass(frozen=True)
class Place:
    """A device: how much memory, floating-point operations (16 bit) and bytes a second, and whose figures these are."""

    kind: str
    memory: float
    operations: float
    bandwidth: float
    like: str


# gigabytes -> (card, dense 16-bit operations a second, bytes a second), from the makers' data sheets
CARDS: dict[int, tuple[str, float, float]] = {
    8: ("RTX 4060", 60e12, 272e9),
    12: ("RTX 4070", 117e12, 504e9),
    16: ("RTX 4080", 195e12, 717e9),
    24: ("RTX 4090", 165e12, 1008e9),
    32: ("RTX 5090", 209e12, 1792e9),
    40: ("A100 40 GB", 312e12, 1555e9),
    48: ("L40S", 362e12, 864e9),
    80: ("H100", 989e12, 3350e9),
    141: ("H200", 989e12, 4800e9),
}
CORE, MAIN = 60e9, 40e9  # float32 operations a second of a CPU core, bytes a second of main memory


def place_of(text: str, cores: int = 1) -> Place:
    """The device that ``cuda:24GB`` or ``cpu:32GB`` means. Raises ValueError for anything else."""
    kind, _, memory = text.partition(":")
    number = memory.upper().removesuffix("GB")
    if kind not in ("cuda", "cpu") or not number.replace(".", "", 1).isdigit() or float(number) <= 0:
        raise ValueError(f"--device {text}: say how much memory there is, as in cuda:24GB or cpu:32GB")
    size = float(number)
    if kind == "cpu":
        return Place("cpu", size * 1e9, cores * CORE, MAIN, f"{cores} cores")
    nearest = max((gigabytes for gigabytes in CARDS if gigabytes <= size), default=min(CARDS))
    name, operations, bandwidth = CARDS[nearest]
    return Place("cuda", size * 1e9, operations, bandwidth, name)


@dataclass(frozen=True)
class Way:
    """One way to load a model, what it takes on the device at most, and seconds of a reply's works by name; ``total``
    counts the longest of choices."""

    dtype: str
    quantise: str
    offload: str
    peak: float
    seconds: Mapping[str, float]
    total: float
    fits: bool

    @property
    def name(self) -> str:
        """As a person says it."""
        more = [self.quantise, self.offload and f"offload={self.offload}"]
        return ", ".join([self.dtype, *filter(None, more)])

    @property
    def options(self) -> dict[str, str]:
        """The arguments of `limner.load`."""
        return {key: value for key, value in vars(self).items() if key in ("dtype", "quantise", "offload") and value}


def ways(outline: Outline, place: Place, rows: int = 1) -> list[Way]:
    """Every way to load the model for so many rows at a time, the plainest first."""
    dtype = "bfloat16" if place.kind == "cuda" else "float32"
    kinds = ["", "int8", "fp8"] if outline.quantises else [""]
    return [_way(outline, place, rows, dtype, quantise, offload)
            for offload in ("", *outline.offloads) for quantise in kinds]  # fmt: skip


def best(found: Sequence[Way]) -> Way | None:
    """The first way that fits: whole before eight bits, together before taking turns."""
    return next((way for way in found if way.fits), None)


def _way(outline: Outline, place: Place, rows: int, dtype: str, quantise: str, offload: str) -> Way:
    sizes = {part.name: part.nbytes(dtype, quantise) for part in outline.parts}
    stays = sum(sizes[part.name] for part in outline.parts if not part.moves)
    peak, seconds, longest, here = 0.0, dict[str, float](), dict[str, float](), ""
    for work in outline.works:
        part = next(each for each in outline.parts if each.name == work.part)
        group = [each for each in outline.parts if part.name in (each.name, each.beside) and each.moves]
        moved = sum(sizes[each.name] for each in group)
        present = sum(sizes.values())
        if offload == "model":
            present = stays + moved
        elif offload == "sequential":  # one layer at a time
            present = stays + max((_largest_layer(each) * SIZES[dtype] for each in group), default=0)
        between = rows * work.tokens * work.width * SIZES[dtype] * WORKING
        peak = max(peak, present + between + rows * (work.kept + work.live))
        operations = work.operations or 2 * part.read * work.share * work.tokens
        computing = operations * rows / (COMPUTES * place.operations)
        reading = work.share * sizes[part.name] / (READS * place.bandwidth)
        spent = work.passes * max(computing, reading)
        if offload == "model" and part.moves and here != part.name:
            spent += moved / BUS
        elif offload == "sequential" and part.moves:
            spent += work.passes * sizes[part.name] / BUS
        here = part.name if part.moves else here
        seconds[work.name] = seconds.get(work.name, 0.0) + spent
        choice = work.either or work.name
        longest[choice] = max(longest.get(choice, 0.0), seconds[work.name])
    peak += CUDA if place.kind == "cuda" else 0.0
    return Way(dtype, quantise, offload, peak, seconds, sum(longest.values()), peak <= place.memory)


def _largest_layer(part: Part) -> int:
    stacks = [m for m in part.network.modules() if isinstance(m, nn.ModuleList)]
    return max((sum(p.numel() for p in layer.parameters()) for stack in stacks for layer in stack), default=0)


@dataclass(frozen=True)
class Training:
    """What a training run takes of each of ``gpus`` devices, in bytes by name, and seconds a step."""

    gpus: int
    micro: int
    bytes: Mapping[str, float]
    seconds: float
    fits: bool
    trained: int

    @property
    def total(self) -> float:
        """Bytes in all."""
        return sum(self.bytes.values())


def training(
    outline: Outline, place: Place, *, gpus: int = 1, batch: int, micro: int = 0, ema: bool = True,
    recompute: bool = False, gather: str = "whole", dtype: str = "bfloat16", train: Sequence[str] = (),
) -> Training:  # fmt: skip
    """A step over ``batch`` rows, shared out over ``gpus`` devices: float32 weights, gradients, AdamW's two moments and
    averaged weights are sharded, computing is in ``dtype``. ``micro`` is the number of micro-batches, of all devices
    together; 0 is the smallest with which it fits. ``train`` names the parts that learn ((): the family's own).

    Raises ValueError for rows that cannot be shared out."""
    if batch < 1 or gpus < 1 or batch % gpus:
        raise ValueError(
            f"{batch} rows a step cannot be shared out over {gpus} devices; give a number that divides them"
        )
    if not micro:
        given = {"gpus": gpus, "batch": batch, "ema": ema, "recompute": recompute, "gather": gather, "dtype": dtype}
        tried = [n for n in range(gpus, batch + 1, gpus) if batch % n == 0]
        found = [training(outline, place, micro=n, train=train, **given) for n in tried]  # type: ignore[arg-type]
        return next((each for each in found if each.fits), found[-1])
    names = train or [part.name for part in outline.parts if part.trained]
    learns = [part for part in outline.parts if part.name in names]
    trained = sum(part.parameters for part in learns)
    frozen = sum(part.nbytes(dtype) for part in outline.parts if part not in learns)
    size = SIZES[dtype]
    taken: dict[str, float] = {"weights": 4 * trained / gpus, "gradients": 4 * trained / gpus}
    taken |= {"optimiser": 8 * trained / gpus, "averages": 4 * trained / gpus if ema else 0}
    taken["frozen parts"] = frozen
    if gpus > 1:
        together = trained if gather == "whole" else 2 * max((_largest_layer(part) for part in learns), default=0)
        taken["gathered"] = size * together
    tokens = outline.row * max(1, batch // micro)
    each = 2 if recompute else LAYER
    taken["activations"] = tokens * outline.width * (outline.depth * each + (LAYER if recompute else 0)) * size / 2
    taken["logits"] = 2 * 4 * tokens * outline.table
    if place.kind == "cuda":
        taken["CUDA"] = CUDA
    forward = sum(part.read for part in learns) * outline.row * batch * 2
    seconds = forward * (4 if recompute else 3) / (COMPUTES * place.operations * gpus)
    return Training(gpus, micro, taken, seconds, sum(taken.values()) <= place.memory, trained)


def keys_and_values(layers: int, width: int, tokens: int, size: int = 2) -> int:
    """Bytes of a row's keys and values."""
    return 2 * layers * width * tokens * size


def pixels(side: int, channels: int = 128, alive: int = 4) -> int:
    """Bytes that a decoder of pixels has alive at its finest layers, in float32."""
    return side * side * channels * 4 * alive


def decoding(side: int) -> float:
    """Operations of decoding a picture's pixels: 2.5e12 at 512 pixels, as Stable Diffusion's decoder takes."""
    return 2.5e12 * (side / 512) ** 2


def on_meta(build: Any, *arguments: Any, **options: Any) -> Any:
    """What ``build`` makes, without numbers."""
    with torch.device("meta"):
        return build(*arguments, **options)
