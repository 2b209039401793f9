"""Show-o against a reference: names, network, masks, layouts, schedules, samplers, losses, the codec, and CLIP."""

import json
import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as pil
from safetensors.torch import load_file
from tokenizers import Tokenizer

from limner.algorithms.sft import Piece, piece_loss, table_loss
from limner.codecs.magvit import RELEASED, MagvitCodec, MagvitConfig, to_pixels, to_uint8
from limner.codecs.magvit_layers import Stack
from limner.codecs.quantise import Quantiser
from limner.models import checkpoint
from limner.models.parity import CLOSE, EXACT, LEVEL, close, equal
from limner.models.pictures import crop
from limner.models.showo.config import ShowOConfig, Specials, Templates, released
from limner.models.showo.model import ShowO
from limner.models.showo.network import FEATURE, Network, omni, shared_columns
from limner.models.showo.parity import network_rows
from limner.models.showo.render import Renderer, Script, Seeing
from limner.models.showo.weights import NAMES
from limner.process.base import Context, Draw, Settings, Tokens
from limner.process.masked import _gumbel
from limner.process.noise import Noise
from limner.process.schedules import SCHEDULES

PLAIN = Templates("", "", "", "", "")
ROLES = {"eos": "<|eot|>", "pad": "<|pad|>", "soi": "<|soi|>", "eoi": "<|eoi|>", "t2i": "<|t2i|>", "mmu": "<|mmu|>"}


def specials_of(table):
    return Specials(**{role: table[name] for role, name in ROLES.items()})


def read_config(folder):
    """The recorded config: what the released one leaves to the code stands in fields of its own there."""
    data = json.loads((folder / "config.json").read_text())
    side = math.isqrt(data["num_vq_tokens"])
    own = {"specials": vars(specials_of(data["special_token_ids"])), "text_budget": data["max_text_length"]}
    own |= {"grids": {data["image_resolution"]: side}, "defaults": {"size": data["image_resolution"]}}
    own |= {"templates": vars(PLAIN), "words_only": False, "over_all": True}
    own["clip"] = data["mm_projector"][0] if data["w_clip_vit"] else 0
    return ShowOConfig.from_json(data | {"limner": own})


def read_network(config, *folders):
    with torch.device("meta"):
        network = Network(config)
    tensors = [pair for folder in folders for pair in checkpoint.read(folder)]
    checkpoint.load_into(network, tensors, NAMES, torch.float32)
    return network


def read_tensors(file, prefix=""):
    """The tensors of a file; a copy may hold its integers in fewer bits."""
    small = (torch.int16, torch.int32)
    return {prefix + name: t.long() if t.dtype in small else t for name, t in load_file(file).items()}


class ShowOReference:
    """``ref[name]`` is a recorded tensor, ``ref.about[name]`` a file of arguments. Loaded once, never changed."""

    def __init__(self, folder):
        self.folder = Path(folder)
        tiny, codec, clip = (self.folder / name for name in ("tiny", "magvitv2_tiny", "clip_tiny"))
        self.io = read_tensors(tiny / "io.safetensors")
        self.io |= read_tensors(tiny / "end_to_end.safetensors", "end_to_end/")
        self.io |= read_tensors(codec / "io.safetensors", "magvit/")
        self.io |= read_tensors(clip / "io.safetensors", "clip/")
        names = ("prompts", "runs", "end_to_end_runs")
        self.about = {name: json.loads((tiny / f"{name}.json").read_text()) for name in names}
        self.config = read_config(tiny)
        self.network = read_network(self.config, tiny)
        data = json.loads((codec / "config.json").read_text())
        halves = [
            Stack(d["ch"], tuple(d["ch_mult"]), tuple(d["num_res_blocks"])) for d in (data["encoder"], data["decoder"])
        ]
        config = MagvitConfig(*halves, Quantiser("lfq", (2,) * data["z_channels"]))
        self.codec = MagvitCodec.from_weights(codec / "weights.safetensors", config)
        tokenizer = Tokenizer.from_file(str(tiny / "tokenizer.json"))
        tokenizer.no_padding()
        self.model = ShowO.around(self.config, tokenizer, self.network, self.codec).eval()
        self.renderer = self.model.renderer

    def __getitem__(self, name):
        return self.io[name]

    def get(self, begin, name):
        return self.io[begin + name]


