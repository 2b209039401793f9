"""A batch job: every row of a manifest done exactly once, by any number of workers, killed as often as it may be.

    OUT/job.json         what the job is: the manifest's digest, the model
    OUT/journal.jsonl    results in the order in which they came; only ever appended to, and the only truth
    OUT/log.jsonl        workers that came and went, and who claimed which row
    OUT/pictures/        files of finished rows
    OUT/results.jsonl    once all is done: the results in the manifest's order, the same bytes whoever did them
    OUT/pairs.jsonl      the pairs of rows that mine, if there are any

One process keeps the journal. Workers claim a row when they are idle; the row of a worker that dies is claimed again.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from limner.batch.manifest import Job, read_manifest
from limner.batch.pool import Died, Pool, Ready, opened
from limner.batch.work import Done, Setup, failed

DEATHS = 3  # of workers, before the row in their hands is given up
OnRow = Callable[[int, int, dict[str, Any]], None]  # rows done, rows in all, the result


def run(
    manifest: Path, out: Path, setup: Setup, *, workers: int = 1, ray: str = "", retry: bool = False,
    on_row: OnRow | None = None,
) -> dict[str, int]:  # fmt: skip
    """Do what is left of a manifest; returns how many rows there are and how many failed. ``retry``: do rows that
    failed again.

    Raises ValueError for a manifest that is wrong, a folder that holds another job or is in use, and a model that
    cannot be loaded; KeyboardInterrupt leaves everything as it stands.
    """
    if workers < 1:
        raise ValueError(f"--workers {workers}: give 1 or more")
    jobs, digest = read_manifest(manifest)
    out.mkdir(parents=True, exist_ok=True)
    with _alone(out):
        _claim(out, {"manifest_sha256": digest, "rows": len(jobs), "model": setup.model, "dtype": setup.dtype,
                     "threads": setup.threads, "device": setup.device.partition(":")[0]})  # fmt: skip
        done = _journal(out / "journal.jsonl")
        left = [job for job in jobs if job.id not in done or (retry and "error" in done[job.id])]
        if left:
            with opened(setup, workers, ray) as pool:
                _work(pool, left, min(workers, len(left)), out, len(jobs), on_row)
            done = _journal(out / "journal.jsonl")
        results = [done[job.id] for job in jobs]
        _write(out / "results.jsonl", results)
        _pairs(out, results)
    return {"rows": len(jobs), "failed": sum("error" in result for result in results)}


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """The folder in the hands of this process."""
    with (out / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(f"{out} is in use by another job; wait for it, or give another folder") from None
        yield


def _claim(out: Path, about: dict[str, Any]) -> None:
    path = out / "job.json"
    if not path.exists():
        _replace(path, json.dumps(about, indent=1) + "\n")
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    changed = [f"{k} was {before.get(k)!r} and is now {v!r}" for k, v in about.items() if before.get(k) != v]
    if changed:
        raise ValueError(f"{out} holds another job: {'; '.join(changed)}; give another folder")


def _replace(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.part")
    with beside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def _journal(path: Path) -> dict[str, dict[str, Any]]:
    """Results by id, the last of each. A half-written last line, of a job that was killed, is cut off."""
    if not path.exists():
        return {}
    text = path.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if len(whole) < len(text):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    found = {}
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            row = json.loads(line)
            found[row["id"]] = row
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}, line {number}: is no result of a row ({error}); take the line out") from None
    return found


def _write(path: Path, results: list[dict[str, Any]]) -> None:
    _replace(path, "".join(json.dumps(result) + "\n" for result in results))


def _pairs(out: Path, results: list[dict[str, Any]]) -> None:
    """The better and the worse of every row that mined."""
    mined = [result for result in results if "candidates" in result]
    if not mined:
        return
    from limner.parts import Task, user
    from limner.train.mining import Mining, pairs_of, write_pairs

    how = Mining()
    found = [
        pair for row in mined for pair in pairs_of(row, Task((user(row["prompt"]),), row["facts"], id=row["id"]), how)
    ]
    write_pairs(out / "pairs.jsonl", found)


def _work(pool: Pool, left: list[Job], workers: int, out: Path, rows: int, on_row: OnRow | None) -> None:
    """Hand out the rows until each has its line in the journal."""
    waiting = deque(left)
    held: dict[int, Job] = {}  # worker -> the row it claimed
    deaths: Counter[str] = Counter()
    hired = alive = 0
    number = rows - len(left)
    (out / "pictures").mkdir(exist_ok=True)
    with (out / "journal.jsonl").open("a", encoding="utf-8") as journal, (out / "log.jsonl").open("a") as log:

        def told(**about: Any) -> None:
            log.write(json.dumps(about) + "\n")
            log.flush()

        def hire() -> None:
            nonlocal hired, alive
            pool.hire(hired)
            hired, alive = hired + 1, alive + 1

        def claim(worker: int) -> None:
            if waiting:
                held[worker] = waiting.popleft()
                told(event="claim", worker=worker, id=held[worker].id)
                pool.give(worker, held[worker])

        def keep(job: Job, done: Done) -> None:
            nonlocal number
            for name, data in done.pictures.items():
                beside = out / "pictures" / f".{name}.part"
                beside.write_bytes(data)
                os.replace(beside, out / "pictures" / name)
            journal.write(json.dumps(done.result) + "\n")
            journal.flush()
            os.fsync(journal.fileno())
            number += 1
            if on_row is not None:
                on_row(number, rows, done.result)

        for _ in range(workers):
            hire()
        while waiting or held:
            event = pool.next()
            if isinstance(event, Ready):
                told(event="worker", worker=event.worker, **event.about)
                claim(event.worker)
            elif isinstance(event, Died):
                alive -= 1
                job = held.pop(event.worker, None)
                told(event="died", worker=event.worker, id=job.id if job else None, why=event.why)
                name = job.id if job else ""
                deaths[name] += 1
                if deaths[name] >= DEATHS and job is None:
                    raise ValueError(f"workers die before they begin ({event.why}); see {out / 'log.jsonl'}")
                if job is not None and deaths[name] >= DEATHS:
                    keep(job, failed(job, f"{DEATHS} workers died with this row in their hands: {event.why}"))
                elif job is not None:
                    waiting.appendleft(job)
                if len(waiting) > alive - len(held):
                    hire()
            else:
                keep(held.pop(event.worker), event.done)
                claim(event.worker)
