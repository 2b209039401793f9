"""What choosing costs the generator: best-of-N and PARM, in one batch and one candidate after another.

    python benchmarks/verify.py [-n 20] [--model tiny-mmada] [--dtype float32] [--prompts 2] [--steps 0]

The judge is instant and reads codes: half-made pictures are clear from the share ``--clear`` of the steps on, and the
share ``--promising`` of them is. So what is counted and timed is the generator; only chosen pictures are decoded. As
published: one candidate after another, each to its end. CPU seconds of one thread, in one process.
"""

import argparse
import time
import zlib
from dataclasses import replace

import torch

import limner
from limner.algorithms.verify.run import Method, method, verify
from limner.algorithms.verify.search import Job, Ledger, jobs_of
from limner.judges.verifier import About, Opinion
from limner.recipes.cot_data import world_tasks


class Instant:
    """Answers by chance, the same for the same candidate."""

    about = About("instant")

    def __init__(self, clear: float, promising: float) -> None:
        self.clear, self.promising = clear, promising

    def reads_codes(self, model: object) -> bool:
        """Pictures are not looked at."""
        return True

    def __call__(self, question: str, samples: list) -> list[Opinion]:
        if question == "clarity":
            return [Opinion(float(s.progress >= self.clear)) for s in samples]
        chances = [zlib.crc32(f"{question} {s.task.id} {s.seed}".encode()) / 2**32 for s in samples]
        if question == "potential":
            return [Opinion(float(chance < self.promising)) for chance in chances]
        return [Opinion(chance) for chance in chances]


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("-n", type=int, default=20, help="candidates")
    arguments.add_argument("--model", default="tiny-mmada")
    arguments.add_argument("--dtype", default="float32", help="of the network: float32 or bfloat16")
    arguments.add_argument("--prompts", type=int, default=2)
    arguments.add_argument("--steps", type=int, default=0, help="steps of a picture (0: the model's own)")
    arguments.add_argument("--clear", type=float, default=0.5)
    arguments.add_argument("--promising", type=float, default=0.25)
    given = arguments.parse_args()
    torch.set_num_threads(1)
    model = limner.load(given.model, dtype=given.dtype).model
    tasks = world_tasks(0, given.prompts)
    plan = tuple(replace(ask, steps=given.steps or ask.steps) for ask in model.plan(("image",)))
    verifier = Instant(given.clear, given.promising)
    print(f"{'':<24}{'row-steps':>10}{'passes':>8}{'looks':>7}{'decodes':>9}{'generator s':>13}{'all s':>8}")
    together, apart = jobs_of(tasks, given.n, [0]), []
    for job in together:
        # every candidate a search of its own
        apart += [replace(job, seeds=(seed,)) for seed in job.seeds]
    best, pruned = method("orm", given.n), method("parm", given.n)
    published = method("parm", given.n, official=True)

    def timed(label: str, jobs: list[Job], how: Method, rows: int) -> Ledger:
        ledger, begun, clock = Ledger(), time.process_time(), time.process_time
        verify(model, jobs, plan, verifier, how, rows=rows, ledger=ledger, views=False, clock=clock)
        print(
            f"{label:<24}{ledger.row_steps:>10}{ledger.passes:>8}{ledger.looks:>7}{ledger.decodes:>9}"
            f"{ledger.generator_seconds:>13.2f}{time.process_time() - begun:>8.2f}",
            flush=True,
        )
        return ledger

    timed("(warming up)", together[:1], method("none", 1), 1)
    batch = timed("orm, in one batch", together, best, given.n)
    single = timed("orm, one by one", apart, best, 1)
    parm = timed("parm, in one batch", together, pruned, given.n)
    official = timed("parm, as published", together, published, given.n)
    print(
        f"PARM takes {parm.row_steps / batch.row_steps:.0%} of best-of-{given.n}'s row-steps\n"
        f"one batch of best-of-{given.n} is {single.generator_seconds / batch.generator_seconds:.1f} times as fast as "
        f"its candidates one by one\n"
        f"PARM in one batch is {official.generator_seconds / parm.generator_seconds:.1f} times as fast as the "
        "published way: one by one, each to its end"
    )


if __name__ == "__main__":
    main()