def names(ref):
    """Every tensor of the released models has a place in ours, with its shape; nothing of ours is left over."""
    listed = json.loads((ref.folder / "full_keys.json").read_text())
    back = checkpoint.turned(NAMES)
    for begin, config in (("show-o (", released()), ("show-o-w-clip-vit", released(512, clip=True))):
        with torch.device("meta"):
            network = Network(config)
        ours = {checkpoint.translate(name, back): list(t.shape) for name, t in network.state_dict().items()}
        name = next(name for name in listed if name.startswith(begin))
        yield unlike(f"full_keys/{begin.strip(' (')}", ours, listed[name])
    with torch.device("meta"):
        codec = MagvitCodec(RELEASED)
    ours = {name: list(t.shape) for name, t in codec.state_dict().items()}
    derived = ("quantize.embedding", "quantize.power_vals")
    yield unlike("full_keys/magvitv2", ours, {k: v for k, v in listed["magvitv2"].items() if k not in derived})


def unlike(name, ours, theirs):
    listed = {name: shape for name, (shape, _) in theirs.items()}
    return equal(name, torch.tensor(len(set(map(str, ours.items())) ^ set(map(str, listed.items())))), torch.tensor(0))


def network(ref):
    """Forward passes under the masks of the three layouts."""
    yield from network_rows(ref.network, ref.io)


def masks(ref):
    """What every place looks at."""
    s = ref.config.specials
    ids = ref["t2i_gen.input_ids"]
    picture = int((ids[0] == s.soi).nonzero()[0])
    every = torch.ones_like(ids, dtype=torch.bool)
    yield equal("mask.t2i_gen", omni(ids != s.pad, None, picture)[:, None], ref["mask.t2i_gen"])
    yield equal("mask.t2i_gen_keep_pad", omni(every, None, picture)[:, None], ref["mask.t2i_gen_keep_pad"])
    yield equal("mask.lm", omni(torch.ones_like(ref["lm.input_ids"]).bool())[:, None], ref["mask.lm"])
    ids = ref["mmu.input_ids"]
    every = torch.ones_like(ids, dtype=torch.bool)
    yield equal("mask.mmu", omni(every, shared_columns(ids, s.eoi))[:, None], ref["mask.mmu"])
    rows = ref["mask.mmu_vit_row_index"]
    system, length = 4, ref["mask.mmu_vit_sys4_len588_rows"].shape[1]
    ids = torch.zeros(1, length, dtype=torch.int64)
    ids[:, system + 2 : system + 2 + 576] = FEATURE
    seen = omni(torch.ones_like(ids, dtype=torch.bool), shared_columns(ids, s.eoi))[0]
    yield equal("mask.mmu_vit_sys4_len588_rows", seen[rows], ref["mask.mmu_vit_sys4_len588_rows"])
    for name, hides in (("mask.mix_lvg", False), ("mask.mix_lvg_v2", True)):
        ours = torch.stack([several(row, s, hides) for row in ref["mix.input_ids"]])[:, None]
        yield equal(name, ours, ref[name])


def several(ids, s, hides):
    """The published masks for texts and pictures in turn, which no released model was trained with: the first hides
    padding from what follows the first picture, the second earlier pictures from texts and, by a slip, all but the
    first padding and the token behind it from everything."""
    T, padding = len(ids), int((ids == s.pad).sum())
    begins, ends = (ids == s.soi).nonzero().flatten().tolist(), (ids == s.eoi).nonzero().flatten().tolist()
    sees = torch.ones(T, T).tril().bool()
    drawn = torch.zeros(T, dtype=torch.bool)
    for begin, end in zip(begins, ends, strict=True):
        sees[begin : end + 1, begin : end + 1] = True
        drawn[begin : end + 1] = True
        if hides:
            sees[end + 1 :, begin : end + 1] = False
    if hides:
        for end in ends:
            sees[drawn, : end + 1] |= (torch.arange(T)[:, None] > end)[drawn]
        sees[:, 1 : padding + 1] = False
    else:
        sees[begins[0] :, :padding] = False
    return sees


