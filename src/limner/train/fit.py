"""The one training loop. What differs between methods, the batch and the objective, comes with the `Run`.

A run leaves a folder:

    config.json       the run as data; versions, once more after every change; digests of the weights it began with
    numbers.jsonl     one JSON line every `log_every` steps: means since the line before
    alarms.jsonl      where an exercise is watched: signs of a gamed reward, each when it was first seen
    validation.jsonl  one JSON line every `validate_every` steps: what `Run.validate` found with the averaged weights
    checkpoints/      the newest `keep`, each enough to go on bit for bit on the same machine
    samples/          what `Run.sample` drew with the averaged weights
    released/         what `Run.finish` wrote with the averaged weights
    diverged/         the batch of a step whose loss or gradient was no number

Every random draw of step s comes from (seed, s): the batch, the objective's generator and torch's global one (dropout).
So there is no generator to save, and a run killed at any moment goes on to the same weights as one left in peace. With
several micro-batches to a step, number m of step s draws from (seed, s * micro_batches + m); which process computes it
does not matter, so a run may also go on with another number of processes (started by torchrun: see `shard`).
"""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from rich.console import Console
from torch import nn

from limner.algorithms import workers
from limner.judges.signs import SIGNS
from limner.train import alarms, checkpoint
from limner.train.data import every, prefetched, seed_of, to_device
from limner.train.layers import prepare
from limner.train.optim import EMA, Optimizers, clip_gradient
from limner.train.report import Numbers, shown, values_in
from limner.train.run import DTYPES, FREE, Run
from limner.train.shard import Engine, joined
from limner.train.stop import Diverged, Interrupted, Stop, keep_batches
from limner.train.tensors import full
from limner.train.track import tracked

__all__ = ["Diverged", "FitResult", "Interrupted", "fit"]

RESERVED = frozenset({"step", "loss", "lr", "gradient_norm", "samples_per_second", "cpu_seconds", "wall_seconds"})
RESERVED |= {"tokens_per_second"}


@dataclass(frozen=True)
class FitResult:
    """A finished run: its folder, its model (averaged weights, evaluation mode) and the last line of its numbers.

    With several processes the model's weights are cut over them; `released` holds them whole.
    """

    folder: Path
    model: nn.Module
    numbers: dict[str, float]
    released: Path | None


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


