"""What verification is worth on the picture world: every way of choosing at every N, for one or several generators.

    python benchmarks/choosing.py base=tiny-mmada --judge runs/cot.tiny_parm/released [-n 20] [--prompts 20] [--seeds 3]

Every generator (NAME=MODEL) makes N candidates of each new composition once, the judge looks at all of them after every
step, and the exact reader says which are right; then each way of choosing is replayed on the same pictures. Prints a
table, and draws it as a picture: success by candidates, and by seconds. A stopped run goes on. ``removed`` is the share
of the first generator's failures that are gone, ``value`` is (way - random) / (oracle - random).
"""

import argparse
import json
import math
from pathlib import Path

import torch

from limner import catalog
from limner.algorithms.verify.trace import Gap
from limner.bench.choosing import Worth, looked_again, record, worth
from limner.bench.verified import Trial
from limner.judges.named import find_verifier
from limner.judges.verifier import coincidence
from limner.world import lessons

COLOURS = ("#1b6ca8", "#c8553d", "#4f772d", "#7b4b94", "#8a6d3b")
DASHES = {"none": "1 3", "random": "1 6", "orm": "6 3", "parm": "", "oracle": "2 2"}


def main() -> None:
    """Print the table, and draw it."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("generators", nargs="+", metavar="NAME=MODEL")
    arguments.add_argument("--judge", required=True, help="as of limner eval world --judge")
    arguments.add_argument("-n", type=int, default=20, help="candidates")
    arguments.add_argument("--prompts", type=int, default=20, help="new compositions a group")
    arguments.add_argument("--seeds", type=int, default=3, help="chosen pictures a prompt")
    arguments.add_argument("--groups", nargs="*", default=list(lessons.EXPLICIT))
    arguments.add_argument("--begin", type=float, default=0.25, help="share of the steps after which looking begins")
    arguments.add_argument("--until", type=float, default=1.0, help="share of the steps after which it ends")
    arguments.add_argument("--again", nargs="*", default=[], metavar="JUDGE", help="other judges of the same pictures")
    arguments.add_argument("-o", "--out", type=Path, default=Path("out/choosing"))
    given = arguments.parse_args()
    torch.set_num_threads(1)
    numbers = sorted({n for n in (4, 8, 20) if n <= given.n} | {given.n})
    found: dict[str, list[Worth]] = {}
    base = None
    head = (
        f"{'generator':<12}{'way':<8}{'N':>4}  {'success':<20}{'removed':>8}{'value':>7}{'row-steps':>11}{'looks':>7}"
    )
    print(f"{head}{'seconds':>9}")
    for text in given.generators:
        name, _, model_name = text.partition("=")
        model = catalog.load_model(model_name)
        verifier = find_verifier(given.judge, model)
        if base is None and (warning := coincidence(verifier.about, "scenes", "world")):
            print(f"({warning})")
        trial = Trial(f"{text}, judged by {given.judge}", tuple(given.groups), "new_compositions", given.prompts,
                      given.seeds)  # fmt: skip
        plan = model.plan(("image",))
        recorded = record(model, plan, verifier, trial, given.n, given.out / name, begin=given.begin, until=given.until)
        found[name] = worth(recorded, numbers=numbers)
        base = found[name][0].success.mean if base is None else base
        shown(name, found[name], base)
        for other in given.again:
            again = looked_again(recorded, model, find_verifier(other, model))
            print(f"(the same pictures, judged by {other})")
            shown(name, worth(again, ("orm",), numbers), base)
            try:
                shown(name, worth(again, ("parm",), numbers), base)
            except Gap as gap:
                print(f"(parm was not recorded for it: {gap})")
    rows = {name: [each.to_json() for each in some] for name, some in found.items()}
    (given.out / "choosing.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    (given.out / "choosing.svg").write_text(drawn(found), encoding="utf-8")


def shown(name: str, rows: list[Worth], base: float) -> None:
    """The table's lines of one generator; ``base`` is the success without verification of the first."""
    for row in rows:
        removed = (row.success.mean - base) / (1 - base) if base < 1 else math.nan
        print(
            f"{name:<12}{row.way:<8}{row.n:>4}  {row.success!s:<20}{removed:>8.2f}{row.value:>7.2f}"
            f"{row.row_steps:>11.0f}{row.looks:>7.0f}{row.seconds:>9.2f}",
            flush=True,
        )


def drawn(found: dict[str, list[Worth]]) -> str:
    """Two panels as an SVG file: success by candidates, and by seconds, both on a logarithmic scale."""
    scores = [each.success.mean for some in found.values() for each in some]
    low, high = math.floor(10 * min(scores)) / 10, min(1.0, math.ceil(10 * max(scores) + 0.1) / 10)
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" width="860" height="400" font-family="sans-serif" font-size="12">'
    ]
    parts.append('<rect width="860" height="400" fill="white"/>')
    for left, label, across in ((60, "candidates", _by_number), (470, "seconds a picture", _by_seconds)):
        values = [across(each) for some in found.values() for each in some]
        first, last = math.log(min(values)), math.log(max(values) * 1.05)
        parts.append(f'<text x="{left + 160}" y="392" text-anchor="middle">{label}</text>')
        for tenth in range(round(10 * low), round(10 * high) + 1):
            y = 340 - 300 * (tenth / 10 - low) / (high - low)
            parts.append(f'<path d="M{left} {y:.1f}h320" stroke="#ddd"/>')
            parts.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{tenth / 10:.1f}</text>')
        for tick in sorted({round(v, 1) if v < 10 else round(v) for v in values if across is _by_number}):
            x = left + 320 * (math.log(tick) - first) / (last - first)
            parts.append(f'<text x="{x:.1f}" y="360" text-anchor="middle">{tick:g}</text>')
        for (name, some), colour in zip(found.items(), COLOURS, strict=False):
            for way, dash in DASHES.items():
                mine = [each for each in some if each.way == way]
                points = [
                    (
                        left + 320 * (math.log(across(each)) - first) / (last - first),
                        340 - 300 * (each.success.mean - low) / (high - low),
                    )
                    for each in mine
                ]
                line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
                style = f'stroke="{colour}" stroke-width="2" fill="none" stroke-dasharray="{dash}"'
                parts.append(f'<polyline points="{line}" {style}/>')
                if left == 60 and points:
                    x, y = points[-1]
                    parts.append(f'<text x="{x + 4:.1f}" y="{y + 4:.1f}" fill="{colour}">{name} {way}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _by_number(each: Worth) -> float:
    return each.n


def _by_seconds(each: Worth) -> float:
    return max(1e-3, each.seconds)


if __name__ == "__main__":
    main()
