"""Names, network, codec, schedules, small functions and layouts against a reference."""

import json
from dataclasses import replace

import torch
from reference import everything, find_specials

from limner.codecs.magvit import RELEASED, MagvitCodec
from limner.models.mmada import weights
from limner.models.mmada.config import MMaDAConfig
from limner.models.mmada.network import Network, angles
from limner.models.mmada.parity import EXACT, Row, close, codec_rows, equal, network_rows
from limner.models.mmada.render import Renderer, Script
from limner.process.masked import _gumbel
from limner.process.schedules import cosine, linear, power, shares, sigmoid


def names(ref):
    """Every tensor of the released models has a place in ours, with its shape; nothing of ours is left over."""
    file = ref.folder / "full_keys.json"
    if not file.is_file():
        return
    listed = json.loads(file.read_text())
    with torch.device("meta"):
        network, codec = Network(MMaDAConfig()), MagvitCodec(RELEASED)
    ours = {weights.translate(name, weights.OURS): list(t.shape) for name, t in network.state_dict().items()}
    theirs = {name: shape for name, (shape, _) in listed["mmada_8b"].items()}
    yield Row("full_keys/mmada_8b", len(set(map(str, ours.items())) ^ set(map(str, theirs.items()))), 0)
    ours = {name: list(t.shape) for name, t in codec.state_dict().items()}
    derived = ("quantize.embedding", "quantize.power_vals")
    theirs = {name: shape for name, (shape, _) in listed["magvitv2"].items() if name not in derived}
    yield Row("full_keys/magvitv2", len(set(map(str, ours.items())) ^ set(map(str, theirs.items()))), 0)


