"""MindOmni's speed on a CPU: thinking, conditioning and drawing of a mid-size model, in units of a matrix product.

    python benchmarks/mindomni.py [--runs 3] [--new] [--config FILE]

The case is that of the published pipeline's own baseline: a language model of 36 M parameters thinks 64 tokens, and a
decoder of 88 M draws 256 px in 8 steps with guidance 3, all float32 with random weights on one thread. A unit is the
CPU time of twenty 1024 x 1024 x 1024 products on the same thread, measured just before and after. ``--new`` also counts
the negative prompt anew at every picture; otherwise a model remembers it, as users find it. ``--exact`` compares the
picture with that of the decoder run without any cache, step by step.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from limner.codecs.vae import Vae
from limner.models.mindomni.config import DecoderConfig, Defaults, MindOmniConfig
from limner.models.mindomni.model import MindOmni
from limner.models.mindomni.small import initialise
from limner.models.qwen25vl import alone
from limner.parts import Ask, user
from limner.process.flow import time_grid
from limner.process.noise import Noise
from limner.turn import stream

CONFIG = Path(__file__).with_name("mindomni.json")
# what the published pipeline took on such a thread (units): recorded with its own code, see docs/mindomni.md
OFFICIAL = {"think": 5.8, "draw": 36.0, "total": 42.0}
MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>")


def tokenizer_of(about):
    """A byte-pair tokenizer of the recorded corpus, which gives the recorded prompt its length."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=about["vocab"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(about["corpus"], trainer)
    tokenizer.add_special_tokens([*MARKS, "<|video_pad|>"])
    return tokenizer


def build(about):
    """The mid-size model with random weights, and no token that ends a chain."""
    tokenizer = tokenizer_of(about["tokenizer"])
    names = {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"}
    names |= {"vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>"}
    mllm = {**about["mllm"], **{name: tokenizer.token_to_id(mark) for name, mark in names.items()}}
    mllm |= {"bos_token_id": 0, "eos_token_id": 0}
    torch.manual_seed(0)
    vae = Vae({**about["vae"], "act_fn": "silu"})
    decoder = DecoderConfig.from_json({"model_type": "phi3", **about["image_decoder"]})
    defaults = Defaults(thinking_limit=about["new_tokens"], size=about["height"], steps=about["steps"], guidance=2.0)
    config = MindOmniConfig(defaults=defaults)
    with torch.device("meta"):
        model = MindOmni(config, tokenizer, mllm, decoder, vae, {"pad_token_id": tokenizer.token_to_id(MARKS[0])})
    for part in (model.mllm, model.connector, model.decoder):
        part.to_empty(device="cpu")
    model.mllm.rebuild_tables()
    initialise(model, 0)
    model.renderer.ends = frozenset({int(mllm["vocab_size"]) - 1})
    return model.eval()


def unit():
    """CPU seconds of twenty products."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    a @ b
    begin = time.process_time()
    for _ in range(20):
        a @ b
    return time.process_time() - begin


def once(model, prompt, new):
    """(CPU seconds by part, the thought, the picture's values) of one thought and picture."""
    if new:
        model.remembered.found.clear()
    seconds, mark = {"think": 0.0, "draw": 0.0}, time.process_time()
    for step in stream(model, [(user(prompt),)], model.plan(["thinking", "image"]), [42]):
        seconds["think" if step.ask.kind == "thinking" else "draw"] += time.process_time() - mark
        mark = time.process_time()
        last = step
    return seconds, last.replies[0]


@torch.no_grad()
def exact(model, prompt, reply):
    """The largest difference from latents made without any cache: prompt and picture run whole at every step."""
    context = model.context([(user(prompt),)], [reply[:1]], Ask("image"))
    settings = model.settings(model.plan(["image"])[0], 1)
    grid = time_grid(settings.steps, model.config.defaults.shift)
    latents = Noise.of([42]).fork("image", 1).normal("flow", 0, settings.length)
    for step in range(settings.steps):
        found = []
        for side in (context.given, context.dropped):
            one = alone(side, 0)
            shaped = latents.unflatten(1, (model.vae.channels, *model.square(settings.length)))
            more = 1 + shaped[0, 0].numel() // 4
            condition = model.connector(model.mllm.states(one), one.kept)
            encoded = model.decoder.encode(condition, one.kept, more)
            found.append(model.decoder.denoise(encoded, shaped, grid[step].view(1), step == 0).flatten(1))
        velocity = found[1] + (1 + settings.guidance) * (found[0] - found[1])
        latents = latents + float(grid[step + 1] - grid[step]) * velocity
    ours = model.encode([reply[1]]).int().view(torch.float32)
    return float((ours - latents).abs().max() / latents.abs().max())


def main():
    """Read the options and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3, help="runs after a warm-up, of which the median counts")
    parser.add_argument("--new", action="store_true", help="encode the negative prompt anew every time")
    parser.add_argument("--exact", action="store_true", help="compare with a run without any cache")
    parser.add_argument("--config", type=Path, default=CONFIG, help="the case")
    given = parser.parse_args()
    torch.set_num_threads(1)
    about = json.loads(given.config.read_text())
    model = build(about)
    count = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    length = model.context([(user(about["prompt"]),)], [()], Ask("thinking")).given.before.shape[1]
    print(f"{count:.0f} M parameters; a prompt of {length} tokens, {about['new_tokens']} new ones")
    once(model, about["prompt"], given.new)
    rows, units = [], [unit()]
    for _ in range(given.runs):
        rows.append(once(model, about["prompt"], given.new))
        units.append(unit())
    print(f"unit: {statistics.median(units):.3f} CPU s for twenty 1024 x 1024 x 1024 float32 products on this thread")
    print(f"{'':<8}{'CPU s':>8}{'units':>8}{'official':>10}")
    for name in ("think", "draw", "total"):
        seconds = [row[0]["think"] + row[0]["draw"] if name == "total" else row[0][name] for row in rows]
        # a busy machine slows both alike, so each run is divided by the units just before and after it
        shares = [2 * s / (u + v) for s, u, v in zip(seconds, units, units[1:], strict=False)]
        print(f"{name:<8}{statistics.median(seconds):>8.2f}{statistics.median(shares):>8.1f}{OFFICIAL[name]:>10.1f}")
    if given.exact:
        print(f"largest relative difference of the latents from a run without a cache: "
              f"{exact(model, about['prompt'], rows[-1][1]):.1e}")  # fmt: skip


if __name__ == "__main__":
    main()
