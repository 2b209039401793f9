"""The network: transformers' LLaVA-OneVision, with the weights of the LLaVA-NeXT layout, answering one word.

``load`` reads a released folder (or one that ``convert`` wrote for transformers) and fails on any name without a match.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from limner.models import checkpoint
from limner.models.llava.pictures import Form, arranged, pixels
from limner.models.llava.render import CONTROLS, PICTURE, lesson

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from tokenizers import Tokenizer

_TOWER = "model.vision_tower.vision_tower.vision_model"
_BOTH = ("weight", "bias")
_SEES = ("layer_norm1", "layer_norm2", "mlp.fc1", "mlp.fc2")
_HEEDS = tuple(f"self_attn.{name}" for name in ("q_proj", "k_proj", "v_proj", "out_proj"))
_READS = tuple(f"self_attn.{name}.{kind}" for name in ("q_proj", "k_proj", "v_proj") for kind in _BOTH)
_WRITES = ("self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "input_layernorm")
_FIRST, _SECOND = "model.mm_projector.first", "model.mm_projector.second"

# released name -> transformers' name; {i} is the number of a layer (the projector's two numbers are named by _named)
NAMES: dict[str, str] = {
    "lm_head.weight": "lm_head.weight",
    "model.image_newline": "model.image_newline",
    "model.embed_tokens.weight": "model.language_model.embed_tokens.weight",
    "model.norm.weight": "model.language_model.norm.weight",
    f"{_TOWER}.embeddings.position_embedding.weight": "model.vision_tower.embeddings.position_embedding.weight",
    **{f"model.layers.{{i}}.{name}": f"model.language_model.layers.{{i}}.{name}" for name in _READS},
    **{
        f"model.layers.{{i}}.{name}.weight": f"model.language_model.layers.{{i}}.{name}.weight"
        for name in (*_WRITES, "post_attention_layernorm")
    },
    **{
        f"{_TOWER}.encoder.layers.{{i}}.{name}.{kind}": f"model.vision_tower.encoder.layers.{{i}}.{name}.{kind}"
        for name in (*_SEES, *_HEEDS)
        for kind in _BOTH
    },
    **{
        f"{_TOWER}.{name}.{kind}": f"model.vision_tower.{name}.{kind}"
        for name in ("embeddings.patch_embedding", "post_layernorm")
        for kind in _BOTH
    },
    **{f"{_FIRST}.{kind}": f"model.multi_modal_projector.linear_1.{kind}" for kind in _BOTH},
    **{f"{_SECOND}.{kind}": f"model.multi_modal_projector.linear_2.{kind}" for kind in _BOTH},
}
_NUMBERED = {"model.mm_projector.0": _FIRST, "model.mm_projector.2": _SECOND}


@dataclass(frozen=True)
class Sizes:
    """The sizes of both towers; the defaults are those of the released reward models (7B, 26 vision layers used)."""

    width: int = 3584
    mlp: int = 18944
    layers: int = 28
    heads: int = 28
    kv_heads: int = 4
    vocabulary: int = 152064
    vision_width: int = 1152
    vision_mlp: int = 4304
    vision_layers: int = 26
    vision_heads: int = 16


def build(sizes: Sizes) -> nn.Module:
    """The network without weights of value; on the device of the context."""
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        Qwen2Config,
        SiglipVisionConfig,
    )

    s = sizes
    # the last of the tower's 27 layers is not used, and features come before its last norm
    vision = SiglipVisionConfig(
        hidden_size=s.vision_width,
        intermediate_size=s.vision_mlp,
        num_hidden_layers=s.vision_layers,
        num_attention_heads=s.vision_heads,
        image_size=384,
        patch_size=14,
        vision_use_head=False,
    )
    words = Qwen2Config(
        vocab_size=s.vocabulary,
        hidden_size=s.width,
        intermediate_size=s.mlp,
        num_hidden_layers=s.layers,
        num_attention_heads=s.heads,
        num_key_value_heads=s.kv_heads,
        rope_parameters={"rope_theta": 1e6, "rope_type": "default"},
        rms_norm_eps=1e-6,
        tie_word_embeddings=False,
    )
    config = LlavaOnevisionConfig(
        vision_config=vision,
        text_config=words,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        vision_aspect_ratio="anyres_max_9",
        tie_word_embeddings=False,
    )
    network: nn.Module = LlavaOnevisionForConditionalGeneration(config)
    return network


class Looker(nn.Module):
    """The network as it is asked: a picture and ids with a gap for it give the logits of the next word."""

    def __init__(self, network: nn.Module, tokenizer: Tokenizer | None, form: Form = "pad") -> None:
        super().__init__()
        self.network, self.tokenizer, self.form = network, tokenizer, form
        self.certificate: dict[str, Any] = {}
        self.sampling: dict[str, Any] = {}  # of generation_config.json: the official mode filters by it

    @property
    def inner(self) -> Any:
        """The towers."""
        return self.network.model

    @torch.no_grad()
    def features(self, picture: Picture) -> Tensor:
        """A picture in the place of words (n, width)."""
        return self.seen(picture)

    def seen(self, picture: Picture) -> Tensor:
        """`features` with gradients."""
        weight = self.inner.image_newline
        seen = pixels(picture, self.form).to(weight.device, weight.dtype)
        tower = self.inner.vision_tower(pixel_values=seen, output_hidden_states=True)
        projected = self.inner.multi_modal_projector(tower.hidden_states[-1])
        return arranged(projected, weight, picture.size, self.form)

    def ids(self, text: str) -> tuple[list[int], list[int]]:
        """The ids in front of the picture and behind it, each side tokenised by itself."""
        if self.tokenizer is None:
            raise ValueError("this network was loaded without a tokenizer; put tokenizer.json beside its weights")
        before, behind = text.split(PICTURE)
        first, second = (self.tokenizer.encode(part, add_special_tokens=False).ids for part in (before, behind))
        return list(first), list(second)

    def embedded(self, before: Sequence[int], features: Tensor, behind: Sequence[int]) -> Tensor:
        """(1, n, width)."""
        table = self.inner.language_model.embed_tokens
        sides = [table(torch.tensor(list(ids), dtype=torch.int64, device=features.device)) for ids in (before, behind)]
        return torch.cat([sides[0], features, sides[1]])[None]

    @torch.no_grad()
    def next_word(self, before: Sequence[int], features: Tensor, behind: Sequence[int]) -> Tensor:
        """(V,) float32 logits of the word that follows."""
        embeds = self.embedded(before, features, behind)
        states = self.inner.language_model(inputs_embeds=embeds, use_cache=False).last_hidden_state
        head: Any = self.network.lm_head
        logits: Tensor = head(states[0, -1]).float()
        return logits

    def loss(self, picture: Picture, turns: list[tuple[str, str]]) -> tuple[Tensor, int]:
        """(sum of the cross-entropies of answers and control tokens, how many) of questions about a picture. The first
        question holds the picture's place."""
        assert self.tokenizer is not None, "training needs the tokenizer"
        controls = {self.tokenizer.token_to_id(name) for name in CONTROLS} | set(self._plain("\n"))
        ids: list[int] = []
        learned: list[bool] = []
        place = -1
        for text, wanted in lesson(turns):
            for number, part in enumerate(text.split(PICTURE)):
                place = len(ids) if number else place
                some = self._plain(part)
                ids += some
                learned += [wanted or i in controls for i in some]
        if place < 0:
            raise ValueError(f"the first question has no {PICTURE} for the picture")
        features = self.seen(picture)
        embeds = self.embedded(ids[:place], features, ids[place:])
        states = self.inner.language_model(inputs_embeds=embeds, use_cache=False).last_hidden_state[0]
        # the state of a place is for the word behind it; behind the picture places move by its length
        where = [i - 1 + (len(features) if i >= place else 0) for i, wanted in enumerate(learned) if wanted and i]
        labels = torch.tensor([ids[i] for i, wanted in enumerate(learned) if wanted and i], device=states.device)
        head: Any = self.network.lm_head
        return torch.nn.functional.cross_entropy(head(states[where]).float(), labels, reduction="sum"), len(labels)

    def _plain(self, text: str) -> list[int]:
        assert self.tokenizer is not None
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def say(self, before: Sequence[int], features: Tensor, behind: Sequence[int], limit: int, end: int) -> list[int]:
        """The likeliest words, up to ``limit`` or the id ``end``."""
        said: list[int] = []
        while len(said) < limit:
            word = int(self.next_word(before, features, [*behind, *said]).argmax())
            if word == end:
                break
            said.append(word)
        return said


