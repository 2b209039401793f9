"""MMaDA (2505.15809): one masked-diffusion transformer that reads and writes words and pictures.

model = MMaDA.load("pretrained/mmada")
for step in stream(model, [(user("a red apple"),)], model.plan(["thinking", "image"]), [0]): ...
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from limner.codecs.magvit import MagvitCodec
from limner.models import checkpoint, compact, pictures
from limner.models.base import Model, Reply
from limner.models.checkpoint import codec_of, load_codec, read_json
from limner.models.mmada import weights
from limner.models.mmada.config import NAMES, PRETRAIN, MMaDAConfig
from limner.models.mmada.network import Network
from limner.models.mmada.render import Ids, Renderer
from limner.models.pictures import crop
from limner.models.vocabulary import check_words, load_tokenizer
from limner.parts import Ask, Conversation, Image, Part, PartKind, Plan, Text, Thinking
from limner.process.base import Context, Fast, Process, Settings
from limner.process.masked import MaskedBlocks, MaskedCanvas, Values

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


__all__ = ["MMaDA", "crop", "load_codec", "read_config"]


class MMaDA(Model):
    """The family, untrained unless loaded. ``codec`` shows and reads pictures and is never trained here; without one
    only words can be made. ``seed`` decides the fresh weights."""

    family = "mmada"

    def __init__(
        self, config: MMaDAConfig, tokenizer: Tokenizer, codec: MagvitCodec | None = None, seed: int = 0
    ) -> None:
        super().__init__()
        if tokenizer.get_vocab_size() > config.text_vocabulary:
            raise ValueError(
                f"the tokenizer has {tokenizer.get_vocab_size()} entries, but picture codes start at "
                f"{config.text_vocabulary}; set text_vocabulary to the tokenizer's length"
            )
        if codec is not None and codec.num_codes > config.codes:
            raise ValueError(
                f"the codec has {codec.num_codes} codes, the model {config.codes}: they do not belong together"
            )
        self.config = config
        self.tokenizer = tokenizer
        self.renderer = Renderer(config, tokenizer)
        self.network = Network(config)
        self.network.initialise(seed)
        self.codec = None if codec is None else codec.requires_grad_(False).eval()

    # the four verbs

    def context(self, conversations: Sequence[Conversation], replies: Sequence[Reply], ask: Ask) -> Context:
        read = cache(self._codes)  # the same picture in many rows is read once
        scripts = [
            self.renderer.script(conversation, reply, ask, read)
            for conversation, reply in zip(conversations, replies, strict=True)
        ]
        return self.renderer.context(scripts, ask.kind).to(self.device)

    def process(self, kind: PartKind) -> Process[Any]:
        c, s = self.config, self.config.specials
        together = c.attention == "masked"
        if kind == "image":
            codes, temperature = Values(s.mask, c.text_vocabulary), c.defaults.codes_temperature
            pictures = partial(MMaDA.pictures, self)
            return MaskedCanvas(
                pictures,
                codes,
                compounding=c.compounding,
                over_all=c.over_all,
                codes_temperature=temperature,
                together=together,
            )
        ends = frozenset({s.eos, s.eot})
        stop = ends if c.stop_early else None
        words = partial(MMaDA.words, self)
        # a thought has its tags, a text has none
        marks = ends if kind == "thinking" else ends.union(self.tokenizer.get_added_tokens_decoder())
        return MaskedBlocks(
            words,
            Values(s.mask),
            stop=stop,
            filler=s.eos,
            suffix=c.suffix,
            marks=marks,
            together=together,
            cached=partial(MMaDA.recalled_words, self),
            doubting=partial(MMaDA.doubting_words, self),
        )

    def encode(self, parts: Sequence[Part]) -> Tensor:
        rows = [self._codes(part) if isinstance(part, Image) else self._written(part) for part in parts]
        if any(isinstance(part, Image) for part in parts):
            return torch.tensor(rows, device=self.device)
        return self.renderer.values(rows).to(self.device)

    def decode(self, kind: PartKind, values: Tensor) -> list[Part]:
        rows = [tuple(row) for row in values.tolist()]
        if kind == "image":
            return [Image(shown, raw) for shown, raw in zip(self.show(values), rows, strict=True)]
        make = Thinking if kind == "thinking" else Text
        return [make(self.renderer.read(kind, row), row) for row in rows]

    # the network as processes see it

    def words(self, ids: Tensor, kept: Tensor, at: Tensor, begin: int) -> Tensor:
        """Logits (at.sum(), V) of words: the text vocabulary, or every row of the table if the config says so."""
        return self._words(self.network.at(ids, kept, at, begin))

    def recalled_words(
        self, ids: Tensor, kept: Tensor, at: Tensor, begin: int, low: int = 0, past: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """`words` of a stretch from ``low`` on, and keys and values of all places: what ``past`` is later."""
        states, found = self.network.recalled(ids, kept, begin, low, past)
        return self._words(states[at]), found

    def doubting_words(
        self, ids: Tensor, kept: Tensor, at: Tensor, begin: int, block: slice, doubted: Tensor
    ) -> tuple[Tensor, Tensor]:
        """`words`, and logits (doubted.sum(), V) of the doubted places (B, b) bool of a block, their values unseen."""
        states, beside = self.network.doubting(ids, kept, begin, block)
        return self._words(states[at]), self._words(beside[doubted])

    def _words(self, states: Tensor) -> Tensor:
        last = self.config.text_vocabulary if self.config.words_only else None
        return self.network.logits(states, 0, last)

    def pictures(self, ids: Tensor, kept: Tensor, at: Tensor, begin: int) -> Tensor:
        """Logits (at.sum(), codes) of picture codes."""
        first = self.config.text_vocabulary
        return self.network.logits(self.network.at(ids, kept, at, begin), first, first + self.config.codes)

    def layers(self) -> list[nn.Module]:
        return list(self.network.layers)

    # wishes

    @property
    def turns(self) -> int | None:
        return self.config.defaults.turns

    def plan(self, kinds: Sequence[PartKind]) -> Plan:
        d = self.config.defaults
        picture = Ask("image", 0, d.size, d.picture_steps, d.picture_guidance, d.picture_temperature)
        words: dict[PartKind, int] = {"text": d.text_limit, "thinking": d.thinking_limit}
        unknown = [kind for kind in kinds if kind != "image" and kind not in words]
        if unknown:
            raise ValueError(f"MMaDA makes text, thinking and image, not {unknown[0]!r}")
        return tuple(
            picture
            if kind == "image"
            else Ask(kind, words[kind], guidance=d.text_guidance, temperature=d.text_temperature)
            for kind in kinds
        )

    def settings(self, ask: Ask, rows: int) -> Settings:
        d = self.config.defaults
        if ask.kind == "image":
            if ask.fast:
                raise ValueError(f"fast={ask.fast!r} is for words; a picture is made faster in fewer steps")
            length = block = self.config.grid(ask.size) ** 2
            steps = ask.steps or d.picture_steps
            guidance, temperature = d.picture_guidance, d.picture_temperature
        else:
            limit = ask.limit or (d.thinking_limit if ask.kind == "thinking" else d.text_limit)
            block = min(d.block, limit)
            length = limit // block * block
            # every block takes the same number of steps
            blocks = length // block
            steps = math.ceil((ask.steps or math.ceil(length / d.tokens_per_step)) / blocks) * blocks
            guidance, temperature = d.text_guidance, d.text_temperature
        known = free = None
        if ask.known is not None and ask.mask is not None:
            known, free = self._known(ask.known, ask.mask, length, rows)
        return Settings(
            length,
            steps,
            guidance if ask.guidance is None else ask.guidance,
            temperature if ask.temperature is None else ask.temperature,
            block,
            known,
            free,
            Fast.of(ask.fast) if ask.fast else None,
        )

    def _known(self, part: Part, mask: tuple[bool, ...], length: int, rows: int) -> tuple[Tensor, Tensor]:
        if len(mask) != length:
            raise ValueError(f"the mask has {len(mask)} places, but the {part.kind} has {length} values")
        values = self._codes(part) if isinstance(part, Image) else self._written(part)
        known = self.renderer.values([values], length) if not isinstance(part, Image) else torch.tensor([values])
        if known.shape[1] != length:
            raise ValueError(f"the known picture has {known.shape[1]} codes, {length} are to be made: give its size")
        free = torch.tensor([mask], dtype=torch.bool)
        return known.expand(rows, -1).to(self.device), free.expand(rows, -1).to(self.device)

    def check_prompt(self, conversation: Conversation) -> None:
        texts = [p.text for message in conversation for p in message.parts if not isinstance(p, Image)]
        check_words(self.tokenizer, texts)
        turns = [(m.role, " ".join(p.text for p in m.parts if not isinstance(p, Image))) for m in conversation]
        length = len(self.renderer.chat(turns, thinks=True)) + 1
        if length > self.config.text_budget:
            raise ValueError(
                f"the prompt takes {length} tokens, but this model reads {self.config.text_budget}; make it shorter"
            )
        c = self.config
        pictures.check_room(conversation, length, c.grid(0) ** 2, c.places // 2 or c.max_length)

    # pictures

    def show(self, codes: Tensor, size: int = 0) -> list[Picture]:
        """Codes (B, N) of square pictures as PIL pictures of ``size`` pixels (0: the default size with that grid)."""
        codec = pictures.present(self.codec)
        return pictures.show(
            codec, codes, size or pictures.size_of(codes.shape[1], self.config.grids, self.config.defaults.size)
        )

    def see(self, given: Sequence[Picture], size: int = 0) -> Tensor:
        """Codes (B, N) of PIL pictures, each cropped to a square in the middle."""
        return pictures.see(pictures.present(self.codec), given, self.config.grid(size), self.device)

    def _codes(self, part: Image) -> Ids:
        return list(part.raw) if part.raw is not None else self.see([part.image])[0].tolist()

    def _written(self, part: Part) -> Ids:
        assert not isinstance(part, Image)
        if part.raw is not None:
            return list(part.raw)
        ids = self.renderer.thought(part.text) if isinstance(part, Thinking) else self.renderer.ids(part.text)
        return [*ids, self.config.specials.eos]

    # checkpoints

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write ``config.json``, ``model.safetensors`` (released names), ``tokenizer.json`` and ``codec/``."""
        tensors = weights.released(self.network, dtype)
        checkpoint.write(folder, tensors, self.config.to_json(), self.tokenizer, self.codec)

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        codec: Path | None = None,
        quantise: str | None = None,
        device_map: str | Mapping[str, str | int] | None = None,
        offload: Path | None = None,
    ) -> Self:
        """A checkpoint folder, limner's or released. ``codec`` is the codec's folder (default: ``codec/`` inside); it
        computes in float32, as released, whatever the network's ``dtype``.

        ``quantise`` ("int8", "fp8") and ``device_map`` with ``offload`` are for large networks, see ``compact``. Raises
        ValueError for missing files and weights that do not fit. ``model.certificate`` says what was matched.
        """
        folder = Path(folder)
        where = Path(codec) if codec is not None else codec_of(folder)
        shows = None if where is None else load_codec(where)
        tokenizer = load_tokenizer(folder)
        config = read_config(folder, tokenizer, 16 if shows is None else shows.factor)
        with torch.device("meta"):
            network = Network(config)
        early = "cpu" if quantise is not None or device_map is not None else device
        certificate = weights.load_into(network, weights.read(folder), dtype, early)
        if quantise is not None:
            compact.quantise(network, quantise)
        if device_map is not None:
            compact.spread(network, device, device_map, offload)
        model = cls.around(config, tokenizer, network, shows)
        model.certificate = certificate
        if device_map is None:
            return model.to(device).eval()
        if model.codec is not None:
            model.codec.to(device)
        return model.eval()

    @classmethod
    def around(cls, config: MMaDAConfig, tokenizer: Tokenizer, network: Network, codec: MagvitCodec | None) -> Self:
        """A model around a network that has its weights already."""
        with torch.device("meta"):
            model = cls(config, tokenizer, codec)
        model.network = network
        return model

    certificate: dict[str, Any] | None = None


def read_config(folder: Path, tokenizer: Tokenizer | None = None, factor: int = 16) -> MMaDAConfig:
    """The config in a checkpoint folder. A released one says nothing of its vocabulary: that is asked of the tokenizer.

    ``factor`` is pixels a code, for released configs. Raises ValueError where ids and rows do not fit.
    """
    data = read_json(folder)
    if "limner" in data or tokenizer is None:
        return MMaDAConfig.from_json(data, factor)
    # picture codes begin where the tokenizer ends, whatever the table's size
    data.setdefault("text_vocab_size", tokenizer.get_vocab_size())
    if PRETRAIN in Path(folder).resolve().as_posix():
        data["num_vq_tokens"] = 256
    config = MMaDAConfig.from_json(data, factor)
    named = {role: tokenizer.token_to_id(name) for role, name in NAMES.items()}
    specials = replace(config.specials, **{role: i for role, i in named.items() if i is not None})
    most = max(asdict(specials).values())
    if most >= config.text_vocabulary:
        raise ValueError(
            f"the tokenizer in {folder} ends at id {config.text_vocabulary - 1} and does not know the special tokens "
            f"by name, whose released ids go up to {most}; put the released tokenizer.json there"
        )
    return replace(config, specials=specials)
