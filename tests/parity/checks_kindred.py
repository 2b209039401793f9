"""Samplers of kindred code against a reference: Fast-dLLM's decoders, and words and a picture at once.

The decoders are our own process and its rules, and only the network under a cache is written out here.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from checks_sampling import single
from reference import context_of, everything

from limner.models.mmada.network import angles, rotate
from limner.models.mmada.parity import Row, equal
from limner.process.base import Fast, Settings
from limner.process.masked import _gumbel
from limner.process.reveal import first
from limner.process.schedules import cosine, shares


def forward(network, ids, first=0, cache=None):
    """(logits, keys and values by layer) of ids (B, T) that stand from ``first`` on; keys are kept before rope.

    ``cache`` gives the other places: their keys and values, of the same layer, with those of ids written over them.
    """
    (B, T), config, kept = ids.shape, network.config, []
    size = config.width // config.heads
    x = network.embed(ids)
    cos, sin = angles(first + T if cache is None else cache[0][0].shape[1], size, config.rope_theta, ids.device)
    for i, layer in enumerate(network.layers):
        h = layer.attention_norm(x)
        q, k, v = (project(h).view(B, T, -1, size) for project in (layer.q_proj, layer.k_proj, layer.v_proj))
        if cache is not None:
            both = []
            for old, new in zip(cache[i], (k, v), strict=True):
                old = old.clone()
                old[:, first : first + T] = new
                both.append(old)
            k, v = both
        kept.append((k, v))
        here = slice(first, first + T)
        q, turned = rotate(q, (cos[here], sin[here])), rotate(k, (cos, sin))
        seen = F.scaled_dot_product_attention(*(part.transpose(1, 2) for part in (q, turned, v)))
        x = x + layer.o_proj(seen.transpose(1, 2).reshape(B, T, -1))
        h = layer.mlp_norm(x)
        x = x + layer.down_proj(F.silu(layer.gate_proj(h)) * layer.up_proj(h))
    return network.logits(x), kept


@torch.no_grad()
def fast(ref):
    """Thresholds, factors and caches: the words at the end, and how many forward passes they took."""
    for name in ref.group("fast/"):
        last, passes = fast_words(ref, ref.cases[name], name.rsplit("/", 1)[1])
        yield equal(f"{name}/final", last, ref[f"{name}/final"])
        yield Row(f"cases/{name}/nfe", float(abs(passes - ref.cases[name]["nfe"])), 0)


def fast_words(ref, case, kind):
    """Our process by the rule of a recorded call, its network under the call's cache: (ids (B, T), forward passes)."""
    prompt, N, block, passes, cache = ref["fast/prompt"], case["gen_length"], case["block_length"], 0, None
    P, way = prompt.shape[1], Fast(case.get("threshold") or 0.0, case.get("factor") or 0.0)
    context = context_of(prompt, everything(prompt), prompt[:, :0], torch.full_like(prompt, case["mask_id"]))
    # with a rule the published decoders take as many steps as it needs, and reveal at least one value a step
    steps = N if way.threshold or way.factor else case["steps"]
    process, opened = ref.model.process("text"), -1

    def net(ids, kept, at, begin):
        nonlocal passes, cache, opened
        passes += 1
        low = P + state.step // (steps * block // N) * block
        if not kind.startswith(("prefix", "dual")):
            return process.net(ids, kept, at, begin)
        if opened != low:
            logits, cache = forward(ref.network, ids)
            opened = low
            return logits[at]
        here = slice(low, ids.shape[1] if kind.startswith("prefix") else low + block)
        return forward(ref.network, ids[:, here], low, cache)[0][at[:, here]]

    settings = Settings(N, steps, 0.0, case["temperature"], block, fast=way)
    state = process.start(context, settings, None)
    while not state.done.all():
        state = replace(process, net=net).step(state)
    return context.given.around(state.values)[0], passes


@torch.no_grad()
def interleave(ref):
    """Words and a picture made at the same time (MMaDA-Parallel)."""
    if "interleave/input_ids" not in ref:
        return
    case, mask, offset = ref.cases["interleave"], ref.specials["mask"], ref.config.text_vocabulary
    N, T, S = ref.num_image, case["text_len"], case["text_steps"]
    s = ref.config.specials
    tail = torch.tensor([s.soi, *[mask] * N, s.eoi, s.bos, *[mask] * (T - 1)])
    given, plain = ref["interleave/input_ids"], ref["interleave/uncond_input_ids"]
    P = len(given)
    picture, words = slice(P + 1, P + 1 + N), slice(P + N + 2, P + N + 2 + T)
    x = torch.cat([given, tail])[None]
    budget = shares(T - 1, S)
    drawn = torch.linspace(S / 4, S - 1, case["image_steps"]).round().long().tolist()
    generator = torch.Generator().manual_seed(case["generator_seed"])
    trace = []
    for i in range(S):
        trace.append(x[0].clone())
        beside = torch.cat([plain, x[0, P:]])[None]
        ids = torch.cat([x, beside])
        with_, without = ref.network(ids, everything(ids))
        hidden = x[0] == mask
        # as published: it pushes towards the unconditional words
        logits = with_[words] + case["text_cfg"] * (without[words] - with_[words])
        sure, choice = logits.double().softmax(-1).max(-1)
        confidence = torch.where(hidden[words], sure, -torch.inf)
        now = first(confidence[None], torch.tensor([budget[i]]))[0]
        x[0, words] = torch.where(now, choice, x[0, words])
        if i not in drawn:
            continue
        codes = slice(offset, offset + ref.config.codes)
        w, r = case["image_cfg"], (i + 1) / S
        chances = ((1 + w) * with_[picture, codes] - w * without[picture, codes]).softmax(-1)
        code = torch.multinomial(chances, 1, generator=generator)[:, 0]
        code = torch.where(hidden[picture], code, x[0, picture] - offset)
        u = torch.empty(N).uniform_(0, 1, generator=generator)
        picked = chances.gather(1, code[:, None])[:, 0].log()
        picked = torch.where(hidden[picture], picked, torch.inf) + case["image_temperature"] * (1 - r) * _gumbel(u)
        again = max(1, min(int(hidden[picture].sum()) - 1, int(N * single(cosine)(r))))
        rank = picked.argsort().argsort()
        x[0, picture] = torch.where(rank < again, mask, code + offset)
    yield equal("interleave/x_per_step", torch.stack(trace), ref["interleave/x_per_step"])
    yield equal("interleave/image_codes", code[None], ref["interleave/image_codes"])
    yield equal("interleave/text_ids", x[:, words], ref["interleave/text_ids"])


CHECKS = (fast, interleave)
