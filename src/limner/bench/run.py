"""The first half of an evaluation: what a model makes of a prompt list, written so that it can be judged again.

A run folder holds ``manifest.json`` (what was asked of which weights), ``items.jsonl`` (the prompts, with what a judge
may know), ``samples.jsonl`` (a line a sample, in order) and ``images/``. Samples are made a batch at a time and a batch
is written at once, its pictures first. A run that was stopped goes on at the first batch that is not whole, so that
what it ends with is, byte for byte, what an uninterrupted one writes. Times stand apart, in ``times.jsonl``. Several
ranks write a file each.

A ``Maker`` answers tasks: ``plain`` makes one sample for each seed, ``chosen`` the best of several by a verifier. Both
say how many passes (steps that a row took part in) a sample cost, all its candidates included.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image as pil

from limner.algorithms.verify.run import Method, verify
from limner.algorithms.verify.search import SPREAD, Ledger, jobs_of
from limner.judges.verifier import Verifier
from limner.models.base import Model
from limner.models.checkpoint import codec_of
from limner.parts import Image, PartKind, Plan, Sample, Task, user
from limner.turn import Step, rollout

VERSION = 2
Progress = Callable[[str, float], None]
Maker = Callable[[Sequence[Task], Sequence[int]], list[tuple[Sample, float]]]  # (tasks, seeds) -> samples, passes


def plain(model: Model, plan: Plan) -> Maker:
    """One sample for a seed."""

    def make(tasks: Sequence[Task], seeds: Sequence[int]) -> list[tuple[Sample, float]]:
        passes = [0.0] * len(tasks)

        def on_step(step: Step) -> None:
            for row, done in enumerate(step.state.done.tolist()):
                passes[row] += not (step.finished or done)

        samples = rollout(model, tasks, plan, seeds, batch=max(1, len(tasks)), on_step=on_step)
        return list(zip(samples, passes, strict=True))

    return make


def chosen(model: Model, plan: Plan, verifier: Verifier | None, how: Method, rows: int = 64) -> Maker:
    """The best of ``how.n`` candidates, the first of which is the one that ``plain`` makes. What the candidates of a
    batch cost is shared equally."""

    def make(tasks: Sequence[Task], seeds: Sequence[int]) -> list[tuple[Sample, float]]:
        jobs = [job for task, seed in zip(tasks, seeds, strict=True) for job in jobs_of([task], how.n, [seed], SPREAD)]
        ledger = Ledger()
        found = verify(model, jobs, plan, verifier, how, rows=rows, ledger=ledger, views=False)
        share = round((ledger.row_steps + ledger.word_steps) / len(jobs), 2)
        return [(each.sample, share) for each in found]

    return make


@dataclass(frozen=True)
class Item:
    """One prompt of a benchmark: what a judge may know of it (``facts``, JSON) and pictures that come before it."""

    id: str
    tag: str
    prompt: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    pictures: tuple[str, ...] = ()

    def task(self) -> Task:
        """What the model is asked."""
        shown = []
        for path in self.pictures:
            with pil.open(path) as picture:
                shown.append(Image(picture.convert("RGB")))
        return Task((user(*shown, self.prompt),), self.facts, (self.tag,), self.id)


@dataclass(frozen=True)
class Manifest:
    """What the samples depend on. ``items`` is the hash of the whole prompt list, ``weights`` that of the checkpoint;
    ``prompt_set`` names the data where it is not the package's own; ``plan`` is the sampler: steps, guidance,
    temperature and limits of every part. The report has the judge."""

    benchmark: str
    items: str
    model: str
    weights: str
    seeds: int
    thinking: bool
    plan: tuple[dict[str, Any], ...]
    count: int
    batch: int = 16
    prompt_set: str = "original"
    candidates: int = 1
    verify: str = "none"
    verifier: str = ""
    version: int = VERSION

    def to_json(self) -> str:
        """Readable, the same text for the same manifest."""
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"


def digest_of_items(items: Sequence[Item]) -> str:
    """SHA-256 over ids, tags, prompts and facts, in order, and the bytes of their pictures."""
    hashed = hashlib.sha256()
    for item in items:
        shown = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in item.pictures]
        row = [item.id, item.tag, item.prompt, dict(item.facts), shown]
        hashed.update(json.dumps(row, sort_keys=True).encode() + b"\n")
    return hashed.hexdigest()


def digest_of_weights(folder: Path) -> str:
    """SHA-256 over the names and contents of a checkpoint's configuration and weight files; those of a codec that it
    shares with other models count as its own."""
    hashed = hashlib.sha256()
    files = {p: p.relative_to(folder) for p in _weights(folder)}
    codec = codec_of(folder)
    if codec is not None:
        files |= {p: Path("codec", p.relative_to(codec)) for p in _weights(codec)}
    if not files:
        raise ValueError(f"{folder} holds no weights to name; give a checkpoint folder")
    for path, name in sorted(files.items(), key=lambda each: each[1]):
        hashed.update(str(name).encode())
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                hashed.update(chunk)
    return hashed.hexdigest()


def _weights(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.suffix in (".json", ".safetensors", ".bin", ".pth")]


def make(
    maker: Maker,
    items: Sequence[Item],
    manifest: Manifest,
    folder: Path,
    *,
    rank: int = 0,
    ranks: int = 1,
    progress: Progress | None = None,
) -> None:
    """Make all samples of a run (or of one rank of it) that are not there yet.

    Raises ValueError where the folder holds another run, and says in what they differ.
    """
    if not 0 <= rank < ranks:
        raise ValueError(f"rank {rank} of {ranks} does not exist; ranks are counted from 0")
    _claim(folder, manifest, items, rank)
    pairs = [(item, seed) for item in items for seed in range(manifest.seeds)]
    batches = [pairs[i : i + manifest.batch] for i in range(0, len(pairs), manifest.batch)][rank::ranks]
    name = "samples.jsonl" if ranks == 1 else f"samples-{rank}-of-{ranks}.jsonl"
    done = _whole(folder / name, manifest.batch, batches)
    times = folder / name.replace("samples", "times")
    cut(times)
    for number, batch in enumerate(batches):
        if number < done:
            continue
        if progress:
            progress(batch[0][0].tag, number / len(batches))
        begun = time.perf_counter()
        made = maker([item.task() for item, _ in batch], [seed for _, seed in batch])
        spent = {"batch": number, "rank": f"{rank} of {ranks}", "samples": len(batch)}
        spent["seconds"] = time.perf_counter() - begun
        rows = [_row(folder, item, seed, *each) for (item, seed), each in zip(batch, made, strict=True)]
        # the time first: a batch that is written has one, a batch that is made again the last one
        _append(times, [spent])
        _append(folder / name, rows)


def cut(path: Path) -> None:
    """Take a torn last line, of a run that was killed, off a file of lines."""
    if path.exists():
        with path.open("r+b") as file:
            file.truncate(file.read().rfind(b"\n") + 1)


def _append(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(json.dumps(row, sort_keys=True) + "\n" for row in rows))
        file.flush()
        os.fsync(file.fileno())


def _claim(folder: Path, manifest: Manifest, items: Sequence[Item], rank: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "images").mkdir(exist_ok=True)
    path = folder / "manifest.json"
    if not path.exists():
        rows = [json.dumps({**asdict(item), "facts": dict(item.facts)}, sort_keys=True) for item in items]
        write_whole(folder / "items.jsonl", "".join(row + "\n" for row in rows), f".{rank}")
        write_whole(path, manifest.to_json(), f".{rank}")
        return
    there, wanted = json.loads(path.read_text(encoding="utf-8")), json.loads(manifest.to_json())
    other = [f"{k} ({there.get(k)!r:.60} there, {wanted[k]!r:.60} now)" for k in wanted if there.get(k) != wanted[k]]
    if other:
        raise ValueError(f"{folder} holds another run, which differs in {', '.join(other)}; give another folder")


def write_whole(path: Path, text: str, mark: str = "") -> None:
    """Write a file so that it is there whole or not at all. ``mark`` keeps apart who may write it at the same time."""
    partial = path.with_name(f".{path.name}.partial{mark}")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def _whole(path: Path, size: int, batches: Sequence[Sequence[tuple[Item, int]]]) -> int:
    """How many batches are written whole; what comes after them is cut off."""
    if not path.exists():
        return 0
    lines = path.read_bytes().split(b"\n")[:-1]  # what follows the last line's end is torn
    done, kept = 0, 0
    for batch in batches:
        if kept + len(batch) > len(lines):
            break
        done, kept = done + 1, kept + len(batch)
    with path.open("r+b") as file:
        file.truncate(sum(len(line) + 1 for line in lines[:kept]))
    return done


def _row(folder: Path, item: Item, seed: int, sample: Sample, passes: float) -> dict[str, Any]:
    row: dict[str, Any] = {"id": item.id, "tag": item.tag, "seed": seed, "prompt": item.prompt, "passes": passes}
    row |= {"thinking": sample.thinking, "text": sample.text, "image": None}
    if sample.image is not None:
        clean = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in item.id)
        mark = hashlib.sha256(item.id.encode()).hexdigest()[:6]
        row["image"] = f"images/{clean[:60]}-{mark}-{seed}.png"
        partial = folder / "images" / f".{clean[:60]}-{mark}-{seed}.png"
        sample.image.convert("RGB").save(partial, format="PNG")
        os.replace(partial, folder / row["image"])
    return row


def wish(model: Model, kinds: Sequence[PartKind], *, steps: int | None, guidance: float | None) -> Plan:
    """The model's own plan for these parts; ``steps`` and ``guidance`` replace its own for the last part."""
    *before, last = model.plan(kinds)
    last = replace(last, steps=last.steps if steps is None else steps)
    return (*before, replace(last, guidance=last.guidance if guidance is None else guidance))


