"""Samplers against a reference: our processes are fed the recorded random draws and must go through the same states."""

import math
from dataclasses import dataclass, field, replace

import torch
from checks_layout import Numbers, said
from reference import context_of, everything

from limner.models.mmada.parity import CLOSE, EXACT, Row, close, equal
from limner.models.mmada.render import Renderer, Script
from limner.process.base import Settings
from limner.process.masked import _gumbel
from limner.process.schedules import SCHEDULES, cosine


@dataclass(frozen=True)
class Recorded:
    """Stands in for ``Noise``: uniform numbers and choices by name and step. ``seen`` keeps the logits chosen from."""

    numbers: dict
    choices: dict
    seen: list = field(default_factory=list)

    def uniform(self, name, step, n):
        return self.numbers[name][step]

    def choose(self, name, step, logits, temperature, wanted):
        self.seen.append(logits)
        found = self.choices[name][step]
        return found(logits, wanted) if callable(found) else found[wanted]


# --- words ---------------------------------------------------------------------------------------------------------


def draws_of_words(case, shape, rows):
    """The official draws, in their order: one number for every place and word, then one for every place."""
    (B, P), N, T = shape, case["max_new_tokens"], case["temperature"]
    random = case["remasking"] == "random"
    generator = torch.Generator().manual_seed(case.get("torch_manual_seed", 0))
    words, order = {}, {}
    for step in range(case["steps"]):
        if T > 0:
            u = torch.rand(B, P + N, rows, dtype=torch.float64, generator=generator)[:, P:]
            words[step] = lambda logits, wanted, u=u: (logits.double() - T * (-u[wanted].log()).log()).argmax(dim=-1)
        if random:
            order[step] = torch.rand(B, P + N, generator=generator)[:, P:]
    return Recorded({"order": order}, {"word": words})


@torch.no_grad()
def trace_of_words(ref, name, **changes):
    """(ids before every step, last ids) of our process for one recorded call."""
    case, prompt = ref.cases[name], ref[f"{name}/prompt"]
    kept = everything(prompt)
    if f"{name}/attention_mask" in ref:
        kept = ref[f"{name}/attention_mask"][:, : prompt.shape[1]].bool()
    context = context_of(prompt, kept, prompt[:, :0], torch.full_like(prompt, case["mask_id"]))
    guidance = case.get("cfg_scale", 0.0)
    settings = Settings(case["max_new_tokens"], case["steps"], guidance, case["temperature"], case["block_length"])
    noise = None
    if "remasking" in case:
        noise = draws_of_words(case, prompt.shape, ref.config.rows)
        changes["order"] = "random" if case["remasking"] == "random" else "confidence"
    process = replace(ref.model.process("text"), **changes)
    state, trace = process.start(context, settings, noise), []
    while not state.done.all():
        trace.append(context.given.around(process.how.ids(state.values, state.hidden))[0])
        state = process.step(state)
    return trace, context.given.around(process.how.ids(state.values, state.hidden))[0]


def words(ref):
    """Text sampling, step by step."""
    for name in ref.group("text/"):
        case = ref.cases[name]
        if "eot_token" in case:
            # the official sampler leaves the later blocks masked; the filler stands for that here
            _, last = trace_of_words(ref, name, stop=frozenset({case["eot_token"]}), filler=case["mask_id"])
            yield Row(f"{name}/masked_left", float(abs(int((last == case["mask_id"]).sum()) - case["masked_left"])), 0)
        elif bool((ref[f"{name}/prompt"] == case["mask_id"]).any()):
            trace, last = masks_in_the_prompt(ref, name)
            yield from _trace(ref, name, trace)
        else:
            trace, last = trace_of_words(ref, name)
            yield from _trace(ref, name, trace)
        yield equal(f"{name}/final", last, ref[f"{name}/final"])


def _trace(ref, name, trace):
    recorded = ref[f"{name}/x_per_step"]
    # once nothing is hidden we stop, where the official sampler goes on doing nothing
    trace = trace + [recorded[-1]] * (len(recorded) - len(trace))
    yield equal(f"{name}/x_per_step", torch.stack(trace), recorded)
    if f"{name}/first_step_logits" in ref:
        logits = ref.network(recorded[0], everything(recorded[0])).detach()
        yield close(f"{name}/first_step_logits", logits, ref[f"{name}/first_step_logits"])


