"""Nexus-Gen (2504.21356): one space of embeddings in which pictures are understood, generated and edited.

model = NexusGen.load("checkpoints/Nexus-GenV2")
for step in stream(model, [(user("a red cat"),)], model.plan(["image"]), [0]): ...

Words come one after another. A picture's embeddings come in one pass, and a flow paints them: with the generation
decoder, or, where the conversation holds a picture to begin from, with the editing decoder. ``NexusConfig`` names the
choices.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from limner.codecs.vae import Vae, to_bytes
from limner.models.base import Model, Reply
from limner.models.nexusgen.config import After, NexusConfig, Own, Painter, Shapes
from limner.models.nexusgen.decoders import RELEASED, Decoder, Grid
from limner.models.nexusgen.keeping import kept
from limner.models.nexusgen.network import Reader
from limner.models.nexusgen.pictures import Part as Place
from limner.models.nexusgen.pictures import Pictures, Scene, squashed
from limner.models.nexusgen.render import Ids, Renderer, Script, source
from limner.models.nexusgen.schedule import Painting, times, untold
from limner.models.pictures import crop
from limner.models.qwen25vl import Eyes, Prompt, stack
from limner.models.qwen25vl_words import Words, word_settings
from limner.models.vocabulary import check_words
from limner.parts import Ask, Conversation, Image, Part, PartKind, Plan, Text, Thinking
from limner.process.base import Context, Process, Settings
from limner.process.flow import to_latents, to_values
from limner.process.prefill import Prefill

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

Offload = Literal["", "model"]


class NexusGen(Model):
    """The family, untrained unless loaded. ``generation`` and ``processor`` are the reader's own JSON files;
    ``painters`` names the decoders that there are. Vision tower and autoencoder are never trained."""

    family = "nexusgen"
    edits = shapes = True

    def __init__(
        self,
        config: NexusConfig,
        tokenizer: Tokenizer,
        reader: Mapping[str, Any],
        vae: Vae | None = None,
        painters: Sequence[str] = ("generation", "editing"),
        generation: Mapping[str, Any] | None = None,
        processor: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.renderer = Renderer(config, tokenizer)
        self.reader_config, self.generation_config = dict(reader), dict(generation or {})
        self.processor = dict(processor or {})
        self.reader = Reader(reader, config.side, config.rows, config.after)
        sizes = config.dit or RELEASED
        text = self.reader.config.text_config
        self.generation = Decoder(sizes, self.reader.width) if "generation" in painters else None
        self.editing = Decoder(sizes, self.reader.width, text) if "editing" in painters else None
        self.vae = None if vae is None else vae.requires_grad_(False).eval()
        # CLIP's vector of the empty text, and T5's states of it, which guidance goes away from
        self.register_buffer("pooled", torch.zeros(1, int(sizes["pooled_projection_dim"])))
        self.register_buffer("negative", torch.zeros(1, 1, int(sizes["joint_attention_dim"])))
        self.eyes = Eyes.from_json(reader.get("vision_config", {}), self.processor)
        ends = self.generation_config.get("eos_token_id") or []
        self.renderer.ends = self.renderer.ends.union(ends if isinstance(ends, list) else [ends])
        self.home: torch.device | None = None
        self.away: Offload = ""

    @property
    def config(self) -> NexusConfig:
        """The choices; may be replaced at any time, but for what the weights are made for."""
        return self.renderer.config

    @config.setter
    def config(self, config: NexusConfig) -> None:
        self.renderer.config = config
        self.reader.after = config.after

    @property
    def device(self) -> torch.device:
        """Where everything is computed."""
        return self.home or self.reader.vision_head.weight.device

    @contextmanager
    def in_place(self, part: Place) -> Iterator[None]:
        """A part on the device where it computes; with offload the others leave it."""
        if self.away == "model":
            every = {"reader": self.reader, "generation": self.generation, "editing": self.editing}
            for name, module in every.items():
                if module is not None and name != part:
                    module.to("cpu")
            here = every[part]
            if here is not None:
                here.to(self.device)
        yield

    def painter(self, edits: bool) -> Decoder:
        """The decoder of rows with a source, or without; ValueError where the checkpoint holds none."""
        found = self.editing if edits else self.generation or self.editing
        if found is None:
            raise ValueError(
                "this model was loaded without a decoder that can paint; put generation_decoder.bin "
                "and edit_decoder.bin into its folder"
            )
        return found

    # the four verbs

    def context(self, conversations: Sequence[Conversation], replies: Sequence[Reply], ask: Ask) -> Context:
        scripts = [self.renderer.script(c, reply, ask) for c, reply in zip(conversations, replies, strict=True)]
        given = self.prompt(scripts)
        if ask.kind == "image":
            sources = [self._source(c, r) for c, r in zip(conversations, replies, strict=True)]
            given = self.scene(given, sources, ask.shape and self._latents_of(ask.shape))
        # what guidance goes away from is the same for every picture and belongs to the model
        return Context(given, given).to(self.device)

    def prompt(self, scripts: Sequence[Script]) -> Prompt:
        """Sequences with their pictures, padded on the left."""
        seen: dict[tuple[int, bool], tuple[Tensor, tuple[int, int, int]]] = {}
        rows: list[Ids] = []
        every = []
        for script in scripts:
            pictures = []
            for shown in script.pictures:
                key = (id(shown.part), shown.own)
                if key not in seen:
                    seen[key] = self.own(shown.part.image) if shown.own else self.shown(shown.part.image)
                pictures.append(seen[key])
            rows.append(self.renderer.expanded(script, [self.eyes.tokens(grid) for _, grid in pictures]))
            every.append(pictures)
        return stack(rows, every, min(self.renderer.ends))

    def shown(self, picture: Picture) -> tuple[Tensor, tuple[int, int, int]]:
        """Patches of a picture that is shown, in its own shape, bounded (spec section 3.5)."""
        return self.eyes.patches(picture, self.config.max_pixels)

    def own(self, picture: Picture) -> tuple[Tensor, tuple[int, int, int]]:
        """Patches of a picture as the model predicts them: squashed to ``side`` squared tokens."""
        return squashed(self.eyes, picture, self.config.side * self.eyes.cell, "BICUBIC")

    def reference(self, picture: Picture, shapes: Shapes | None = None) -> tuple[Tensor, tuple[int, int, int]]:
        """Patches of an edit's source for the editing decoder: squashed to twice as many tokens a side, as published,
        or, where ``shapes`` (None: the config's) is "kept", as many tokens or fewer in its own shape."""
        side = 2 * self.config.side * self.eyes.cell
        if (shapes or self.config.shapes) == "square" or picture.width == picture.height:
            return squashed(self.eyes, picture, side, "BILINEAR")
        return self.eyes.patches(picture, side**2)

    def _source(self, conversation: Conversation, reply: Reply) -> Image | None:
        if self.config.decoder == "generation" or self.editing is None:
            return None
        found = source(conversation, reply)
        if found is None and self.config.decoder == "editing":
            raise ValueError("decoder=editing needs a picture to begin from; show one, or leave decoder=auto")
        return found

    def scene(self, prompt: Prompt, sources: Sequence[Image | None], shape: Grid | None = None) -> Scene:
        """A prompt with the rows' sources, and the shape (high, wide) in latents that is wanted (None: square)."""
        given = [None if part is None else self.reference(part.image) for part in sources]
        longest = max((len(one[0]) for one in given if one is not None), default=0)
        size = next((one[0].shape[1] for one in given if one is not None), 0)
        patches = torch.zeros(len(given), longest, size)
        grids = torch.zeros(len(given), 1, 3, dtype=torch.int64)
        for b, one in enumerate(given):
            if one is not None:
                patches[b, : len(one[0])], grids[b, 0] = one[0], torch.tensor(one[1])
        return Scene(prompt.before, prompt.kept, prompt.after, prompt.patches, prompt.grids, patches, grids, shape)

    def process(self, kind: PartKind) -> Process[Any]:
        if kind == "image":
            return self.pictures()
        penalty = float(self.generation_config.get("repetition_penalty") or 1.0)
        return Words(self.reader, self.renderer.stops, min(self.renderer.ends), penalty)

    def pictures(self, shape: tuple[int, int] | None = None, chance: float = 0.0) -> Painting:
        """The process of pictures: of ``shape`` (high, wide) in latents (None: square), stochastic with ``chance``."""
        net = Pictures(self, shape)
        return Painting(
            net.scored, chance=chance, making=net, times=times, shaped=lambda shape: Pictures(self, shape).scored
        )

    def embeddings(self, stepwise: bool = False) -> Prefill:
        """The process of a picture's embeddings, on contexts of pictures: one pass, or vector by vector."""
        fed_back = self.reader.rows == "none"
        following = self.reader.following if stepwise or fed_back else None
        return Prefill(self.reader.block, self.reader.width, following, fed_back)

    def encode(self, parts: Sequence[Part]) -> Tensor:
        if any(isinstance(part, Image) for part in parts):
            rows = [self._latents(part) for part in parts if isinstance(part, Image)]
            if len({len(row) for row in rows}) > 1:
                raise ValueError("pictures of several shapes cannot be in one batch; give those of one shape at a time")
            return torch.stack(rows).to(self.device)
        written = [self._written(part) for part in parts]
        longest = max(map(len, written), default=0)
        filled = [row + [min(self.renderer.ends)] * (longest - len(row)) for row in written]
        return torch.tensor(filled, dtype=torch.int64, device=self.device).view(len(written), longest)

    def decode(self, kind: PartKind, values: Tensor) -> list[Part]:
        rows = [tuple(row) for row in values.tolist()]
        if kind == "image":
            latents, shape = untold(values)
            return [Image(shown, raw) for shown, raw in zip(self.show(latents, shape), rows, strict=True)]
        word = Thinking if kind == "thinking" else Text
        return [word(self.renderer.read(row), row) for row in rows]

    def finished(
        self, ask: Ask, values: Tensor, conversations: Sequence[Conversation], replies: Sequence[Reply], noise: Any
    ) -> list[Part]:
        parts = self.decode(ask.kind, values)
        sources = [self._source(c, r) for c, r in zip(conversations, replies, strict=True)]
        if ask.kind != "image" or not self.config.keeps or not any(sources):
            return parts
        scene = self.context(conversations, replies, ask).given
        assert isinstance(scene, Scene)
        drawn = [part.image for part in parts if isinstance(part, Image)]
        shown = [None if one is None else one.image for one in sources]
        found = kept(self, scene, shown, drawn, self.settings(ask, 1), noise)
        return [replace(part, image=one) for part, one in zip(parts, found, strict=True) if isinstance(part, Image)]

    # wishes

    @property
    def turns(self) -> int | None:
        return self.config.defaults.turns

    def thinks_of(self, last: PartKind, edits: bool = False) -> bool:
        return self.thinks and last == "image" and (self.config.thinks_of_edits or not edits)

    def plan(self, kinds: Sequence[PartKind]) -> Plan:
        d = self.config.defaults
        if "thinking" in kinds and "image" not in kinds and len(kinds) > 1:
            raise ValueError("Nexus-Gen thinks of what it draws; ask for words without thinking")
        limits: dict[PartKind, int] = {"text": d.text_limit, "thinking": d.thinking_limit}
        return tuple(
            Ask("image", 0, d.size, d.steps, d.guidance, 1.0)
            if kind == "image"
            else Ask(kind, limits[kind], guidance=0.0, temperature=d.temperature)
            for kind in kinds
        )

    def settings(self, ask: Ask, rows: int) -> Settings:
        d = self.config.defaults
        if ask.fast:
            raise ValueError(f"fast={ask.fast!r} is for masked words; Nexus-Gen writes from left to right")
        if ask.kind == "image":
            if ask.known is not None:
                raise ValueError("Nexus-Gen makes a picture as a whole; show it a picture to have it edited")
            steps, size = ask.steps or d.steps, ask.size or d.size
            high, wide = self._latents_of(ask.shape or (size, size))
            length = high * wide * self._vae.channels
            guidance = d.guidance if ask.guidance is None else ask.guidance
            return Settings(length, steps, guidance, 1.0 if ask.temperature is None else ask.temperature, length)
        limit = ask.limit or (d.thinking_limit if ask.kind == "thinking" else d.text_limit)
        temperature = d.temperature if ask.temperature is None else ask.temperature
        written = None if ask.known is None else self._written(ask.known)
        return word_settings(ask, rows, limit, temperature, written, min(self.renderer.ends), self.device)

    @property
    def _vae(self) -> Vae:
        if self.vae is None:
            raise ValueError("this model was loaded without its autoencoder; give the folder of FLUX.1-dev's vae")
        return self.vae

    def side(self, size: int) -> int:
        """Latents along the side of a picture of that many pixels; ValueError for one that cannot be drawn."""
        cell = 2 * self._vae.factor
        if size % cell or not cell <= size <= 128 * cell:
            raise ValueError(f"size={size} pixels cannot be drawn; give a multiple of {cell} up to {128 * cell}")
        return size // self._vae.factor

    def _latents_of(self, shape: tuple[int, int]) -> Grid:
        """(high, wide) in latents of a picture of (width, height) pixels; ValueError for one that cannot be drawn."""
        wide, high = (self.side(pixels) for pixels in shape)
        return high, wide

    def shape_of(self, size: tuple[int, int], side: int = 0) -> tuple[int, int] | None:
        if self.config.shapes == "square" or size[0] == size[1]:
            return None
        cell = 2 * self._vae.factor
        like = replace(self.eyes, patch=cell // 2, merge=2, least=cell**2, most=(128 * cell) ** 2)
        wide, high = like.fitting(size, (side or self.config.defaults.size) ** 2)
        if max(wide, high) > 128 * cell:
            raise ValueError(f"a picture of {size[0]} x {size[1]} pixels is too narrow to be drawn in its shape")
        return wide, high

    def square(self, length: int) -> tuple[int, int]:
        """(high, wide) in latents of a square picture of that many numbers."""
        side = math.isqrt(length // self._vae.channels)
        if side * side * self._vae.channels != length:
            raise ValueError(f"{length} numbers are no square picture of {self._vae.channels} channels")
        return side, side

    def check_prompt(self, conversation: Conversation) -> None:
        words = [part.text for message in conversation for part in message.parts if not isinstance(part, Image)]
        check_words(self.tokenizer, words)
        text, pictures = self.renderer.chat(conversation, True)
        most = int(self.reader.config.text_config.max_position_embeddings)
        length = len(self.renderer.ids(text)) + self.config.side**2
        for shown in pictures:
            wide, high = self.eyes.fitting(shown.part.image.size, self.config.max_pixels)
            length += wide * high // self.eyes.cell**2
        if length > most:
            raise ValueError(f"the prompt takes {length} tokens, but this model reads {most}; make it shorter")

    # pictures

    @torch.no_grad()
    def show(self, values: Tensor, shape: tuple[int, int] | None = None) -> list[Picture]:
        """Values (B, N) as PIL pictures."""
        from PIL import Image as pil

        grid = to_latents(values).unflatten(1, (self._vae.channels, *(shape or self.square(values.shape[1]))))
        # one by one: in a batch the same latents come out a rounding error apart, and the bytes would differ
        each = [to_bytes(self._vae.decode(row[None].to(self.device)))[0].cpu().numpy() for row in grid]
        return [pil.fromarray(pixels) for pixels in each]

    @torch.no_grad()
    def see(self, pictures: Sequence[Picture], size: int = 0) -> Tensor:
        """Values (B, N) of PIL pictures: the latents' means of square ones of ``size`` pixels."""
        side = self.side(size or self.config.defaults.size) * self._vae.factor
        pixels = np.stack([np.asarray(crop(picture, side)) for picture in pictures])
        wide = torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2).float() / 127.5 - 1
        return to_values(self._vae.encode(wide).flatten(1))

    def _latents(self, part: Image) -> Tensor:
        if part.raw is not None:
            return torch.tensor(part.raw, dtype=torch.int64)
        return self.see([part.image])[0].cpu()

    def _written(self, part: Part) -> Ids:
        assert not isinstance(part, Image)
        return list(part.raw) if part.raw is not None else [*self.renderer.ids(part.text), min(self.renderer.ends)]

    # checkpoints

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write a folder in the released layout and with the released names, in safetensors."""
        from limner.models.nexusgen.folder import save

        save(self, Path(folder), dtype)

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        vae: Path | None = None,
        constants: Path | None = None,
        quantise: str | None = None,
        offload: Offload = "",
        decoder: Painter | None = None,
        own: Own | None = None,
        after: After | None = None,
        max_pixels: int | None = None,
        guided_edits: bool | None = None,
        shapes: Shapes | None = None,
        keep_below: float | None = None,
        keep_until: float | None = None,
    ) -> Self:
        """A checkpoint folder, limner's or released (V2 or V1). ``vae`` is the autoencoder's folder (default: inside);
        it computes in float32. ``constants`` is the file with the empty text's vectors (see ``folder.constants``).

        ``quantise`` ("int8", "fp8") keeps linear layers in eight bits; ``offload`` "model" keeps on the device only the
        part that computes. The rest replaces what the config says. Raises ValueError for missing files and weights that
        do not fit. ``model.certificate`` says what was matched.
        """
        from limner.models.nexusgen.folder import load, quantise_model

        wishes: dict[str, Any] = {"decoder": decoder, "own": own, "after": after, "max_pixels": max_pixels}
        wishes |= {"guided_edits": guided_edits, "shapes": shapes}
        wishes |= {"keep_below": keep_below, "keep_until": keep_until}
        model = load(cls, Path(folder), dtype, vae, constants, {k: v for k, v in wishes.items() if v is not None})
        if quantise is not None:
            quantise_model(model, quantise)
        if offload not in ("", "model"):
            raise ValueError(f"offload={offload!r} is not known; give model, or leave it out")
        if offload:
            model.home, model.away = torch.device(device), offload
            model.pooled, model.negative = model.pooled.to(device), model.negative.to(device)
            if model.vae is not None:
                model.vae.to(device)
            return model.eval()
        return model.to(device).eval()

    certificate: dict[str, Any] | None = None
    pooled: Tensor
    negative: Tensor