def _claim(
    run: Run, folder: Path, digests: Mapping[str, str], device: torch.device, *, resume: bool, step: int
) -> None:
    """Write config.json, or check that the folder's is this run's. Raises ValueError naming what differs."""
    path = folder / "config.json"
    versions = _versions(device)
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint.write_json(
            path, {"run": run.config(), "digests": dict(digests), "versions": [{"from_step": 0, **versions}]}
        )
        return
    if not resume:
        raise ValueError(f"{folder} already holds a run; resume it, or give another folder")
    known = json.loads(path.read_text())
    # a setting that did not exist when the run began had its default
    before, now = {**Run.defaults(), **known["run"]}, run.config()
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
    if known["digests"]["frozen_weights"] != digests["frozen_weights"]:
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

    Under torchrun all processes call it. `track` names trackers that are told the same numbers as the JSON lines, see
    `train.track`. Raises ValueError where the folder holds a run with other settings (or any run, with `resume=False`),
    Diverged where the loss or the gradient is no number, and Interrupted (a KeyboardInterrupt) after Ctrl-C or SIGTERM,
    once a checkpoint is written.
    """
    folder = Path(folder)
    screen = (console or Console(stderr=True)) if progress else None
    with ExitStack() as stack:
        device = stack.enter_context(joined(torch.device(device)))
        generators = [device.index or 0] if device.type == "cuda" else []
        stack.enter_context(_threads(run.threads))
        stack.enter_context(torch.random.fork_rng(devices=generators))
        stop = stack.enter_context(Stop().listening())
        if run.micro_batches % workers.count() and not run.divides:
            raise ValueError(
                f"{workers.count()} processes cannot share out micro_batches={run.micro_batches} of run {run.name!r}; "
                "give a multiple"
            )

        torch.manual_seed(run.seed)
        model = prepare(run.build(), run)
        digests = {
            "initial_weights": checkpoint.digest(model.named_parameters()),
            "frozen_weights": checkpoint.frozen_digest(model),
        }
        if len({each["initial_weights"] for each in workers.everyone(digests)}) > 1:
            raise ValueError(f"the processes of run {run.name!r} built models with different weights")
        engine = Engine(run, model, device)
        made = run.optimizer(model, run.lr, run.weight_decay)
        optimizers = made if isinstance(made, Optimizers) else Optimizers(made)
        optimizers.spread(model, run.rates)
        ema = EMA(model, run.ema)
        numbers = Numbers(folder / "numbers.jsonl")
        if workers.place() == 0:
            numbers.trackers = stack.enter_context(tracked(track, run.name, folder, run.config()))
        saved = workers.by_first(lambda: checkpoint.find(folder))
        first = int(saved[-1].name.removeprefix("step-")) if saved else 0
        workers.by_first(lambda: _claim(run, folder, digests, device, resume=resume, step=first))
        if saved:
            numbers.restore(checkpoint.load(saved[-1], model, optimizers, ema)["numbers"])
        workers.by_first(lambda: numbers.cut(first))
        workers.by_first(lambda: checkpoint.tidy(folder, run.keep))
        if first < run.steps:
            _loop(run, folder, engine, optimizers, ema, numbers, stop, first, device, screen)

        if run.ema:
            ema.load_into(model)
        model.eval()
        released = _finish(run, folder, engine) if run.finish else None
        return FitResult(folder, model, dict(numbers.last), released)


def _loop(
    run: Run,
    folder: Path,
    engine: Engine,
    optimizers: Optimizers,
    ema: EMA,
    numbers: Numbers,
    stop: Stop,
    first: int,
    device: torch.device,
    screen: Console | None,
) -> None:
    """Updates `first` to `run.steps`, with everything that happens between them."""
    model, factor, leads = engine.model, run.factor(), workers.place() == 0
    autocast = nullcontext() if run.dtype == "float32" else torch.autocast(device.type, DTYPES[run.dtype])
    # an update's micro-batches are counted on from step to step, and this process computes every `stride`-th
    count, stride, begin = (
        run.micro_batches,
        1 if run.divides else workers.count(),
        0 if run.divides else workers.place(),
    )
    made = every(run.batches, run.seed, first * count + begin, run.batch_size // count, stride)
    spent = dict(numbers.seconds)
    cpu, wall = time.process_time(), time.perf_counter()
    with prefetched(made, run.prefetch) as batches, shown(run, first, screen if leads else None) as show:
        model.train()
        for step in range(first, run.steps):
            optimizers.zero_grad()
            own: list[tuple[float, Mapping[str, float]]] = []
            given: list[Any] = []
            for number in range(step * count + begin, (step + 1) * count, stride):
                given.append(_next(batches, run, step))
                batch = to_device(given[-1], device)
                torch.manual_seed(seed_of(run.seed, number, "torch"))
                rng = torch.Generator().manual_seed(seed_of(run.seed, number, "objective"))
                with autocast:
                    loss, extra = engine.loss(batch, rng)
                (loss / count).backward()
                own.append((float(loss.detach()), extra))
            engine.reduce()
            norm = clip_gradient(model, run.clip)
            values, asked = _together(run, own, float(norm), values_in(given), stop.number)
            broken = _broken(values)
            if broken:
                raise _diverged(run, folder, step, broken, given)
            optimizers.scale(factor(step))
            optimizers.step()
            engine.stepped()
            if run.ema:
                ema.update(model)
            done = step + 1

            numbers.add(values)
            numbers.seconds["cpu_seconds"] = spent["cpu_seconds"] + time.process_time() - cpu
            numbers.seconds["wall_seconds"] = spent["wall_seconds"] + time.perf_counter() - wall
            if done % run.log_every == 0 or done == run.steps:
                numbers.write(done, run.lr * factor(step), run.batch_size, to_file=leads)
                if leads:
                    _alarm(folder, done, numbers.last, screen)
            show(done, values["loss"], numbers.headline())
            if run.sample and run.sample_every and (done % run.sample_every == 0 or done == run.steps):
                _sample(run, folder, engine, ema, done)
            if run.validate and run.validate_every and (done % run.validate_every == 0 or done == run.steps):
                _validate(run, engine, ema, numbers, done)
            if done % run.checkpoint_every == 0 or done == run.steps or asked:
                counters = {"step": done, "numbers": numbers.state()}
                checkpoint.save(folder, model, optimizers, ema, counters, keep=run.keep)
            if asked and done < run.steps:
                raise Interrupted(folder, done, asked)


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


def _together(
    run: Run, own: list[tuple[float, Mapping[str, float]]], norm: float, tokens: int, asked: int
) -> tuple[dict[str, float], int]:
    """(the step's numbers over all micro-batches of all processes, the signal that any of them was sent)."""
    for _, extra in own:
        taken = RESERVED & set(extra)
        if taken:
            names = ", ".join(sorted(taken))
            raise ValueError(f"the objective of run {run.name!r} reports {names}, which fit reports itself; rename it")
    plain = [(loss, {name: float(value) for name, value in extra.items()}) for loss, extra in own]
    told = workers.everyone((plain, tokens, asked))
    losses = [loss for some, _, _ in told for loss, _ in some]
    # an objective that divides its rows has put its numbers together itself
    counted = plain if run.divides else [piece for some, _, _ in told for piece in some]
    values = {"loss": sum(losses) / run.micro_batches}
    for name in dict.fromkeys(name for _, extra in counted for name in extra):
        known = [extra[name] for _, extra in counted if not math.isnan(extra.get(name, math.nan))]
        if known:  # a reported nan is left out
            values[name] = sum(known) if name == "tokens" else sum(known) / len(known)
    # how many values were learned: as the objective says, or as they are counted in the batch
    values.setdefault("tokens", float(sum(tokens for _, tokens, _ in told)))
    values["gradient_norm"] = norm
    return values, max(asked for _, _, asked in told)


def _broken(values: Mapping[str, float]) -> str:
    """The numbers that are none, in words."""
    return ", ".join(f"{name} {value}" for name, value in values.items() if not math.isfinite(value))


def _diverged(run: Run, folder: Path, step: int, broken: str, batches: list[Any]) -> Diverged:
    kept = keep_batches(folder, step, workers.place(), batches)
    return Diverged(
        f"{broken} at step {step} of run {run.name!r}; no weight was changed by it, and {kept}. Try a lower lr (now "
        f"{run.lr}), a longer warm-up (now {run.warmup}) or a smaller clip (now {run.clip}), in another folder than "
        f"{folder}"
    )


@contextmanager
def _averaged(run: Run, engine: Engine, ema: EMA) -> Iterator[nn.Module]:
    """The model with its averaged weights, whole; what it remembers of them is forgotten."""
    with ema.swapped(engine.model) if run.ema else _evaluating(engine.model), engine.whole() as model, torch.no_grad():
        engine.stepped()
        yield model
        workers.together()
    engine.stepped()


def _sample(run: Run, folder: Path, engine: Engine, ema: EMA, done: int) -> None:
    """A sheet with the averaged weights, by the first process."""
    assert run.sample is not None
    with _averaged(run, engine, ema) as model:
        if workers.place() == 0:
            (folder / "samples").mkdir(exist_ok=True)
            run.sample(model, folder / "samples", done)


def _validate(run: Run, engine: Engine, ema: EMA, numbers: Numbers, done: int) -> None:
    """A line of validation with the averaged weights, by the first process."""
    assert run.validate is not None
    with _averaged(run, engine, ema) as model:
        if workers.place() == 0:
            numbers.validate(done, run.validate(model, done))


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[nn.Module]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield model
    finally:
        for module, mode in modes:
            module.training = mode


def _finish(run: Run, folder: Path, engine: Engine) -> Path:
    """Let the recipe write its released checkpoint beside, then put it in place whole."""
    assert run.finish is not None
    final, beside = folder / "released", folder / ".partial-released"
    model = _plain(run, engine)
    if workers.place() == 0:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        with torch.no_grad():
            run.finish(model, beside)
        if final.exists():
            shutil.rmtree(final)
        os.rename(beside, final)
    workers.together()
    return final


@torch.no_grad()
def _plain(run: Run, engine: Engine) -> nn.Module:
    """The model with whole weights, in the first process; a sharded one is built anew, because it cannot be saved."""
    if workers.count() == 1:
        return engine.model
    lead = workers.place() == 0
    torch.manual_seed(run.seed)
    model = prepare(run.build(), run).eval() if lead else engine.model
    into = dict(model.named_parameters()) | dict(model.named_buffers())
    for name, tensor in [*engine.model.named_parameters(), *engine.model.named_buffers()]:
        whole = full(tensor)
        if lead:
            into[name].copy_(whole)
    return model