@torch.no_grad()
def masks_in_the_prompt(ref, name):
    """The official call with hidden words in the prompt, which we do not copy: they take part in every block, but are
    not counted, so as many words of the answer stay hidden."""
    case, prompt = ref.cases[name], ref[f"{name}/prompt"]
    (B, P), N, block, mask = prompt.shape, case["max_new_tokens"], case["block_length"], case["mask_id"]
    x, trace = torch.cat([prompt, torch.full((B, N), mask)], dim=1), []
    steps = case["steps"] * block // N
    for low in range(P, P + N, block):
        budget = (x[:, low : low + block] == mask).sum(dim=1)
        for i in range(steps):
            trace.append(x.clone())
            candidates = x == mask
            candidates[:, low + block :] = False
            logits = ref.network(x, everything(x))
            choice = logits.argmax(dim=-1)
            sure = logits.double().softmax(dim=-1).gather(2, choice[..., None])[..., 0]
            place = torch.where(candidates, sure, -torch.inf).argsort(dim=1, descending=True).argsort(dim=1)
            count = budget // steps + (i < budget % steps).long()
            x = torch.where(candidates & (place < count[:, None]), choice, x)
    return trace, x


# --- pictures ------------------------------------------------------------------------------------------------------


def single(schedule):
    """A schedule as the official code computes it, in float32: 16 cos(60 degrees) is a little less than 8 there."""
    if schedule is cosine:
        return lambda r: float(torch.cos(torch.tensor(r) * math.pi * 0.5))
    return lambda r: float(torch.tensor(schedule(r)))


@torch.no_grad()
def pictures(ref):
    """Picture sampling, step by step: ids, chances, draws, confidences, and which codes are hidden again."""
    for name in ref.group("t2i/"):
        if f"{name}/model_input_per_step" in ref:
            yield from _picture(ref, name)