def layouts(ref):
    """Training rows and prompts of every task."""
    s, T, N = ref.config.specials, ref.config.text_budget, ref.config.grid(0) ** 2
    about, renderer = ref.about["prompts"], ref.renderer
    kinds = [name for name in ("t2i", "lm", "mmu") if f"{name}_texts" in about]
    for kind in kinds:
        # the reference cuts its texts itself where they are longer than the layout
        ours = [ref.model.tokenizer.encode(text, add_special_tokens=False).ids for text in about[f"{kind}_texts"]]
        for i, (ids, recorded) in enumerate(zip(ours, about[f"{kind}_text_ids"], strict=True)):
            yield equal(f"{kind}_text_ids/{i}", torch.tensor(ids), torch.tensor(recorded))

    def drawn(drop=None):
        """Rows up to ``soi``, padded to the budget."""
        rows = [
            [s.t2i, *renderer.told([] if drop is not None and gone else ids), s.soi]
            for ids, gone in zip(about["t2i_text_ids"], drop or [False] * 4, strict=True)
        ]
        assert rows[0] == renderer.before_picture(Script([("user", about["t2i_texts"][0])])) or drop
        return renderer.tokens(rows, [s.eoi], T + 2)

    def labelled(ids, codes):
        return torch.cat([torch.where(ids == s.pad, -100, ids), codes, torch.full((len(ids), 1), s.eoi)], dim=1)

    for name, drop in (("t2i", None), ("t2i_drop", (ref["t2i_drop.rand"] < 0.5).tolist())):
        before = drawn(drop)
        yield equal(f"{name}.input_ids", before.around(ref["t2i.image_ids"])[0], ref[f"{name}.input_ids"])
        yield equal(f"{name}.labels", labelled(before.before, ref["t2i.labels_in"]), ref[f"{name}.labels"])
    hidden = torch.full((4, N), ref.config.mask)
    yield equal("t2i_gen.input_ids", drawn().around(hidden)[0], ref["t2i_gen.input_ids"])
    empty = renderer.context([Script([("user", "")])], "image").dropped.before[0].tolist()
    alone = renderer.tokens([empty], [s.eoi], T + 2).around(hidden[:1])[0]
    yield equal("t2i_gen_uncond.input_ids", alone, ref["t2i_gen_uncond.input_ids"])

    length = about["lm_length"]
    ids = padded([[s.eos, *ids, s.eos][:length] for ids in about["lm_text_ids"]], length, s.pad)
    yield equal("lm.input_ids", ids, ref["lm.input_ids"])
    yield equal("lm.labels", torch.where(ids == s.pad, -100, ids), ref["lm.labels"])

    told = [[s.eos, *ids, s.eos] for ids in about["mmu_text_ids"]]
    told = [row if len(row) <= T else [*row[: T - 1], s.eos] for row in told]
    words = padded(told, T, s.pad)
    pictures = [renderer.shown(codes) for codes in (ref["mmu.image_ids"] - ref.config.text_vocabulary).tolist()]
    ids = torch.cat([torch.tensor([[s.mmu, *shown] for shown in pictures]), words], dim=1)
    yield equal("mmu.input_ids", ids, ref["mmu.input_ids"])
    labels = torch.cat([torch.full((3, N + 3), -100), torch.where(words == s.pad, -100, words)], dim=1)
    yield equal("mmu.labels", labels, ref["mmu.labels"])
    for name in ("input_ids", "labels"):
        # one text and one picture are drawn as ever
        yield equal(f"lvg.{name}", ref[f"t2i.{name}"] if name == "labels" else lvg(drawn(), ref), ref[f"lvg.{name}"])


def lvg(before, ref):
    return before.around(ref["lvg.input_ids"][:, -1 - ref.config.grid(0) ** 2 : -1])[0]


def padded(rows, length, pad):
    return torch.tensor([row + [pad] * (length - len(row)) for row in rows])


class Numbers:
    """A tokenizer whose texts are known; templates come with their text."""

    def __init__(self, texts):
        self.texts = texts

    def encode(self, text, add_special_tokens=False):
        return type("Encoding", (), {"ids": list(self.texts[text])})


def spread(runs):
    return [value for value, times in runs for _ in range(times)]


