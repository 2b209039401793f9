"""Nexus-Gen's stages as published (2504.21356; spec sections 6, 8.3 and 9.3).

One: the autoregressive part on understanding, generation and editing at once, here in three steps, because the lengths
and mixtures inside the published stage could not be read: all tasks, all tasks in balance at the rate of the released
script, a short end on long and short captions. Two: the generation decoder redraws pictures from their embeddings.
Three: the editing decoder.

Data are rows in the messages format (``limner.data``), all tasks alike. Nothing here was ever run at the full size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from torch import nn

from limner.codecs.vae import Vae
from limner.data.batches import from_names
from limner.models import checkpoint
from limner.models import qwen25vl_weights as files
from limner.models.nexusgen import weights
from limner.models.nexusgen.config import NexusConfig
from limner.models.nexusgen.decoders import RELEASED, Decoder
from limner.models.nexusgen.folder import read_constants
from limner.models.nexusgen.lessons import Lesson, lessons_of
from limner.models.nexusgen.model import NexusGen
from limner.models.nexusgen.objective import Weights
from limner.models.vocabulary import load_tokenizer
from limner.recipes.nexusgen_cache import Cache
from limner.recipes.nexusgen_learn import Objective, decoder_objective, reader_objective, train_only
from limner.train.optim import Optimizers, adamw
from limner.train.run import Run

QWEN, FLUX = Path("checkpoints/Qwen2.5-VL-7B-Instruct"), Path("checkpoints/FLUX.1-dev")
CONSTANTS = Path("checkpoints/FLUX.1-dev/empty.safetensors")
DATA, KEPT = Path("data/nexusgen"), Path("runs/nexusgen.full_embeddings")
ONE, TWO, THREE, GENERATION = (
    Path("runs") / f"nexusgen.{name}" / "released"
    for name in ("reader_one", "reader_two", "reader_three", "generation")
)
SIZE = 512
# spec section 6.4: betas of ms-swift; torch's own for the decoders
READER: dict[str, Any] = {"optimizer": partial(adamw, betas=(0.9, 0.95)), "weight_decay": 0.1, "schedule": "cosine"}
DECODER: dict[str, Any] = {"weight_decay": 0.01, "schedule": "constant", "warmup": 100, "lr": 1e-5}


def from_parts(
    qwen: Path = QWEN, flux: Path = FLUX, constants: Path = CONSTANTS, dtype: torch.dtype = torch.float32
) -> NexusGen:
    """Qwen2.5-VL with a fresh vision head and table, and both decoders around FLUX.1-dev's transformer: the adapter
    fresh, the merger's layer that of Qwen's first with a fresh projector (spec sections 3.2 and 9.1)."""
    data, vae = checkpoint.read_json(qwen), Vae.from_folder(flux / "vae")
    painter: Any = FluxTransformer2DModel.from_pretrained(flux / "transformer", torch_dtype=dtype)
    sizes = {name: painter.config[name] for name in RELEASED}
    generation, processor = (files.read_json(qwen / f"{name}_config.json") for name in ("generation", "preprocessor"))
    with torch.device("meta"):
        model = NexusGen(
            NexusConfig(dit=sizes),
            load_tokenizer(qwen),
            data,
            vae,
            ("generation", "editing"),
            generation,
            processor,
        )
    assert model.generation is not None and model.editing is not None
    begun = torch.Generator().manual_seed(0)
    given = dict(files.translated(checkpoint.read(qwen)))
    for name, wanted in model.reader.state_dict().items():
        if name in weights.OWN:
            given[name] = torch.empty(wanted.shape).normal_(0.0, 0.02, generator=begun)
    files.load_into(model.reader, "autoregressive part", given.items(), dtype)
    model.reader.rebuild_tables()
    for decoder in (model.generation, model.editing):
        # each has weights of its own
        dit = ((name, tensor.clone()) for name, tensor in painter.state_dict().items())
        files.load_into(decoder.dit, "FLUX transformer", dit, dtype)
        _begin(decoder, begun)
    layer: Any = model.editing.condition.layers
    layer[0].load_state_dict(model.reader.layers[0].state_dict())
    read_constants(model, constants)
    return model


@torch.no_grad()
def _begin(decoder: Decoder, generator: torch.Generator) -> None:
    """Fresh weights of what stands before the transformer: normal with deviation 0.02, norms 1, biases 0."""
    decoder.condition.to_empty(device="cpu")
    for name, weight in decoder.condition.named_parameters():
        if weight.ndim > 1:
            weight.normal_(0.0, 0.02, generator=generator)
        else:
            weight.fill_(0.0 if name.endswith("bias") else 1.0)


def save_half(model: nn.Module, folder: Path) -> None:
    """Write the model in bfloat16."""
    assert isinstance(model, NexusGen)
    model.save(folder, torch.bfloat16)


def torch_adamw(model: nn.Module, lr: float, weight_decay: float) -> Optimizers:
    """AdamW with torch's betas."""
    return adamw(model, lr, weight_decay, betas=(0.9, 0.999))