def _picture(ref, name):
    case, get = ref.cases[name], lambda what: ref[f"{name}/{what}"]
    ids, guided, N = get("input_ids"), case["guidance_scale"] > 0, ref.num_image
    plain = get("uncond_input_ids") if guided else ids
    plain_kept = get("uncond_attention_mask" if guided else "attention_mask").bool()
    (B, T), P = ids.shape, ids.shape[1] - N - 1
    kept = get("attention_mask")[:, :P].bool()
    context = context_of(ids[:, :P], kept, ids[:, -1:], plain[:, :P], plain_kept[:, :P])
    known = free = None
    if f"{name}/known_codes" in ref:
        known, free = get("known_codes"), get("hole")[None, :].bool()
    S, mask = case["timesteps"], case["mask_token_id"]
    yield from _prompts(ref, name, torch.full((B, N), mask) if known is None else _shown(ref, known, free, mask))
    settings = Settings(N, S, float(case["guidance_scale"]), case["temperature"], N, known, free)
    numbers, choices = {"again": list(get("u_per_step"))}, {"code": list(get("sampled_per_step"))}
    noise = Recorded(numbers, choices)
    # the slip: with another text length than 512 the plain rows are cut behind the picture and never see progress
    stuck = guided and case["resolution_arg"] + 1 >= T

    def net(rows, rows_kept, at, begin):
        if stuck and torch.equal(rows[:, :P], plain[: len(rows), :P]):
            rows = torch.cat([rows[:, :P], torch.full((len(rows), N), mask), rows[:, -1:]], dim=1)
        return ref.model.pictures(rows, rows_kept, at, begin)

    schedule = single(SCHEDULES[case["schedule"]])
    process = replace(ref.model.process("image"), net=net, schedule=schedule, over_all=True, together=not stuck)
    state = process.start(context, settings, noise)
    inputs, confidences, counts, maskings, sampled, uniforms = [], [], [], [], [], []
    generator = torch.Generator().manual_seed(case["generator_seed"])
    temperature = case["temperature"]
    for k in range(1, S + 1):
        hidden = state.hidden
        rows = context.given.around(process.how.ids(state.values, hidden))[0]
        beside = context.dropped.around(process.how.ids(state.values, hidden))[0]
        inputs.append(torch.cat([rows, plain if stuck else beside]) if guided else rows)
        state = process.step(state)
        logits = _everywhere(ref, net, context, settings, rows, beside, P, N)
        chances = logits.softmax(dim=-1)
        if k == 1:
            yield close(f"{name}/image_probs_step0", chances, get("image_probs_step0"), CLOSE)
        draw = torch.multinomial(chances.view(B * N, -1), 1, generator=generator).view(B, N)
        sampled.append(draw)
        uniforms.append(torch.empty(B, N).uniform_(0, 1, generator=generator))
        picked = chances.gather(2, get("sampled_per_step")[k - 1][..., None])[..., 0]
        confidences.append(torch.where(hidden, picked, torch.finfo(torch.float32).max))
        temperature *= 1 - k / S
        if k < S:
            masking = state.hidden
        else:
            # the official call hides one code even in the end
            least = (confidences[-1].log() + temperature * _gumbel(get("u_per_step")[k - 1])).argmin(dim=1)
            masking = torch.nn.functional.one_hot(least, N).bool()
        maskings.append(masking)
        counts.append(masking.sum(dim=1, keepdim=True))
    yield equal(f"{name}/model_input_per_step", torch.stack(inputs), get("model_input_per_step"))
    yield equal(f"{name}/sampled_per_step", torch.stack(sampled), get("sampled_per_step"))
    yield close(f"{name}/u_per_step", torch.stack(uniforms), get("u_per_step"), EXACT)
    if f"{name}/conf_per_step" in ref:
        # known codes have the largest number there is: comparing shares of it would compare nothing else
        ours, recorded = torch.stack(confidences), get("conf_per_step")
        most = torch.finfo(torch.float32).max
        yield close(f"{name}/conf_per_step", ours.where(ours < most, 2), recorded.where(recorded < most, 2), CLOSE)
        yield equal(f"{name}/mask_len_per_step", torch.stack(counts), get("mask_len_per_step"))
        yield equal(f"{name}/masking_per_step", torch.stack(maskings), get("masking_per_step"))
        left = torch.where(maskings[-1], mask, state.values + ref.config.text_vocabulary)
        yield equal(f"{name}/final_input_ids_inplace", context.given.around(left)[0], get("final_input_ids_inplace"))
    yield equal(f"{name}/final_codes", state.values, get("final_codes"))
    if f"{name}/pixels" in ref and ref.codec is not None:
        side = math.isqrt(N)
        shown = ref.codec.decode(get("final_codes")[:1].view(1, side, side))
        yield close(f"{name}/pixels", shown, get("pixels").clamp(-1, 1), CLOSE)


def _shown(ref, known, free, mask):
    return torch.where(free, mask, known + ref.config.text_vocabulary)


def _prompts(ref, name, shown):
    """What stands before the first step: our layout of the recorded texts."""
    renderer, texts = Renderer(ref.config, Numbers()), ref.cases[name].get("texts")
    if texts is None:
        return
    context = renderer.context([Script([("user", said(ids))]) for ids in texts], "image")
    for begin, tokens in (("", context.given), ("uncond_", context.dropped)):
        if f"{name}/{begin}input_ids" in ref:
            ids, kept, _ = tokens.around(shown)
            yield equal(f"{name}/{begin}input_ids", ids, ref[f"{name}/{begin}input_ids"])
            yield equal(f"{name}/{begin}attention_mask", kept, ref[f"{name}/{begin}attention_mask"])


def _everywhere(ref, net, context, settings, rows, beside, P, N):
    """Logits (B, N, codes) at every place of the picture, known ones too, as the official call has them."""
    at = torch.zeros_like(rows, dtype=torch.bool)
    at[:, P : P + N] = True
    ones = torch.ones(len(rows), N + 1, dtype=torch.bool)
    w = settings.guidance
    logits = net(rows, torch.cat([context.given.kept, ones], dim=1), at, P)
    if w > 0:
        logits = (1 + w) * logits - w * net(beside, torch.cat([context.dropped.kept, ones], dim=1), at, P)
    return logits.view(len(rows), N, -1)


CHECKS = (words, pictures)
