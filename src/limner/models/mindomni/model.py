"""MindOmni (2505.13031): a vision-language model thinks, and its states condition a diffusion transformer.

model = MindOmni.load("checkpoints/MindOmni")
for step in stream(model, [(user("an animal with (3 + 6) lives"),)], model.plan(["thinking", "image"]), [0]): ...

Words come one after another, pictures by a flow. A picture's condition is every state of the prompt and of the chain
of thought; ``MindOmniConfig`` names the choices.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from limner.codecs.vae import Vae, to_bytes
from limner.models.base import Model, Reply
from limner.models.compact import KINDS, CompactLinear
from limner.models.mindomni.config import DecoderConfig, MindOmniConfig
from limner.models.mindomni.network import Connector, ImageDecoder
from limner.models.mindomni.pictures import Pictures, Remembered
from limner.models.mindomni.render import Ids, Renderer, Script
from limner.models.pictures import crop
from limner.models.qwen25vl import Eyes, Prompt, Qwen25VL, stack
from limner.models.qwen25vl_words import Words, word_settings
from limner.models.vocabulary import check_words
from limner.parts import Ask, Conversation, Image, Part, PartKind, Plan, Text, Thinking
from limner.process.base import Context, Process, Settings
from limner.process.flow import Flow, to_latents, to_values

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

Offload = Literal["", "model", "sequential"]


class MindOmni(Model):
    """The family, untrained unless loaded. ``generation`` and ``processor`` are the language model's own JSON files.

    The autoencoder, and the decoder's weights that nothing here uses, are never trained.
    """

    family = "mindomni"
    edits = True

    def __init__(
        self,
        config: MindOmniConfig,
        tokenizer: Tokenizer,
        mllm: Mapping[str, Any],
        decoder: DecoderConfig,
        vae: Vae,
        generation: Mapping[str, Any] | None = None,
        processor: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.renderer = Renderer(config, tokenizer)
        self.mllm_config, self.generation, self.processor = dict(mllm), dict(generation or {}), dict(processor or {})
        self.mllm = Qwen25VL(mllm)
        self.connector = Connector(decoder, self.mllm.width)
        self.decoder = ImageDecoder(decoder)
        self.vae = vae.requires_grad_(False).eval()
        self.decoder.embed_tokens.requires_grad_(False)
        self.decoder.patch_embedding.input_image_proj.requires_grad_(False)
        self.eyes = Eyes.from_json(mllm.get("vision_config", {}), self.processor)
        ends = self.generation.get("eos_token_id") or []
        self.renderer.ends = self.renderer.ends.union(ends if isinstance(ends, list) else [ends])
        self.remembered = Remembered()
        self.rows_apart = True  # on a CPU pictures are drawn row by row; together small models are several times faster
        self.home: torch.device | None = None
        self.away: Offload = ""

    @property
    def config(self) -> MindOmniConfig:
        """The choices; may be replaced at any time."""
        return self.renderer.config

    @config.setter
    def config(self, config: MindOmniConfig) -> None:
        self.renderer.config = config

    @property
    def device(self) -> torch.device:
        """Where everything is computed."""
        return self.home or self.connector.linear.weight.device

    @contextmanager
    def in_place(self, part: Literal["mllm", "decoder"]) -> Iterator[None]:
        """The language model, or connector and decoder, on the device where they compute; with offload the other
        leaves it."""
        if self.away == "model":
            here, there = (self.mllm, (self.connector, self.decoder))
            inside, outside = ([here], there) if part == "mllm" else (there, [here])
            for module in outside:
                module.to("cpu")
            for module in inside:
                module.to(self.device)
        yield

    # the four verbs

    def context(self, conversations: Sequence[Conversation], replies: Sequence[Reply], ask: Ask) -> Context:
        scripts = [self.renderer.script(c, reply, ask) for c, reply in zip(conversations, replies, strict=True)]
        given = self.prompt(scripts)
        if ask.kind != "image":
            return Context(given, given).to(self.device)
        dropped = self.prompt([self.renderer.negative()] * len(scripts))
        shown = None
        if self.config.picture_guidance is not None and any(script.pictures for script in scripts):
            # without the words nothing is left of a prompt without pictures
            alone = [self.renderer.shown(c) for c in conversations]
            shown = self.prompt([script if script.pictures else self.renderer.negative() for script in alone])
        return Context(given, dropped, shown).to(self.device)

    def prompt(self, scripts: Sequence[Script]) -> Prompt:
        """Sequences with their pictures, padded on the left."""
        seen: dict[int, tuple[Tensor, tuple[int, int, int]]] = {}
        rows: list[Ids] = []
        shown = []
        for script in scripts:
            pictures = []
            for part in script.pictures:
                if id(part) not in seen:
                    seen[id(part)] = self.eyes.patches(part.image, self.config.max_pixels)
                pictures.append(seen[id(part)])
            rows.append(self.renderer.expanded(script, [self.eyes.tokens(grid) for _, grid in pictures]))
            shown.append(pictures)
        return stack(rows, shown, self._filler)

    @property
    def _filler(self) -> int:
        own = self.generation.get("pad_token_id")
        return int(own) if own is not None else min(self.renderer.ends)

    def process(self, kind: PartKind) -> Process[Any]:
        if kind == "image":
            return self.pictures()
        with self.in_place("mllm"):
            penalty = float(self.generation.get("repetition_penalty") or 1.0)
        return Words(self.mllm, self.renderer.ends, min(self.renderer.ends), penalty)

    def pictures(self, shape: tuple[int, int] | None = None, chance: float = 0.0) -> Flow:
        """The process of pictures: of ``shape`` (high, wide) in latents (None: square), stochastic with ``chance``."""
        net = Pictures(self, shape)
        rounding = self.decoder.dtype if self.config.rounded else None
        apart = 1.0 if self.config.picture_guidance is None else self.config.picture_guidance
        shift = self.config.defaults.shift
        return Flow(net.scored, shift, chance, rounding, net.levels, net, picture_guidance=apart)

    def encode(self, parts: Sequence[Part]) -> Tensor:
        if any(isinstance(part, Image) for part in parts):
            rows = [self._latents(part) for part in parts if isinstance(part, Image)]
            return torch.stack(rows).to(self.device)
        written = [self._written(part) for part in parts]
        longest = max(map(len, written), default=0)
        filled = [row + [min(self.renderer.ends)] * (longest - len(row)) for row in written]
        return torch.tensor(filled, dtype=torch.int64, device=self.device).view(len(written), longest)

    def decode(self, kind: PartKind, values: Tensor) -> list[Part]:
        rows = [tuple(row) for row in values.tolist()]
        if kind == "image":
            return [Image(shown, raw) for shown, raw in zip(self.show(values), rows, strict=True)]
        found: list[Part] = []
        for row in rows:
            part = Thinking("", row) if kind == "thinking" else Text("", row)
            text = self.renderer.read(part)
            found.append(Thinking(text, row) if kind == "thinking" else Text(text, row))
        return found

    @staticmethod
    def chain(thought: str, answer: str) -> str:
        """A chain of thought in words, with its tags."""
        return Renderer.chain(thought, answer)

    def forget(self) -> None:
        self.remembered.found.clear()

    # wishes

    @property
    def turns(self) -> int | None:
        return self.config.defaults.turns

    def thinks_of(self, last: PartKind, edits: bool = False) -> bool:
        return self.thinks and last == "image"

    def plan(self, kinds: Sequence[PartKind]) -> Plan:
        d = self.config.defaults
        for kind, following in zip(kinds, kinds[1:], strict=False):
            if (kind, following) == ("thinking", "text"):
                raise ValueError("MindOmni thinks before it draws; ask for words without thinking")
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
            raise ValueError(f"fast={ask.fast!r} is for masked words; MindOmni writes from left to right")
        if ask.kind == "image":
            if ask.known is not None:
                raise ValueError("MindOmni makes a picture as a whole; it cannot complete a known one")
            steps, size = ask.steps or d.steps, ask.size or d.size
            length = self.side(size) ** 2 * self.vae.channels
            guidance = d.guidance if ask.guidance is None else ask.guidance
            return Settings(length, steps, guidance, 1.0 if ask.temperature is None else ask.temperature, length)
        limit = ask.limit or (d.thinking_limit if ask.kind == "thinking" else d.text_limit)
        temperature = d.temperature if ask.temperature is None else ask.temperature
        written = None if ask.known is None else self._written(ask.known)
        return word_settings(ask, rows, limit, temperature, written, min(self.renderer.ends), self.device)

    def side(self, size: int) -> int:
        """Latents along the side of a picture of that many pixels; ValueError for one that cannot be drawn."""
        c = self.decoder.config
        cell = self.vae.factor * c.patch
        if size % cell or not cell <= size <= cell * c.table:
            raise ValueError(f"size={size} pixels cannot be drawn; give a multiple of {cell} up to {cell * c.table}")
        return size // self.vae.factor

    def square(self, length: int) -> tuple[int, int]:
        """(high, wide) in latents of a square picture of that many numbers."""
        side = math.isqrt(length // self.vae.channels)
        if side * side * self.vae.channels != length:
            raise ValueError(f"{length} numbers are no square picture of {self.vae.channels} channels")
        return side, side

    def check_prompt(self, conversation: Conversation) -> None:
        words = [part.text for message in conversation for part in message.parts if not isinstance(part, Image)]
        check_words(self.tokenizer, words)
        text, pictures = self.renderer.chat(conversation, draws=True, thinks=True)
        most = int(self.mllm.config.text_config.max_position_embeddings)
        length = len(self.renderer.ids(text)) + sum(
            self.eyes.tokens((1, high // self.eyes.patch, wide // self.eyes.patch))
            for wide, high in (self.eyes.fitting(p.image.size, self.config.max_pixels) for p in pictures)
        )
        if length > most:
            raise ValueError(f"the prompt takes {length} tokens, but this model reads {most}; make it shorter")

    # pictures

    @torch.no_grad()
    def show(self, values: Tensor, shape: tuple[int, int] | None = None) -> list[Picture]:
        """Values (B, N) as PIL pictures."""
        from PIL import Image as pil

        grid = to_latents(values).unflatten(1, (self.vae.channels, *(shape or self.square(values.shape[1]))))
        # one by one: in a batch the same latents come out a rounding error apart, and the bytes would differ
        each = [to_bytes(self.vae.decode(row[None].to(self.device)))[0].cpu().numpy() for row in grid]
        return [pil.fromarray(pixels) for pixels in each]

    @torch.no_grad()
    def see(self, pictures: Sequence[Picture], size: int = 0) -> Tensor:
        """Values (B, N) of PIL pictures: the latents' means of square ones of ``size`` pixels."""
        side = self.side(size or self.config.defaults.size) * self.vae.factor
        pixels = np.stack([np.asarray(crop(picture, side)) for picture in pictures])
        wide = torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2).float() / 127.5 - 1
        return to_values(self.vae.encode(wide).flatten(1))

    def _latents(self, part: Image) -> Tensor:
        if part.raw is not None:
            return torch.tensor(part.raw, dtype=torch.int64)
        return self.see([part.image])[0].cpu()

    def _written(self, part: Part) -> Ids:
        assert not isinstance(part, Image)
        if part.raw is not None:
            return list(part.raw)
        return [*self.renderer.ids(self.renderer.whole(part)), min(self.renderer.ends)]

    # checkpoints

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write a folder in the released layout and with the released names, and limner's ``config.json``."""
        from limner.models.mindomni.folder import save

        save(self, Path(folder), dtype)

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        vae: Path | None = None,
        quantise: str | None = None,
        offload: Offload = "",
        first_step: Literal["official", "full"] | None = None,
        condition: Literal["all", "answer"] | None = None,
        rounded: bool | None = None,
        max_pixels: int | None = None,
        picture_guidance: float | None = None,
        shift: float | None = None,
    ) -> Self:
        """A checkpoint folder, limner's or released. ``vae`` is the autoencoder's folder (default: inside), which
        computes in float32 whatever ``dtype`` is.

        ``quantise`` ("int8", "fp8") keeps the language model's layers in eight bits; ``offload`` "model" keeps it, or
        connector and decoder, on the CPU while the others compute, "sequential" every layer until its turn (through
        accelerate). The rest replaces what the config says. Raises
        ValueError for missing files and weights that do not fit. ``model.certificate`` says what was matched.
        """
        from limner.models.mindomni.folder import load

        wishes: dict[str, Any] = {
            "first_step": first_step,
            "condition": condition,
            "rounded": rounded,
            "max_pixels": max_pixels,
        }
        wishes["picture_guidance"] = picture_guidance
        model = load(cls, Path(folder), dtype, vae, {k: v for k, v in wishes.items() if v is not None}, shift)
        if quantise is not None:
            _quantise(model.mllm, quantise)
        if offload not in ("", "model", "sequential"):
            raise ValueError(f"offload={offload!r} is not known; give model or sequential, or leave it out")
        if offload:
            model.home, model.away = torch.device(device), offload
            model.vae.to(device)
            if offload == "sequential":
                _in_turn((model.mllm, model.connector, model.decoder), device)
            return model.eval()
        return model.to(device).eval()

    certificate: dict[str, Any] | None = None


def _in_turn(parts: Sequence[nn.Module], device: str) -> None:
    """Keep the parts' weights on the CPU; each module's come to the device while it computes."""
    try:
        from accelerate import cpu_offload
    except ImportError as error:
        raise ValueError("offload='sequential' needs accelerate: pip install 'limner[large]'") from error
    for part in parts:
        cpu_offload(part, execution_device=torch.device(device))


def _quantise(mllm: Qwen25VL, kind: str) -> None:
    """Keep the weights of the language model's layers in eight bits."""
    if kind not in KINDS:
        raise ValueError(f"quantise={kind!r} is not one of: {', '.join(KINDS)}")
    for part in (part for layer in mllm.layers for part in (layer.self_attn, layer.mlp)):
        for name, child in list(part.named_children()):
            if isinstance(child, nn.Linear):
                setattr(part, name, CompactLinear(child, kind))
