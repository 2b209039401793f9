"""Samplers of kindred code against a reference: Fast-dLLM's decoders, and words and a picture at once.

They are written out here, on our network: what is compared is the network under a cache and the rules as documented.
"""

import torch
import torch.nn.functional as F
from checks_sampling import single
from reference import everything

from limner.models.mmada.network import angles, rotate
from limner.models.mmada.parity import Row, equal
from limner.process.masked import _gumbel
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


def revealed(confidence, budget, threshold, factor):
    """(T,) bool: which candidates of one row are shown. Candidates have a confidence above minus infinity."""
    candidates = int((confidence > -torch.inf).sum())
    order = confidence.argsort(descending=True)
    count = budget
    if threshold is not None:
        count = max(1, int((confidence >= threshold).sum()))
    elif factor is not None:
        ranked = confidence[order][:candidates].tolist()
        fails = (n for n in range(1, candidates) if ranked[n] < 1 - factor / (n + 2))
        count = next(fails, candidates)
        # a quirk kept: where the very last one fails, all are shown
        count = candidates if count == candidates - 1 else count
    found = torch.zeros_like(confidence, dtype=torch.bool)
    found[order[: min(count, candidates)]] = True
    return found


@torch.no_grad()
def fast(ref):
    """Thresholds, factors and caches: the words at the end, and how many forward passes they took."""
    for name in ref.group("fast/"):
        last, passes = fast_words(ref, ref.cases[name], name.rsplit("/", 1)[1])
        yield equal(f"{name}/final", last, ref[f"{name}/final"])
        yield Row(f"cases/{name}/nfe", float(abs(passes - ref.cases[name]["nfe"])), 0)


def fast_words(ref, case, kind):
    x, block, mask = ref["fast/prompt"], case["block_length"], case["mask_id"]
    P, N = x.shape[1], case["gen_length"]
    x = torch.cat([x, torch.full((1, N), mask)], dim=1)
    steps, passes = case["steps"] * block // N, 0
    for low in range(P, P + N, block):
        budget, cache, begin, end = shares(block, steps), None, 0, P + N
        for i in range(block):
            if not bool((x[:, low : low + block] == mask).any()):
                break
            if i and kind.startswith(("prefix", "dual")):
                begin, end = low, P + N if kind.startswith("prefix") else low + block
            logits, found = forward(ref.network, x[:, begin:end], begin, cache if begin else None)
            cache, passes = cache or found, passes + 1
            sure, choice = logits.double().softmax(-1).max(-1)
            open_ = x[:, begin:end] == mask
            open_[:, low + block - begin :] = False
            confidence = torch.where(open_, sure, -torch.inf)[0]
            now = revealed(confidence, budget[min(i, steps - 1)], case.get("threshold"), case.get("factor"))
            x[:, begin:end] = torch.where(now, choice, x[:, begin:end])
    return x, passes


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
        now = revealed(confidence, budget[i], None, None)
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
