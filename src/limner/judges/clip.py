"""Judges of how well a picture and words fit: any scorer of pairs, and CLIP (2103.00020) as one.

Rewards of 2505.15809 section 3.3: 0.1 CLIP score and 0.1 ImageReward for pictures, 0.1 CLIP for captions. A scorer is
any function, so ImageReward, HPSv2 or a served model is one line of the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from limner.judges.base import Judge
from limner.parts import Image, Sample, Verdict

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

# (pictures, texts of the same number) -> one score a pair
Scorer = Callable[[Sequence["Picture"], Sequence[str]], Sequence[float]]

CLIP = "openai/clip-vit-large-patch14"


def fits(scorer: Scorer, fact: str = "caption", said: Literal["prompt", "reply"] = "prompt") -> Judge:
    """The scorer's opinion of a sample's picture and words.

    ``said`` "prompt" judges a drawn picture by ``task.facts[fact]``, or by the last user's words where the task has no
    such fact; "reply" judges a written text by the picture that was asked about. Without a picture or words a sample
    cannot be judged.
    """

    def judge(samples: Sequence[Sample]) -> list[Verdict]:
        pairs = [_drawn(sample, fact) if said == "prompt" else _captioned(sample) for sample in samples]
        whole = [(picture, text) for picture, text in pairs if picture is not None and text]
        scores = [float(s) for s in scorer([p for p, _ in whole], [t for _, t in whole])] if whole else []
        if len(scores) != len(whole):
            raise ValueError(f"the scorer gave {len(scores)} scores for {len(whole)} pictures")
        found = iter(scores)
        return [
            Verdict(next(found))
            if picture is not None and text
            else Verdict(None, why="a picture or words are missing")
            for picture, text in pairs
        ]

    return judge


def _drawn(sample: Sample, fact: str) -> tuple[Picture | None, str]:
    asked = [message.text for message in sample.task.prompt if message.role == "user"]
    return sample.image, str(sample.task.facts.get(fact) or (asked[-1] if asked else ""))


def _captioned(sample: Sample) -> tuple[Picture | None, str]:
    shown = [part.image for message in sample.task.prompt for part in message.parts if isinstance(part, Image)]
    return shown[-1] if shown else None, sample.text or ""


def load_clip(name: str, device: str) -> tuple[Any, Any]:
    """(model, processor) of a hub id or a folder."""
    from transformers import CLIPModel, CLIPProcessor

    return CLIPModel.from_pretrained(name).to(device).eval(), CLIPProcessor.from_pretrained(name)


def clip_scorer(
    name: str = CLIP,
    device: str = "cpu",
    batch: int = 32,
    scale: float = 1.0,
    load: Callable[[str, str], tuple[Any, Any]] = load_clip,
) -> Scorer:
    """``scale`` times the cosine of CLIP's picture and text embeddings; texts are cut to CLIP's 77 tokens.

    Papers that report scores around 30 use ``scale=100``. The model is loaded at first use.
    """
    loaded: list[tuple[Any, Any]] = []

    def score(pictures: Sequence[Picture], texts: Sequence[str]) -> list[float]:
        import torch

        if not loaded:
            loaded.append(load(name, device))
        model, processor = loaded[0]
        scores: list[float] = []
        for begin in range(0, len(texts), batch):
            some, words = list(pictures[begin : begin + batch]), list(texts[begin : begin + batch])
            inputs = processor(
                images=[picture.convert("RGB") for picture in some],
                text=words,
                padding=True,
                truncation=True,
                return_tensors="pt",
            ).to(device)
            with torch.no_grad():
                found = model(**inputs)
            cosine = torch.nn.functional.cosine_similarity(found.image_embeds.float(), found.text_embeds.float())
            scores += (scale * cosine).tolist()
        return scores

    return score
