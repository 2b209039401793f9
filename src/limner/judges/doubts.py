"""A generator's own doubts about a picture: what it would hardly have drawn there, and what its codec draws otherwise.

No training and no words are needed, only what made the picture. Two numbers, both 0 where nothing is doubtful:

    unlikely   mean over all codes of log p(code | prompt, the other half of the codes), where decoding the picture and
               encoding it again gives another code, and 0 where it gives the same
    redrawn    root mean square distance (0 to 1) of the picture and of what the codec makes of it, the largest of the
               channels, as means of 4 x 4 pixels

A smudge is both: a combination of codes that the generator never saw, and one that the codec, which was taught on
whole things, cannot draw. Their weights are those of a logistic regression on 2,048 pictures of tiny-show-o (prompts
that training may see, right by the exact reader), rounded; for half-made pictures on half of these after a third to
five sixths of the steps, by what became of them. Beyond 2501.13926, whose verifiers are all trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from limner.judges.verifier import EARLY, About, Opinion, Question, chance_of, clear_from
from limner.models.base import Model
from limner.parts import Ask, Image, Sample
from limner.process.base import Draw
from limner.process.masked import MaskedCanvas
from limner.process.noise import Noise

POOL = 4  # pixels a side whose distances are averaged


class Weights(NamedTuple):
    """log-odds of being right = ``offset`` + ``unlikely`` * it + ``redrawn`` * it."""

    offset: float
    unlikely: float
    redrawn: float


FINISHED = Weights(4.5, 4.6, -25.0)
HALF_MADE = Weights(4.2, 2.2, -28.0)


@dataclass(frozen=True)
class Doubts:
    """A verifier that asks the generator's own network and codec. ``draws`` hide all codes once each, in two halves;
    ``rows`` pictures are looked at together. Half-made ones are clear from the share ``clear_from`` of the steps on."""

    model: Model
    about: About = field(default_factory=lambda: About("the generator's doubts"))
    draws: int = 1
    rows: int = 64
    clear_from: float = EARLY
    finished: Weights = FINISHED
    half_made: Weights = HALF_MADE

    def __call__(self, question: Question, samples: Sequence[Sample]) -> list[Opinion]:
        if question == "clarity":
            return clear_from(self.clear_from, samples)
        found: list[Opinion] = []
        for begin in range(0, len(samples), self.rows):
            some = samples[begin : begin + self.rows]
            unlikely, redrawn = self.measured(some)
            for sample, *both in zip(some, unlikely.tolist(), redrawn.tolist(), strict=True):
                how = self.finished if sample.progress >= 1 else self.half_made
                odds = how.offset + how.unlikely * both[0] + how.redrawn * both[1]
                found.append(Opinion(chance_of(odds)))
        return found

    def reads_codes(self, model: Model) -> bool:
        """Whether the generator's codes are this model's own: then half-made pictures need no decoding before."""
        return model is self.model

    @torch.no_grad()
    def measured(self, samples: Sequence[Sample]) -> tuple[Tensor, Tensor]:
        """(``unlikely`` (B,), ``redrawn`` (B,)) of the samples' last pictures, see above. Raises ValueError for models
        whose pictures are no codes, and for samples without a picture."""
        places = [max((i for i, part in enumerate(s.reply) if isinstance(part, Image)), default=-1) for s in samples]
        if min(places) < 0:
            raise ValueError("there is no picture to doubt")
        process = self.model.process("image")
        if not isinstance(process, MaskedCanvas):
            raise ValueError(f"{self.model.family} draws no codes that could be hidden; ask another judge")
        codes = self.model.encode([sample.reply[at] for sample, at in zip(samples, places, strict=True)])
        drawn = self.model.decode("image", codes)
        again = self.model.encode([Image(part.image) for part in drawn if isinstance(part, Image)])
        changed = again != codes
        conversations = [sample.task.prompt for sample in samples]
        replies = [sample.reply[:at] for sample, at in zip(samples, places, strict=True)]
        context = self.model.context(conversations, replies, Ask("image", limit=codes.shape[1]))
        noise, likely = Noise.of([sample.seed for sample in samples]), torch.zeros(codes.shape, device=codes.device)
        for turn in range(self.draws):
            order = noise.uniform("doubts", turn, codes.shape[1]).argsort(dim=1).argsort(dim=1)
            for half in range(2):
                hidden = (order % 2 == half).to(codes.device)
                draw = Draw(hidden, torch.ones(len(samples), device=codes.device))
                likely += process.log_prob(context, codes, draw).tokens / self.draws
        before, after = _pixels(drawn), _pixels(self.model.decode("image", again))
        apart = F.avg_pool2d((before - after).abs().amax(dim=1, keepdim=True), POOL)
        return (likely * changed).mean(dim=1).cpu(), apart.square().mean(dim=(1, 2, 3)).sqrt()


def _pixels(parts: Sequence[object]) -> Tensor:
    """(B, 3, H, W) float32 in 0..1."""
    arrays = [np.asarray(part.image.convert("RGB")) for part in parts if isinstance(part, Image)]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float() / 255
