"""Workers in processes of this host, or as actors of a Ray cluster; the job sees no difference.

A pool hires workers, gives each one row at a time, and tells what became of it. A worker that dies takes nothing with
it but the row it was given.
"""

from __future__ import annotations

import multiprocessing
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from limner.batch.manifest import Job
from limner.batch.work import Done, Setup, Worker

STARTS = 3  # of a cluster of one's own


@dataclass(frozen=True)
class Ready:
    """A worker has loaded its model; ``about`` is where it runs."""

    worker: int
    about: dict[str, Any]


@dataclass(frozen=True)
class Finished:
    """A worker has done the row it was given."""

    worker: int
    done: Done


@dataclass(frozen=True)
class Died:
    """A worker is gone."""

    worker: int
    why: str


Event = Ready | Finished | Died


class Pool(ABC):
    """Workers by number. One event comes for every `hire` and every `give`."""

    @abstractmethod
    def hire(self, worker: int) -> None:
        """Begin a worker of that number."""

    @abstractmethod
    def give(self, worker: int, job: Job) -> None:
        """Give a worker that is idle its next row."""

    @abstractmethod
    def next(self) -> Event:
        """Wait for what happens next. Raises ValueError where a worker cannot load its model."""

    @abstractmethod
    def close(self) -> None:
        """Let all workers go."""


class Desk:
    """A worker that says what keeps it from beginning, in place of dying of it."""

    def __init__(self, setup: Setup) -> None:
        self.worker: Worker | None = None
        try:
            self.worker = Worker(setup)
        except Exception as error:  # told, and ends the job
            self.wrong = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"

    def begin(self) -> dict[str, Any] | str:
        """Where the worker runs, or what is wrong."""
        return self.worker.whoami() if self.worker is not None else self.wrong

    def do(self, job: Job) -> Done:
        """A row's result."""
        assert self.worker is not None
        return self.worker.do(job)


def _event(worker: int, said: Done | dict[str, Any] | str) -> Event:
    if isinstance(said, str):
        raise ValueError(said)
    return Finished(worker, said) if isinstance(said, Done) else Ready(worker, said)


def _serve(pipe: Connection, setup: Setup) -> None:
    """A worker's process: row after row until the pipe is closed."""
    desk = Desk(setup)
    pipe.send(desk.begin())
    while desk.worker is not None:
        try:
            pipe.send(desk.do(pipe.recv()))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return  # the job is over, or gone


class Processes(Pool):
    """Workers that are processes of this host."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.spawn = multiprocessing.get_context("spawn")
        self.pipes: dict[int, Connection] = {}
        self.processes: dict[int, Any] = {}

    def hire(self, worker: int) -> None:
        here, there = self.spawn.Pipe()
        process = self.spawn.Process(target=_serve, args=(there, self.setup), name=f"worker {worker}", daemon=True)
        process.start()
        there.close()
        self.pipes[worker], self.processes[worker] = here, process

    def give(self, worker: int, job: Job) -> None:
        try:
            self.pipes[worker].send(job)
        except OSError:
            return  # it is gone, which `next` will see

    def next(self) -> Event:
        (ready, *_) = wait(list(self.pipes.values()))
        worker = next(number for number, pipe in self.pipes.items() if pipe is ready)
        try:
            said = self.pipes[worker].recv()
        except (EOFError, OSError):
            self.processes[worker].join()
            code = self.processes[worker].exitcode
            self.pipes.pop(worker).close()
            return Died(worker, f"signal {-code}" if code < 0 else f"exit status {code}")
        return _event(worker, said)

    def close(self) -> None:
        for pipe in self.pipes.values():
            pipe.close()
        for process in self.processes.values():
            process.terminate()
            process.join()


class Ray(Pool):
    """Workers that are actors of a Ray cluster, one CPU each, and one GPU where the model runs on CUDA."""

    def __init__(self, setup: Setup, address: str, workers: int) -> None:
        try:
            import ray
        except ImportError as error:
            raise ValueError("--ray needs the package ray: pip install 'limner[cluster]'") from error
        self.ray, self.setup = ray, setup
        _begin(ray, address, workers)
        self.actors: dict[int, Any] = {}
        self.waiting: dict[Any, int] = {}
        needs = {"num_cpus": 1, "num_gpus": int(setup.device.startswith("cuda")), "max_restarts": 0}
        self.made = ray.remote(**needs)(Desk)

    def hire(self, worker: int) -> None:
        self.actors[worker] = self.made.remote(self.setup)
        self.waiting[self.actors[worker].begin.remote()] = worker

    def give(self, worker: int, job: Job) -> None:
        self.waiting[self.actors[worker].do.remote(job)] = worker

    def next(self) -> Event:
        (ready, *_), _ = self.ray.wait(list(self.waiting), num_returns=1)
        worker = self.waiting.pop(ready)
        try:
            said = self.ray.get(ready)
        except self.ray.exceptions.RayTaskError:
            raise  # not a death, but an error of ours
        except self.ray.exceptions.RayError as error:
            self.actors.pop(worker)
            return Died(worker, " ".join(str(error).split())[:300])
        return _event(worker, said)

    def close(self) -> None:
        for actor in self.actors.values():
            self.ray.kill(actor)
        self.ray.shutdown()


def _begin(ray: Any, address: str, workers: int) -> None:
    """Join the cluster at an address, or begin one here; on a busy host its parts may not start in ray's time, and it
    is tried again. Raises ValueError where no cluster answers."""
    local = address == "local"
    own = {"num_cpus": max(workers, os.cpu_count() or 1), "include_dashboard": False} if local else {}
    for attempt in range(STARTS if local else 1):
        try:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", **own)
            return
        except Exception as error:  # ray raises bare ones where a node does not start
            ray.shutdown()
            if attempt + 1 == (STARTS if local else 1):
                why = " ".join(str(error).split())[:200]
                raise ValueError(f"--ray {address}: no Ray cluster answers there ({why})") from error


@contextmanager
def opened(setup: Setup, workers: int, ray: str = "") -> Iterator[Pool]:
    """A pool for so many workers on this host, or on the Ray cluster at that address ("local": a new one, here)."""
    pool: Pool = Ray(setup, ray, workers) if ray else Processes(setup)
    try:
        yield pool
    finally:
        pool.close()