def _named(weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """The projector's numbers as words, because they are no layers."""
    for name, tensor in weights:
        stem, _, kind = name.rpartition(".")
        yield (f"{_NUMBERED[stem]}.{kind}" if stem in _NUMBERED else name), tensor


def read_sizes(config: Mapping[str, Any], rows: int) -> Sizes:
    """The sizes in a released ``config.json``; ``rows`` is the number of rows of its table of words."""
    names = {"hidden_size": "width", "intermediate_size": "mlp", "num_hidden_layers": "layers"}
    names |= {"num_attention_heads": "heads", "num_key_value_heads": "kv_heads"}
    found = {ours: int(config[theirs]) for theirs, ours in names.items() if theirs in config}
    vision = config.get("vision", {})
    sees = {"hidden_size": "vision_width", "intermediate_size": "vision_mlp"}
    sees |= {"num_attention_heads": "vision_heads", "num_hidden_layers_used": "vision_layers"}
    found |= {ours: int(vision[theirs]) for theirs, ours in sees.items() if theirs in vision}
    return Sizes(**found, vocabulary=rows)


def load(folder: Path, *, device: str = "cpu", dtype: torch.dtype = torch.float16, form: Form = "pad") -> Looker:
    """A released reward model: ``config.json``, weights of the LLaVA-NeXT layout, ``tokenizer.json``.

    Raises ValueError for missing files, names without a match and shapes that do not fit. ``certificate`` says what was
    matched.
    """
    from tokenizers import Tokenizer

    folder = Path(folder)
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"no config.json in {folder}; a reward model has one, weights and tokenizer.json")
    try:
        config = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is no JSON object: {error}") from error
    weights = dict(checkpoint.read(folder))
    table = weights.get("model.embed_tokens.weight")
    if table is None:
        raise ValueError(f"the weights in {folder} lack model.embed_tokens.weight; is it a LLaVA-OneVision checkpoint?")
    with torch.device("meta"):
        network = build(read_sizes(config.get("text", config) | {"vision": config.get("vision", {})}, len(table)))
    certificate = checkpoint.load_into(network, _named(weights.items()), NAMES, dtype, device)
    _fill(network, device)
    words = folder / "tokenizer.json"
    looker = Looker(network, Tokenizer.from_file(str(words)) if words.is_file() else None, form)
    looker.certificate = certificate
    if (folder / "generation_config.json").is_file():
        looker.sampling = dict(json.loads((folder / "generation_config.json").read_text(encoding="utf-8")))
    return looker.to(device).eval()


