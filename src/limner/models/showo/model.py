"""Show-o (2408.12528): one transformer that writes words from left to right and draws pictures by parallel unmasking.

model = ShowO.load("pretrained/show-o")
for step in stream(model, [(user("a red apple"),)], model.plan(["image"]), [0]): ...
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from limner.codecs.magvit import MagvitCodec
from limner.models import checkpoint, compact, pictures
from limner.models.base import Model, Reply
from limner.models.checkpoint import load_codec
from limner.models.showo.config import NAMES, TASKS, ShowOConfig
from limner.models.showo.memory import Fronts, Heard
from limner.models.showo.network import Memory, Network, omni, shared_columns
from limner.models.showo.render import Ids, Renderer, Seeing
from limner.models.showo.vision import Vision
from limner.models.showo.weights import NAMES as WEIGHTS
from limner.models.vocabulary import check_words, load_tokenizer
from limner.parts import Ask, Conversation, Image, Part, PartKind, Plan, Text, Thinking
from limner.process.autoregressive import Autoregressive
from limner.process.base import Context, Process, Settings, Tokens
from limner.process.masked import MaskedCanvas, Values
from limner.process.schedules import cosine_single

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


class ShowO(Model):
    """The family, untrained unless loaded. ``codec`` shows and reads pictures and is never trained here; without one
    only words can be made. ``vision`` is what a model with CLIP reads pictures with. ``seed`` decides the fresh
    weights."""

    family = "showo"
    vision: Vision | None = None
    certificate: dict[str, Any] | None = None

    def __init__(
        self, config: ShowOConfig, tokenizer: Tokenizer, codec: MagvitCodec | None = None, seed: int = 0
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
        codes, features = cache(self._codes), cache(self._features)  # the same picture in many rows is read once
        scripts = [
            self.renderer.script(conversation, reply, ask, codes, features if self.config.clip else None)
            for conversation, reply in zip(conversations, replies, strict=True)
        ]
        return self.renderer.context(scripts, ask.kind).to(self.device)

    def process(self, kind: PartKind) -> Process[Any]:
        c = self.config
        if kind == "image":
            return MaskedCanvas(
                partial(ShowO.pictures, self),
                Values(c.mask, c.text_vocabulary),
                schedule=cosine_single,
                compounding=c.compounding,
                over_all=c.over_all,
                codes_temperature=c.defaults.codes_temperature,
                together=True,
                making=partial(ShowO.recalled_pictures, self, Fronts(self.network)),
                table=partial(ShowO.everything, self),
            )
        eos, heard = c.specials.eos, Heard(self.network)
        return Autoregressive(partial(ShowO.words, self), eos, eos, partial(ShowO.recalled_words, self, heard))

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

    def words(self, ids: Tensor, kept: Tensor, given: Tokens) -> Tensor:
        """Logits (B, t, V) of words from the context's last place on."""
        begin = given.before.shape[1]
        shared = torch.nn.functional.pad(
            shared_columns(given.before, self.config.specials.eoi), (0, ids.shape[1] - begin)
        )
        at = torch.zeros_like(kept)
        at[:, begin - 1 :] = True
        states = self.network.states(ids, omni(kept, shared), -begin, _features_of(given), at=at)
        return self._words(states.view(len(ids), -1, states.shape[-1]))

    def recalled_words(self, heard: Heard, ids: Tensor, kept: Tensor, given: Tokens) -> Tensor:
        """`words` of the last place alone (B, 1, V), without reading again what was read."""
        return self._words(heard.last(ids, kept, given.before.shape[1], _features_of(given))[:, None])

    def _words(self, states: Tensor) -> Tensor:
        return self.network.logits(states, 0, self.config.text_vocabulary if self.config.words_only else None)

    def pictures(self, ids: Tensor, kept: Tensor, at: Tensor, begin: int) -> Tensor:
        """Logits (at.sum(), codes) of picture codes."""
        return self._pictures(self._canvas(ids, kept, at, begin))

    def everything(self, ids: Tensor, kept: Tensor, at: Tensor, begin: int) -> Tensor:
        """Logits (at.sum(), V) of every row of the output table, around a picture that begins at ``begin``."""
        return self.network.logits(self._canvas(ids, kept, at, begin))

    def _canvas(self, ids: Tensor, kept: Tensor, at: Tensor, begin: int) -> Tensor:
        front = shared_columns(ids[:, :begin], self.config.specials.eoi)
        shared = torch.nn.functional.pad(front, (0, ids.shape[1] - begin))
        return self.network.states(ids, omni(kept, shared, begin - 1), -begin, at=at)

    def recalled_pictures(self, fronts: Fronts, ids: Tensor, kept: Tensor, at: Tensor, begin: int) -> Tensor:
        """`pictures` with keys and values of what stands in front computed once: none of it looks at the picture."""
        P = begin - 1
        past = fronts.of(ids[:, :P], kept[:, :P])
        memories = [Memory(past[:, i]) for i in range(len(self.network.layers))]
        sees = None if bool(kept.all()) else kept[:, None, :]
        return self._pictures(self.network.states(ids[:, P:], sees, -1, None, memories, at[:, P:]))

    def _pictures(self, states: Tensor) -> Tensor:
        first = self.config.text_vocabulary
        return self.network.logits(states, first, first + self.config.codes)

    def layers(self) -> list[nn.Module]:
        return list(self.network.layers)

    # wishes

    @property
    def turns(self) -> int | None:
        return self.config.defaults.turns

    @property
    def thinks(self) -> bool:
        return self.config.thinks

    def plan(self, kinds: Sequence[PartKind]) -> Plan:
        d = self.config.defaults
        picture = Ask("image", 0, d.size, d.picture_steps, d.picture_guidance, d.picture_temperature)
        words: dict[PartKind, int] = {"text": d.text_limit, "thinking": d.thinking_limit}
        unknown = [kind for kind in kinds if kind != "image" and kind not in words]
        if unknown:
            raise ValueError(f"Show-o makes text, thinking and image, not {unknown[0]!r}")
        return tuple(
            picture if kind == "image" else Ask(kind, words[kind], guidance=0.0, temperature=d.text_temperature)
            for kind in kinds
        )

    def settings(self, ask: Ask, rows: int) -> Settings:
        d = self.config.defaults
        if ask.fast:
            raise ValueError(f"fast={ask.fast!r} is for words that are unmasked; this model writes from left to right")
        if ask.kind == "image":
            length = block = self.config.grid(ask.size) ** 2
            steps, guidance = ask.steps or d.picture_steps, d.picture_guidance
            temperature = d.picture_temperature
        else:
            # one word a step, whatever was asked
            length = steps = ask.limit or (d.thinking_limit if ask.kind == "thinking" else d.text_limit)
            block, guidance, temperature = 1, 0.0, d.text_temperature
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
        length = len(self.renderer.chat(turns, thinks=True)) + 2
        c = self.config
        # a question about a picture may be longer than what a picture is drawn from; of several messages either may be
        # the case
        alone = len(conversation) == 1 and any(isinstance(p, Image) for p in conversation[0].parts)
        if length > c.text_budget and not alone:
            raise ValueError(f"the prompt takes {length} tokens, but this model reads {c.text_budget}; make it shorter")
        pictures.check_room(conversation, length, c.grid(0) ** 2, c.places // 2 or c.max_length)

    # pictures

    def show(self, codes: Tensor, size: int = 0) -> list[Picture]:
        """Codes (B, N) of square pictures as PIL pictures of ``size`` pixels (0: the default size with that grid)."""
        known, own = self.config.grids, self.config.defaults.size
        size_or_none = size or pictures.size_of(codes.shape[1], known, own)
        return pictures.show(pictures.present(self.codec), codes, size_or_none)

    def see(self, given: Sequence[Picture], size: int = 0) -> Tensor:
        """Codes (B, N) of PIL pictures, each cropped to a square in the middle."""
        return pictures.see(pictures.present(self.codec), given, self.config.grid(size), self.device)

    def _codes(self, part: Image) -> Ids:
        return list(part.raw) if part.raw is not None else self.see([part.image])[0].tolist()

    def _features(self, part: Image) -> Tensor:
        if self.vision is None:
            raise ValueError(
                "this model reads pictures with CLIP, and was loaded without it; give the folder of "
                "openai/clip-vit-large-patch14-336 as vision when loading it"
            )
        seen: Tensor = self.vision([part.image])[0].float().cpu()
        return seen

    def _written(self, part: Part) -> Ids:
        assert not isinstance(part, Image)
        if part.raw is not None:
            return list(part.raw)
        ids = self.renderer.thought(part.text) if isinstance(part, Thinking) else self.renderer.ids(part.text)
        return [*ids, self.config.specials.eos]

    # checkpoints

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write ``config.json``, ``model.safetensors`` (released names), ``tokenizer.json`` and ``codec/``."""
        tensors = checkpoint.released(self.network, WEIGHTS, dtype)
        checkpoint.write(folder, tensors, self.config.to_json(), self.tokenizer, self.codec)

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        codec: Path | None = None,
        words: Path | None = None,
        vision: Path | None = None,
        quantise: str | None = None,
        device_map: str | Mapping[str, str | int] | None = None,
        offload: Path | None = None,
    ) -> Self:
        """A checkpoint folder, limner's or released. ``codec`` is the codec's folder (default: ``codec/`` inside), and
        computes in float32; ``words`` that of ``tokenizer.json`` (default: the folder itself; a release has none and
        takes Phi-1.5's); ``vision`` that of CLIP, for a model that reads pictures with it.

        ``quantise`` ("int8", "fp8") and ``device_map`` with ``offload`` are for large networks, see ``compact``. Raises
        ValueError for missing files and weights that do not fit. ``model.certificate`` says what was matched.
        """
        folder = Path(folder)
        where = Path(codec) if codec is not None else checkpoint.codec_of(folder)
        shows = None if where is None else load_codec(where)
        tokenizer = load_tokenizer(folder if words is None else Path(words))
        config = read_config(folder, tokenizer, 16 if shows is None else shows.factor)
        with torch.device("meta"):
            network = Network(config)
        early = "cpu" if quantise is not None or device_map is not None else device
        certificate = checkpoint.load_into(network, checkpoint.read(folder), WEIGHTS, dtype, early)
        if quantise is not None:
            compact.quantise(network, quantise)
        if device_map is not None:
            compact.spread(network, device, device_map, offload)
        model = cls.around(config, tokenizer, network, shows)
        model.certificate = certificate
        if device_map is None:
            model.to(device)
        elif model.codec is not None:
            model.codec.to(device)
        vision = folder / "vision" if vision is None and (folder / "vision").is_dir() else vision
        if vision is not None:
            # not a module of the model's: its weights are its own repository's
            object.__setattr__(model, "vision", Vision.load(Path(vision), device, dtype))
        return model.eval()

    @classmethod
    def around(cls, config: ShowOConfig, tokenizer: Tokenizer, network: Network, codec: MagvitCodec | None) -> Self:
        """A model around a network that has its weights already."""
        with torch.device("meta"):
            model = cls(config, tokenizer, codec)
        model.network = network
        return model


def _features_of(given: Tokens) -> Tensor | None:
    return given.features if isinstance(given, Seeing) else None


def read_config(folder: Path, tokenizer: Tokenizer | None = None, factor: int = 16) -> ShowOConfig:
    """The config in a checkpoint folder, with the special ids that the tokenizer knows by name.

    ``factor`` is pixels a code, for released configs. Raises ValueError where ids and tokenizer do not fit.
    """
    data = checkpoint.read_json(folder)
    config = ShowOConfig.from_json(data, factor)
    if "limner" in data or tokenizer is None:
        return config
    named = {role: tokenizer.token_to_id(name) for role, name in NAMES.items()}
    if tokenizer.get_vocab_size() > config.text_vocabulary - TASKS:
        raise ValueError(
            f"the tokenizer has {tokenizer.get_vocab_size()} entries, the model's words end at "
            f"{config.text_vocabulary - TASKS}; give the folder of Phi-1.5's tokenizer.json as words"
        )
    return replace(config, specials=replace(config.specials, eos=named["eos"] or config.specials.eos))
