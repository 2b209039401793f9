"""Image-Generation-CoT against a reference: decisions, scores, questions, names, preference losses, the reward model.

The policy is the small Show-o of the folder ``showo`` beside the reference's.
"""

import json
from pathlib import Path

import torch
from checks_showo import ShowOReference, around, read_tensors
from PIL import Image as pil

from limner.algorithms.dpo import official_guidance, preference_loss, table_log_prob
from limner.algorithms.verify.policies import Go, Look, orm, parm
from limner.judges.official import filtered, opinion
from limner.judges.verifier import Opinion
from limner.models import checkpoint
from limner.models.llava.network import NAMES as LLAVA_NAMES
from limner.models.llava.network import Sizes, _named, build, load
from limner.models.llava.pictures import pixels
from limner.models.llava.render import question
from limner.models.parity import CLOSE, EXACT, Row, close, equal
from limner.models.showo.network import Network, omni
from limner.models.showo.weights import NAMES
from limner.process.base import Draw, Settings


class CotReference:
    """``ref[name]`` is a recorded tensor, ``ref.about[name]`` a file of cases."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.io = read_tensors(self.folder / "dpo_tiny" / "io.safetensors")
        self.io |= read_tensors(self.folder / "llava_onevision_tiny" / "io.safetensors", "llava/")
        names = ("selection_cases", "scoring_cases", "reward_prompts", "full_keys")
        self.about = {name: json.loads((self.folder / f"{name}.json").read_text()) for name in names}
        self.showo = ShowOReference(self.folder.parent / "showo")
        self.config = self.showo.config

    def __getitem__(self, name):
        return self.io[name]

    def model(self, reference=False):
        """The policy, or the frozen reference."""
        if not reference:
            return self.showo.model
        with torch.device("meta"):
            network = Network(self.config)
        weights = checkpoint.read_file(self.folder / "dpo_tiny" / "reference_weights.safetensors")
        checkpoint.load_into(network, weights, NAMES, torch.float32)
        return type(self.showo.model).around(self.config, self.showo.model.tokenizer, network, None).eval()


def same(name, ours, theirs):
    return Row(name, 0.0 if ours == theirs else float("inf"), 0.0)


def selection(ref):
    """Every decision table: what is asked in which order, what is chosen, how many passes it takes."""
    for case in ref.about["selection_cases"]["cases"]:
        for policy, name in ((parm(official=True), "parm"), (orm(official=True), "orm_selection")):
            chosen, calls, passes = [], [], 0
            for output in range(case["eval_num"]):
                path, asked, rows = _play(policy, case, output)
                chosen.append(path)
                calls += asked
                passes += rows
            recorded = case[name]
            yield same(f"selection/{case['name']}/{name}/chosen", chosen, recorded["chosen"])
            yield same(f"selection/{case['name']}/{name}/verifier_calls", calls, recorded["verifier_calls"])
            yield same(f"selection/{case['name']}/{name}/forward_calls", passes, recorded["forward_calls"])


def _play(policy, case, e):
    search, at, calls, rows, answer = policy.search(case["search_num"], case["timesteps"], 0), {}, [], 0, None
    try:
        while True:
            wish = next(search) if answer is None else search.send(answer)
            answer = []
            if isinstance(wish, Go):
                rows += len(wish.paths)
                at |= {path: at.get(path, -1) + 1 for path in wish.paths}
            for i in wish.paths if isinstance(wish, Look) else ():
                if wish.question == "clarity":
                    said = case["clarity"][e][i][at[i]]
                    calls.append(["clarity", e, i, at[i], said])
                    answer.append(opinion("clarity", said, 0.5, 0.5))
                elif wish.question == "potential":
                    verdict, no = case["potential"][e][i][at[i]]
                    calls.append(["potential", e, i, at[i], verdict, no])
                    answer.append(Opinion(1 - no, no, verdict))
                else:
                    flag, yes = case["orm"][e][i]
                    calls.append(["orm", e, i, flag, yes])
                    answer.append(Opinion(yes, None, flag))
    except StopIteration as end:
        return end.value.path, calls, rows


def temperatures(ref):
    """The confidence temperature that is never reset: the first path's product, then nothing."""
    table = ref.about["selection_cases"]["temperature_passed_to_mask_by_random_topk"]
    steps, canvas = table["timesteps"], ref.showo.model.process("image")
    found, start = [], 1.0
    for _ in range(table["search_num"] * table["eval_num"]):
        settings = Settings(1, steps, 0.0, start, 1)
        found += [canvas._temperature(settings, k) for k in range(1, steps + 1)]
        start = found[-1]
    yield close("selection/temperatures", torch.tensor(found), torch.tensor(table["values"]), EXACT)
    yield same("selection/later_paths_are_cold", parm(official=True).fades and orm(official=True).fades, True)


