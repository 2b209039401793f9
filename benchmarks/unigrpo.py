"""What UniGRPO brings tiny MMaDA: three runs from one model of stage two, all measured on new compositions.

    python benchmarks/unigrpo.py runs/mmada.tiny_stage_two/released [--seeds 3] [--updates 150] [--plot FILE]

Trains by ``mmada.tiny_unigrpo``, then has every model, and the one before, think and draw the same prompts: thoughts by
the likeliest word, pictures as the model draws them. Prints a table with 95 % intervals over prompts; ``--plot`` draws
how many thoughts of the training prompts are right by update, and what was measured. A stopped run goes on; what is
measured already is not measured again.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch
from rgpo import joined, table

from limner.bench import world
from limner.bench.stats import share
from limner.judges.scenes import planned, scene_judge
from limner.judges.words import well_formed
from limner.models.mmada.model import MMaDA
from limner.recipes import tiny_unigrpo as recipes
from limner.train.fit import fit
from limner.turn import rollout
from limner.world import lessons

SPLIT = "new_compositions"


def trained(seed, given):
    """The folder of a run, which is gone on with."""
    run = replace(recipes.tiny_unigrpo(given.start), steps=given.updates, seed=seed, threads=given.threads)
    run = replace(run, sample_every=0, dtype=given.dtype)
    return fit(run, given.out / f"seed-{seed}", progress=False)


@torch.no_grad()
def measured(folder, prompts, seed, temperature):
    """Scores of every prompt by group: the picture, the thought's plan and form, and the thought's length in words."""
    model, found = MMaDA.load(folder).eval(), {}
    form = well_formed(recipes.closed(model))
    for group in (*lessons.REASONING, *lessons.EXPLICIT):
        tasks = world.tasks(group, SPLIT, prompts if group in lessons.REASONING else max(1, prompts // 2), seed)
        thinking, image = model.plan(["thinking", "image"])
        plan = (replace(thinking, temperature=temperature, fast=recipes.FAST), image)
        samples = rollout(model, tasks, plan, list(range(len(tasks))), batch=100)
        found[group] = {
            name: [verdict.score or 0.0 for verdict in judge(samples)]
            for name, judge in (("picture", scene_judge()), ("plan", planned()), ("format", form))
        }
        found[group]["length"] = [len((sample.thinking or "").split()) for sample in samples]
    asked, _ = world._understand(model, 4 * prompts, seed, False)
    return {"groups": found, "questions": asked.to_json()}


def draw(rows, runs, out, window=10):
    """Right thoughts of training prompts by update, and success before and after."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for seed, run in enumerate(runs):
        lines = [json.loads(line) for line in (run / "numbers.jsonl").read_text().splitlines()]
        latest = [lines[max(0, i + 1 - window) : i + 1] for i in range(len(lines))]
        means = [sum(line["think_plan"] for line in some) / len(some) for some in latest]
        left.plot([line["step"] for line in lines], means, label=f"seed {seed}")
    left.set_xlabel(f"update (means of the last {window} rounds)")
    left.set_ylabel("thoughts of training prompts that are right")
    left.legend()
    for place, measures in enumerate(rows.values()):
        for shift, part in ((-0.1, "plan"), (0.1, "picture")):
            one = share(joined(measures, lessons.REASONING, part))
            spread = [[one.mean - one.low], [one.high - one.mean]]
            colour = {"plan": "#1b6ca8", "picture": "#d1495b"}[part]
            named = {"plan": "thoughts", "picture": "pictures"}[part] if not place else None
            right.errorbar(place + shift, one.mean, yerr=spread, fmt="o", color=colour, label=named)
    right.set_xticks(range(len(rows)), list(rows))
    right.set_ylabel("right, new compositions (95 % intervals)")
    right.legend(loc="upper left")
    figure.savefig(out, dpi=80)


def main():
    """Train what is missing, measure it, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("start", type=Path, help="what stage two released")
    parser.add_argument("--seeds", type=int, default=3, help="runs")
    parser.add_argument("--updates", type=int, default=150)
    parser.add_argument("--prompts", type=int, default=60, help="new compositions a reasoning group")
    parser.add_argument("--test-seed", type=int, default=0)
    parser.add_argument("--temperature", type=float, default=0.0, help="of thoughts that are measured")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", default="bfloat16", help="in which the updates compute")
    parser.add_argument("-o", "--out", type=Path, default=Path("out/unigrpo"))
    parser.add_argument("--plot", type=Path, help="draw both pictures here (needs matplotlib: limner[report])")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    given.out.mkdir(parents=True, exist_ok=True)
    rows, runs = {"before": [given.start]}, []
    for seed in range(given.seeds):
        result = trained(seed, given)
        runs.append(result.folder)
        rows[f"seed {seed}"] = [result.released]
    rows["all"] = [folder for name, (folder,) in rows.items() if name != "before"]
    found = {}
    for name, folders in rows.items():
        found[name] = []
        for folder in folders:
            about = f"{given.prompts}-{given.test_seed}-{given.temperature:g}"
            file = given.out / f"{'before' if folder == given.start else folder.parent.name}-{about}.json"
            if not file.is_file():
                beside = file.with_suffix(".partial")
                text = json.dumps(measured(folder, given.prompts, given.test_seed, given.temperature))
                beside.write_text(text, encoding="utf-8")
                beside.replace(file)
            found[name].append(json.loads(file.read_text(encoding="utf-8")))
    print("\n".join(table(found)))
    if given.plot:
        draw({name: one for name, one in found.items() if name != "all"}, runs, given.plot)


if __name__ == "__main__":
    main()