def released_layouts(ref):
    """Prompts with the ids of the released tokenizer: how it splits words is its own affair."""
    data = json.loads((ref.folder / "prompts_phi_tokenizer.json").read_text())
    config, clip = released(), released(clip=True)
    s = config.specials
    yield equal(
        "phi/special_token_ids",
        torch.tensor(list(vars(s).values())),
        torch.tensor(list(vars(specials_of(data["special_token_ids"])).values())),
    )
    layout = [data[name] for name in ("image_token_offset", "mask_token_id", "vocab_size", "max_text_len_plus_task")]
    ours = [config.text_vocabulary, config.mask, config.rows, config.text_budget + 1]
    yield equal("phi/layout", torch.tensor(ours), torch.tensor(layout))
    renderer = Renderer(config, Numbers({one["text"]: one["ids"] for one in data["prompts"]}))
    for i, (one, runs) in enumerate(zip(data["prompts"], data["t2i_gen_256_sequences_rle"], strict=True)):
        rows = [renderer.before_picture(Script([("user", one["text"])]))]
        ids = renderer.tokens(rows, [s.eoi], config.text_budget + 2).around(torch.full((1, 256), config.mask))[0][0]
        yield equal(f"phi/t2i_gen/{i}", ids, torch.tensor(spread(runs)))
    codes = list(range(256))
    for i, one in enumerate(data["mmu_plain"]):
        renderer = Renderer(config, Numbers({one["prompt"]: one["ids"]}))
        ids = renderer.before_words(Script([("user", one["question"])], [codes]))
        theirs = [s.mmu, s.soi, *(50305 + code for code in codes), s.eoi, s.eos, *one["ids"]]
        yield equal(f"phi/mmu/{i}", torch.tensor(ids), torch.tensor(theirs))
    about = data["clip_vit"]
    for i, one in enumerate(about["turns"]):
        texts = {about["system_prompt"]: about["system_ids"], one["prompt"]: one["ids"]}
        script = Script([("user", one["question"])], features=[torch.zeros(576, 1024)])
        ids = Renderer(clip, Numbers(texts)).before_words(script)
        theirs = [s.mmu, *about["system_ids"], s.soi, *[FEATURE] * 576, s.eoi, *one["ids"]]
        yield equal(f"phi/clip/{i}", torch.tensor(ids), torch.tensor(theirs))
    one = data["mmu_train_256"]
    ids = spread(one["input_ids_rle"])
    ours = [s.mmu, *Renderer(config, None).shown(codes)]
    yield equal("phi/mmu_train", torch.tensor(ours), torch.tensor(ids[: len(ours)]))
    labels = torch.tensor([*[-100] * len(ours), *(-100 if i == s.pad else i for i in ids[len(ours) :])])
    yield equal("phi/mmu_train/labels", labels, torch.tensor(spread(one["label_ids_rle"])))
    one = data["lm_40"]
    text = [i for i in one["labels"] if i not in (-100, s.eos)]
    yield equal("phi/lm", padded([[s.eos, *text, s.eos]], 40, s.pad)[0], torch.tensor(one["input_ids"]))


def schedules(ref):
    """How many codes stay hidden, and the sampler's temperature."""
    for name in sorted(name for name in ref.io if name.startswith("sched.")):
        _, kind, *rest = name.split(".")
        size = next(part for part in name.split(".") if part.startswith("n") and "_T" in part)
        N, S = (int(part) for part in size[1:].split("_T"))
        shares = [(k + 1) / S for k in range(S)]
        process, settings = ref.model.process("image"), Settings(N, S, 0.0, 1.0, N)
        if name.endswith("temperature"):
            ours = torch.tensor([process._temperature(settings, k + 1) for k in range(S)], dtype=torch.float64)
            yield close(name, ours, ref[name], EXACT)
            continue
        schedule = process.schedule if kind == "cosine" else SCHEDULES["square" if kind == "pow2" else kind]
        least = 1e-6 if kind in ("linear",) else -1.0
        ratio = torch.tensor([max(least, schedule(share)) for share in shares], dtype=torch.float64)
        if name.endswith("mask_len"):
            yield equal(name, (N * ratio).floor().clamp(min=1), ref[name])
        else:
            yield close(name, ratio, ref[name], EXACT)


# --- samplers ------------------------------------------------------------------------------------------------------


def around(ref, ids, plain=None):
    """(context, codes with the hidden ones as 0, which are hidden) of whole recorded rows."""
    s, N = ref.config.specials, ref.config.grid(0) ** 2
    codes = ids[:, -1 - N : -1]
    hidden = codes == ref.config.mask

    def tokens(rows):
        before = rows[:, : -1 - N]
        return Tokens(before, before != s.pad, rows[:, -1:])

    given = tokens(ids)
    context = Context(given, given if plain is None else tokens(plain))
    return context, torch.where(hidden, 0, codes - ref.config.text_vocabulary), hidden


