"""MMaDA against numbers recorded from the published code, with small random weights."""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from limner.algorithms.sft import piece_loss
from limner.models.mmada import weights
from limner.models.mmada.config import MMaDAConfig, Specials
from limner.models.mmada.model import MMaDA
from limner.models.mmada.network import Network, angles
from limner.models.mmada.render import Renderer, Script
from limner.models.mmada.tokenizer import make_word_tokenizer
from limner.process.base import Context, Draw, Settings, Tokens
from limner.process.schedules import SCHEDULES, cosine, linear, power, shares, sigmoid

DATA = Path(__file__).parent / "data" / "mmada"
CASES = json.loads((DATA / "cases.json").read_text())
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
N_IMAGE = 16


@pytest.fixture(scope="module")
def io():
    return {k: v.long() if v.dtype == torch.int32 else v for k, v in load_file(DATA / "io.safetensors").items()}


def specials(which):
    table = CASES["cases"][f"prompt/{which}"] | CASES["cases"][f"prompt/{which}"]["specials"]
    names = {"bos": "bos", "eos": "eos", "soi": "<|soi|>", "eoi": "<|eoi|>", "t2i": "<|t2i|>", "mmu": "<|mmu|>"}
    names |= {"pad": "[iPAD]", "r2i": "<|r2i|>"}
    return Specials(
        mask=CASES["specials"]["mask"], eot=CASES["specials"]["eot"], **{k: table[v] for k, v in names.items()}
    )


@pytest.fixture(scope="module")
def config():
    found = MMaDAConfig.from_json(json.loads((DATA / "config.json").read_text()))
    return replace(found, specials=specials("tiny"), text_budget=12, words_only=False, padding="fixed")


@pytest.fixture(scope="module")
def model(config):
    with torch.device("meta"):
        network = Network(config)
    weights.load_into(network, weights.read(DATA), torch.float32)
    return MMaDA.around(config, make_word_tokenizer([]), network, None).eval()


@dataclass(frozen=True)
class Recorded:
    """Stands in for ``Noise``: uniform numbers by name and step, and choices by name and step."""

    numbers: dict
    choices: dict

    def uniform(self, name, step, n):
        found = self.numbers[name][step]
        assert found.shape[1] == n
        return found

    def choose(self, name, step, logits, temperature):
        found = self.choices[name][step]
        return found(logits) if callable(found) else found


# --- network -------------------------------------------------------------------------------------------------------


def everything(ids):
    return torch.ones(ids.shape, dtype=torch.bool)


def test_logits_match_without_padding(model, io):
    ids = io["fwd/input_ids"]
    with torch.no_grad():
        torch.testing.assert_close(model.network(ids, everything(ids)), io["fwd/plain/logits"], **CLOSE)
        states = model.network.norm(model.network.states(ids, everything(ids)))
    torch.testing.assert_close(states, io["fwd/plain/hidden_2"], **CLOSE)


def test_logits_match_with_masked_padding(model, io):
    ids, kept = io["fwd/input_ids"], io["fwd/pad_mask"].bool()
    with torch.no_grad():
        ours = model.network(ids, kept)
    # what padding itself would say is never used
    torch.testing.assert_close(ours[kept], io["fwd/bool_bias/logits"][kept], **CLOSE)


