"""Samplers of kindred code against a reference: Fast-dLLM's decoders, and words and a picture at once.

The decoders are our own process with its fast ways; the interleaved sampler is written out here, on our network.
"""

from dataclasses import replace

import torch
from checks_sampling import single
from reference import context_of, everything

from limner.models.mmada.parity import Row, equal
from limner.process.base import Fast, Settings
from limner.process.masked import _gumbel
from limner.process.reveal import first
from limner.process.schedules import cosine, shares


@torch.no_grad()
def fast(ref):
    """Thresholds, factors and caches: the words at the end, and how many forward passes they took."""
    for name in ref.group("fast/"):
        last, passes = fast_words(ref, ref.cases[name], name.rsplit("/", 1)[1])
        yield equal(f"{name}/final", last, ref[f"{name}/final"])
        yield Row(f"cases/{name}/nfe", float(abs(passes - ref.cases[name]["nfe"])), 0)


def fast_words(ref, case, kind):
    """Our process by the rule and with the cache of a recorded call: (ids (B, T), forward passes)."""
    prompt, N, passes = ref["fast/prompt"], case["gen_length"], 0
    context = context_of(prompt, everything(prompt), prompt[:, :0], torch.full_like(prompt, case["mask_id"]))
    cache = kind.partition("_")[0] if kind.startswith(("prefix", "dual")) else ""
    way = Fast(case.get("threshold") or 0.0, case.get("factor") or 0.0, cache)
    # with a rule the published decoders take as many steps as it needs, and at least one value a step
    steps = N if way.threshold or way.factor else case["steps"]

    def counted(net):
        def call(*given):
            nonlocal passes
            passes += 1
            return net(*given)

        return call

    process = ref.model.process("text")
    process = replace(process, net=counted(process.net), cached=counted(process.cached))
    state = process.start(context, Settings(N, steps, 0.0, case["temperature"], case["block_length"], fast=way), None)
    values = process.finish(state).values
    return context.given.around(process.how.ids(values, torch.zeros_like(values).bool()))[0], passes


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
