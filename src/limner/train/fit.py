"""The one training loop. What differs between methods, the batch and the objective, comes with the `Run`.

A run leaves a folder:

    config.json       the run as data; versions, once more after every change; digests of the weights it began with
    numbers.jsonl     one JSON line every `log_every` steps: means since the line before
    alarms.jsonl      where an exercise is watched: signs of a gamed reward, each when it was first seen
    validation.jsonl  one JSON line every `validate_every` steps: what `Run.validate` found with the averaged weights
    checkpoints/      the newest `keep`, each enough to go on bit for bit on the same machine
    samples/          what `Run.sample` drew with the averaged weights
    released/         what `Run.finish` wrote with the averaged weights

Every random draw of step s comes from (seed, s): the batch, the objective's generator and torch's global one (dropout).
So there is no generator to save, and a run killed at any moment goes on to the same weights as one left in peace.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import safetensors
import torch
from rich.console import Console
from torch import nn

from limner.judges.signs import SIGNS
from limner.train import alarms, checkpoint
from limner.train.data import prefetched, seed_of, to_device
from limner.train.optim import EMA, Optimizers, clip_gradient
from limner.train.report import Numbers, shown
from limner.train.run import DTYPES, FREE, Run
from limner.train.track import tracked

RESERVED = frozenset({"step", "loss", "lr", "gradient_norm", "samples_per_second", "cpu_seconds", "wall_seconds"})
RESERVED |= {"tokens_per_second"}


@dataclass(frozen=True)
class FitResult:
    """A finished run: its folder, its model (averaged weights, evaluation mode) and the last line of its numbers."""

    folder: Path
    model: nn.Module
    numbers: dict[str, float]
    released: Path | None


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop, wrote a checkpoint and stopped; the message says how to go on.

    `status` is the exit status for a command line: 130 after Ctrl-C, 143 after SIGTERM.
    """

    def __init__(self, folder: Path, step: int, number: int) -> None:
        super().__init__(f"stopped after step {step}; run the same command again to go on from {folder}")
        self.folder, self.step, self.status = folder, step, 128 + number


class Diverged(ValueError):
    """The loss or the gradient stopped being a number. Nothing of that step was kept."""


class _Stop:
    """Remembers that Ctrl-C or a termination signal came; a second Ctrl-C stops at once. Only in the main thread."""

    def __init__(self) -> None:
        self.number = 0

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            raise KeyboardInterrupt
        self.number = number

    @contextmanager
    def listening(self) -> Iterator[_Stop]:
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _versions(device: torch.device) -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "safetensors": safetensors.__version__,
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    }


def _claim(run: Run, folder: Path, model: nn.Module, device: torch.device, *, step: int) -> None:
    """Write config.json, or check that the folder's is this run's. Raises ValueError naming what differs."""
    path = folder / "config.json"
    frozen = checkpoint.frozen_digest(model)
    versions = _versions(device)
    if not path.exists():
        digests = {"initial_weights": checkpoint.digest(model.named_parameters()), "frozen_weights": frozen}
        checkpoint.write_json(
            path, {"run": run.config(), "digests": digests, "versions": [{"from_step": 0, **versions}]}
        )
        return
    known = json.loads(path.read_text())
    before, now = known["run"], run.config()
    different = [
        f"{name} was {before.get(name)!r} and is now {now.get(name)!r}"
        for name in sorted(before.keys() | now.keys())
        if name not in FREE and before.get(name) != now.get(name)
    ]
    if different:
        raise ValueError(
            f"{folder} holds a run with other settings: {'; '.join(different)}. "
            "Give the old values to go on with it, or another folder to begin anew"
        )
    if known["digests"]["frozen_weights"] != frozen:
        raise ValueError(
            f"{folder} holds a run that was begun with other frozen weights than the recipe now builds; "
            "give it the checkpoint it began with, or another folder to begin anew"
        )
    if {**known["versions"][-1], "from_step": 0} != {"from_step": 0, **versions}:
        known["versions"].append({"from_step": step, **versions})
        checkpoint.write_json(path, known)


def fit(
    run: Run,
    folder: Path | str,
    *,
    resume: bool = True,
    device: torch.device | str = "cpu",
    progress: bool = True,
    console: Console | None = None,
    track: Sequence[str] = (),
) -> FitResult:
    """Train until `run.steps` updates are done, going on from the folder's newest checkpoint where there is one.

    `track` names trackers that are told the same numbers as the JSON lines, see `train.track`. Raises ValueError where
    the folder holds a run with other settings (or any run, with `resume=False`), Diverged where
    the loss or the gradient is no number, and Interrupted (a KeyboardInterrupt) after Ctrl-C or SIGTERM, once a
    checkpoint is written.
    """
    folder, device = Path(folder), torch.device(device)
    screen = (console or Console(stderr=True)) if progress else None
    if not resume and (folder / "config.json").exists():
        raise ValueError(f"{folder} already holds a run; resume it, or give another folder")
    folder.mkdir(parents=True, exist_ok=True)
    generators = [device.index or 0] if device.type == "cuda" else []
    with ExitStack() as stack:
        stack.enter_context(_threads(run.threads))
        stack.enter_context(torch.random.fork_rng(devices=generators))
        stop = stack.enter_context(_Stop().listening())

        torch.manual_seed(run.seed)
        model = run.build().to(device)
        made = run.optimizer(model, run.lr, run.weight_decay)
        optimizers = made if isinstance(made, Optimizers) else Optimizers(made)
        ema = EMA(model, run.ema)
        numbers = Numbers(folder / "numbers.jsonl")
        numbers.trackers = stack.enter_context(tracked(track, run.name, folder, run.config()))
        saved = checkpoint.find(folder)
        _claim(run, folder, model, device, step=int(saved[-1].name.removeprefix("step-")) if saved else 0)
        first = 0
        if saved:
            counters = checkpoint.load(saved[-1], model, optimizers, ema)
            first = counters["step"]
            numbers.restore(counters["numbers"])
        numbers.cut(first)
        if first < run.steps:
            _loop(run, folder, model, optimizers, ema, numbers, stop, first, device, screen)

        if run.ema:
            ema.load_into(model)
        model.eval()
        released = _finish(run, folder, model) if run.finish else None
        return FitResult(folder, model, dict(numbers.last), released)


