"""A second reader of pictures, made in another way: a small trained centre-point detector.

The template reader draws and compares, and never guesses. This one has learned from blurred and noisy drawings what
things look like, and shares no assumption with it. Two readers that agree are hard to fool: one may serve as a reward
while the other evaluates. ``limner train world.detector`` makes the weights (``recipes.world``).

Legend: B pictures, K kinds, C colours, G backgrounds; the grid has 16 x 16 cells of 4 x 4 pixels.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from limner.world.reading import Box, Found, Reading, as_square
from limner.world.scene import BACKGROUNDS, CANVAS, COLOURS, CONTAINER, KINDS, Scene, Thing

GRID = 16
CELL = CANVAS // GRID
NAMES: tuple[str, ...] = tuple(KINDS)
HOLDER = NAMES.index(CONTAINER)
SHIPPED = Path(__file__).parent.parent / "pretrained" / "world-detector"


@dataclass(frozen=True)
class DetectorConfig:
    """Widths of the three resolutions (32, 16 and 8 cells a side) and the residual blocks at the last two."""

    widths: tuple[int, int, int] = (32, 64, 128)
    blocks: int = 2
    sure: float = 0.4  # heat from which a thing is there
    doubtful: float = 0.15  # heat from which something is there that is not known


class Answer(NamedTuple):
    """Raw answers. ``heat`` (B, K, 16, 16) logits; ``colour`` (B, 2, C, 16, 16) logits, first of containers, then of
    everything else; ``place`` (B, 2, 4, 16, 16): offset of the centre in cells (x, y), half size in canvas units / 32,
    and the logit of being mirrored; ``background`` (B, G) logits.
    """

    heat: Tensor
    colour: Tensor
    place: Tensor
    background: Tensor


class Truth(NamedTuple):
    """What ``Answer`` should be. ``heat`` (B, K, 16, 16) in 0..1 with 1 at centres; ``colour`` (B, 2, 16, 16), -1 where
    no centre is; ``place`` (B, 2, 4, 16, 16); ``background`` (B,).
    """

    heat: Tensor
    colour: Tensor
    place: Tensor
    background: Tensor


class Block(nn.Module):
    """Two convolutions beside a short cut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, width), nn.GroupNorm(8, width)
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))


class Detector(nn.Module):
    """Pictures (B, 3, 64, 64) in -1..1 to an ``Answer``; about a million parameters."""

    def __init__(self, config: DetectorConfig | None = None) -> None:
        super().__init__()
        self.config = config or DetectorConfig()
        fine, middle, coarse = self.config.widths
        self.stem = nn.Conv2d(3, fine, 5, stride=2, padding=2)
        self.fine = Block(fine)
        self.down1 = nn.Conv2d(fine, middle, 3, stride=2, padding=1)
        self.middle = nn.Sequential(*(Block(middle) for _ in range(self.config.blocks)))
        self.down2 = nn.Conv2d(middle, coarse, 3, stride=2, padding=1)
        self.coarse = nn.Sequential(*(Block(coarse) for _ in range(self.config.blocks)))
        self.up = nn.Conv2d(coarse, middle, 1)
        self.last = Block(middle)
        self.norm = nn.GroupNorm(8, middle)
        self.heat = nn.Conv2d(middle, len(KINDS), 1)
        self.colour = nn.Conv2d(middle, 2 * len(COLOURS), 1)
        self.place = nn.Conv2d(middle, 2 * 4, 1)
        self.background = nn.Linear(middle + coarse, len(BACKGROUNDS))
        assert self.heat.bias is not None
        nn.init.constant_(self.heat.bias, -4.0)  # centres are rare: begin by saying so

    def forward(self, pictures_B3HW: Tensor) -> Answer:
        if pictures_B3HW.shape[1:] != (3, CANVAS, CANVAS):
            raise ValueError(f"wanted pictures (B, 3, {CANVAS}, {CANVAS}), got {tuple(pictures_B3HW.shape)}")
        middle = self.middle(self.down1(self.fine(self.stem(pictures_B3HW))))
        coarse = self.coarse(self.down2(middle))
        grid = middle + F.interpolate(self.up(coarse), scale_factor=2.0, mode="nearest")
        grid = F.silu(self.norm(self.last(grid)))
        around = torch.cat([grid.mean(dim=(2, 3)), coarse.mean(dim=(2, 3))], dim=1)
        return Answer(
            self.heat(grid),
            self.colour(grid).unflatten(1, (2, len(COLOURS))),
            self.place(grid).unflatten(1, (2, 4)),
            self.background(around),
        )

    def save(self, folder: Path) -> None:
        """Write ``config.json`` and the weights in bfloat16."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(asdict(self.config), indent=2) + "\n")
        weights = {name: value.detach().to("cpu", torch.bfloat16) for name, value in self.state_dict().items()}
        save_file(weights, folder / "model.safetensors")

    @staticmethod
    def load(folder: Path) -> Detector:
        """Read what ``save`` wrote, as float32, ready to answer. Raises ``ValueError`` where nothing is."""
        if not (folder / "model.safetensors").exists():
            raise ValueError(f"no detector in {folder}; make one with: limner train world.detector")
        values = json.loads((folder / "config.json").read_text())
        model = Detector(DetectorConfig(**values | {"widths": tuple(values["widths"])}))
        weights = load_file(folder / "model.safetensors")
        model.load_state_dict({name: value.float() for name, value in weights.items()})
        return model.eval()


def to_input(pictures: NDArray[np.uint8]) -> Tensor:
    """(B, 64, 64, 3) uint8 to (B, 3, 64, 64) in -1..1."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def truth(scenes: Sequence[Scene]) -> Truth:
    """The perfect answer for scenes."""
    count = len(scenes)
    heat = torch.zeros(count, len(KINDS), GRID, GRID)
    colour = torch.full((count, 2, GRID, GRID), -1)
    place = torch.zeros(count, 2, 4, GRID, GRID)
    axis = torch.arange(GRID) + 0.5
    for i, scene in enumerate(scenes):
        for thing in scene.things:
            kind, layer = NAMES.index(thing.kind), int(thing.kind != CONTAINER)
            x, y = thing.x / CELL, thing.y / CELL
            column, row = min(int(x), GRID - 1), min(int(y), GRID - 1)
            near = torch.exp(-((axis - y)[:, None].square() + (axis - x).square()) / (2 * 0.7**2))
            heat[i, kind] = torch.maximum(heat[i, kind], near.clamp(max=0.9))
            heat[i, kind, row, column] = 1.0
            colour[i, layer, row, column] = COLOURS.index(thing.colour)
            offset = (x - column - 0.5, y - row - 0.5, thing.half / 32, float(thing.flip))
            place[i, layer, :, row, column] = torch.tensor(offset)
    backgrounds = torch.tensor([BACKGROUNDS.index(scene.background) for scene in scenes])
    return Truth(heat, colour, place, backgrounds)


