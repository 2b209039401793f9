"""Released weights of Nexus-Gen by our names and back, name by name (spec sections 2 and 11.2).

A decoder's file holds the FLUX transformer in DiffSynth's names and, beside it, what reads the embeddings.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from limner.models import qwen25vl_weights as qwen

# names of the reader's own two modules are the same here and there
OWN = ("vision_head.weight", "image_prefill_embeds.weight")

FRONT = "pipe.dit."
# released beginning -> that of diffusers' class, within the transformer, the first that fits
TOP: tuple[tuple[str, str], ...] = (
    ("time_embedder.timestep_embedder.0.", "time_text_embed.timestep_embedder.linear_1."),
    ("time_embedder.timestep_embedder.2.", "time_text_embed.timestep_embedder.linear_2."),
    ("guidance_embedder.timestep_embedder.0.", "time_text_embed.guidance_embedder.linear_1."),
    ("guidance_embedder.timestep_embedder.2.", "time_text_embed.guidance_embedder.linear_2."),
    ("pooled_text_embedder.0.", "time_text_embed.text_embedder.linear_1."),
    ("pooled_text_embedder.2.", "time_text_embed.text_embedder.linear_2."),
    ("final_norm_out.linear.", "norm_out.linear."),
    ("final_proj_out.", "proj_out."),
    ("x_embedder.", "x_embedder."),
    ("context_embedder.", "context_embedder."),
)
DOUBLE: tuple[tuple[str, str], ...] = (
    ("norm1_a.linear.", "norm1.linear."),
    ("norm1_b.linear.", "norm1_context.linear."),
    ("attn.a_to_out.", "attn.to_out.0."),
    ("attn.b_to_out.", "attn.to_add_out."),
    ("attn.norm_q_a.", "attn.norm_q."),
    ("attn.norm_k_a.", "attn.norm_k."),
    ("attn.norm_q_b.", "attn.norm_added_q."),
    ("attn.norm_k_b.", "attn.norm_added_k."),
    ("ff_a.0.", "ff.net.0.proj."),
    ("ff_a.2.", "ff.net.2."),
    ("ff_b.0.", "ff_context.net.0.proj."),
    ("ff_b.2.", "ff_context.net.2."),
)
SINGLE: tuple[tuple[str, str], ...] = (
    ("norm.linear.", "norm.linear."),
    ("norm_q_a.", "attn.norm_q."),
    ("norm_k_a.", "attn.norm_k."),
    ("proj_out.", "proj_out."),
)
# released tensors that hold several of ours, one below the other
STACKED: dict[str, tuple[str, ...]] = {
    "attn.a_to_qkv.": ("attn.to_q.", "attn.to_k.", "attn.to_v."),
    "attn.b_to_qkv.": ("attn.add_q_proj.", "attn.add_k_proj.", "attn.add_v_proj."),
    "to_qkv_mlp.": ("attn.to_q.", "attn.to_k.", "attn.to_v.", "proj_mlp."),
}
BLOCK = re.compile(r"(blocks|single_blocks)\.(\d+)\.(.*)")
OURS = {"blocks": "transformer_blocks", "single_blocks": "single_transformer_blocks"}
# a released file's beside-part -> our name
BESIDE = {"adapter.": "condition.", "embedding_merger.": "condition."}


def fingerprint(shapes: Mapping[str, Sequence[int]]) -> str:
    """The hash by which lists of names and shapes are recognised in public: md5 over sorted "name:shape" and "name"."""
    told = [f"{name}:{'_'.join(map(str, shape))}" for name, shape in shapes.items()]
    return hashlib.md5(",".join(sorted([*told, *shapes])).encode()).hexdigest()


def reader(tensors: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """The autoregressive part's tensors by our names; one that is none of its keeps its name and is refused later."""
    for name, tensor in tensors:
        yield name if name in OWN else qwen.ours(name) or name, tensor