@torch.no_grad()
def pictures(ref):
    """Picture sampling, step by step: our process is fed the recorded draws and goes through the same states."""
    for name, case in ref.about["runs"].items():
        if name != "mmu":
            for row in picture(ref, case, lambda what, name=name: ref.io.get(f"sample.{name}.{what}")):
                yield replace(row, tensor=f"sample.{name}.{row.tensor}")


def picture(ref, case, get):
    S, w, N, offset = case["timesteps"], case["guidance_scale"], ref.config.grid(0) ** 2, ref.config.text_vocabulary
    context, known, free = around(ref, get("input_ids"), get("uncond_input_ids"))
    prompts = [Script([("user", text)]) for text in case["prompts"]]
    rows = [ref.renderer.before_picture(script) for script in prompts]
    ours = ref.renderer.tokens(rows, [ref.config.specials.eoi], ref.config.text_budget + 2)
    yield equal("input_ids", ours.around(get("init_image_ids"))[0], get("input_ids"))
    if w > 0:
        empty = ref.renderer.context(prompts, "image").dropped.before.tolist()
        plain = ref.renderer.tokens(empty, [ref.config.specials.eoi], ref.config.text_budget + 2)
        yield equal("uncond_input_ids", plain.around(get("init_image_ids"))[0], get("uncond_input_ids"))
    greedy = case["multinomial"] == "argmax"
    noise = Recorded({"again": get("uniform_noise")}, {"code": get("draw")}, greedy)
    process = ref.model.process("image")
    settings = Settings(N, S, float(w), case["temperature"], N, known, free)
    state = process.start(context, settings, noise)
    inputs, chances, selected, maskings, counts, temperatures = [], [], [], [], [], []
    for k in range(1, S + 1):
        hidden = state.hidden
        inputs.append(context.given.around(process.how.ids(state.values, hidden))[0])
        logits = everywhere(process, context, state, w)
        chances.append(logits.softmax(dim=-1))
        state = process.step(state)
        draw = get("draw")[k - 1]
        picked = chances[-1].gather(2, draw[..., None])[..., 0]
        selected.append(torch.where(hidden, picked, 2.0))
        temperatures.append(process._temperature(settings, k))
        masking = state.hidden
        if k == S:
            # the official call hides one code even in the end
            ranks = torch.where(hidden, picked.log(), torch.inf) + temperatures[-1] * _gumbel(get("uniform_noise")[-1])
            masking = F.one_hot(ranks.argmin(dim=1), N).bool()
        maskings.append(masking)
        counts.append(masking.sum(dim=1))
    yield equal("step_input_ids", torch.stack(inputs), get("step_input_ids"))
    yield close("probs", torch.stack(chances), get("probs"), CLOSE)
    if greedy:
        yield equal("draw", torch.stack(chances).argmax(dim=-1), get("draw"))
    recorded = get("selected_probs")
    yield close("selected_probs", torch.stack(selected), torch.where(recorded > 2, 2.0, recorded), CLOSE)
    yield close("temperature", torch.tensor(temperatures), get("temperature"), EXACT)
    yield equal("mask_len", torch.stack(counts), get("mask_len"))
    yield equal("masking", torch.stack(maskings), get("masking"))
    yield equal("tokens", state.values, get("tokens"))
    last = torch.where(maskings[-1], ref.config.mask, state.values + offset)
    yield equal("final_input_ids", context.given.around(last)[0], get("final_input_ids"))
    if get("decoded_u8") is not None:
        yield shown(ref, "decoded_u8", state.values, get("decoded_u8"))


def shown(ref, name, codes, recorded, shape=None):
    high, wide = shape or (math.isqrt(codes.shape[1]),) * 2
    with torch.no_grad():
        return equal(name, to_uint8(ref.codec.decode(codes.view(-1, high, wide))), recorded, LEVEL)


def everywhere(process, context, state, w):
    """Guided logits (B, N, codes) at every place of the picture, known ones too."""
    B, N = state.hidden.shape
    found = []
    for tokens in (context.given, context.dropped):
        ids, kept, where = tokens.around(process.how.ids(state.values, state.hidden))
        at = torch.zeros_like(kept)
        at[:, where] = True
        found.append(process.net(ids, kept, at, where.start).view(B, N, -1))
    return (1 + w) * found[0] - w * found[1]