def loss(answer: Answer, wanted: Truth) -> tuple[Tensor, dict[str, float]]:
    """Focal loss of the heat (CornerNet, 1808.01244 eq. 1); colour and place at centres only; and the background.

    Returns the weighted sum, and the parts as numbers.
    """
    centre = wanted.heat == 1
    number = centre.sum().clamp(min=1)
    heat = answer.heat.float()
    chance = heat.sigmoid()
    hit = -F.logsigmoid(heat) * (1 - chance).square() * centre
    miss = -F.logsigmoid(-heat) * chance.square() * (1 - wanted.heat).pow(4) * ~centre
    heat_loss = (hit + miss).sum() / number
    known = wanted.colour >= 0
    colour_loss = F.cross_entropy(answer.colour.float().movedim(2, -1)[known], wanted.colour[known], reduction="sum")
    place, target = answer.place.float().movedim(2, -1)[known], wanted.place.movedim(2, -1)[known]
    place_loss = F.smooth_l1_loss(place[:, :3], target[:, :3], beta=0.1, reduction="sum")
    place_loss = place_loss + 0.2 * F.binary_cross_entropy_with_logits(place[:, 3], target[:, 3], reduction="sum")
    background_loss = F.cross_entropy(answer.background.float(), wanted.background)
    parts = {
        "heat": heat_loss,
        "colour": colour_loss / number,
        "place": place_loss / number,
        "background": background_loss,
    }
    total = heat_loss + 0.5 * parts["colour"] + parts["place"] + 0.5 * background_loss
    return total, {f"{name}_loss": float(value.detach()) for name, value in parts.items()}


@cache
def shipped() -> Detector:
    """The detector in the package."""
    return Detector.load(SHIPPED)


@torch.no_grad()
def detect(
    pictures: Iterable[NDArray[np.uint8] | Image.Image], model: Detector | None = None, *, batch_size: int = 64
) -> list[Reading]:
    """Read square RGB pictures of at least 64 pixels a side with ``model`` (the shipped one if none is given).

    ``Reading.residual`` is not a number: this reader does not draw. Raises ``ValueError`` for other pictures.
    """
    model = model or shipped()
    device = next(model.parameters()).device
    squares = [as_square(picture) for picture in pictures]
    readings = []
    for start in range(0, len(squares), batch_size):
        answer = model(to_input(np.stack(squares[start : start + batch_size])).to(device))
        plain = Answer(*(part.float().cpu() for part in answer))
        readings += [reading(Answer(*(part[i] for part in plain)), model.config) for i in range(len(plain.heat))]
    return readings


def reading(answer: Answer, config: DetectorConfig) -> Reading:
    """One picture's answer (the parts of ``Answer`` without B) as a reading."""
    heat = answer.heat.sigmoid()
    peaks = heat * (heat == F.max_pool2d(heat[None], 3, stride=1, padding=1)[0])
    places = [(int(k), int(r), int(c)) for k, r, c in (peaks >= config.doubtful).nonzero()]
    kept: list[tuple[float, int, int, int]] = []
    for strength, kind, row, column in sorted(((float(peaks[at]), *at) for at in places), reverse=True):
        # centres are never closer than three cells, but for a container's and its content's
        rivals = [other for other in kept if (other[1] == HOLDER) == (kind == HOLDER)]
        if all(max(abs(row - other[2]), abs(column - other[3])) > 2 for other in rivals):
            kept.append((strength, kind, row, column))
    found = [_found(answer, kind, row, column, strength) for strength, kind, row, column in kept]
    known = [each for each in found if each.score >= config.sure]
    unknown = [each.box for each in found if each.score < config.sure]
    known.sort(key=lambda each: (each.thing.kind != CONTAINER, each.thing))
    background = BACKGROUNDS[int(answer.background.argmax())]
    return Reading(background, tuple(known), tuple(unknown), float("nan"))


def _found(answer: Answer, kind: int, row: int, column: int, strength: float) -> Found:
    layer = int(kind != HOLDER)
    across, down, size, mirrored = answer.place[layer, :, row, column].tolist()
    x, y = round((column + 0.5 + across) * CELL), round((row + 0.5 + down) * CELL)
    half = min(max(round(size * 32), 1), CANVAS // 2)
    colour = COLOURS[int(answer.colour[layer, :, row, column].argmax())]
    flip = mirrored > 0 and not KINDS[NAMES[kind]].symmetric
    box: Box = (max(x - half, 0), max(y - half, 0), min(x + half, CANVAS), min(y + half, CANVAS))
    return Found(Thing(y, x, half, NAMES[kind], colour, flip), box, round(strength, 4))
