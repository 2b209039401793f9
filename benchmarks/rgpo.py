"""What RGPO brings tiny MindOmni, and what each of its choices is worth: variants trained from one model and measured.

    python benchmarks/rgpo.py runs/mindomni.tiny_stage_two/released [--seeds 3] [--updates 150] [--only default ...]

Every variant differs from the default in one thing and is trained by ``mindomni.tiny_stage_three`` with as many
rollouts. Then all, and the model before, think and draw the same new compositions of the reasoning groups, and half as
many of the explicit ones. Prints a table with 95 % intervals over prompts; ``--plot`` draws success by variant, and by
the length of the chain. A stopped run goes on; what is measured already is not measured again.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

from limner.bench import world
from limner.bench.stats import paired, share
from limner.judges.scenes import planned, scene_judge
from limner.models.mindomni.model import MindOmni
from limner.recipes import tiny_mindomni as recipes
from limner.recipes.mindomni import form
from limner.train.fit import fit
from limner.turn import rollout
from limner.world import lessons

SPLIT = "new_compositions"
REWARDS = recipes.REWARDS
VARIANTS = {
    "default": {},
    "text beta 0": {"settings": replace(REWARDS, text_beta=0.0)},
    "text beta x10": {"settings": replace(REWARDS, text_beta=10 * REWARDS.text_beta)},
    "picture beta 0": {"settings": replace(REWARDS, picture_beta=0.0)},
    "picture beta x10": {"settings": replace(REWARDS, picture_beta=10 * REWARDS.picture_beta)},
    "group 2": {"settings": replace(REWARDS, group=2)},
    "group 8": {"settings": replace(REWARDS, group=8)},
    "format alone": {"consistency": 0.0, "scene": 0.0},
    "consistency alone": {"form_weight": 0.0, "scene": 0.0},
    "format, consistency": {"scene": 0.0},
}


def trained(name, seed, given):
    """The released folder of a variant's run."""
    choices = dict(VARIANTS[name])
    rollouts = REWARDS.group * recipes.PROMPTS
    prompts = rollouts // choices.get("settings", REWARDS).group
    run = recipes.tiny_stage_three(given.start, prompts=prompts, clip=given.clip, **choices)
    run = replace(run, steps=given.updates, seed=seed, threads=given.threads, sample_every=0)
    return fit(run, given.out / f"{name.replace(' ', '-')}-{seed}", progress=False).released


