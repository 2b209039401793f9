"""Best of N: make N replies to every task, judge them all, keep the best (ORM in 2501.13926, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

from limner.judges.base import Judge
from limner.models.base import Model
from limner.parts import Plan, Sample, Task, Verdict
from limner.turn import rollout


def best_of(
    model: Model, tasks: Sequence[Task], plan: Plan, judge: Judge, n: int, seed: int = 0, batch: int = 64
) -> list[tuple[Sample, Verdict]]:
    """The best of ``n`` samples for each task with its verdict; reply i of task t is made from seed (seed, t, i),
    so a larger ``n`` holds the replies of a smaller one.

    Samples that could not be judged lose to all others; the first of equals wins.
    """
    if n < 1:
        raise ValueError(f"n={n} samples of each task: ask for at least 1")
    many = [task for task in tasks for _ in range(n)]
    seeds = [(seed * 1_000_003 + t) * 1_000_003 + i for t in range(len(tasks)) for i in range(n)]
    samples = rollout(model, many, plan, seeds, batch=batch)
    verdicts = judge(samples)
    if len(verdicts) != len(samples):
        raise ValueError(f"the judge gave {len(verdicts)} verdicts for {len(samples)} samples")
    best = []
    for t in range(len(tasks)):
        group = range(t * n, (t + 1) * n)
        winner = max(group, key=lambda i: (verdicts[i].score is not None, verdicts[i].score or 0.0, -i))
        best.append((samples[winner], verdicts[winner]))
    return best