@dataclass(frozen=True)
class Recorded:
    """Stands in for ``Noise``: recorded numbers and choices; greedy choices are our own."""

    numbers: dict
    choices: dict
    greedy: bool = False

    def uniform(self, name, step, n):
        return self.numbers[name][step]

    def choose(self, name, step, logits, temperature, wanted=None):
        if self.greedy:
            return logits.argmax(dim=-1)
        found = self.choices[name]
        return found(logits, temperature) if callable(found) else found[step][wanted]


@torch.no_grad()
def answers(ref):
    """Words about a picture, from left to right: with the memory that the product makes them with."""
    case, ids = ref.about["runs"]["mmu"], ref["mmu_gen.input_ids"]
    codes = ref["magvit/indices"].view(len(ref["magvit/indices"]), -1)[:1].tolist()
    script = Script([("user", case["question"])], codes)
    context = ref.renderer.context([script], "text")
    yield equal("mmu_gen.input_ids", context.given.before, ids)
    process = ref.model.process("text")
    logits = process.opening(context, case["max_new_tokens"])
    yield close("mmu_gen.first_logits", logits, ref["mmu_gen.first_logits"])
    yield equal("mmu_gen.tokens", written(process, context, case["max_new_tokens"], None), ref["mmu_gen.tokens"])
    case = case["sampled"]
    torch.manual_seed(case["seed"])

    def choose(logits, temperature):
        logits = logits[:, -1] / temperature
        least = logits.topk(case["top_k"]).values[:, -1:]
        return torch.multinomial(logits.masked_fill(logits < least, -torch.inf).softmax(dim=-1), 1)

    noise = Recorded({}, {"word": choose})
    words = written(process, context, case["max_new_tokens"], noise, case["temperature"])
    yield equal("mmu_gen.sampled_tokens", words, ref["mmu_gen.sampled_tokens"])


def written(process, context, most, noise, temperature=0.0):
    """The words of one row, its end included."""
    noise = Noise.of([0]) if noise is None else noise
    values = process.finish(process.start(context, Settings(most, most, 0.0, temperature, 1), noise)).values[0]
    ends = (values == process.stop).nonzero().flatten().tolist()
    return values[: ends[0] + 1] if ends else values


@torch.no_grad()
def clip(ref):
    """A model that is shown features in place of codes."""
    folder = ref.folder / "clip_tiny"
    network = read_network(read_config(folder), ref.folder / "tiny", folder)
    model = ShowO.around(network.config, ref.model.tokenizer, network, None).eval()
    features, text, front = ref["clip/clip_features"], ref["clip/text_ids"], 30
    places = torch.full((1, features.shape[1]), FEATURE)
    ids = torch.cat([text[:, :front], places, text[:, front:]], dim=1)
    kept = torch.ones_like(ids, dtype=torch.bool)
    yield close("clip/projected_first8", network.projector(features)[:, :8], ref["clip/projected_first8"])
    sees = omni(kept, shared_columns(ids, network.config.specials.eoi))
    logits = network.logits(network.states(ids, sees, 0, features))
    yield close("clip/logits_first8", logits[:, :8], ref["clip/logits_first8"])
    yield close("clip/logits_last8", logits[:, -8:], ref["clip/logits_last8"])
    tokens = Seeing(ids, kept, ids[:, :0], features)
    words = written(model.process("text"), Context(tokens, tokens), len(ref["clip/tokens"]), None)
    yield equal("clip/tokens", words, ref["clip/tokens"])


# --- whole modes ---------------------------------------------------------------------------------------------------


