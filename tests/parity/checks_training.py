"""Noising, losses, gradients, likelihoods and reinforcement learning against a reference."""

import math
import re

import torch
import torch.nn.functional as F
from reference import context_of, everything

from limner.algorithms.noising import Noising
from limner.algorithms.policy_gradient import Clipped, clipped_objective, group_advantages
from limner.algorithms.sft import piece_loss
from limner.models.mmada.parity import EXACT, close, equal
from limner.models.mmada.weights import NAMES, translate
from limner.process.base import Draw
from limner.process.masked import TEXT_EPS, Values


class Draws:
    """Stands in for ``Noise``: the same uniform numbers whatever the step."""

    def __init__(self, **numbers):
        self.numbers = numbers

    def uniform(self, name, step, n):
        return self.numbers[name]


# --- supervised ----------------------------------------------------------------------------------------------------


def noising(ref):
    """What is hidden in training rows, from the recorded seeds."""
    if "loss/noise/rand_t" in ref:
        case, codes = ref.cases["loss/noise"], ref["loss/noise/image_ids"]
        torch.manual_seed(case["torch_manual_seed"])
        t, scores = torch.rand(len(codes)), torch.rand(codes.shape)
        yield close("loss/noise/rand_t", t, ref["loss/noise/rand_t"], EXACT)
        yield close("loss/noise/rand_perm_scores", scores, ref["loss/noise/rand_perm_scores"], EXACT)
        drawn = Draws(level=ref["loss/noise/rand_t"][:, None], mask=ref["loss/noise/rand_perm_scores"])
        hidden = ref.model.process("image").draw(codes, drawn).hidden
        shown = Values(ref.specials["mask"]).ids(codes, hidden)
        yield equal("loss/noise/masked", shown, ref["loss/noise/masked"])
        yield equal("loss/noise/labels", torch.where(hidden, codes, -100), ref["loss/noise/labels"])
        if "loss/t2i_labels" in ref:
            rows = ref["loss/t2i_ids"].clone()
            where = slice(rows.shape[1] - ref.num_image - 1, -1)
            yield equal("loss/t2i_ids[image]", rows[:, where], ref["loss/noise/masked"])
            rows[:, where] = ref["loss/noise/labels"]
            rows = torch.where(rows == ref.specials["[iPAD]"], -100, rows)
            yield equal("loss/t2i_labels", rows, ref["loss/t2i_labels"])
        share = (ref["loss/noise/rand_t"] * math.pi / 2).cos()
        yield close("loss/noise/mask_prob", share, ref["loss/noise/mask_prob"], EXACT)
    for kind, seed in ref.cases.get("loss/inputs", {}).get("seeds", {}).items():
        if f"loss/{kind}_p_mask" in ref:
            yield from _words_hidden(ref, kind, seed)


def _words_hidden(ref, kind, seed):
    get, mask = lambda what: ref[f"loss/{kind}_{what}"], ref.specials["mask"]
    ids, labels = get("ids"), get("labels")
    torch.manual_seed(seed)
    p = (1 - TEXT_EPS) * torch.rand(len(ids)) + TEXT_EPS
    hidden = torch.rand(ids.shape) < p[:, None]
    clean = get("clean") if f"loss/{kind}_clean" in ref else labels
    fixed = get("prompt_mask").bool() if f"loss/{kind}_prompt_mask" in ref else through_prompt(ref, kind, clean)
    hidden = hidden & ~fixed
    place = torch.arange(ids.shape[1])
    # the picture that is asked about is no answer
    seen = place < ref.num_image + 3 if kind == "mmu" else place < 0
    yield equal(f"loss/{kind}_labels", torch.where(seen, -100, clean), labels)
    yield close(f"loss/{kind}_p_mask", p[:, None].expand(ids.shape), get("p_mask"), EXACT)
    yield equal(f"loss/{kind}_ids", torch.where(hidden, mask, clean), ids)
    lengths = (~fixed).sum(dim=1, keepdim=True).expand(ids.shape)
    yield equal(f"loss/{kind}_answer_lengths", lengths, get("answer_lengths"))


def through_prompt(ref, kind, rows):
    """(B, T) True up to the last header of a chat; nothing is fixed in plain text."""
    place = torch.arange(rows.shape[1])
    if kind == "base":
        return torch.zeros_like(rows, dtype=torch.bool)
    last = torch.where(rows == ref.specials["end_header"], place, -1).amax(dim=1)
    return place <= last[:, None]


