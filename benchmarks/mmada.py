"""How fast MMaDA is made, and what its fast ways cost: python benchmarks/mmada.py [--passes] [--quality 20].

Two networks of middle size with fresh weights, as the published samplers were timed on, then the model in the package.
Times are processor time on one thread, the least of some runs, and stand beside a unit: a float32 product of two
1024 x 1024 matrices on the same thread. Only such ratios can be compared between machines, and only on an idle one.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

import limner
from limner.bench.stats import paired
from limner.bench.world import tasks
from limner.judges.scenes import planned, scene_judge
from limner.models.mmada.config import Defaults, MMaDAConfig, Specials
from limner.models.mmada.model import MMaDA
from limner.models.mmada.tokenizer import make_word_tokenizer
from limner.process.base import Context, Settings, Tokens
from limner.process.noise import Noise
from limner.turn import rollout
from limner.world import lessons

SPECIALS = Specials(
    bos=16300, eos=16301, soi=16302, eoi=16303, t2i=16304, mmu=16305, pad=16306, r2i=16307, mask=16360, eot=16308
)
A = MMaDAConfig(
    width=256,
    layers=6,
    heads=8,
    kv_heads=8,
    mlp=768,
    rows=24576,
    text_vocabulary=16370,
    codes=8192,
    specials=SPECIALS,
    text_budget=64,
    grids={256: 16},
    defaults=Defaults(size=256),
    # every row of the table competes, and a text goes on to its end, as in the published samplers
    words_only=False,
    stop_early=False,
)
CONFIGS = {"A": A, "B": replace(A, layers=2, rows=134656)}
PROMPT, NEW, BLOCK, STEPS, CODES, PICTURE_STEPS = 32, 64, 16, 32, 256, 8
WAYS = ["threshold", "threshold=0.7", "factor", "threshold+dual", "revoke", "factor=3.5+blocks=5"]
GROUPS = lessons.REASONING


@dataclass(frozen=True)
class Case:
    """One line of the table. ``official`` are the published sampler's units on its own machine, where known."""

    config: str
    batch: int = 1
    temperature: float = 0.0
    guidance: float = 0.0
    picture: bool = False
    official: float | None = None

    @property
    def name(self) -> str:
        """As the table calls it."""
        what = f"picture w={self.guidance:g}" if self.picture else f"text T={self.temperature:g}"
        return f"{self.config} b{self.batch} {what}"


CASES = (
    Case("A", official=84),
    Case("A", temperature=1.0, official=165),
    Case("A", batch=4, official=410),
    Case("B", official=546),
    Case("A", guidance=3.5, picture=True, official=131),
    Case("A", picture=True, official=77),
)


class Passes:
    """Counts forward passes, and the rows that went through them."""

    def __init__(self, model: MMaDA) -> None:
        self.model, self.calls, self.rows = model, 0, 0

    @contextmanager
    def counted(self) -> Iterator[Passes]:
        """Count while inside."""

        def count(_: object, given: tuple[torch.Tensor, ...]) -> None:
            self.calls, self.rows = self.calls + 1, self.rows + len(given[0])

        hook = self.model.network.layers[0].register_forward_pre_hook(count)
        try:
            yield self
        finally:
            hook.remove()


def build(config: MMaDAConfig) -> MMaDA:
    """A model with fresh weights that are large enough to have opinions."""
    model = MMaDA(config, make_word_tokenizer([]), seed=11).eval()
    with torch.no_grad():
        model.network.head.weight.mul_(8.0)
    return model


def padded(rows: list[list[int]], width: int, after: list[int]) -> Tokens:
    """Rows of ids with padding on the left."""
    ids = torch.tensor([[SPECIALS.pad] * (width - len(row)) + row for row in rows])
    kept = torch.arange(width)[None] >= width - torch.tensor([len(row) for row in rows])[:, None]
    return Tokens(ids, kept, torch.tensor([after] * len(rows), dtype=torch.int64).view(len(rows), len(after)))


def making(model: MMaDA, case: Case) -> Callable[[], None]:
    """The case as a call."""
    s, words = SPECIALS, (Noise.of(range(case.batch)).uniform("prompt", 0, PROMPT) * 16000).long()
    if case.picture:
        width = A.text_budget + 2
        rows = [[s.t2i, s.bos, *row[:20], s.eos, s.soi] for row in words.tolist()]
        plain = padded([[s.t2i, s.bos, s.eos, s.soi]] * case.batch, width, [s.eoi])
        context = Context(padded(rows, width, [s.eoi]), plain)
        settings = Settings(CODES, PICTURE_STEPS, case.guidance, 1.0, CODES)
    else:
        given = padded(words.tolist(), PROMPT, [])
        context = Context(given, replace(given, before=torch.full_like(given.before, s.mask)))
        settings = Settings(NEW, STEPS, case.guidance, case.temperature, BLOCK)
    process = model.process("image" if case.picture else "text")

    @torch.no_grad()
    def make() -> None:
        process.finish(process.start(context, settings, Noise.of(range(case.batch))))

    return make


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