def described(plan: Plan) -> tuple[dict[str, Any], ...]:
    """A plan as plain values for the manifest."""
    return tuple({k: v for k, v in asdict(ask).items() if k not in ("known", "mask")} for ask in plan)


def manifest_of(folder: Path) -> dict[str, Any]:
    """The manifest of a run folder. Raises ValueError where there is none."""
    path = folder / "manifest.json"
    if not path.is_file():
        raise ValueError(
            f"{folder} is no run folder: it holds no manifest.json; make one with limner eval MODEL --suite"
        )
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value


def items_of(folder: Path) -> list[Item]:
    """The prompts of a run folder."""
    manifest_of(folder)
    rows = [json.loads(line) for line in (folder / "items.jsonl").read_text(encoding="utf-8").split("\n")[:-1]]
    return [Item(**{**row, "pictures": tuple(row["pictures"])}) for row in rows]


def rows_of(folder: Path) -> Iterator[dict[str, Any]]:
    """The samples of a run folder, of all ranks. A torn last line of a run that was stopped is left out."""
    for path in sorted(folder.glob("samples*.jsonl")):
        for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
            yield json.loads(line)


def cost_of(folder: Path) -> dict[str, float]:
    """Passes and seconds a sample, and seconds in all: the time of a batch that was made again is its last one. Seconds
    of batches made by several ranks at once are added."""
    lines = [line for path in sorted(folder.glob("times*.jsonl")) for line in path.read_text().split("\n")[:-1]]
    notes = {(note["rank"], note["batch"]): note for note in map(json.loads, lines)}
    seconds, samples = (sum(note[name] for note in notes.values()) for name in ("seconds", "samples"))
    passes = [row["passes"] for row in rows_of(folder) if row.get("passes") is not None]
    return {
        "seconds": round(seconds, 3),
        "seconds_per_sample": round(seconds / samples, 4) if samples else 0.0,
        "passes_per_sample": round(sum(passes) / len(passes), 2) if passes else 0.0,
    }
