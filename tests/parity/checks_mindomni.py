"""MindOmni against a reference: names, prompts, words, connector, decoder, sampler, autoencoder, training numbers."""

import json
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image as pil
from safetensors.torch import load_file

from limner.algorithms.policy_gradient import group_advantages
from limner.algorithms.rgpo import RewardSettings, reward_terms
from limner.codecs.vae import Vae, to_bytes
from limner.models import qwen25vl_weights as files
from limner.models.mindomni import teacher, weights
from limner.models.mindomni.config import DecoderConfig
from limner.models.mindomni.model import MindOmni
from limner.models.mindomni.network import Connector, ImageDecoder, causal_mask, places_of, position_crop
from limner.models.mindomni.render import answer_of, cascaded, well_formed
from limner.models.parity import LEVEL, Row, close, equal
from limner.models.qwen25vl import Qwen25VL, stack
from limner.parts import Image, Thinking, user
from limner.process.base import Context, Settings
from limner.process.flow import FlowDraw, level_divergence, time_grid, to_values, velocity_divergence
from limner.process.noise import Noise

CLOSE = 2e-5
EXACT = 1e-9  # float64
CASES = ("understand_text", "understand_image", "generate", "generate_think", "edit", "edit_think", "edit_two_images")
# what the released parts' configs say
MLLM = {
    "hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
    "intermediate_size": 18944, "vocab_size": 152064, "rms_norm_eps": 1e-6, "rope_theta": 1e6,
    "use_sliding_window": False, "tie_word_embeddings": False,
    "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
    "vision_config": {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16,
                      "out_hidden_size": 3584, "patch_size": 14, "fullatt_block_indexes": [7, 15, 23, 31]},
}  # fmt: skip
VAE = {
    "in_channels": 3, "out_channels": 3, "latent_channels": 4, "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2, "norm_num_groups": 32, "scaling_factor": 0.13025,
}  # fmt: skip


class Recorded:
    """The noise that was recorded, in place of that of a seed."""

    def __init__(self, latents):
        self.latents = latents.flatten(1)

    def normal(self, name, step, n):
        return self.latents