@torch.no_grad()
def modes(ref):
    """The published script as a whole, greedy: drawing, inpainting, and extending in three directions."""
    side = ref.config.grid(0)
    pixels = to_pixels(ref["end_to_end/image_u8"][None])
    seen = ref.codec.encode(pixels)[0]
    for name, about in ref.about["end_to_end_runs"].items():
        if "args" not in about:
            continue
        wishes = dict(part.split("=", 1) for part in about["args"])
        get = partial(ref.get, f"end_to_end/{name}.")
        steps, w = int(wishes["generation_timesteps"]), float(wishes["guidance_scale"])
        if name.startswith("extrap"):
            grid, o = seen, int(wishes["offset"])
            for k, direction in enumerate(wishes["extra_direction"].split(" *** ")):
                ids, plain = get(f"call{k}.input_ids"), ref.io.get(f"end_to_end/{name}.call{k}.uncond_input_ids")
                window = beside(grid, direction, o, ref.config.mask - ref.config.text_vocabulary)
                yield equal(
                    f"end_to_end/{name}.call{k}.input_ids",
                    window.flatten() + ref.config.text_vocabulary,
                    ids[0, -1 - side * side : -1],
                )
                drawn = greedy(ref, ids, plain, steps, w).view(side, side)
                yield equal(f"end_to_end/{name}.call{k}.tokens", drawn.view(1, -1), get(f"call{k}.tokens"))
                grid = joined(grid, drawn, direction, o)
            yield equal(f"end_to_end/{name}.decode_codes", grid.reshape(1, -1), get("decode_codes"))
            yield equal(f"end_to_end/{name}.decode_shape", torch.tensor(grid.shape), get("decode_shape"))
            yield shown(ref, f"end_to_end/{name}.decoded_u8", grid.reshape(1, -1), get("decoded_u8"), grid.shape)
            continue
        ids = get("call0.input_ids")
        if name == "inpainting":
            mask = ref["end_to_end/mask_u8"].float()[None, None] / 255
            hole = F.interpolate(mask, size=(side, side), mode="bicubic")[0, 0] >= 0.5
            ours = torch.where(hole, ref.config.mask, seen + ref.config.text_vocabulary).flatten()
            yield equal(f"end_to_end/{name}.call0.input_ids", ours.expand(len(ids), -1), ids[:, -1 - side * side : -1])
        drawn = greedy(ref, ids, get("call0.uncond_input_ids"), steps, w)
        yield equal(f"end_to_end/{name}.call0.tokens", drawn, get("call0.tokens"))
        yield equal(f"end_to_end/{name}.decode_codes", drawn, get("decode_codes"))
        yield shown(ref, f"end_to_end/{name}.decoded_u8", drawn, get("decoded_u8"))


def greedy(ref, ids, plain, steps, w):
    context, known, free = around(ref, ids, plain)
    process, N = ref.model.process("image"), known.shape[1]
    settings = Settings(N, steps, w, 0.0, N, known, free)
    return process.finish(process.start(context, settings, Noise.of([0] * len(ids)))).values


def beside(grid, direction, o, mask):
    """The published canvas: masked codes on one side, the nearest part of what there is on the other."""
    side = min(grid.shape)
    new, old = side // 2 + o, side // 2 - o
    blank = torch.full((side, new), mask)
    if direction == "left":
        return torch.cat([blank, grid[:, :old]], dim=1)
    if direction == "right":
        return torch.cat([grid[:, -old:], blank], dim=1)
    if direction == "up":
        return torch.cat([blank.T, grid[:old]])
    return torch.cat([grid[-old:], blank.T])


def joined(grid, drawn, direction, o):
    """The canvas and what of the old picture lies outside of it. Down is joined like up, which the release is not."""
    old = min(grid.shape) // 2 - o
    if direction == "left":
        return torch.cat([drawn, grid[:, old:]], dim=1)
    if direction == "right":
        return torch.cat([grid[:, :-old], drawn], dim=1)
    return torch.cat([drawn, grid[old:]]) if direction == "up" else torch.cat([grid[:-old], drawn])


# --- training ------------------------------------------------------------------------------------------------------


class Draws:
    """Stands in for ``Noise``: the same numbers whatever the step."""

    def __init__(self, **numbers):
        self.numbers = numbers

    def uniform(self, name, step, n):
        return self.numbers[name]


def hiding(ref):
    """Which codes training hides."""
    codes, offset = ref["corrupt.image_tokens"], ref.config.text_vocabulary
    codes = codes - offset if int(codes.min()) >= offset else codes
    t = ref["corrupt.timesteps"]
    # the published permutation is used as ranks
    drawn = Draws(level=t[:, None], mask=ref["corrupt.noise"].argsort(dim=1).float())
    process = ref.model.process("image")
    hidden = process.draw(codes, drawn).hidden
    yield equal("corrupt.input_ids", process.how.ids(codes, hidden), ref["corrupt.input_ids"])
    yield equal("corrupt.labels", torch.where(hidden, codes + offset, -100), ref["corrupt.labels"])
    share = torch.tensor([process.schedule(float(level)) for level in t])
    yield close("corrupt.mask_prob", share, ref["corrupt.mask_prob"], EXACT)