def scoring(ref):
    """What a first word and its probabilities are worth."""
    words = ref.about["scoring_cases"]["vocabulary"]
    for case in ref.about["scoring_cases"]["cases"]:
        given = torch.tensor([case["first_token_probs"].get(word, 0.0) for word in words])
        chances = (given + 1e-9).log().softmax(-1)  # as the recording's script wrote missing words
        yes, no = float(chances[words.index("yes")]), float(chances[words.index("no")])
        name = {"orm": "outcome"}.get(case["method"], case["method"])
        found = opinion(name, case["first_token"], yes, no)
        label = f"scoring/{case['method']}/{case['first_token']}/{len(case['first_token_probs'])}"
        if name == "clarity":
            yield same(label, found.text, case["returned"])
            continue
        flag, value = case["returned"]
        yield same(f"{label}/verdict", found.says, flag)
        ours = found.yes if name == "outcome" else found.no
        yield close(label, torch.tensor([ours]), torch.tensor([value]), EXACT)


def prompts(ref):
    """The questions, letter by letter."""
    for theirs in ("orm", "clarity", "potential", "dpo_guidance"):
        ours = question({"orm": "outcome"}.get(theirs, theirs), "a photo of {x}")
        yield same(f"prompts/{theirs}", ours, ref.about["reward_prompts"][theirs].replace("{prompt}", "a photo of {x}"))


def names(ref):
    """Every tensor of the released reward models."""
    (released,) = ref.about["full_keys"].values()
    with torch.device("meta"):
        wanted = {name: list(tensor.shape) for name, tensor in build(Sizes()).state_dict().items()}
    given = _named((name, torch.empty(shape, device="meta")) for name, (shape, _) in released.items())
    matched = {checkpoint.translate(name, LLAVA_NAMES): list(tensor.shape) for name, tensor in given}
    yield same("names", matched, wanted)


def sides(ref):
    """Chosen and rejected rows as (context, codes, hidden)."""
    N, offset = ref.config.grid(0) ** 2, ref.config.text_vocabulary
    for side in ("chosen", "rejected"):
        ids, labels = ref[f"dpo.{side}_input_ids"], ref[f"dpo.{side}_labels"]
        context, _, _ = around(ref, ids)
        goal = labels[:, -1 - N : -1]
        yield side, context, torch.where(goal != -100, goal, ids[:, -1 - N : -1]) - offset, goal != -100


def preferences(ref):
    """Scores, losses and gradients of preference pairs, by the published estimator."""
    s, N = ref.config.specials, ref.config.grid(0) ** 2
    scores, means, counts = {}, [], []
    policy = ref.model()
    for side, context, codes, hidden in sides(ref):
        ids = ref[f"dpo.{side}_input_ids"]
        mask = omni(ids != s.pad, None, ids.shape[1] - N - 2)[:, None]
        yield equal(f"dpo.{side}_mask", mask.broadcast_to(ref[f"dpo.{side}_mask"].shape), ref[f"dpo.{side}_mask"])
        yield equal(f"dpo.{side}_tokens", codes + ref.config.text_vocabulary, ref[f"dpo.{side}_tokens"])
        share = (N * ref[f"dpo.{side}_mask_prob"]).round().clamp(min=1).long()
        yield equal(f"dpo.{side}_mask_prob", hidden.sum(dim=1), share)
        draw = Draw(hidden, torch.ones(len(codes)))
        for which, model in (("policy", policy), ("ref", ref.model(reference=True))):
            total, count = table_log_prob(model, context, codes, draw)
            scores[which, side] = total
            yield close(f"dpo.{which}_{side}_logps", total, ref[f"dpo.{which}_{side}_logps"], CLOSE)
            if which == "policy":
                means.append(total / count)
                counts.append(count)
    yield close("dpo.policy_avg_logps", torch.cat(means), ref["dpo.policy_avg_logps"], CLOSE)
    yield equal("dpo.scored_tokens_per_sequence", torch.stack(counts), ref["dpo.scored_tokens_per_sequence"])
    beta = float(ref["dpo.beta"])
    order = [scores[which, side] for which in ("policy", "ref") for side in ("chosen", "rejected")]
    losses, logits = preference_loss(*order, beta)
    yield close("dpo.logits", logits / beta, ref["dpo.logits"], CLOSE)
    yield close("dpo.losses", losses, ref["dpo.losses"], CLOSE)
    yield close("dpo.loss_mean", losses.mean().view(1), ref["dpo.loss_mean"].view(1), CLOSE)
    supervised = -scores["policy", "chosen"].sum() / counts[0].sum()
    yield close("dpo.sft_loss", supervised.view(1), ref["dpo.sft_loss"].view(1), CLOSE)
    both = losses.mean() + 0.3 * supervised
    yield close("dpo.total_dpo1_sft0.3", both.view(1), ref["dpo.total_dpo1_sft0.3"].view(1), CLOSE)
    reward = official_guidance(ref["dpo.reward_yes_prob"].tolist(), 1.0)
    yield close("dpo.reward_loss", torch.tensor([reward]), ref["dpo.reward_loss"].view(1), CLOSE)
    guided = losses.mean() + official_guidance(ref["dpo.reward_yes_prob"].tolist())
    yield close("dpo.total_with_reward_coef0.1", guided.view(1), ref["dpo.total_with_reward_coef0.1"].view(1), CLOSE)
    weight = policy.network.layers[0].q_norm.weight
    for name, loss in (("", losses.mean()), ("_with_reward", guided)):
        (gradient,) = torch.autograd.grad(loss, weight, retain_graph=True)
        recorded = ref[f"dpo.grad.layers0_q_layernorm_weight{name}"]
        yield close(f"dpo.grad.layers0_q_layernorm_weight{name}", gradient, recorded, 1e-4)