@torch.no_grad()
def measured(folder, prompts, seed, temperature, steps=0):
    """Scores of every prompt by group: the picture, the chain's plan and its form, and the chain's length in words.

    Pictures are drawn as the model does, or in ``steps`` without guidance, as RGPO draws.
    """
    model, found = MindOmni.load(folder).eval(), {}
    model.rows_apart = False
    for group in (*lessons.REASONING, *lessons.EXPLICIT):
        tasks = world.tasks(group, SPLIT, prompts if group in lessons.REASONING else max(1, prompts // 2), seed)
        thinking, image = model.plan(["thinking", "image"])
        image = replace(image, steps=steps, guidance=0.0) if steps else image
        plan = (replace(thinking, temperature=temperature), image)
        samples = rollout(model, tasks, plan, list(range(len(tasks))), batch=50)
        found[group] = {
            name: [verdict.score or 0.0 for verdict in judge(samples)]
            for name, judge in (("picture", scene_judge()), ("plan", planned()), ("format", form(model)))
        }
        found[group]["length"] = [len((sample.thinking or "").split()) for sample in samples]
    asked, _ = world._understand(model, 4 * prompts, seed, False)
    return {"groups": found, "questions": asked.to_json()}


def joined(measures, groups, name):
    """Scores [prompt][training seed]."""
    every = [[score for group in groups for score in one["groups"][group][name]] for one in measures]
    return [list(row) for row in zip(*every, strict=True)]


def table(rows):
    """The lines: what every variant reaches, and how far it is from the model before."""
    before = joined(rows["before"], lessons.REASONING, "picture")
    head = f"{'':<21}{'reasoning':<20}{'from before':<24}{'plans':>6}{'explicit':>22}{'format':>8}"
    yield f"{head}{'questions':>11}{'words':>7}"
    for name, measures in rows.items():
        pictures = joined(measures, lessons.REASONING, "picture")
        gain = paired([sum(row) / len(row) for row in pictures], [row[0] for row in before])
        moved = "" if name == "before" else f"{gain[0]:+.3f} ({gain[1]:+.3f} to {gain[2]:+.3f})"
        every = (*lessons.REASONING, *lessons.EXPLICIT)
        plans, form_, words = (
            share([[value / scale for value in row] for row in joined(measures, groups, part)])
            for part, groups, scale in (("plan", lessons.REASONING, 1), ("format", every, 1), ("length", every, 100))
        )
        asked = sum(one["questions"]["mean"] for one in measures) / len(measures)
        yield (
            f"{name:<21}{share(pictures)!s:<20}{moved:<24}{plans.mean:>6.3f}"
            f"{share(joined(measures, lessons.EXPLICIT, 'picture'))!s:>22}{form_.mean:>8.3f}{asked:>11.3f}"
            f"{100 * words.mean:>7.1f}"
        )


def draw(rows, out):
    """Success by variant, and by the chain's length before and after."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for place, measures in enumerate(rows.values()):
        one = share(joined(measures, lessons.REASONING, "picture"))
        left.errorbar(one.mean, -place, xerr=[[one.mean - one.low], [one.high - one.mean]], fmt="o", color="#1b6ca8")
    left.set_yticks([-place for place in range(len(rows))], list(rows))
    left.set_xlabel("pictures of the reasoning groups that are right (95 % intervals)")
    edges = (0, 6, 8, 10, 12, 15, 24)
    for number, name in enumerate(name for name in ("before", "default") if name in rows):
        found = []
        for place, (low, high) in enumerate(zip(edges, edges[1:], strict=False)):
            scores = [
                [score]
                for one in rows[name]
                for group in lessons.REASONING
                for score, length in zip(one["groups"][group]["picture"], one["groups"][group]["length"], strict=True)
                if low < length <= high
            ]
            if len(scores) >= 10:
                found.append((place + 0.15 * number, share(scores)))
        spread = [[one.mean - one.low for _, one in found], [one.high - one.mean for _, one in found]]
        right.errorbar([at for at, _ in found], [one.mean for _, one in found], yerr=spread, fmt="o", label=name)
    right.set_xticks(
        range(len(edges) - 1), [f"{low + 1} to {high}" for low, high in zip(edges, edges[1:], strict=False)]
    )
    right.set_xlabel("words of the chain (lengths of ten chains or more)")
    right.set_ylabel("pictures that are right")
    right.legend()
    figure.savefig(out, dpi=80)


def main():
    """Train what is missing, measure it, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("start", type=Path, help="what stage two released")
    parser.add_argument("--clip", type=Path, default=recipes.CLIP, help="what mindomni.tiny_clip released")
    parser.add_argument("--only", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--seeds", type=int, default=1, help="runs of each variant")
    parser.add_argument("--updates", type=int, default=150)
    parser.add_argument("--prompts", type=int, default=60, help="new compositions a reasoning group")
    parser.add_argument("--test-seed", type=int, default=0)
    parser.add_argument("--temperature", type=float, default=1.0, help="of chains that are measured; RGPO trains at 1")
    parser.add_argument("--steps", type=int, default=0, help="of pictures that are measured, without guidance (0: own)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("-o", "--out", type=Path, default=Path("out/rgpo"))
    parser.add_argument("--plot", type=Path, help="draw both pictures here (needs matplotlib: limner[report])")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    given.out.mkdir(parents=True, exist_ok=True)
    rows = {}
    for name in ("before", *given.only):
        rows[name] = []
        for seed in range(1 if name == "before" else given.seeds):
            asked = f"{given.prompts}-{given.test_seed}-{given.temperature:g}" + f"-{given.steps}" * bool(given.steps)
            file = given.out / f"{name.replace(' ', '-')}-{seed}-{asked}.json"
            if not file.is_file():
                folder = given.start if name == "before" else trained(name, seed, given)
                found = measured(folder, given.prompts, given.test_seed, given.temperature, given.steps)
                text = json.dumps(found)
                beside = file.with_suffix(".partial")
                beside.write_text(text, encoding="utf-8")
                beside.replace(file)
            rows[name].append(json.loads(file.read_text(encoding="utf-8")))
    print("\n".join(table(rows)))
    if given.plot:
        draw(rows, given.plot)


if __name__ == "__main__":
    main()