def losses(ref):
    """Three losses, their weighted total and its gradients, by the product's own objective."""
    ids, labels, model = ref["train.input_ids"], ref["train.labels"], ref.model
    s, N, offset = ref.config.specials, ref.config.grid(0) ** 2, ref.config.text_vocabulary
    kept = ids != s.pad
    ours = omni(kept[:2], None, ids.shape[1] - N - 2)
    words = omni(torch.ones_like(ids[2:4], dtype=torch.bool))
    asked = omni(torch.ones_like(ids[4:], dtype=torch.bool), shared_columns(ids[4:], s.eoi))
    yield equal("train.mask", torch.cat([ours, words, asked])[:, None], ref["train.mask"])
    context, _, _ = around(ref, ids[:2])
    goal = labels[:2, -1 - N : -1]
    hidden = goal != -100
    codes = torch.where(hidden, goal, ids[:2, -1 - N : -1]) - offset
    model.zero_grad()
    drawing = Piece("t2i", "image", context, codes, Draw(hidden, torch.ones(2)))
    found = {"t2i": table_loss(model, drawing)}
    for name, rows, begin in (("lm", slice(2, 4), 1), ("mmu", slice(4, 6), N + 3)):
        before, values = ids[rows, :begin], ids[rows, begin:]
        given = Tokens(before, torch.ones_like(before, dtype=torch.bool), before[:, :0])
        draw = Draw(labels[rows, begin:] != -100, torch.ones(2))
        scored = model.process("text").log_prob(Context(given, given), values, draw)
        found[name] = piece_loss(scored, by_length=False)
    found["total"] = found["t2i"] + 0.1 * found["lm"] + found["mmu"]
    for name, loss in found.items():
        yield close(f"train.loss_{name}", loss.view(1), ref[f"train.loss_{name}"].view(1), EXACT)
    found["total"].backward()
    net = ref.network
    gradients = {
        "embed_row_norms": net.embed.weight.grad.norm(dim=1),
        "final_layernorm_bias": net.norm.bias.grad,
        "layers0_q_layernorm_weight": net.layers[0].q_norm.weight.grad,
        "lm_head_bias": net.head.bias.grad,
        "total_norm": torch.stack([p.grad.norm() for p in net.parameters()]).norm(),
    }
    for name, gradient in gradients.items():
        yield close(f"train.grad.{name}", gradient.view(-1), ref[f"train.grad.{name}"].view(-1), CLOSE)
    model.zero_grad()


@torch.no_grad()
def codec(ref):
    """The picture codec, and how a picture of any size is brought to its size."""
    get = partial(ref.get, "magvit/")
    pixels = to_pixels(get("image_u8"))
    yield close("magvit/pixel_values", pixels, get("pixel_values"))
    yield close("magvit/pre_h", ref.codec.latents(pixels), get("pre_h"))
    codes = ref.codec.encode(pixels)
    yield equal("magvit/indices", codes.flatten(1), get("indices").flatten(1))
    yield equal("magvit/z_q", ref.codec.config.quantiser.values(codes), get("z_q"))
    yield close("magvit/decoded", ref.codec.decode(codes), get("decoded").clamp(-1, 1))
    yield equal("magvit/decoded_u8", to_uint8(ref.codec.decode(codes)), get("decoded_u8"), LEVEL)
    rect = get("rect_indices")
    high, wide = (side // ref.codec.factor for side in get("rect_decoded").shape[2:])
    shown = ref.codec.decode(rect.view(-1, high, wide))
    yield close("magvit/rect_decoded", shown, get("rect_decoded").clamp(-1, 1))
    quantised = ref.codec.config.quantiser(get("pre_h"))
    yield close("magvit/quantizer_loss", quantised.commitment.view(-1), get("quantizer_loss").view(-1), EXACT)
    yield close("magvit/entropy_loss", quantised.entropy.view(-1), get("entropy_loss").view(-1), EXACT)
    values = ref.codec.config.quantiser.values(get("codebook_lookup_in").view(1, 1, -1))[0, :, 0].T
    yield equal("magvit/codebook_lookup_out", values, get("codebook_lookup_out").view_as(values))
    given, wanted = get("preprocess_in_u8"), get("preprocess_out")
    picture = pil.fromarray(given.squeeze(0).numpy() if given.ndim == 4 else given.numpy())
    made = to_pixels(torch.from_numpy(np.asarray(crop(picture, wanted.shape[-1])).copy())[None])
    yield close("magvit/preprocess_out", made, wanted.view_as(made))


CHECKS = (
    names,
    network,
    masks,
    layouts,
    released_layouts,
    schedules,
    pictures,
    answers,
    clip,
    modes,
    hiding,
    losses,
    codec,
)
