"""GenEval's detector and colour classifier from transformers: Mask2Former (2112.01527) and CLIP (2103.00020).

The published figures come from mmdetection's weights. This is another training run of the same network (by default
``facebook/mask2former-swin-small-coco-instance``), so what it scores is called ``geneval-hf`` and is no GenEval score.
As mmdetection does, and unlike transformers' own post-processing: the best 100 of (query, class), each scored by its
class probability times the mean mask probability inside its mask; masks at the picture's own size, each by itself;
tight boxes with an exclusive right and lower edge; no suppression of doubles.

Legend: Q queries, C classes (the last logit is "nothing"), H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as pil
from torch import Tensor

from limner.bench.geneval import COLOURS, Detection
from limner.judges.clip import CLIP, load_clip

MASK2FORMER = "facebook/mask2former-swin-small-coco-instance"
SHORT, LONG, MULTIPLE, MOST = 800, 1333, 32, 100
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
GREY = (0x99, 0x99, 0x99)
COCO_NAMES = {"mouse": "computer mouse", "remote": "tv remote", "keyboard": "computer keyboard"}
TEMPLATES = ("a photo of a {colour} {name}", "a photo of a {colour}-colored {name}", "a photo of a {colour} object")


@dataclass(frozen=True)
class Cut:
    """A detection's picture (cropped to its box) and mask, for whoever names the colour."""

    picture: pil.Image
    mask: np.ndarray

    def shown(self) -> pil.Image:
        """The crop with everything but the thing in grey."""
        pixels = np.asarray(self.picture.convert("RGB")).copy()
        pixels[~self.mask] = GREY
        return pil.fromarray(pixels)


def prepared(picture: pil.Image, short: int = SHORT, long: int = LONG) -> tuple[Tensor, Tensor]:
    """(pixels (1, 3, H, W), kept (1, H, W)): the short side ``short`` but the long one at most ``long``, normalised,
    padded right and below to a multiple of 32; ``kept`` is 0 on the padding."""
    width, height = picture.size
    scale = min(short / min(width, height), long / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    array = np.asarray(picture.convert("RGB").resize(size, pil.Resampling.BILINEAR), dtype=np.float32) / 255
    pixels = (torch.from_numpy(array).permute(2, 0, 1) - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[
        :, None, None
    ]
    right, below = (-size[0]) % MULTIPLE, (-size[1]) % MULTIPLE
    kept = F.pad(torch.ones(size[1], size[0], dtype=torch.int64), (0, right, 0, below))
    return F.pad(pixels, (0, right, 0, below))[None], kept[None]


def detections(
    classes: Tensor,
    masks: Tensor,
    padded: tuple[int, int],
    kept: tuple[int, int],
    picture: pil.Image,
    names: Sequence[str],
) -> dict[str, list[Detection]]:
    """What class logits (Q, C + 1) and mask logits (Q, h, w) of one picture say, by class, best first.

    ``padded`` is the input's size (H, W) and ``kept`` the part of it that is picture.
    """
    chances = classes.float().softmax(dim=-1)[:, :-1].flatten()
    best, order = chances.topk(min(MOST, len(chances)))
    query, kind = order // (classes.shape[1] - 1), order % (classes.shape[1] - 1)
    wanted, place = query.unique(return_inverse=True)
    logits = F.interpolate(masks[wanted][None].float(), padded, mode="bilinear", align_corners=False)
    logits = logits[..., : kept[0], : kept[1]]
    logits = F.interpolate(logits, picture.size[::-1], mode="bilinear", align_corners=False)[0]
    found: dict[str, list[Detection]] = {}
    inside = logits > 0
    sureness = (logits.sigmoid() * inside).sum(dim=(1, 2)) / inside.sum(dim=(1, 2)).clamp(min=1)
    for i in range(len(best)):
        mask = inside[place[i]].cpu().numpy()
        if not mask.any():
            continue
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        left, top, right, bottom = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
        cut = Cut(picture.crop((left, top, right, bottom)), mask[top:bottom, left:right])
        name = names[int(kind[i])]
        box = (float(left), float(top), float(right), float(bottom))
        one = Detection(box, float(best[i] * sureness[place[i]]), cut)
        found.setdefault(COCO_NAMES.get(name, name), []).append(one)
    return {name: sorted(some, key=lambda one: -one.score) for name, some in found.items()}


@dataclass
class Mask2Former:
    """The detector: called with a picture, gives its detections by GenEval's class names. Loaded at first use."""

    name: str = MASK2FORMER
    device: str = "cpu"
    short: int = SHORT
    long: int = LONG
    _loaded: list[Any] = field(default_factory=list, repr=False)

    @torch.no_grad()
    def __call__(self, picture: pil.Image) -> dict[str, list[Detection]]:
        model = self._model()
        picture = picture.convert("RGB")
        pixels, kept = prepared(picture, self.short, self.long)
        out = model(pixel_values=pixels.to(self.device), pixel_mask=kept.to(self.device))
        names = [model.config.id2label[i] for i in range(model.config.num_labels)]
        inside = (int(kept[0, :, 0].sum()), int(kept[0, 0].sum()))
        padded = (pixels.shape[2], pixels.shape[3])
        return detections(
            out.class_queries_logits[0].cpu(), out.masks_queries_logits[0].cpu(), padded, inside, picture, names
        )

    def _model(self) -> Any:
        if not self._loaded:
            from transformers import Mask2FormerForUniversalSegmentation as Network

            try:
                self._loaded.append(Network.from_pretrained(self.name).to(self.device).eval())
            except (OSError, ValueError) as error:
                reason = str(error).strip().partition("\n")[0]
                raise ValueError(f"no detector {self.name!r}: {reason}; give a folder or a hub id") from None
        return self._loaded[0]


@dataclass
class ClipColours:
    """GenEval's colour of a detection: the nearest of ten colours, each the mean of three texts (2103.00020)."""

    name: str = CLIP
    device: str = "cpu"
    load: Callable[[str, str], tuple[Any, Any]] = load_clip
    _loaded: list[tuple[Any, Any]] = field(default_factory=list, repr=False)
    _texts: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def __call__(self, name: str, one: Detection) -> str:
        picture = one.mark.shown()
        if name not in self._texts:
            asked = [form.format(colour=colour, name=name) for colour in COLOURS for form in TEMPLATES]
            _, texts = self._embedded(picture, asked)
            self._texts[name] = F.normalize(texts.reshape(len(COLOURS), len(TEMPLATES), -1).mean(dim=1), dim=-1)
        shown, _ = self._embedded(picture, [name])
        return COLOURS[int((self._texts[name] @ shown[0]).argmax())]

    @torch.no_grad()
    def _embedded(self, picture: pil.Image, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Unit vectors (1, D) of the picture and (T, D) of the texts."""
        if not self._loaded:
            self._loaded.append(self.load(self.name, self.device))
        model, processor = self._loaded[0]
        inputs = processor(images=[picture], text=list(texts), padding=True, truncation=True, return_tensors="pt")
        out = model(**inputs.to(self.device))
        shown, said = out.image_embeds.float().cpu(), out.text_embeds.float().cpu()
        return F.normalize(shown, dim=-1), F.normalize(said, dim=-1)
