"""Yes and no as the published reward models answer (2501.13926's code): one sampled word, filtered probabilities.

Every question is sampled at temperature 1 behind top-k and top-p, and only the first word counts. Probabilities are
taken after the filter, so most are exactly 0 or 1. Questions of the yes/no kind otherwise use raw logits (``asked``).
"""

from __future__ import annotations

import torch
from torch import Tensor

from limner.judges.verifier import Opinion, Question

TOP_K, TOP_P = 20, 0.8  # of the checkpoints' generation settings
UNREADABLE = 50.0  # the "no" of a potential that was answered with another word


def filtered(logits: Tensor, top_k: int = TOP_K, top_p: float = TOP_P) -> Tensor:
    """Probabilities (..., V) of logits (..., V) after both filters: the k largest, then the fewest likeliest with
    a sum of at least ``top_p``."""
    logits = logits.float()
    kept = logits.topk(min(top_k, logits.shape[-1]), dim=-1).values[..., -1:]
    logits = logits.masked_fill(logits < kept, -torch.inf)
    ordered, order = logits.sort(dim=-1, descending=False)
    tail = ordered.softmax(dim=-1).cumsum(dim=-1) <= 1 - top_p
    tail[..., -1] = False
    return logits.masked_fill(torch.zeros_like(tail).scatter(-1, order, tail), -torch.inf).softmax(dim=-1)


def opinion(question: Question, word: str, yes: float, no: float) -> Opinion:
    """What the published code makes of a first word and of the probabilities of the literal tokens ``yes`` and ``no``.

    Outcome: yes as it is whatever was said, 0 for another word. Clarity: anything but "no" is clear. Potential: ranked
    by no, 50 for another word.
    """
    said = word.lower()
    told = said in ("yes", "no")
    if question == "clarity":
        return Opinion(yes, no, said != "no", said)
    if question == "potential":
        return Opinion(yes if told else 0.0, no if told else UNREADABLE, said == "yes", said)
    return Opinion(yes if told else 0.0, None, said == "yes", said)


def sampled(chances: Tensor, point: float) -> int:
    """The id that a random number in [0, 1) chooses from probabilities (V,)."""
    cumulative = chances.double().cumsum(dim=0)
    place = torch.searchsorted(cumulative, point * cumulative[-1:], right=True)
    return int(place.clamp(max=len(chances) - 1))
