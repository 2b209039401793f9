"""What stage two brings tiny MindOmni: pictures drawn at once and after thinking, of a model before and after it.

    python benchmarks/mindomni_stages.py runs/mindomni.tiny_stage_one/released runs/mindomni.tiny_stage_two/released

Both draw the same new compositions of the explicit and of the reasoning groups, the chains by the likeliest words.
Prints the share of pictures that are right with 95 % intervals; ``--plot`` draws it.
"""

import argparse
from pathlib import Path

import torch

from limner.bench import world
from limner.bench.stats import share
from limner.judges.scenes import scene_judge
from limner.models.mindomni.model import MindOmni
from limner.turn import rollout
from limner.world import lessons

WAYS = {"at once": ("image",), "after thinking": ("thinking", "image")}
GROUPS = {"explicit": lessons.EXPLICIT, "reasoning": lessons.REASONING}


@torch.no_grad()
def measured(folder, prompts, seed):
    """The share of right pictures by way and kind of prompt."""
    model, found = MindOmni.load(folder).eval(), {}
    model.rows_apart = False
    for way, kinds in WAYS.items():
        for name, groups in GROUPS.items():
            tasks = [task for group in groups for task in world.tasks(group, "new_compositions", prompts, seed)]
            samples = rollout(model, tasks, model.plan(kinds), list(range(len(tasks))), batch=64)
            found[way, name] = share([[verdict.score or 0.0] for verdict in scene_judge()(samples)])
    return found


def draw(found, out):
    """Bars of both models, side by side."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for number, (model, shares) in enumerate(found.items()):
        places = [place + 0.4 * number for place in range(len(shares))]
        spread = [[one.mean - one.low for one in shares.values()], [one.high - one.mean for one in shares.values()]]
        axis.bar(places, [one.mean for one in shares.values()], 0.38, yerr=spread, label=model)
    axis.set_xticks([place + 0.2 for place in range(len(shares))], [f"{name}\n{way}" for way, name in shares])
    axis.set_ylabel("pictures that are right (95 % intervals)")
    axis.legend()
    figure.savefig(out, dpi=80)


def main():
    """Measure both, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("one", type=Path, help="what stage one released")
    parser.add_argument("two", type=Path, help="what stage two released")
    parser.add_argument("--prompts", type=int, default=30, help="new compositions a group")
    parser.add_argument("--test-seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--plot", type=Path, help="draw it here (needs matplotlib: limner[report])")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    folders = {"stage one": given.one, "stages one and two": given.two}
    found = {name: measured(folder, given.prompts, given.test_seed) for name, folder in folders.items()}
    print(f"{'':<28}" + "".join(f"{name:<22}" for name in found).rstrip())
    for way, name in next(iter(found.values())):
        print(f"{name + ', ' + way:<28}" + "".join(f"{shares[way, name]!s:<22}" for shares in found.values()).rstrip())
    if given.plot:
        draw(found, given.plot)


if __name__ == "__main__":
    main()