def _fill(network: nn.Module, device: str) -> None:
    """Buffers that are computed and not stored, such as turns and places, made again off the meta device."""
    for module in network.modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            if not buffer.is_meta:
                continue
            if name == "position_ids":
                module.register_buffer(name, torch.arange(buffer.shape[-1], device=device)[None], persistent=False)
    rotary: Any = network.model.language_model.rotary_emb  # type: ignore[union-attr]
    fresh = type(rotary)(rotary.config)
    network.model.language_model.rotary_emb = fresh.to(device)  # type: ignore[union-attr]


def convert(source: Path, target: Path, dtype: torch.dtype | None = None) -> dict[str, Any]:
    """A released folder as one that transformers loads by itself; returns the certificate, also written there."""
    source, target = Path(source), Path(target)
    if target.exists():
        raise ValueError(f"{target} exists already; choose another folder or remove it")
    looker = load(source, dtype=dtype or torch.bfloat16)
    part = target.with_name(f".{target.name}.partial")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        state = {name: tensor.contiguous() for name, tensor in looker.network.state_dict().items()}
        save_file(state, part / "model.safetensors", metadata={"format": "pt"})
        looker.network.config.save_pretrained(part)  # type: ignore[union-attr,operator]
        for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
            if (source / name).is_file():
                shutil.copyfile(source / name, part / name)
        about = {k: v for k, v in looker.certificate.items() if k != "shapes"}
        about |= {"source": source.name, "tensors": checkpoint.describe(state.items())}
        (part / "certificate.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        os.replace(part, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return about