def line(name: str, passes: float, tokens: int, taken: float | None, one: float, official: float | None = None) -> None:
    """Print one line of the table."""
    text = f"{name:<34}{passes:>8.1f}"
    if taken is not None:
        text += f"{1000 * taken / passes:>9.1f}{tokens / taken:>10.0f}{taken / one:>9.1f}"
        text += f"{official:>10.0f}" if official else ""
    print(text, flush=True)


def sizes(runs: int) -> None:
    """The published configurations; ``runs`` 0 counts forward passes alone."""
    for config in CONFIGS:
        model = build(CONFIGS[config])
        for case in (case for case in CASES if case.config == config):
            make = making(model, case)
            with Passes(model).counted() as passes:
                make()
            taken = seconds(make, runs) if runs else None
            tokens = case.batch * (CODES if case.picture else NEW)
            line(case.name, passes.calls, tokens, taken, unit() if runs else 1.0, case.official)


def package(name: str, ways: list[str], runs: int, count: int) -> None:
    """The model in the package: thoughts about ``count`` prompts of every reasoning group, one at a time."""
    model = limner.load(name).model
    assert isinstance(model, MMaDA)
    some = [task for group in GROUPS for task in tasks(group, "new_compositions", count, 0)]
    exact: list[str | None] = []
    for way in ("", *ways):
        plan = tuple(replace(ask, fast=way) for ask in model.plan(("thinking",)))
        with Passes(model).counted() as passes:
            begin = time.process_time()
            made = [rollout(model, [task], plan, [0])[0] for task in some]
            taken = time.process_time() - begin
        thoughts = [sample.thinking for sample in made]
        exact = exact or thoughts
        same = sum(a == b for a, b in zip(thoughts, exact, strict=True)) / len(some)
        tokens = sum(len(model.renderer.written(sample.reply[0].raw or ())) for sample in made)
        label = f"{name} thoughts {way or 'exact'}"
        line(label, passes.calls / len(some), tokens // len(some), taken / len(some) if runs else None, unit())
        if way:
            print(f"{'':<34}the same words in {same:.0%} of {len(some)} thoughts")


def quality(name: str, ways: list[str], count: int, seeds: int) -> None:
    """How often plans, and ``seeds`` pictures of each, hold what was asked after exact and fast thoughts, on ``count``
    prompts of every reasoning group; differences are paired by prompt."""
    model = limner.load(name).model
    assert isinstance(model, MMaDA)
    some = [task for group in GROUPS for task in tasks(group, "new_compositions", count, 0)]
    exact: list[list[float]] = []
    print(f"{len(some)} prompts, {seeds} pictures a prompt; 95% intervals")
    for way in ("", *ways):
        plan = model.plan(("thinking", "image"))
        with Passes(model).counted() as passes:
            thoughts = rollout(model, some, (replace(plan[0], fast=way),), [0] * len(some))
        found = [[verdict.score or 0.0 for verdict in planned()(thoughts)]]
        if seeds:
            many = [task for task in some for _ in range(seeds)]
            replies = [sample.reply for sample in thoughts for _ in range(seeds)]
            drawn = scene_judge()(rollout(model, many, plan[1:], [*range(seeds)] * len(some), replies=replies))
            scores = [verdict.score or 0.0 for verdict in drawn]
            found.append([sum(scores[k : k + seeds]) / seeds for k in range(0, len(scores), seeds)])
        text = f"{way or 'exact':<24}{passes.rows / len(some):>6.1f} passes a thought"
        for what, right, before in zip(("plans", "pictures"), found, exact or found, strict=True):
            text += f", {what} {sum(right) / len(right):.1%}"
            if way:
                text += " ({:+.1%}, {:+.1%} to {:+.1%})".format(*paired(right, before))
        exact = exact or found
        print(text, flush=True)


def main() -> None:
    """Read the options and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passes", action="store_true", help="count forward passes, and time nothing")
    parser.add_argument("--runs", type=int, default=3, help="runs of which the fastest counts")
    parser.add_argument("--model", default="tiny-mmada", help="the small model: its name or folder")
    parser.add_argument("--prompts", type=int, default=2, help="prompts of every reasoning group; 0: no small model")
    parser.add_argument("--quality", type=int, default=0, help="measure strict success on so many prompts a group")
    parser.add_argument("--seeds", type=int, default=2, help="pictures a prompt for --quality; 0: plans alone")
    parser.add_argument("--ways", nargs="+", default=WAYS, metavar="WAY", help="fast ways for thoughts")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.quality:
        quality(given.model, given.ways, given.quality, given.seeds)
        return
    runs = 0 if given.passes else given.runs
    if runs:
        print(f"unit: {1000 * unit():.1f} ms for a 1024 x 1024 x 1024 float32 product on this thread")
    print(f"{'':<34}{'passes':>8}" + (f"{'ms/step':>9}{'tokens/s':>10}{'units':>9}{'official':>10}" if runs else ""))
    sizes(runs)
    if given.prompts:
        package(given.model, given.ways, runs, given.prompts)


if __name__ == "__main__":
    main()