@torch.no_grad()
def llava(ref):
    """The reward model: pictures, merged embeddings, first-word logits, filtered probabilities, the first sample."""
    looker = load(ref.folder / "llava_onevision_tiny", dtype=torch.float32)
    looker.sampling = json.loads((ref.folder / "llava_onevision_tiny" / "config.json").read_text())["generation"]
    ids = ref["llava/input_ids"][0].tolist()
    before, behind = ids[: ids.index(-200)], ids[ids.index(-200) + 1 :]
    for form in ("pad", "anyres_max_9"):
        looker.form = "pad" if form == "pad" else "anyres"
        for shape in ("square", "wide"):
            picture = pil.fromarray(ref[f"llava/image_u8.{shape}"].numpy())
            get, name = (lambda what, at=f"llava/{form}.{shape}": ref[f"{at}.{what}"]), f"llava/{form}.{shape}"
            seen = pixels(picture, looker.form)
            seen = seen[0] if form == "pad" else seen
            yield equal(f"{name}.pixel_shape", torch.tensor(seen.shape), get("pixel_shape"))
            yield close(f"{name}.pixel_grid", seen[..., ::24, ::24], get("pixel_grid"), EXACT)
            features = looker.features(picture)
            embeds = looker.embedded(before, features, behind)[0]
            yield equal(f"{name}.num_embeds", torch.tensor([len(embeds)]), get("num_embeds").view(1))
            yield close(f"{name}.embeds_first12", embeds[:12], get("embeds_first12"))
            yield close(f"{name}.embeds_last12", embeds[-12:], get("embeds_last12"))
            yield close(f"{name}.embeds_row_norms", embeds.norm(dim=-1), get("embeds_row_norms"))
            logits = looker.next_word(before, features, behind)
            yield close(f"{name}.logits_last", logits, get("logits_last"))
            chances = filtered(logits)
            yield close(f"{name}.processed_first_token_probs", chances, get("processed_first_token_probs"))
            torch.manual_seed(looker.sampling["seed"])
            yield equal(f"{name}.generated[0]", torch.multinomial(chances, 1), get("generated")[0, :1])


@torch.no_grad()
def generation(ref):
    """The sampler that keeps every step's guess, without chance."""
    ids, plain = ref["gen_dpo.input_ids"], ref["gen_dpo.uncond_input_ids"]
    context, _, hidden = around(ref, ids, plain)
    process = ref.model().process("image")
    wanted = ref["gen_dpo.step_tokens"]
    state = process.start(context, Settings(hidden.shape[1], wanted.shape[1], 1.75, 0.0, 1), _Even())
    guesses, shown = [], []
    while not bool(state.done.all()):
        state = process.step(state)
        guesses.append(state.guess)
        shown.append(process.how.ids(state.values, state.hidden))
    yield equal("gen_dpo.step_tokens", torch.stack(guesses, dim=1), wanted)
    yield equal("gen_dpo.tokens", state.values, ref["gen_dpo.tokens"])
    N = hidden.shape[1]
    recorded = ref["gen_dpo.step_input_ids"]
    ours = torch.stack(shown[: recorded.shape[1]], dim=1)
    yield equal("gen_dpo.step_input_ids", ours, recorded[..., -1 - N : -1])


class _Even:
    """No chance at all."""

    def uniform(self, name, step, n):
        return torch.full((2, n), 0.5)

    def choose(self, name, step, logits, temperature, wanted=None):
        return logits.argmax(dim=-1)

    def __getitem__(self, rows):
        return self


CHECKS = (selection, temperatures, scoring, prompts, names, preferences, generation, llava)