def _stage(name: str, build: Callable[[], NexusGen], objective: Objective, data: Path, **numbers: Any) -> Run:
    plain: dict[str, Any] = {"ema": 0.0, "dtype": "bfloat16", "finish": save_half, "checkpoint_every": 1000}
    own: dict[str, Any] = {"data": str(data)} | numbers.pop("settings", {})

    return Run(
        name=f"nexusgen.{name}",
        build=build,
        objective=objective,
        batches=partial(listed, data),
        settings=own,
        **plain | numbers,
    )


def listed(data: Path, seed: int, first: int, size: int) -> Iterator[list[Lesson]]:
    """Batches of lessons, a row of data each: what the model drew stands as rows in all its turns, as published."""
    for rows in from_names([str(data)])(seed, first, size):
        yield [lesson for row in rows for lesson in lessons_of(row.conversation, "rows")]


def reader_one(data: Path = DATA / "all", build: Callable[[], NexusGen] = from_parts, micro: int = 2) -> Run:
    """All three tasks from Qwen2.5-VL-7B-Instruct. Vision tower and its merger are frozen.

    Published: 26.3 million samples over the three tasks; losses of words and embeddings weighted 3 and 3; AdamW with
    betas 0.9 and 0.95, decay 0.1, clip 1.0, cosine with 5 % of warm-up, batches of 128. The rate of 1e-4 is that of the
    first release's script; 200,000 steps are one pass. Expected: some 8,000 hours of a GPU of 80 GB.
    """
    return _stage(
        "reader_one",
        lambda: train_only(build(), "reader"),
        reader_objective(micro, Weights(3.0, 3.0), "rows"),
        data,
        steps=200_000,
        batch_size=128,
        lr=1e-4,
        warmup=10_000,
        settings={"weights": [3.0, 3.0]},
        **READER,
    )


def reader_two(data: Path = DATA / "balanced", start: Path = ONE, micro: int = 2) -> Run:
    """The tasks in balance, at the released script's rate of 1e-5 (its other settings: ``reader_one``).

    Ours: 20,000 steps. Expected: some 800 hours of a GPU of 80 GB.
    """
    found = reader_one(data, lambda: NexusGen.load(start), micro)
    settings = {**found.settings, "start": start.parent.name}
    return replace(found, name="nexusgen.reader_two", steps=20_000, lr=1e-5, warmup=1000, settings=settings)


def reader_three(data: Path = DATA / "captions", start: Path = TWO, micro: int = 2) -> Run:
    """A short end: generation and editing of high quality, with long and short captions, rate 1e-5.

    The project credits it with GenEval 0.77 to 0.81 (README). BLIP3o-60k, which the first release ended on, holds
    prompts in GenEval's style: scores behind it are not zero-shot. Ours: 2,000 steps, some 80 hours of a GPU of 80 GB.
    """
    found = reader_two(data, start, micro)
    return replace(found, name="nexusgen.reader_three", steps=2000, warmup=100)


def _decoder(part: Literal["generation", "editing"], data: Path, start: Path, cache: Path | None, steps: int) -> Run:
    return _stage(
        part,
        lambda: train_only(NexusGen.load(start), part),
        decoder_objective(part, SIZE, 1, Cache(cache)),
        data,
        steps=steps,
        batch_size=128,
        optimizer=torch_adamw,
        settings={"start": start.parent.name, "size": SIZE},
        **DECODER,
    )


def generation(data: Path = DATA / "pictures", start: Path = THREE, cache: Path | None = KEPT) -> Run:
    """The generation decoder: adapter and the whole transformer of FLUX.1-dev, 512 px pictures from their own 81
    embeddings (252 px, the centre of the picture); no prediction is ever seen.

    Published: rate 1e-5 after 100 steps of warm-up, AdamW (decay 0.01), 16 micro-steps of one picture on 8 GPUs,
    distilled guidance 3.5, up to 1,000 "epochs" of 64,000 pictures. Ours: 100,000 steps; the embeddings of a picture
    are computed once. Expected: some 4,000 hours of a GPU of 80 GB, with shards of the optimiser.
    """
    return _decoder("generation", data, start, cache, 100_000)


def editing(data: Path = DATA / "edits", start: Path = GENERATION, cache: Path | None = KEPT) -> Run:
    """The editing decoder: merger and transformer, edits from the embeddings that the autoregressive part predicts and
    the source at 324 (504 px, squashed to a square).

    Published: as ``generation``; pairs of ImagePulse. Ours: 50,000 steps. Expected: some 3,500 hours of a GPU of 80 GB.
    """
    return _decoder("editing", data, start, cache, 50_000)