class MindOmniReference:
    """``ref[name]`` is a recorded tensor; the model has the recorded weights. Loaded once, never changed."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.io = load_file(self.folder / "io.safetensors")
        self.prompts, self.meta, self.config, self.rgpo, self.keys = (
            json.loads((self.folder / f"{name}.json").read_text())
            for name in ("prompts", "meta", "config", "rgpo_examples", "full_keys")
        )
        self.model = MindOmni.load(self.folder / "checkpoint")
        self.pictures = []
        for name in ("image.png", "image2.png"):
            with pil.open(self.folder / name) as picture:
                self.pictures.append(Image(picture.convert("RGB")))

    def __getitem__(self, name):
        return self.io[name]

    def __contains__(self, name):
        return name in self.io

    def changed(self, **choices):
        """The model, with other choices from here on."""
        self.model.config = replace(self.model.config, **choices)
        return self.model

    def script(self, case):
        about = self.prompts[case]
        kind = "text" if about["only_understand"] else "thinking" if about["think"] else "image"
        ask = self.model.plan([kind])[0]
        conversation = (user(*self.pictures[: about["n_images"]], about["user_text"]),)
        return self.changed(instructed=True).renderer.script(conversation, (), ask), ask

    def prompt(self, case):
        return self.model.prompt([self.script(case)[0]])

    def whole(self, case):
        """The recorded prompt and all new tokens but the last, as one prompt."""
        ids = self.io.get(f"mllm.{case}.sequence")
        ids = self[f"mllm.{case}.input_ids"] if ids is None else ids[:, :-1]
        count = self.prompts.get(case, {}).get("n_images", 0)
        pictures = [self.model.eyes.patches(part.image) for part in self.pictures[:count]]
        return stack(ids.tolist(), [pictures], 0)

    def grid(self, tensor):
        return tuple(tensor.shape[-2:])


def text_equal(name, ours, wanted):
    return Row(name, 0.0 if ours == wanted else float("inf"), 0.0)


def names(ref):
    """Every released name of the full size has its place, and back again."""
    wide = ref.keys["components"]["image_decoder"]["llm.layers.0.self_attn.o_proj.weight"][0][0]
    config = DecoderConfig(width=wide, short_factor=(1.0,) * 48, long_factor=(1.0,) * 48)
    with torch.device("meta"):
        parts = {
            "mllm": Qwen25VL(MLLM),
            "connector": Connector(config, 3584),
            "image_decoder": ImageDecoder(config),
            "vae": Vae(VAE).network,
        }
    translate = {
        "mllm": files.translated,
        "connector": lambda tensors: weights.connector(tensors, config),
        "image_decoder": lambda tensors: weights.decoder(tensors, config),
        "vae": lambda tensors: tensors,
    }
    back = {
        "mllm": lambda found: {files.released(name): tensor for name, tensor in found.items()},
        "connector": weights.released_connector,
        "image_decoder": weights.released_decoder,
        "vae": dict,
    }
    for part, listed in ref.keys["components"].items():
        released = {name: torch.empty(shape, device="meta") for name, (shape, _) in listed.items()}
        files.load_into(parts[part], part, translate[part](list(released.items())), torch.float32)
        again = {name: list(tensor.shape) for name, tensor in back[part](parts[part].state_dict()).items()}
        wanted = {name: shape for name, (shape, _) in listed.items() if name != weights.TABLE}
        yield text_equal(f"full_keys {part}", again, wanted)


@torch.no_grad()
def prompts(ref):
    """Every mode's chat as a string and as ids, its pictures, and the rotary places."""
    for case in (*CASES, "negative"):
        script, _ = ref.script(case)
        prompt = ref.model.prompt([script])
        yield text_equal(f"prompts.json {case}.chat", script.text, ref.prompts[case]["chat"])
        yield equal(f"mllm.{case}.input_ids", prompt.before, ref[f"mllm.{case}.input_ids"])
        if f"mllm.{case}.pixel_values" in ref:
            yield close(f"mllm.{case}.pixel_values", prompt.patches[0], ref[f"mllm.{case}.pixel_values"])
            yield equal(f"mllm.{case}.image_grid_thw", prompt.grids[0], ref[f"mllm.{case}.image_grid_thw"])
        if f"mllm.{case}.position_ids" in ref:
            places, _ = ref.model.mllm.places(prompt.before, prompt.kept, prompt.grids)
            yield equal(f"mllm.{case}.position_ids", places, ref[f"mllm.{case}.position_ids"])
    negative = ref.model.renderer.negative()
    yield text_equal("prompts.json negative.chat (the default)", negative.text, ref.prompts["negative"]["chat"])


@torch.no_grad()
def words(ref):
    """Greedy words, the first logits, the texts that are returned, and where a text ends."""
    for case in (*CASES, "generate_think_eos"):
        if f"mllm.{case}.sequence" not in ref:
            continue
        plain = case.removesuffix("_eos")
        prompt, model = ref.prompt(plain), ref.model
        process = model.process("thinking")
        if case != plain:
            process = replace(process, stops=frozenset({ref.meta["generate_think_eos.eos_token_id"]}))
        limit = ref.config["run"]["max_new_tokens"]
        state = process.start(Context(prompt, prompt), Settings(limit, limit, 0.0, 0.0, 1), Noise.of([0]))
        values = process.finish(state).values
        told = process.draw(values, None).hidden.sum()
        begin = prompt.before.shape[1]
        yield equal(f"mllm.{case}.sequence", values[:, :told], ref[f"mllm.{case}.sequence"][:, begin:])
        if case == plain:
            logits = model.mllm.logits(model.mllm.states(prompt)[:, -1])
            yield close(f"mllm.{case}.first_logits", logits, ref[f"mllm.{case}.first_logits"])
            part = Thinking("", tuple(values[0].tolist()))
            yield text_equal(
                f"prompts.json {case}.returned_text", model.renderer.whole(part), ref.prompts[case]["returned_text"]
            )


