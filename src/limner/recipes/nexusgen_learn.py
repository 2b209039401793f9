"""How Nexus-Gen's parts learn, at every size: the autoregressive part from lessons, a decoder from pictures.

The autoregressive part (spec section 6.3): words by cross-entropy, embeddings by half the squared error and half of one
minus the cosine, weighted and summed; vision tower frozen. The decoders (sections 8.3 and 9.3): the velocity's squared
error at one of the 1000 published times, weighted by the published bell. As published, the generation decoder learns to
redraw a picture from its own embeddings, the editing decoder from those that the autoregressive part predicts, beside
those of the source; either can learn from both kinds. Neither set changes while a decoder learns, so they may be kept
(``Cache``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from limner.models.nexusgen.config import Own
from limner.models.nexusgen.decoders import Decoder, square
from limner.models.nexusgen.lessons import Laid, Lesson, embeddings, lay_out, loss_terms
from limner.models.nexusgen.model import NexusGen
from limner.models.nexusgen.network import Reader
from limner.models.nexusgen.objective import Weights
from limner.models.nexusgen.render import source
from limner.models.nexusgen.schedule import sigmas, weights
from limner.models.pictures import crop
from limner.parts import Image
from limner.process.flow import to_latents
from limner.recipes.nexusgen_cache import Cache, Embedded, content_key, conversation_key, weights_digest
from limner.train.micro import micro_steps

Objective = Callable[[nn.Module, list[Lesson], torch.Generator], tuple[Tensor, Mapping[str, float]]]
PUBLISHED = Weights()
Trained = Literal["reader", "generation", "editing"]


def train_only(model: NexusGen, part: Trained) -> NexusGen:
    """Freeze all but one part; the vision tower is always frozen. Raises ValueError where the model lacks the part."""
    if getattr(model, part) is None:
        raise ValueError(f"this checkpoint has no {part} decoder to train; begin from one that does")
    model.requires_grad_(False)
    getattr(model, part).requires_grad_(True)
    model.reader.network.model.visual.requires_grad_(False)
    return model


# the autoregressive part


def reader_loss(reader: Reader, laid: Laid, loss: Weights = PUBLISHED) -> tuple[Tensor, dict[str, float]]:
    """(The published loss of a micro-batch, its terms). ``cosine`` is the mean cosine of prediction and target."""
    targets = embeddings(reader, laid)
    found = loss_terms(reader, laid, targets)
    numbers = {"words": float(found.words.detach())}
    if targets is not None:
        alike = torch.cosine_similarity(found.predicted.detach().float(), targets.float(), dim=1)
        numbers |= {"embeddings": float(found.embeddings.detach()), "cosine": float(alike.mean())}
    return found.loss(loss), numbers


def laid(model: NexusGen, lessons: Sequence[Lesson], own: Own | None = None) -> Laid:
    """Lessons laid out (``lay_out``), on the model's device."""
    return lay_out(model, lessons, own).to(model.device)


