"""What verification costs: best-of-N and PARM, in one batch and one candidate after another.

    python benchmarks/verify.py [-n 20] [--model tiny-mmada] [--prompts 4] [--steps 0]

The judge is the picture world's exact reader; half-made pictures count as clear from the share ``--clear`` of the steps
on. CPU seconds of one thread, in one process, the judge's included.
"""

import argparse
import time
from dataclasses import replace

import torch

import limner
from limner.algorithms.verify.run import method, verify
from limner.algorithms.verify.search import Ledger, jobs_of
from limner.judges.scenes import scene_judge
from limner.judges.verifier import About, Judged
from limner.recipes.cot_data import world_tasks


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("-n", type=int, default=20, help="candidates")
    arguments.add_argument("--model", default="tiny-mmada")
    arguments.add_argument("--prompts", type=int, default=4)
    arguments.add_argument("--steps", type=int, default=0, help="steps of a picture (0: the model's own)")
    arguments.add_argument("--clear", type=float, default=0.5)
    given = arguments.parse_args()
    torch.set_num_threads(1)
    model = limner.load(given.model).model
    tasks = world_tasks(0, given.prompts)
    plan = tuple(replace(ask, steps=given.steps or ask.steps) for ask in model.plan(("image",)))
    judge, verifier = scene_judge(), Judged(scene_judge(), About("scenes"), clear_from=given.clear)
    print(f"{'':<28}{'row-steps':>10}{'passes':>8}{'looks':>7}{'decodes':>9}{'CPU s':>8}{'right':>7}")
    spent = {}
    for name in ("orm", "parm"):
        for label, rows in (("in one batch", given.n), ("one by one", 1)):
            ledger, begun = Ledger(), time.process_time()
            jobs = jobs_of(tasks, given.n, [0])
            if rows == 1:
                # every candidate is a search of its own; choosing among them costs nothing more
                jobs = [replace(job, seeds=(seed,)) for job in jobs for seed in job.seeds]
            found = verify(model, jobs, plan, verifier, method(name, given.n), rows=rows, ledger=ledger, views=False)
            spent[name, label] = time.process_time() - begun, ledger.row_steps
            right = sum(bool(v.score) for v in judge([f.sample for f in found])) if rows > 1 else None
            print(
                f"{f'{name}, {label}':<28}{ledger.row_steps:>10}{ledger.passes:>8}{ledger.looks:>7}{ledger.decodes:>9}"
                f"{spent[name, label][0]:>8.2f}{'' if right is None else right:>7}"
            )
    share = spent["parm", "in one batch"][1] / spent["orm", "in one batch"][1]
    faster = spent["orm", "one by one"][0] / spent["orm", "in one batch"][0]
    print(f"PARM takes {share:.0%} of best-of-{given.n}'s row-steps; one batch is {faster:.1f} times as fast")


if __name__ == "__main__":
    main()