def released_reader(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Ours by the released names. Raises ValueError for weights that have none."""
    found = {}
    for name, tensor in weights.items():
        theirs = name if name in OWN else qwen.released(name)
        if theirs is None or ".base_layer." in name or ".lora_" in name or name.endswith((".stored", ".scale")):
            raise ValueError(f"the weight {name} has no released name; merge adapters, or load without quantise")
        found[theirs] = tensor
    return found


def _renamed(name: str, table: Iterable[tuple[str, str]]) -> str | None:
    return next((to + name.removeprefix(begin) for begin, to in table if name.startswith(begin)), None)


def decoder(tensors: Iterable[tuple[str, Tensor]], width: int) -> Iterator[tuple[str, Tensor]]:
    """A decoder's tensors by our names, stacked ones apart; ``width`` is the transformer's. Names without their
    beginnings, as V1 has them, are known too. One that is none of its keeps its name and is refused later."""
    for whole, tensor in tensors:
        beside = _renamed(whole, BESIDE.items())
        if beside is not None or whole[:2] in ("0.", "1.", "3.", "4."):
            yield beside or f"condition.{whole}", tensor
            continue
        name = whole.removeprefix(FRONT)
        block = BLOCK.fullmatch(name)
        if block is None:
            yield f"dit.{_renamed(name, TOP)}" if _renamed(name, TOP) else whole, tensor
            continue
        stem, rest = f"dit.{OURS[block[1]]}.{block[2]}.", block[3]
        begin = next((begin for begin in STACKED if rest.startswith(begin)), None)
        if begin is None:
            own = _renamed(rest, DOUBLE if block[1] == "blocks" else SINGLE)
            yield stem + own if own else whole, tensor
            continue
        parts = STACKED[begin]
        if len(tensor) < 3 * width:
            raise ValueError(f"{whole} has {len(tensor)} rows, queries, keys and values are {3 * width}")
        sizes = [width] * 3 + ([len(tensor) - 3 * width] if len(parts) == 4 else [])
        if sum(sizes) != len(tensor):
            raise ValueError(f"{whole} has {len(tensor)} rows, wanted {sum(sizes)}")
        for part, rows in zip(parts, tensor.split(sizes), strict=True):
            yield stem + part + rest.removeprefix(begin), rows


def released_decoder(weights: Mapping[str, Tensor], beside: str) -> dict[str, Tensor]:
    """Our decoder's tensors by the released names; ``beside`` is "adapter." or "embedding_merger."."""
    found: dict[str, Tensor] = {}
    back = {ours: theirs for theirs, ours in OURS.items()}
    for name, tensor in weights.items():
        if name.endswith((".stored", ".scale")) or ".lora_" in name:
            raise ValueError(f"the weight {name} has no released name; merge adapters, or load without quantise")
        if name.startswith("condition."):
            found[beside + name.removeprefix("condition.")] = tensor
            continue
        inner = name.removeprefix("dit.")
        kind, _, behind = inner.partition(".")
        if kind not in back:
            theirs = next(begin + inner.removeprefix(to) for begin, to in TOP if inner.startswith(to))
            found[FRONT + theirs] = tensor
            continue
        number, _, rest = behind.partition(".")
        stem = f"{FRONT}{back[kind]}.{number}."
        table = DOUBLE if kind == OURS["blocks"] else SINGLE
        stacks = {b: p for b, p in STACKED.items() if (b == "to_qkv_mlp.") == (table is SINGLE)}
        group = next(((b, p) for b, p in stacks.items() if any(rest.startswith(part) for part in p)), None)
        if group is None:
            found[stem + next(begin + rest.removeprefix(to) for begin, to in table if rest.startswith(to))] = tensor
        elif rest.startswith(group[1][0]):
            own, ending = f"dit.{kind}.{number}.", rest.removeprefix(group[1][0])
            found[f"{stem}{group[0]}{ending}"] = torch.cat([weights[f"{own}{part}{ending}"] for part in group[1]])
    return found