def test_full_attention_ignores_what_is_padding(model, io):
    ids, kept = io["fwd/input_ids"], io["fwd/pad_mask"].bool()
    full = MMaDA.around(replace(model.config, attention="full"), model.tokenizer, model.network, None)
    full.network = Network(full.config)
    full.network.load_state_dict(model.network.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(full.network(ids, kept), io["fwd/plain/logits"], **CLOSE)


def test_soft_padding_matches_the_official_training_forward(model, io):
    soft = Network(replace(model.config, attention="legacy-soft"))
    soft.load_state_dict(model.network.state_dict())
    # the official call softens the padding of the first row only
    kept = everything(io["fwd/input_ids"])
    kept[0] = io["fwd/pad_mask"][0].bool()
    with torch.no_grad():
        torch.testing.assert_close(soft(io["fwd/input_ids"], kept), io["fwd/float_bias/logits"], **CLOSE)


def test_bfloat16_stays_near_the_official_bfloat16(model, io):
    half = Network(model.config)
    half.load_state_dict(model.network.state_dict())
    half.to(torch.bfloat16)
    ids = io["fwd/input_ids"]
    with torch.no_grad():
        difference = (half(ids, everything(ids)).float() - io["fwd/bf16/plain_logits"].float()).abs()
    assert difference.max() < 0.6
    assert difference.mean() < 0.05


def test_rope_turns_by_the_position_times_a_power_of_theta():
    cos, sin = angles(5, 8, 500000.0, torch.device("cpu"))
    want = torch.tensor([[t * 500000.0 ** (-2 * j / 8) for j in range(4)] for t in range(5)])
    torch.testing.assert_close(cos[:, 0, :4], want.cos())
    torch.testing.assert_close(sin[:, 0, 4:], want.sin())


def test_every_released_tensor_has_a_place():
    listed = json.loads((DATA / "names.json").read_text())
    with torch.device("meta"):
        network = Network(MMaDAConfig())
    ours = {weights.translate(name, weights.OURS): list(t.shape) for name, t in network.state_dict().items()}
    theirs = {n.replace("{i}", str(i)): s for n, s in listed["names"].items() for i in range(listed["layers"])}
    assert ours == theirs
    assert len(ours) == listed["tensors"]
    assert sum(p.numel() for p in network.parameters()) == listed["parameters"]


# --- layouts -------------------------------------------------------------------------------------------------------


class Numbers:
    """A tokenizer whose texts are numbers in a row."""

    def encode(self, text, add_special_tokens=False):
        return type("Encoding", (), {"ids": [int(word) for word in text.split()]})


def said(ids):
    return " ".join(map(str, ids))


@pytest.fixture(params=["tiny", "real"])
def layout(request, io):
    case = CASES["cases"][f"prompt/{request.param}"]
    own = specials(request.param)
    config = MMaDAConfig(specials=own, text_vocabulary=case["image_offset"], text_budget=12, padding="fixed")
    mine = {k.removeprefix(f"prompt/{request.param}/"): v for k, v in io.items() if f"prompt/{request.param}/" in k}
    return Renderer(config, Numbers()), case, mine, config.specials


def test_picture_prompts_match(layout):
    renderer, case, io, _ = layout
    scripts = [Script([("user", said(ids))]) for ids in case["texts"]]
    context = renderer.context(scripts, "image")
    ids, kept, where = context.given.around(torch.full((len(scripts), N_IMAGE), 226))
    official = io["t2i_gen/input_ids"]
    assert where == slice(14, 14 + N_IMAGE)
    assert torch.equal(ids[:, :14], official[:, :14])
    assert torch.equal(ids[:, -1], official[:, -1])
    assert torch.equal(kept, io["t2i_gen/mask"].bool())


def test_training_rows_of_pictures_match(layout):
    renderer, case, io, _ = layout
    context = renderer.context([Script([("user", said(ids))]) for ids in case["texts"]], "image")
    ids, _, _ = context.given.around(io["image_ids_masked"])
    assert torch.equal(ids, io["t2i/input_ids"])


def test_the_dropped_condition_is_the_empty_prompt(layout):
    renderer, case, io, _ = layout
    empty = case["texts"].index([])
    context = renderer.context([Script([("user", said(case["texts"][0]))])], "image")
    assert torch.equal(context.dropped.before[0], io["t2i_gen/input_ids"][empty, :14])
    assert torch.equal(context.dropped.kept[0], io["t2i_gen/mask"][empty, :14].bool())


def test_questions_about_pictures_match(layout):
    renderer, case, io, s = layout
    codes = (io["image_ids"] - case["image_offset"]).tolist()
    rows = [
        [s.mmu, *renderer.shown(c), *renderer.between(text)] for c, text in zip(codes, case["chat_texts"], strict=False)
    ]
    assert rows == io["mmu/input_ids"].tolist()


def test_pictures_after_a_thought_match(layout):
    renderer, case, io, s = layout
    codes = (io["image_ids"] - case["image_offset"]).tolist()
    rows = [[s.r2i, *renderer.between(t), *renderer.shown(c)] for c, t in zip(codes, case["chat_texts"], strict=False)]
    assert rows == io["r2i/input_ids"].tolist()


def test_chats_match(layout):
    renderer, case, io, _ = layout
    rows = [[*renderer.wrap(text), renderer.config.specials.eos] for text in case["chat_texts"]]
    assert torch.equal(renderer.values(rows, 31), io["lm_chat_31/input_ids"])


# --- words ---------------------------------------------------------------------------------------------------------


def masked_words(model, io, name, noise=None, **changes):
    """Our states against the recorded ids of every step; returns the last ids."""
    case, prompt = CASES["cases"][f"text/{name}"], io[f"text/{name}/prompt"]
    N = case["max_new_tokens"]
    kept = everything(prompt)
    if f"text/{name}/attention_mask" in io:
        kept = io[f"text/{name}/attention_mask"][:, : prompt.shape[1]].bool()
    given = Tokens(prompt, kept, prompt[:, :0])
    dropped = Tokens(torch.full_like(prompt, case["mask_id"]), kept, prompt[:, :0])
    guidance = case.get("cfg_scale", 0.0)
    settings = Settings(N, case["steps"], guidance, case["temperature"], case["block_length"])
    process = replace(model.process("text"), **changes)
    state = process.start(Context(given, dropped), settings, noise)
    trace = []
    with torch.no_grad():
        while not state.done.all():
            trace.append(given.around(process.how.ids(state.values, state.hidden))[0])
            state = process.step(state)
    last = given.around(process.how.ids(state.values, state.hidden))[0]
    assert torch.equal(last, io[f"text/{name}/final"])
    return trace


GREEDY = ["one_block", "three_blocks", "uneven", "more_steps_than_tokens", "cfg", "left_pad"]


@pytest.mark.parametrize("name", GREEDY)
def test_greedy_words_match_step_by_step(model, io, name):
    trace = masked_words(model, io, name)
    for ours, theirs in zip(trace, io[f"text/{name}/x_per_step"], strict=False):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", ["sampled_t1", "random_remask", "sampled_t0.8_random"])
def test_sampled_words_match_with_the_recorded_draws(model, io, name):
    case = CASES["cases"][f"text/{name}"]
    (B, P), N, T = io[f"text/{name}/prompt"].shape, case["max_new_tokens"], case["temperature"]
    random = case["remasking"] == "random"
    generator = torch.Generator().manual_seed(case["torch_manual_seed"])
    words, order = {}, {}
    for step in range(case["steps"]):
        if T > 0:
            u = torch.rand(B, P + N, model.config.rows, dtype=torch.float64, generator=generator)[:, P:]
            words[step] = lambda logits, u=u: (logits.double() - T * (-u.log()).log()).argmax(dim=-1)
        if random:
            order[step] = torch.rand(B, P + N, generator=generator)[:, P:]
    noise = Recorded({"order": order}, {"word": words})
    trace = masked_words(model, io, name, noise, order="random" if random else "confidence")
    for ours, theirs in zip(trace, io[f"text/{name}/x_per_step"], strict=True):
        assert torch.equal(ours, theirs)


def test_an_answer_stops_after_the_block_with_an_end_token(model, io):
    case = CASES["cases"]["text/fast_early_stop"]
    # the official sampler leaves the later blocks masked; the filler stands for that here
    assert io["text/fast_early_stop/final"].eq(case["mask_id"]).sum() == case["masked_left"]
    trace = masked_words(model, io, "fast_early_stop", stop=frozenset({case["eot_token"]}), filler=case["mask_id"])
    assert len(trace) == case["steps"] // 3


# --- pictures ------------------------------------------------------------------------------------------------------


def single(schedule):
    """A schedule as the official code computes it, in float32: 16 cos(60 degrees) is a little less than 8 there."""
    if schedule is cosine:
        return lambda r: float(torch.cos(torch.tensor(r) * math.pi * 0.5))
    return lambda r: float(torch.tensor(schedule(r)))


@pytest.mark.parametrize("name", ["cfg", "no_cfg", "cfg_linear_temp0", "inpaint"])
def test_pictures_match_step_by_step(model, io, name):
    case, get = CASES["cases"][f"t2i/{name}"], lambda what: io[f"t2i/{name}/{what}"]
    ids, guided = get("input_ids"), case["guidance_scale"] > 0
    plain = get("uncond_input_ids") if guided else ids
    plain_kept = get("uncond_attention_mask" if guided else "attention_mask").bool()
    before = ids.shape[1] - N_IMAGE - 1
    given = Tokens(ids[:, :before], get("attention_mask")[:, :before].bool(), ids[:, -1:])
    dropped = Tokens(plain[:, :before], plain_kept[:, :before], plain[:, -1:])
    known = free = None
    if name == "inpaint":
        known, free = get("known_codes"), get("hole")[None, :].bool()
    S = case["timesteps"]
    settings = Settings(N_IMAGE, S, float(case["guidance_scale"]), case["temperature"], N_IMAGE, known, free)
    noise = Recorded({"again": list(get("u_per_step"))}, {"code": list(get("sampled_per_step"))})
    process = replace(model.process("image"), schedule=single(SCHEDULES[case["schedule"]]), over_all=True)
    state = process.start(Context(given, dropped), settings, noise)
    with torch.no_grad():
        for step in range(S):
            now = given.around(process.how.ids(state.values, state.hidden))[0]
            assert torch.equal(now, get("model_input_per_step")[step, : len(ids)])
            state = process.step(state)
    assert state.done.all()
    assert torch.equal(state.values, get("final_codes"))


def test_the_chance_of_every_code_matches(model, io):
    """The probabilities that codes are drawn from, guidance included."""
    case = CASES["cases"]["t2i/cfg"]
    ids, plain = io["t2i/cfg/input_ids"], io["t2i/cfg/uncond_input_ids"]
    kept, plain_kept = io["t2i/cfg/attention_mask"].bool(), io["t2i/cfg/uncond_attention_mask"].bool()
    at = ids == case["mask_token_id"]
    w = case["guidance_scale"]
    with torch.no_grad():
        logits = (1 + w) * model.pictures(ids, kept, at) - w * model.pictures(plain, plain_kept, at)
    torch.testing.assert_close(logits.softmax(-1).view(2, N_IMAGE, -1), io["t2i/cfg/image_probs_step0"], **CLOSE)


# --- schedules, noising, losses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, schedule",
    [("cosine", cosine), ("linear", linear), ("pow0.5", power(0.5)), ("pow2", power(2.0)), ("sigmoid", sigmoid)],
)
def test_schedules_match(io, name, schedule):
    ours = torch.tensor([schedule(float(t)) for t in io["sched/t"]])
    torch.testing.assert_close(ours, io[f"sched/{name}"], rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("steps", [1, 4, 7])
def test_words_are_shared_among_steps_as_officially(io, steps):
    ours = [shares(int(n), steps) for n in io["sched/transfer_mask"].sum(dim=1)]
    assert ours == io[f"sched/transfer_tokens_steps{steps}"].tolist()


def test_hidden_codes_match_the_official_noising(model, io):
    numbers = {"level": {0: io["loss/noise/rand_t"][:, None]}, "mask": {0: io["loss/noise/rand_perm_scores"]}}
    drawn = model.process("image").draw(torch.zeros(2, N_IMAGE, dtype=torch.int64), Recorded(numbers, {}))
    assert torch.equal(drawn.hidden, io["loss/noise/labels"] != -100)


def word_loss(model, ids, labels, p, begins):
    """Our loss over rows of one length each: values from ``begins`` on, hidden where the recorded noising hid them."""
    process, losses = model.process("text"), []
    for row, begin in enumerate(begins):
        before = ids[row : row + 1, :begin]
        values = torch.where(labels[row] == -100, ids[row], labels[row])[None, begin:]
        hidden = (ids[row] == model.config.specials.mask)[None, begin:]
        context = Context(*[Tokens(before, everything(before), before[:, :0])] * 2)
        scored = process.log_prob(context, values, Draw(hidden, 1 / p[row, begin : begin + 1]))
        losses.append(piece_loss(scored, by_length=True))
    return torch.stack(losses).mean()


def test_word_losses_match(model, io):
    lm, mmu = io["loss/chat/t2i_lm_mmu_total"][1], io["loss/mmu_prompt_mask"]
    lengths = io["loss/chat_answer_lengths"][:, 0]
    begins = (31 - lengths).tolist()
    with torch.no_grad():
        ours = word_loss(model, io["loss/chat_ids"], io["loss/chat_labels"], io["loss/chat_p_mask"], begins)
    torch.testing.assert_close(ours, lm, **CLOSE)
    begins = mmu.sum(dim=1).tolist()
    assert begins == (31 - io["loss/mmu_answer_lengths"][:, 0]).tolist()
    with torch.no_grad():
        ours = word_loss(model, io["loss/mmu_ids"], io["loss/mmu_labels"], io["loss/mmu_p_mask"], begins)
    torch.testing.assert_close(ours, io["loss/chat/t2i_lm_mmu_total"][2], **CLOSE)


def test_plain_text_losses_match(model, io):
    with torch.no_grad():
        ours = word_loss(model, io["loss/base_ids"], io["loss/base_labels"], io["loss/base_p_mask"], [0, 0])
    torch.testing.assert_close(ours, io["loss/base/t2i_lm_mmu_total"][1], **CLOSE)


def test_picture_loss_differs_from_the_official_one_only_where_documented(model, io):
    """The whole table, both frame tokens and soft padding give the official number; ours leaves these out."""
    soft = Network(replace(model.config, attention="legacy-soft"))
    soft.load_state_dict(model.network.state_dict())
    ids, labels, kept = io["loss/t2i_ids"], io["loss/t2i_labels"], io["loss/t2i_mask"].bool()
    with torch.no_grad():
        logits = soft(ids, kept)
    first = ids.shape[1] - N_IMAGE - 2
    official = torch.nn.functional.cross_entropy(logits[:, first:].flatten(0, 1), labels[:, first:].flatten())
    torch.testing.assert_close(official, io["loss/chat/t2i_lm_mmu_total"][0], **CLOSE)