@torch.no_grad()
def network(ref):
    """Forward passes: three attention regimes, hidden states, rope tables, the causal trap, bfloat16."""
    yield from network_rows(ref.network, ref.io)
    if "fwd/input_ids" not in ref:
        return
    ids = ref["fwd/input_ids"]
    if "fwd/rope_cos" in ref:
        size, T = ref.config.width // ref.config.heads, ids.shape[1]
        cos, sin = angles(T, size, ref.config.rope_theta, torch.device("cpu"))
        # the recorded sines of the first half are not negated
        sin = torch.cat([-sin[..., : size // 2], sin[..., size // 2 :]], dim=-1)
        yield close("fwd/rope_cos", cos[:, 0], ref["fwd/rope_cos"])
        yield close("fwd/rope_sin", sin[:, 0], ref["fwd/rope_sin"])
    if "fwd/float_bias/bias" in ref:
        kept = everything(ids)
        kept[0] = ref["fwd/pad_mask"][0].bool()
        ours = (kept[:, None, :, None] & kept[:, None, None, :]).float()
        yield close("fwd/float_bias/bias", ours, ref["fwd/float_bias/bias"])
    name = "fwd/attention_mask_causal_quirk/logits"
    if name in ref:
        kept = ref["fwd/pad_mask"].bool()
        ours = causal(ref.network, ids, kept)
        yield close(name, ours[kept], ref[name][kept])
    half = Network(ref.config)
    half.load_state_dict(ref.network.state_dict())
    half.to(torch.bfloat16)
    for name, kept in (("plain", everything(ids)), ("bool_bias", ref["fwd/pad_mask"].bool())):
        if f"fwd/bf16/{name}_logits" in ref:
            apart = (half(ids, kept).float() - ref[f"fwd/bf16/{name}_logits"].float()).abs()[kept]
            # rounding at every step: no closer than bfloat16 itself is to float32
            yield Row(f"fwd/bf16/{name}_logits", float(apart.max()), 0.6)


def causal(network, ids, kept):
    """The trap of the official two-dimensional mask: padding is hidden, and so is everything later."""
    T = ids.shape[1]
    bias = kept[:, None, None, :] & torch.ones(T, T, dtype=torch.bool).tril()
    bias = bias | torch.eye(T, dtype=torch.bool)
    x = network.embed(ids)
    turn = angles(T, network.config.width // network.config.heads, network.config.rope_theta, ids.device)
    for layer in network.layers:
        x = layer(x, turn, bias)
    return network.logits(x)


def codec(ref):
    """The picture codec."""
    if ref.codec is not None:
        yield from codec_rows(ref.codec, ref.io)


def schedules(ref):
    """How many values stay hidden, and how words are shared among steps."""
    known = {"cosine": cosine, "linear": linear, "pow0.5": power(0.5), "pow2": power(2.0), "sigmoid": sigmoid}
    for name, schedule in known.items():
        if f"sched/{name}" in ref:
            ours = torch.tensor([schedule(float(t)) for t in ref["sched/t"]])
            yield close(f"sched/{name}", ours, ref[f"sched/{name}"], EXACT)
    for name in sorted(name for name in ref.io if name.startswith("sched/transfer_tokens_steps")):
        steps = int(name.removeprefix("sched/transfer_tokens_steps"))
        ours = torch.tensor([shares(int(n), steps) for n in ref["sched/transfer_mask"].sum(dim=1)])
        yield equal(name, ours, ref[name])


def primitives(ref):
    """Noise on words, and which codes are hidden again."""
    if "prim/gumbel_logits" in ref:
        u = ref["prim/gumbel_noise_u"].double()
        ours = ref["prim/gumbel_logits"].double().exp() / (-u.log()) ** 0.7
        yield close("prim/gumbel_out_t0.7", ours, ref["prim/gumbel_out_t0.7"], EXACT)
    if "prim/topk_probs" in ref:
        confidence = ref["prim/topk_probs"].log() + 0.8 * _gumbel(ref["prim/topk_u"])
        place = confidence.argsort(dim=1, stable=True).argsort(dim=1)
        yield equal("prim/topk_masking_t0.8", place < ref["prim/topk_mask_len"], ref["prim/topk_masking_t0.8"])
    if "prim/filter_logits" in ref:
        logits = ref["prim/filter_logits"]
        order = logits.argsort(dim=-1, descending=True)
        place = order.argsort(dim=-1)
        mass = logits.softmax(-1).gather(1, order).cumsum(-1)
        # a word stays while the mass before it is within p
        before = torch.cat([torch.zeros(len(mass), 1), mass[:, :-1]], dim=1).gather(1, place)
        for name, stays in (("topk4", place < 4), ("topp0.7", before <= 0.7)):
            recorded = ref[f"prim/filter_{name}"]
            yield equal(f"prim/filter_{name}", stays, recorded > -torch.inf)


# --- layouts -------------------------------------------------------------------------------------------------------


class Numbers:
    """A tokenizer whose texts are numbers in a row."""

    def encode(self, text, add_special_tokens=False):
        return type("Encoding", (), {"ids": [int(word) for word in text.split()]})


def said(ids):
    return " ".join(map(str, ids))


def through_last(rows, marker, otherwise):
    """(B, T) 1 up to and including the last ``marker``; ``otherwise`` (T,) for a row without one."""
    found = []
    for row in rows:
        places = (row == marker).nonzero()
        found.append((torch.arange(len(row)) <= places[-1]).long() if len(places) else otherwise)
    return torch.stack(found)


def layouts(ref):
    """Training rows and prompts of every task."""
    for case_name in [name for name in ref.cases if name.startswith("prompt/")]:
        mine = {k.removeprefix(f"{case_name}/"): v for k, v in ref.io.items() if k.startswith(f"{case_name}/")}
        if mine:
            for row in _layouts(ref, ref.cases[case_name], mine):
                yield replace(row, tensor=f"{case_name}/{row.tensor}")


def _layouts(ref, case, io):
    own = find_specials({"specials": ref.specials}, case | case["specials"])
    offset, T, N = case["image_offset"], case["max_text_len"], case["num_image_tokens"]
    config = replace(MMaDAConfig(), specials=own, text_vocabulary=offset, text_budget=T, padding="fixed")
    renderer, header = Renderer(config, Numbers()), case["specials"]["<|end_header_id|>"]
    scripts = [Script([("user", said(ids))]) for ids in case["texts"]]
    masked, P = io["image_ids_masked"], T + 2

    def pictures(name, drop=None):
        context = renderer.context(scripts, "image", drop)
        ids, kept, _ = context.given.around(masked)
        yield equal(f"{name}/input_ids", ids, io[f"{name}/input_ids"])
        yield equal(f"{name}/mask", kept, io[f"{name}/mask"])
        if f"{name}/labels" in io:
            labels = torch.where(ids == own.pad, -100, ids)
            labels[:, P : P + N] = io["image_labels"]
            yield equal(f"{name}/labels", labels, io[f"{name}/labels"])

    hidden = masked != io["image_ids"]
    if "image_labels" in io:
        yield equal("image_labels", torch.where(hidden, io["image_ids"], -100), io["image_labels"])
    for name in ("t2i", "t2i_gen"):
        if f"{name}/input_ids" in io:
            yield from pictures(name)
    if "t2i_dropout/rand" in io:
        torch.manual_seed(case["dropout"]["torch_manual_seed"])
        yield close("t2i_dropout/rand", torch.rand(len(scripts)), io["t2i_dropout/rand"], EXACT)
        yield from pictures("t2i_dropout", (io["t2i_dropout/rand"] < case["dropout"]["prob"]).tolist())

    texts = case["chat_texts"]
    for name in sorted(name.removesuffix("/input_ids") for name in io if name.startswith("lm_")):
        if not name.rsplit("_", 1)[1].isdigit():
            continue
        length = int(name.rsplit("_", 1)[1])
        # cut without an end token, unlike every other layout
        rows = [[*renderer.wrap(text), own.eos][:length] for text in texts]
        ids = renderer.values(rows, length)
        yield equal(f"{name}/input_ids", ids, io[f"{name}/input_ids"])
        yield equal(f"{name}/labels", ids, io[f"{name}/labels"])
        if f"{name}/mask" in io:
            yield equal(f"{name}/mask", torch.ones_like(ids), io[f"{name}/mask"])
        if f"{name}/prompt_mask" in io:
            ours = through_last(ids, header, torch.zeros(length, dtype=torch.int64))
            yield equal(f"{name}/prompt_mask", ours, io[f"{name}/prompt_mask"])

    codes = (io["image_ids"] - offset).tolist()
    both = list(zip(codes, texts, strict=False))
    if "mmu/input_ids" in io:
        ids = torch.tensor([[own.mmu, *renderer.shown(c), *renderer.between(t)] for c, t in both])
        place = torch.arange(ids.shape[1])
        yield equal("mmu/input_ids", ids, io["mmu/input_ids"])
        yield equal("mmu/labels", torch.where(place < N + 3, -100, ids), io["mmu/labels"])
        yield equal("mmu/prompt_mask", through_last(ids, header, (place < N + 3).long()), io["mmu/prompt_mask"])
    if "r2i/input_ids" in io:
        ids = torch.tensor([[own.r2i, *renderer.between(t), *renderer.shown(c)] for c, t in both])
        place = torch.arange(ids.shape[1])
        fixed = through_last(ids, header, (place < T + 1).long()) | torch.isin(ids, torch.tensor([own.soi, own.eoi]))
        yield equal("r2i/input_ids", ids, io["r2i/input_ids"])
        yield equal("r2i/labels", ids, io["r2i/labels"])
        yield equal("r2i/prompt_mask", fixed, io["r2i/prompt_mask"])


CHECKS = (names, network, codec, schedules, primitives, layouts)