def reader_objective(micro: int, loss: Weights = PUBLISHED, own: Own | None = None) -> Objective:
    """The objective of the autoregressive part, ``micro`` lessons at a time; ``own`` as in ``lay_out``."""

    def objective(model: nn.Module, rows: list[Lesson], rng: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        assert isinstance(model, NexusGen)
        return micro_steps(lambda some: reader_loss(model.reader, laid(model, some, own), loss), rows, micro)

    return objective


# the decoders


@dataclass(frozen=True)
class Painted:
    """A batch of pictures of one shape to redraw: target embeddings (B, n, D), a source's (B, m, D) or None, and
    latents (B, C, h, w)."""

    target: Tensor
    source: Tensor | None
    latents: Tensor


def picture_of(lesson: Lesson) -> Image:
    """The picture that a lesson teaches to draw: the last of its reply."""
    found = [part for part in lesson.reply if isinstance(part, Image)]
    if not found:
        raise ValueError("a decoder learns from pictures, and this reply holds none; leave such rows out of the data")
    return found[-1]


def kept(
    model: NexusGen,
    lessons: Sequence[Lesson],
    size: int,
    edits: bool,
    digest: str,
    cache: Cache,
    predicts: bool | None = None,
) -> Painted:
    """What a decoder is taught with, from the cache where it is there. ``digest`` is that of the frozen weights.
    ``predicts``: the embeddings are those that the autoregressive part predicts, not the picture's own (None: for
    ``edits``, as published).

    Raises ValueError for an editing decoder's lesson without a picture to begin from.
    """
    predicts = edits if predicts is None else predicts
    pictures = [picture_of(lesson) for lesson in lessons]
    sources = [source(lesson.conversation, ()) if edits else None for lesson in lessons]
    if edits and None in sources:
        raise ValueError("the editing decoder learns from edits, and a row shows no picture to begin from")

    def key(i: int) -> str:
        if predicts:
            what = "edit" if edits else "draw"
            return conversation_key(digest, lessons[i].conversation, lessons[i].reply, what, size)
        shown = [sources[i]] if edits else []
        return content_key("redraw", digest, size, pictures[i], *shown)

    def make(numbers: list[int]) -> list[Embedded]:
        some = [lessons[i] for i in numbers]
        with torch.no_grad():
            with torch.autocast(model.device.type, enabled=False):  # the autoencoder computes in float32
                latents = to_latents(model.see([pictures[i].image for i in numbers], size))
            latents = latents.unflatten(1, (-1, *model.square(latents.shape[1])))
            if predicts:
                target = predicted(model, laid(model, some))
            else:
                target = _features(model, [model.own(crop(pictures[i].image, size)) for i in numbers])
            if not edits:
                return [{"target": t, "latents": x} for t, x in zip(target, latents, strict=True)]
            given = [found for i in numbers if (found := sources[i]) is not None]
            seen = _features(model, [model.reference(one.image, "square") for one in given])
        rows = zip(target, seen, latents, strict=True)
        return [{"target": t, "source": s, "latents": x} for t, s, x in rows]

    found = cache.rows([key(i) for i in range(len(lessons))], make)
    parts = {name: torch.stack([row[name] for row in found]).to(model.device) for name in found[0]}
    return Painted(parts["target"].float(), parts.get("source"), parts["latents"].float())


def _features(model: NexusGen, given: Sequence[tuple[Tensor, tuple[int, int, int]]]) -> Tensor:
    """(B, n, D) embeddings of pictures of one shape."""
    patches = torch.stack([patches for patches, _ in given]).to(model.device)
    grids = torch.tensor([[grid] for _, grid in given], device=model.device)
    return model.reader.see(patches, grids).unflatten(0, (len(given), -1))


def predicted(model: NexusGen, lessons: Laid) -> Tensor:
    """(B, n, D) what the autoregressive part predicts for the last picture of each lesson, in one pass."""
    reader, prompt = model.reader, lessons.prompt
    states = reader.states(prompt)[:, :-1]
    at = (prompt.before == reader.drawn)[:, 1:]
    counts = at.sum(dim=1).tolist()
    found = reader.predict(states[at]).split(counts)
    return torch.stack([row[-(reader.side**2) :] for row in found])


def velocity_loss(
    model: NexusGen,
    decoder: Decoder,
    batch: Painted,
    rng: torch.Generator,
    noisy: float = 0.0,
    flat: bool = False,
) -> tuple[Tensor, dict[str, float]]:
    """The weighted squared error of the velocity; every picture has a time of its own. ``noisy``: target embeddings get
    noise of up to that share of their deviation, as predictions have errors that true embeddings have not. ``flat``:
    every time counts alike, beyond the paper; its bell gives those that are nearly all noise, where it is decided what
    stands where, next to nothing."""
    target = batch.target
    B, (high, wide) = len(target), batch.latents.shape[2:]
    if noisy:
        share = noisy * torch.rand(B, 1, 1, generator=rng)
        target = target + (share * torch.randn(target.shape, generator=rng)).to(target.device) * target.std()
    sigma = sigmas(1000)[torch.randint(0, 1000, (B,), generator=rng)]
    weight = (torch.ones_like(sigma) if flat else weights(sigma)).to(target.device)
    sigma = sigma.to(target.device)
    noise = torch.randn(batch.latents.shape, generator=rng).to(target.device)
    mixed = batch.latents + sigma[:, None, None, None] * (noise - batch.latents)
    tokens = decoder.tokens(target, batch.source)
    ids = decoder.ids(target.shape[1], None if batch.source is None else square(batch.source.shape[1]), (high, wide))
    found = decoder.velocity(tokens, ids, mixed, sigma, model.pooled, model.config.distilled)
    error = ((found.float() - (noise - batch.latents)) ** 2).flatten(1).mean(dim=1)
    return (weight * error).mean(), {"velocity": float(error.detach().mean())}


def _frozen(model: NexusGen) -> str:
    """The hash of all that a decoder's embeddings and latents are made by."""
    if model.vae is None:
        raise ValueError("a decoder learns to paint latents; load the model with its autoencoder")
    return weights_digest(model.reader) + weights_digest(model.vae)


def decoder_objective(
    part: Literal["generation", "editing"],
    size: int,
    micro: int,
    cache: Cache,
    noisy: float = 0.0,
    predicts: bool | None = None,
    flat: bool = False,
) -> Objective:
    """The objective of a decoder, ``micro`` pictures at a time; ``noisy`` and ``flat`` as in ``velocity_loss``,
    ``predicts`` as in ``kept``. The digest of the frozen weights is taken once."""
    digests: list[str] = []

    def objective(model: nn.Module, rows: list[Lesson], rng: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        assert isinstance(model, NexusGen)
        decoder = model.generation if part == "generation" else model.editing
        assert decoder is not None
        if not digests:
            digests.append(_frozen(model) if cache.folder else "")

        def one(some: Sequence[Lesson]) -> tuple[Tensor, dict[str, float]]:
            batch = kept(model, some, size, part == "editing", digests[0], cache, predicts)
            return velocity_loss(model, decoder, batch, rng, noisy, flat)

        return micro_steps(one, rows, micro)

    return objective
