"""What the training loop costs beside a bare forward, backward and step of the same model on the same batches.

    python benchmarks/train.py [--recipe NAME] [--steps N] [--rounds N] [--dtype NAME]

Processor time of one thread, float32 unless asked otherwise. Both do the same updates of a recipe's run from the same
weights; batches are made before, outside the count. The loop also checks and clips the gradient, averages the weights,
seeds every step, gathers and writes numbers (every step here), and watches for signals; its first two steps and its
last checkpoint are not counted, and of the bare way the first two are not either. Rounds take turns; the median of
their ratios is told.
"""

import argparse
import json
import statistics
import tempfile
import time
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch

from limner.recipes import recipe
from limner.train.data import seed_of
from limner.train.fit import fit
from limner.train.run import DTYPES

WARM = 2  # steps that are not counted


def bare(run, batches):
    """Seconds of forward, backward and step of the updates after the first ones."""
    torch.manual_seed(run.seed)
    model = run.build().train()
    optimizers = run.optimizer(model, run.lr, run.weight_decay)
    factor = run.factor()
    begin = 0.0
    for step, batch in enumerate(batches):
        if step == WARM:
            begin = time.process_time()
        optimizers.zero_grad()
        optimizers.scale(factor(step))
        rng = torch.Generator().manual_seed(seed_of(run.seed, step, "objective"))
        with nullcontext() if run.dtype == "float32" else torch.autocast("cpu", DTYPES[run.dtype]):
            loss, _ = run.objective(model, batch, rng)
        loss.backward()
        optimizers.step()
    return time.process_time() - begin


def loop(run, batches):
    """Seconds that the loop took for the same updates, by its own numbers."""
    made = replace(run, batches=lambda seed, first, size: iter(batches), prefetch=0, log_every=1, finish=None)
    with tempfile.TemporaryDirectory() as folder:
        fit(replace(made, checkpoint_every=run.steps, sample_every=0), folder, progress=False)
        lines = [json.loads(line) for line in (Path(folder) / "numbers.jsonl").read_text().splitlines()]
    return lines[-1]["cpu_seconds"] - lines[WARM - 1]["cpu_seconds"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--recipe", default="mmada.tiny_stage_one")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", default="float32", choices=sorted(DTYPES))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    run = replace(recipe(asked.recipe), steps=asked.steps + WARM, dtype=asked.dtype, threads=1)
    run.build()  # what is computed once is computed now
    batches = list(islice(run.batches(run.seed, 0, run.batch_size), run.steps))
    ratios = []
    for number in range(asked.rounds):
        ways = {"loop": loop, "bare": bare} if number % 2 else {"bare": bare, "loop": loop}
        took = {name: way(run, batches) / asked.steps for name, way in ways.items()}
        ratios.append(took["bare"] / took["loop"])
        print(f"bare {took['bare']:.3f} s a step, loop {took['loop']:.3f} s, share {ratios[-1]:.1%}", flush=True)
    print(f"{asked.recipe}: the loop has {statistics.median(ratios):.1%} of the bare throughput (90% wanted)")


if __name__ == "__main__":
    main()
