"""Draws numbers of runs as curves: python docs/make_curves.py OUT.svg --number think_plan "label=FOLDER,FOLDER" ...

Each label is one curve: the mean over its runs (seeds), and a band from the lowest to the highest. ``--mean 5`` smooths
every run by a running mean of five lines. Needs ``pip install limner[report]``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("svg")

import matplotlib.pyplot as plt
import numpy as np


def numbers(folder: Path, name: str, mean: int) -> tuple[np.ndarray, np.ndarray]:
    """(steps, values) of a run's ``numbers.jsonl``."""
    lines = [json.loads(line) for line in (folder / "numbers.jsonl").read_text().splitlines()]
    some = [(line["step"], line[name]) for line in lines if name in line]
    if len(some) < mean:
        raise SystemExit(f"{folder} has {len(some)} lines with {name}; --mean {mean} wants as many at least")
    steps, values = np.array(some, dtype=float).T
    kernel = np.ones(mean) / mean
    return np.convolve(steps, kernel, "valid"), np.convolve(values, kernel, "valid")


def main() -> None:
    """Draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("runs", nargs="+", help="LABEL=FOLDER[,FOLDER ...]")
    parser.add_argument("--number", required=True)
    parser.add_argument("--title", default="")
    parser.add_argument("--mean", type=int, default=1)
    asked = parser.parse_args()
    plt.rcParams["svg.hashsalt"] = "limner"  # the same runs give the same file
    figure, axes = plt.subplots(figsize=(6.4, 3.6))
    for one in asked.runs:
        label, _, folders = one.partition("=")
        found = [numbers(Path(folder), asked.number, asked.mean) for folder in folders.split(",")]
        length = min(len(steps) for steps, _ in found)
        steps, rows = found[0][0][:length], np.stack([values[:length] for _, values in found])
        axes.plot(steps, rows.mean(axis=0), label=f"{label} ({len(rows)} seeds)" if len(rows) > 1 else label)
        axes.fill_between(steps, rows.min(axis=0), rows.max(axis=0), alpha=0.2)
    axes.set_xlabel("updates")
    axes.set_ylabel(asked.title or asked.number)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(asked.out, metadata={"Date": None})


if __name__ == "__main__":
    main()