@torch.no_grad()
def conditions(ref):
    """States before the last norm, and what the connector makes of them."""
    for case in (*CASES, "negative", "generate_think_eos"):
        prompt = ref.whole(case)
        states = ref.model.mllm.states(prompt)
        yield close(f"mllm.{case}.hidden", states, ref[f"mllm.{case}.hidden"])
        if f"connector.{case}.out" in ref:
            made = ref.model.connector(ref[f"mllm.{case}.hidden"], prompt.kept)
            yield close(f"connector.{case}.out", made, ref[f"connector.{case}.out"])
    linear = ref.model.connector.linear(ref["mllm.generate.hidden"])
    yield close("connector.generate.proj", linear, ref["connector.generate.proj"])


def encoded(ref, case, noise):
    condition = ref[f"connector.{case}.out"]
    kept = torch.ones(condition.shape[:2], dtype=torch.bool)
    return ref.model.decoder.encode(condition, kept, 1 + noise.shape[-1] * noise.shape[-2] // 4)


@torch.no_grad()
def steps(ref):
    """Single decoder calls, their levels, positions, times and masks."""
    decoder, t = ref.model.decoder, ref["decoder.t"]
    for case in ("generate", "edit", "generate_think"):
        every = []
        velocity = decoder.denoise(encoded(ref, case, ref["decoder.noise"]), ref["decoder.noise"], t, levels=every)
        yield close(f"decoder.{case}.velocity", velocity, ref[f"decoder.{case}.velocity"])
        if case == "generate":
            levels = torch.stack(every, dim=1)
            yield close("decoder.generate.noise_states", levels, ref["decoder.generate.noise_states"])
    small = ref["decoder.noise_small"]
    velocity = decoder.denoise(encoded(ref, "generate", small), small, t)
    yield close("decoder.generate.velocity_small", velocity, ref["decoder.generate.velocity_small"])
    high, wide = (side // 2 for side in ref.grid(ref["decoder.noise"]))
    yield close("decoder.pos_embed_crop", position_crop(decoder.config, high, wide), ref["decoder.pos_embed_crop"])
    table = position_crop(decoder.config, 192, 192)[0, [0, 1, 191, 192, 18528, 36863]]
    yield close("decoder.pos_embed_rows", table, ref["decoder.pos_embed_rows"])
    wave = decoder.time_proj(ref["decoder.time_in"])
    yield close("decoder.time_token", decoder.time_token(wave), ref["decoder.time_token"])
    yield close("decoder.time_adaln", decoder.t_embedder(wave), ref["decoder.time_adaln"])
    mask = ref["decoder.generate.attention_mask"]
    kept, L = torch.ones(mask.shape[:2], dtype=torch.bool), ref["connector.generate.out"].shape[1]
    ours = torch.ones_like(mask)
    ours[:, : L + 1] = torch.ones_like(mask).tril()[:, : L + 1]
    yield equal("decoder.generate.attention_mask", ours, mask)
    yield equal("decoder.generate.position_ids", places_of(kept), ref["decoder.generate.position_ids"])


@torch.no_grad()
def omnigen(ref):
    """The teacher of stage one: OmniGen's own condition with a picture among it, its crop, and the distillation."""
    decoder, ids = ref.model.decoder, ref["teacher.input_ids"]
    begin, end = ref["teacher.image_span"].tolist()
    latents = ref["teacher.input_latent"]
    yield close("teacher.image_tokens", decoder.embed_input(latents), ref["teacher.image_tokens"])
    noise, every = ref["decoder.noise"], []
    kept = torch.ones_like(ids, dtype=torch.bool)
    more = 1 + noise.shape[-1] * noise.shape[-2] // 4
    given = teacher.encode(decoder, ids, kept, more, [(0, begin, latents[0])])
    velocity = decoder.denoise(given, noise, ref["decoder.t"], levels=every)
    yield close("teacher.velocity", velocity, ref["teacher.velocity"])
    levels = torch.stack(every, dim=1)
    yield close("teacher.noise_states", levels, ref["teacher.noise_states"])
    spans = torch.zeros_like(ids)
    spans[:, begin:end] = 1
    L = ids.shape[1]
    among = causal_mask(kept, spans)[:, 0].to(torch.uint8)
    yield equal("teacher.attention_mask (condition)", among, ref["teacher.attention_mask"][:, :L, :L])
    student, taught = ref["decoder.generate.noise_states"].double(), ref["teacher.noise_states"].double()
    for name, wanted in ref.meta.items():
        if name.startswith("distill.layer_softmax_kl"):
            heat = 2.0 if name.endswith("tau2") else 1.0
            ours = level_divergence(student, taught, heat).mean().view(1)
            yield close(f"meta.json {name}", ours, torch.tensor([wanted], dtype=torch.float64), EXACT)
    shown = teacher.fitting(ref.pictures[1].image, ref.config["run"]["crop_max"])
    pixels = torch.frombuffer(bytearray(shown.tobytes()), dtype=torch.uint8).view(shown.height, shown.width, 3)
    yield equal("crop.out_uint8", pixels, ref["crop.out_uint8"], LEVEL)


def scheduler(ref):
    """Time grids."""
    for steps_, shift in ((4, 1.0), (10, 1.0), (50, 1.0), (10, 3.0)):
        name = f"scheduler.sigma_{steps_}" + ("_shift_3" if shift == 3.0 else "")
        yield close(name, time_grid(steps_, shift), ref[name])


@torch.no_grad()
def samples(ref):
    """The whole pipeline: every step's velocities and latents, and the picture."""
    for tag, case in (
        ("generate_cached", "generate"),
        ("generate_uncached", "generate"),
        ("think_cached", "generate_think"),
        ("edit_cached", "edit"),
    ):
        run = ref.config["run"]["samples"][tag]
        model = ref.changed(first_step="official" if run["kv_cache"] else "full")
        context = Context(ref.whole(case), model.prompt([model.renderer.negative()]))
        noise = ref[f"sample.{tag}.noise"]
        shape, N = ref.grid(noise), noise[0].numel()
        process = model.pictures(shape)
        state = process.start(context, Settings(N, run["steps"], run["guidance"] - 1, 1.0, N), Recorded(noise))
        latents, given, dropped = [state.latents], [], []
        grid = time_grid(run["steps"])
        while not state.done.all():
            sides, now = [context.given, context.dropped], grid[state.step].view(1)
            for found, velocity in zip(
                (given, dropped), process.making(sides, state.latents, now, state.step == 0), strict=True
            ):
                found.append(velocity)
            state = process.step(state)
            latents.append(state.latents)
        moved = [(after - before) for before, after in zip(latents, latents[1:], strict=False)]
        guided = torch.cat([m / w for m, w in zip(moved, grid.diff(), strict=True)])
        rows = {"cond_velocity": torch.cat(given), "uncond_velocity": torch.cat(dropped), "guided_velocity": guided}
        for name, ours in (rows | {"latents": torch.cat(latents)}).items():
            wanted = ref[f"sample.{tag}.{name}"]
            yield close(f"sample.{tag}.{name}", ours.view_as(wanted), wanted)
        final = state.latents.unflatten(1, (model.vae.channels, *shape))
        yield close(f"sample.{tag}.vae_input", final / model.vae.scale, ref[f"sample.{tag}.vae_input"])
        pixels = model.vae.decode(final)
        yield close(f"sample.{tag}.image", (pixels * 0.5 + 0.5).clamp(0, 1), ref[f"sample.{tag}.image"])
        shown = to_bytes(pixels).permute(0, 3, 1, 2)
        yield equal(f"sample.{tag}.image_uint8", shown, ref[f"sample.{tag}.image_uint8"], LEVEL)
    ref.changed(first_step="official")


@torch.no_grad()
def autoencoder(ref):
    mean, deviation = ref.model.vae.posterior(ref["vae.pixels"])
    yield close("vae.mean", mean, ref["vae.mean"])
    yield close("vae.std", deviation, ref["vae.std"])
    sampled = ref.model.vae.encode(ref["vae.pixels"], ref["vae.latent_noise"])
    yield close("vae.latent_sampled", sampled, ref["vae.latent_sampled"])


def training(ref):
    """Flow matching: times, mixtures, targets and losses of recorded predictions."""
    clean, noise, t = ref["train.x1"].flatten(1), ref["train.x0"].flatten(1), ref["train.u"].sigmoid()
    yield close("train.t", t, ref["train.t"])
    told = iter([ref["train.pred"].flatten(1)])
    process = replace(ref.model.pictures(ref.grid(ref["train.x1"])), net=lambda *given: [next(told)])
    values = to_values(clean)
    draw = FlowDraw(torch.ones_like(values, dtype=torch.bool), torch.ones(len(t)), t, noise)
    mixed, _, target = process.noisy(values, draw)
    yield close("train.xt", mixed, ref["train.xt"].flatten(1))
    yield close("train.target", target, ref["train.target"].flatten(1))
    nothing = ref.model.prompt([ref.model.renderer.negative()] * 2)
    scored = process.log_prob(Context(nothing, nothing), values, draw)
    yield close("train.loss_per_sample", -scored.mean, ref["train.loss_per_sample"])


def cascade(ref):
    """What a second round is asked, and what is shown of both."""
    for name, case in ref.prompts["cascade"].items():
        asked = answer_of(case["first_answer"])
        yield text_equal(f"prompts.json cascade.{name}", asked or None, case["second_round_user_text"])
        shown = cascaded(case["first_answer"], "second" if asked else None)
        yield text_equal(f"prompts.json cascade.{name}.shown", shown, case["shown"])


def rewards(ref):
    """RGPO in float64: rewards, advantages, every term of the loss, and gradients."""
    for index, case in enumerate(ref.rgpo["format_reward"]):
        yield text_equal(f"rgpo format_reward {index}", float(well_formed(case["text"])), case["reward"])
    pair = ref.rgpo["consistency_reward"]
    both = (torch.tensor(pair[name], dtype=torch.float64) for name in ("image_embeds", "text_embeds"))
    cosine = torch.nn.functional.cosine_similarity(*both)
    yield close("rgpo consistency_reward", cosine, torch.tensor(pair["reward"], dtype=torch.float64), EXACT)
    for name, case in ref.rgpo["cases"].items():
        yield from reward_case(name, case["input"], case["output"])


def reward_case(name, given, wanted):
    def tensor(key):
        return torch.tensor(given[key], dtype=torch.float64)

    def row(key, ours):
        recorded = torch.tensor(wanted[key], dtype=torch.float64)
        floor = 1e-12 + recorded.abs().max()
        return Row(f"rgpo {name} {key}", float(((ours.detach() - recorded).abs() / floor).max()), EXACT)

    settings = RewardSettings(
        group=given["G"],
        low=given["eps_low"],
        high=given["eps_high"],
        ratio=given["ratio_level"],
        spread="sample" if given["ddof"] else "population",
        delta=given["delta"],
        text_beta=given["beta_T"],
        picture_beta=given["beta_I"],
        picture="velocity" if given["image_kl"] == "velocity_mse" else "levels",
        temperature=given["tau"],
    )
    reward = given["w_format"] * tensor("format") + given["w_consistency"] * tensor("consistency")
    yield row("reward", reward)
    advantages = group_advantages(
        reward.tolist(), given["G"], spread=settings.spread, delta=settings.delta, dtype=torch.float64
    )
    yield row("advantage", advantages)
    new, states = tensor("logp").requires_grad_(), tensor("img_states").requires_grad_()
    if settings.picture == "velocity":
        apart = velocity_divergence(states, tensor("img_states_ref"))
    else:
        # recorded as (rollouts, levels, channels) or with tokens between
        policy, reference = (x if x.ndim == 4 else x[:, :, None] for x in (states, tensor("img_states_ref")))
        apart = level_divergence(policy, reference, settings.temperature)
    yield row("kl_image_per_rollout", apart)
    counted = tensor("mask").bool()
    parts = (new, tensor("logp_old"), tensor("logp_ref"), advantages, counted, apart)
    terms = reward_terms(*parts, settings)
    loss = terms.loss(settings)
    loss.backward()
    policy = terms.policy
    yield Row(f"rgpo {name} policy", float((policy.detach() - wanted["policy"]).abs()), EXACT)
    yield row("kl_text", terms.text.view(()))
    yield row("kl_image", terms.picture.view(()))
    yield row("clip_fraction", terms.clipped.view(()).double())
    yield row("loss", loss.view(()))
    yield row("grad_logp", new.grad)
    yield row("grad_img_states", states.grad)


CHECKS = [
    names, prompts, words, conditions, steps, omnigen, scheduler, samples, autoencoder, training, cascade, rewards,
]  # fmt: skip