def word_loss(model, ids, labels, p, begins):
    """Our loss over rows of one length each: values from ``begins`` on, hidden where the recorded noising hid them."""
    process, losses = model.process("text"), []
    for row, begin in enumerate(begins):
        before = ids[row : row + 1, :begin]
        values = torch.where(labels[row] == -100, ids[row], labels[row])[None, begin:]
        hidden = (ids[row] == model.config.specials.mask)[None, begin:]
        context = context_of(before, everything(before), before[:, :0])
        scored = process.log_prob(context, values, Draw(hidden, 1 / p[row, begin : begin + 1]))
        losses.append(piece_loss(scored, by_length=True))
    return torch.stack(losses).mean()


def picture_loss(network, ids, labels, kept, num_image):
    """The official loss of pictures, (loss, logits): over the whole table, with both frame tokens in it."""
    logits = network(ids, kept)
    first = ids.shape[1] - num_image - 2
    return F.cross_entropy(logits[:, first:].flatten(0, 1), labels[:, first:].flatten()), logits


def mixed_loss(network, ids, labels, p, lengths, mask):
    """The official loss of rows in which words and codes are hidden between fixed tokens."""
    logits, hidden = network(ids, everything(ids)), ids == mask
    each = F.cross_entropy(logits[hidden], labels[hidden], reduction="none") / p[hidden] / lengths[hidden]
    return each.sum() / len(ids)


def losses(ref):
    """Each loss alone, the weighted total, and its gradients."""
    for name in ref.group("loss/"):
        recorded = [f"{name}/t2i_lm_mmu_total", f"{name}/t2i_lm_mmu_r2i"]
        found = next((one for one in recorded if one in ref), None)
        if found is not None:
            yield from _losses(ref, name, found)


def _losses(ref, name, recorded):
    kind = "base" if "base" in name else "chat"
    soft, model = ref.soft(), ref.model
    model.zero_grad()
    t2i, logits = picture_loss(
        soft, ref["loss/t2i_ids"], ref["loss/t2i_labels"], ref["loss/t2i_mask"].bool(), ref.num_image
    )
    rows = [ref[f"loss/{kind}_{what}"] for what in ("ids", "labels", "p_mask")]
    # without answer lengths the sum is divided by the whole length, which plain text has anyway
    lengths = ref[f"loss/{kind}_answer_lengths"][:, 0]
    words = word_loss(model, *rows, (rows[0].shape[1] - lengths).tolist())
    shown = [ref[f"loss/mmu_{what}"] for what in ("ids", "labels", "p_mask")]
    seen = word_loss(model, *shown, (shown[0].shape[1] - ref["loss/mmu_answer_lengths"][:, 0]).tolist())
    parts = [t2i, words, seen]
    order = ref.cases[name]["order"]
    if order[-1] == "r2i":
        mixed = [ref[f"loss/r2i_{what}"] for what in ("ids", "labels", "p_mask", "answer_lengths")]
        parts.append(mixed_loss(ref.network, *mixed, ref.specials["mask"]))
    else:
        weights = [float(weight) for weight in re.findall(r"[0-9.]+(?=\*)", order[-1])]
        parts.append(sum(weight * part for weight, part in zip(weights, parts, strict=True)))
    yield close(recorded, torch.stack(parts), ref[recorded], EXACT)
    if name == "loss/chat" and "loss/forward_t2i" in ref:
        yield close("loss/forward_t2i", t2i.view(1), ref["loss/forward_t2i"], EXACT)
    if f"{name}/logits_t2i" in ref:
        yield close(f"{name}/logits_t2i", logits[:1], ref[f"{name}/logits_t2i"])
    gradients = [one for one in ref.io if one.startswith(f"{name}/grad/")]
    if gradients:
        for weight in soft.parameters():
            weight.grad = None
        parts[-1].backward()
        # the soft network holds the model's very weights under parameters of its own
        ours = {n: w.grad for n, w in ref.network.named_parameters()}
        others = {n: w.grad for n, w in soft.named_parameters()}
    for one in sorted(gradients):
        inner = translate(one.removeprefix(f"{name}/grad/"), NAMES)
        both = [grads[inner] for grads in (ours, others) if grads[inner] is not None]
        total = both[0] if both[0] is both[-1] else sum(both)
        if ref[one].numel() == 1:
            total = total.norm().view(1)
        yield close(one, total, ref[one], EXACT)
    model.zero_grad()


# --- likelihood ----------------------------------------------------------------------------------------------------


def spaced(first, step, rows, length):
    """(rows,) how many values to hide, evenly spaced and wrapped into 1..length (LLaDA's forward process)."""
    count = torch.linspace(float(first), float(first + (rows - 1) * step), rows).round().long()
    return (count - 1) % length + 1


def permuted(counts, length):
    """(rows, length) bool with so many True in each row, anywhere."""
    return torch.stack([(torch.arange(length) < count)[torch.randperm(length)] for count in counts])


