"""How fast Show-o draws: python benchmarks/showo.py [--runs 3].

A network of middle size with fresh weights, as the published sampler was timed on: 512 wide, 8 layers, the released
vocabulary, 256 codes. Times are processor time on one thread, the least of some runs, beside a unit: a float32
product of two 1024 x 1024 matrices on the same thread, in the same process. Only such ratios can be compared between
machines. ``official`` are the published sampler's units, on its own machine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from limner.codecs.magvit import MagvitCodec, MagvitConfig
from limner.codecs.magvit_layers import Stack
from limner.codecs.quantise import Quantiser
from limner.models.showo.config import Specials, released
from limner.models.showo.model import ShowO
from limner.models.showo.render import Script
from limner.models.showo.tokenizer import make_word_tokenizer
from limner.process.base import Context, Settings, Tokens
from limner.process.masked import MaskedCanvas
from limner.process.noise import Noise

STEPS, GUIDANCE, CODES, PROMPT = 18, 1.75, 256, 12
CONFIG = replace(released(), width=512, layers=8, heads=8, mlp=2048)
CODEC = MagvitConfig(
    encoder=Stack(base=64, widths=(1, 2, 2, 4, 4), blocks=(4, 3, 4, 3, 4)),
    decoder=Stack(base=64, widths=(1, 1, 2, 2, 4), blocks=(4, 4, 3, 4, 3)),
    quantiser=Quantiser("lfq", (2,) * 13),
)


def build() -> ShowO:
    """A model with fresh weights that are large enough to have opinions."""
    torch.manual_seed(0)
    model = ShowO(CONFIG, make_word_tokenizer([]), MagvitCodec(CODEC), seed=11).eval()
    with torch.no_grad():
        model.network.head.weight.mul_(8.0)
    return model


def context(model: ShowO, rows: int, tight: bool) -> Context:
    """Prompts of a dozen words; not ``tight`` pads all of them to 387 places in all, as officially."""
    s = Specials()
    words = (Noise.of(range(rows)).uniform("prompt", 0, PROMPT) * 50000).long().tolist()
    width = 0 if tight else CONFIG.text_budget + 2
    given = model.renderer.tokens([[s.t2i, *model.renderer.told(row), s.soi] for row in words], [s.eoi], width)
    dropped: Tokens = model.renderer.context([Script([("user", "")])] * rows, "image").dropped
    if not tight:
        dropped = model.renderer.tokens(dropped.before.tolist(), [s.eoi], width)
    return Context(given, dropped)


def seconds(call: Callable[[], object], runs: int) -> float:
    """The least processor time of some runs."""
    taken = []
    for _ in range(runs):
        begin = time.process_time()
        call()
        taken.append(time.process_time() - begin)
    return min(taken)


def unit(runs: int = 7) -> float:
    """Seconds of one float32 product of two 1024 x 1024 matrices."""
    a, b = torch.randn(2, 1024, 1024, generator=torch.Generator().manual_seed(0))
    return seconds(lambda: a @ b, runs)


def line(name: str, taken: float, one: float, official: float | None = None) -> None:
    """Print one line of the table."""
    print(f"{name:<44}{taken:>9.2f}{taken / one:>9.0f}" + (f"{official:>10.0f}" if official else ""), flush=True)


@torch.no_grad()
def main() -> None:
    """Read the options and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="runs of which the fastest counts")
    runs = parser.parse_args().runs
    torch.set_num_threads(1)
    model = build()
    settings = Settings(CODES, STEPS, GUIDANCE, 1.0, CODES)

    def draw(tight: bool = True, remembering: bool = True, rows: int = 1, steps: int = STEPS) -> None:
        process = model.process("image")
        assert isinstance(process, MaskedCanvas)
        process = process if remembering else replace(process, making=None)
        some = replace(settings, steps=STEPS)
        state = process.start(context(model, rows, tight), some, Noise.of(range(rows)))
        for _ in range(steps):
            state = process.step(state)

    print(f"unit: {1000 * unit():.1f} ms for a 1024 x 1024 x 1024 float32 product on this thread")
    print(f"{'':<44}{'seconds':>9}{'units':>9}{'official':>10}")
    ids = torch.zeros(2, 387, dtype=torch.int64)
    at = torch.zeros_like(ids, dtype=torch.bool)
    at[:, 130:386] = True
    whole = seconds(lambda: model.pictures(ids, torch.ones_like(at), at, 130), runs)
    line("one forward of 2 rows of 387 places", whole, unit(), 68)
    line("picture, 18 steps, guidance", seconds(draw, runs), unit(), 1760)
    line("  the same, prompts padded to 387 places", seconds(lambda: draw(tight=False), runs), unit(), 1760)
    line("  the same, padded, all read at every step", seconds(lambda: draw(False, False), runs), unit(), 1760)
    line("four pictures of one prompt at once", seconds(lambda: draw(rows=4), max(1, runs // 2)), unit(), 4 * 1760)
    codes = (Noise.of([0]).uniform("codes", 0, CODES) * model.config.codes).long()
    line("one decode, 256 pixels", seconds(lambda: model.show(codes), runs), unit(), 90)


if __name__ == "__main__":
    main()