def _loop(
    run: Run,
    folder: Path,
    model: nn.Module,
    optimizers: Optimizers,
    ema: EMA,
    numbers: Numbers,
    stop: _Stop,
    first: int,
    device: torch.device,
    screen: Console | None,
) -> None:
    """Updates `first` to `run.steps`, with everything that happens between them."""
    factor = run.factor()
    autocast = nullcontext() if run.dtype == "float32" else torch.autocast(device.type, DTYPES[run.dtype])
    spent = dict(numbers.seconds)
    cpu, wall = time.process_time(), time.perf_counter()
    with (
        prefetched(run.batches(run.seed, first, run.batch_size), run.prefetch) as batches,
        shown(run, first, screen) as show,
    ):
        model.train()
        for step in range(first, run.steps):
            batch = to_device(_next(batches, run, step), device)
            torch.manual_seed(seed_of(run.seed, step, "torch"))
            rng = torch.Generator().manual_seed(seed_of(run.seed, step, "objective"))
            optimizers.zero_grad()
            with autocast:
                loss, extra = run.objective(model, batch, rng)
            loss.backward()
            norm = clip_gradient(model, run.clip)
            values = _values(run, folder, step, float(loss.detach()), float(norm), extra)
            optimizers.scale(factor(step))
            optimizers.step()
            if run.ema:
                ema.update(model)
            done = step + 1

            numbers.add(values, batch)
            numbers.seconds["cpu_seconds"] = spent["cpu_seconds"] + time.process_time() - cpu
            numbers.seconds["wall_seconds"] = spent["wall_seconds"] + time.perf_counter() - wall
            if done % run.log_every == 0 or done == run.steps:
                numbers.write(done, run.lr * factor(step), run.batch_size)
                _alarm(folder, done, numbers.last, screen)
            show(done, values["loss"], numbers.headline())
            if run.sample and run.sample_every and (done % run.sample_every == 0 or done == run.steps):
                (folder / "samples").mkdir(exist_ok=True)
                with ema.swapped(model) if run.ema else _evaluating(model), torch.no_grad():
                    run.sample(model, folder / "samples", done)
            if run.validate and run.validate_every and (done % run.validate_every == 0 or done == run.steps):
                with ema.swapped(model) if run.ema else _evaluating(model), torch.no_grad():
                    numbers.validate(done, run.validate(model, done))
            if done % run.checkpoint_every == 0 or done == run.steps or stop.number:
                counters = {"step": done, "numbers": numbers.state()}
                checkpoint.save(folder, model, optimizers, ema, counters, keep=run.keep)
            if stop.number and done < run.steps:
                raise Interrupted(folder, done, stop.number)


def _alarm(folder: Path, step: int, last: Mapping[str, float], screen: Console | None) -> None:
    """Note and say what the numbers give reason for, where an exercise is watched."""
    if not any(key.rpartition("_")[2] in SIGNS for key in last):
        return
    for alarm in alarms.note(folder, step):
        if screen is not None:
            screen.print(f"alarm, {alarm.name}, {alarm.sign}: {alarm.why}", style="bold red", highlight=False)


def _next(batches: Iterator[Any], run: Run, step: int) -> Any:
    try:
        return next(batches)
    except StopIteration:
        raise ValueError(
            f"the data of run {run.name!r} ended at step {step} of {run.steps}; give it more, or fewer steps"
        ) from None


def _values(
    run: Run, folder: Path, step: int, loss: float, norm: float, extra: Mapping[str, float]
) -> dict[str, float]:
    """The step's numbers, all checked; a reported nan is left out."""
    taken = RESERVED & set(extra)
    if taken:
        names = ", ".join(sorted(taken))
        raise ValueError(f"the objective of run {run.name!r} reports {names}, which fit reports itself; rename it")
    reported = {name: float(value) for name, value in extra.items()}
    values = {"loss": loss, **{name: value for name, value in reported.items() if not math.isnan(value)}}
    values["gradient_norm"] = norm
    broken = [f"{name} {value}" for name, value in values.items() if not math.isfinite(value)]
    if broken:
        raise Diverged(
            f"{', '.join(broken)} at step {step} of run {run.name!r}; no weight was changed by it. Try a lower lr (now "
            f"{run.lr}), a longer warm-up (now {run.warmup}) or a smaller clip (now {run.clip}), in another folder "
            f"than {folder}"
        )
    return values


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[nn.Module]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield model
    finally:
        for module, mode in modes:
            module.training = mode


def _finish(run: Run, folder: Path, model: nn.Module) -> Path:
    """Let the recipe write its released checkpoint beside, then put it in place whole."""
    assert run.finish is not None
    final, beside = folder / "released", folder / ".partial-released"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    with torch.no_grad():
        run.finish(model, beside)
    if final.exists():
        shutil.rmtree(final)
    os.rename(beside, final)
    return final