@torch.no_grad()
def likelihood(ref):
    """The Monte Carlo estimate of an answer's log-probability, without and with guidance."""
    if "likelihood/answer" not in ref:
        return
    case, mask = ref.cases["likelihood"], ref.specials["mask"]
    prompt, answer = ref["likelihood/prompt"], ref["likelihood/answer"]
    rows, L = case["batch_size"], len(answer)

    def noisy():
        counts = spaced(torch.randint(1, L + 1, ()), L / rows, rows, L)
        return permuted(counts, L), counts / L

    torch.manual_seed(case["noise_seed"])
    hidden, share = noisy()
    ids = torch.cat([prompt.expand(rows, -1), torch.where(hidden, mask, answer)], dim=1)
    yield equal("likelihood/noisy", ids, ref["likelihood/noisy"])
    yield close("likelihood/p_mask", share[:, None].expand(ids.shape), ref["likelihood/p_mask"], EXACT)
    name = next(name for name in ref.io if name.startswith("likelihood/value_cfg"))
    process, values, found = ref.model.process("text"), answer.expand(rows, -1), []
    for guidance in (float(w) for w in re.findall(r"cfg([0-9.]+)", name)):
        torch.manual_seed(case["value_seed"])
        total = 0.0
        for _ in range(case["mc_num"] // rows):
            hidden, share = noisy()
            given = prompt.expand(rows, -1)
            if guidance == 0:
                context = context_of(given, everything(given), given[:, :0])
                total += float(process.log_prob(context, values, Draw(hidden, 1 / share)).total.mean())
                continue
            both = [torch.cat([x, torch.where(hidden, mask, answer)], dim=1) for x in (given, given * 0 + mask)]
            at = torch.cat([torch.zeros_like(given, dtype=torch.bool), hidden], dim=1)
            with_, without = (process.net(x, everything(x), at, len(prompt)) for x in both)
            logits = without + (guidance + 1) * (with_ - without)
            picked = logits.log_softmax(-1).gather(1, values[hidden][:, None])[:, 0]
            total += float((picked / share[:, None].expand(hidden.shape)[hidden]).sum() / rows)
        found.append(total / (case["mc_num"] // rows))
    yield close(name, torch.tensor(found), ref[name], EXACT)


# --- reinforcement learning ----------------------------------------------------------------------------------------


def unigrpo(ref):
    """The unreleased UniGRPO trainer: what it hides, its scores of rows, and its loss in three averages."""
    if "rl/uni/completion_ids" not in ref:
        return
    case, mask = ref.cases["rl/uni"], ref.specials["mask"]
    prompt, answer = ref["rl/uni/prompt_ids"], ref["rl/uni/completion_ids"]
    rows, L = answer.shape
    place = torch.zeros(rows)
    shares = Noising("grid", 0.2, 0.8).shares(place, 0, 1, rows)
    lengths = torch.full((rows,), L)
    plain = Noising("grid", 0.2, 0.8).counts(shares, lengths)
    curved = Noising("grid", 0.2, 0.8, curve="cosine").counts(shares, lengths)

    def noisy(seed, counts):
        torch.manual_seed(seed)
        hidden = permuted(counts, L)
        return hidden, torch.cat([prompt, torch.where(hidden, mask, answer)], dim=1)

    for name, counts in (("noise_lm", plain), ("noise_t2i", curved)):
        _, ids = noisy(case["seeds"]["noise"], counts)
        yield equal(f"rl/uni/{name}/noisy", ids, ref[f"rl/uni/{name}/noisy"])
        ratio = (counts / L)[:, None].expand(ids.shape)
        yield close(f"rl/uni/{name}/ratio", ratio, ref[f"rl/uni/{name}/ratio"], EXACT)
    told = ref["rl/uni/completion_mask"].bool()
    kept = torch.cat([ref["rl/uni/prompt_mask"].bool(), told], dim=1)
    # one number a row, divided by the share hidden besides; padding is seen in pictures
    for kind, counts, seen, which in (
        ("lm", plain, kept, ""),
        ("lm", plain, everything(kept), "_nomask"),
        ("t2i", curved, everything(kept), ""),
    ):
        seed = case["seeds"][kind]
        name = f"rl/uni/{kind}_logps{which}_seed{seed}"
        if name not in ref:
            continue
        hidden, ids = noisy(seed, counts)
        with torch.no_grad():
            logits = ref.network(ids, seen)[:, -L:] / case["temperature"]
        each = logits.log_softmax(-1).gather(2, answer[..., None])[..., 0]
        score = (each * hidden).sum(dim=1) / hidden.sum(dim=1) / (counts / L)
        yield close(name, score[:, None], ref[name], EXACT)

    new, old, reference = (ref[f"rl/uni/{name}_logps"] for name in ("new", "old", "ref"))
    advantages = ref["rl/uni/advantages"]
    # a bug kept as it is: the mask of the first rows stands behind a mask of ones
    half = told[: rows // 2]
    crossed = torch.cat([torch.ones_like(half), half])
    averages = (("bnpo", "tokens", told), ("grpo", "rows", told), ("dr_grpo_mixed", "length", crossed))
    for name, average, counted in averages:
        how = Clipped(case["epsilon"], case["epsilon"], case["beta"], average=average)
        loss = clipped_objective(new, old, reference, advantages, counted, how).loss(how.beta)
        yield close(f"rl/uni/loss_{name}", loss.view(1), ref[f"rl/uni/loss_{name}"], EXACT)


def published(ref):
    """The published substitute (dLLM-RL): rows to train on, log-probabilities, losses, and one gradient."""
    for name in ref.group("rl/dllm_rl/"):
        yield from _published(ref, name)


def _published(ref, name):
    case, mask, get = ref.cases[name], ref.specials["mask"], lambda what: ref[f"{name}/{what}"]
    start, length = case["start_pos"], case["start_pos"] + case["max_gen_length"]
    full, noisy, trained = ref["rl/full_ids"][:, :length], get("noisy"), get("p_mask").bool()
    # behind so many end tokens everything is hidden and nothing is trained
    ends = full == case["pad_id"]
    ends[:, :start] = False
    over = ends & (ends.cumsum(dim=1) > case["post_num"])
    hidden, train, source = rows_to_train(ref, name.rsplit("/", 1)[1], case, full.shape)
    over = over[source]
    yield equal(f"{name}/labels", full[source], get("labels"))
    yield equal(f"{name}/noisy", torch.where(hidden | over, mask, full[source]), noisy)
    yield equal(f"{name}/p_mask", train & ~over, trained)
    yield close(f"{name}/reward", ref["rl/reward"][source], get("reward"), EXACT)
    weight = ref.network.layers[0].q_proj.weight
    weight.grad = None
    logits = ref.network(noisy, everything(noisy))
    new = logits.log_softmax(-1).gather(2, get("labels")[..., None])[..., 0]
    yield close(f"{name}/new_logp", new, get("new_logp"), EXACT)
    for one in sorted(one for one in ref.io if one.startswith(f"{name}/loss_beta")):
        beta, k3 = re.fullmatch(r"loss_beta([0-9.]+)_k3([01])", one.rsplit("/", 1)[1]).groups()
        how = Clipped(case["eps"], case["eps"], float(beta), divergence="k3" if k3 == "1" else "k1", summed=True)
        old = get("old_logp")
        loss = clipped_objective(new, old, old, get("reward"), trained, how).loss(how.beta)
        yield close(one, loss.view(1), ref[one], EXACT)
        if one.endswith("_k31") and float(beta) > 0 and f"{name}/grad_q0" in ref:
            (gradient,) = torch.autograd.grad(loss, weight, retain_graph=True)
            yield close(f"{name}/grad_q0", gradient, get("grad_q0"), EXACT)


def rewards(ref):
    """The published normalisation of rewards within a group."""
    for i, (given, recorded) in enumerate(ref.cases.get("rl/z_score", [])):
        ours = group_advantages(given, len(given), spread="population", delta=0.0)
        yield close(f"cases/rl/z_score/{i}", ours, torch.tensor(recorded, dtype=torch.float32), EXACT)


def rows_to_train(ref, method, case, shape):
    """(hidden, trained, which answer) of every training row, as the published preparation makes them."""
    start, (number, length) = case["start_pos"], shape
    torch.manual_seed(case["torch_manual_seed"])
    hidden, trained, source = [], [], []
    for row in range(number):
        if method == "TraceRL":
            steps = ref["rl/step_map"][row]
            values = steps.unique()
            for first in range(0, len(values), case["shrink"]):
                some = values[first : first + case["shrink"]]
                now = torch.zeros(2, length, dtype=torch.bool)
                now[0, start:] = (steps >= some[0])[: length - start]
                now[1, start:] = torch.isin(steps, some)[: length - start]
                hidden.append(now[0])
                trained.append(now[1])
                source.append(row)
            continue
        for _ in range(case["mask_times_per_sample"]):
            t = case["lower_p"] + (case["upper_p"] - case["lower_p"]) * torch.rand(1)
            mask = torch.rand(length) < t
            answer = torch.arange(length) >= start
            for some in (mask & answer, ~mask & answer)[: 2 if method == "coupled" else 1]:
                hidden.append(some)
                trained.append(some)
                source.append(row)
    return torch.stack(hidden), torch.stack(trained), source


CHECKS = (noising, losses, likelihood, unigrpo, published, rewards)
