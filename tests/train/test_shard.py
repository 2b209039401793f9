"""Two gloo processes on CPU do what one does: FSDP2 over small models of every family."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from limner.algorithms import workers
from limner.train import checkpoint
from limner.train.fit import fit

sys.path.insert(0, str(Path(__file__).parent))
import sharded  # noqa: E402

SHORT = (
    *(f"sft.{family}" for family in sharded.FAMILIES),
    "sft.mmada.gather=layers.recompute=True",
    "unigrpo.mmada",
    "rgpo.mindomni",
)
pytestmark = pytest.mark.timeout(1800)  # many small messages between processes: slow where cores are busy
# DPO's numbers are 0.1 times differences of log-probabilities of up to 2,200, of which float32 keeps 1.2e-7
ROUNDED = {"dpo": 0.1 * 2200 * 1.2e-7}
CLOCK = ("samples_per_second", "cpu_seconds", "wall_seconds")


def lines(folder: Path) -> list[dict[str, float]]:
    found = [json.loads(line) for line in (folder / "numbers.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in CLOCK} for line in found]


def start_of(name: str) -> dict[str, torch.Tensor]:
    model = sharded.job(name).build()
    return {key: p.detach() for key, p in getattr(model, "policy", model).named_parameters()}


def same(one: Path, two: Path, name: str) -> None:
    """Weights to 1e-6 of their size and 1e-5 of the way they went (two updates from the start), and all numbers to
    1e-5 or ``ROUNDED``."""
    of_size, of_way = sharded.apart(sharded.weights(two), sharded.weights(one), start_of(name))
    assert of_size < 1e-6 and of_way < 1e-5
    for a, b in zip(lines(one), lines(two), strict=True):
        assert b == pytest.approx(a, rel=1e-5, abs=ROUNDED.get(name.split(".")[0], 1e-6))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a job done by one process, done when first asked for."""
    done: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in done:
            done[name] = tmp_path_factory.mktemp("one") / "run"
            fit(sharded.job(name), done[name], progress=False)
        return done[name]

    return get


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every short job, done by two processes."""
    folder = tmp_path_factory.mktemp("two")
    sharded.several({name: folder / name for name in SHORT})
    return folder


@pytest.mark.parametrize("name", SHORT)
def test_two_processes_end_with_the_weights_of_one(name: str, pair: Path, alone: Callable[[str], Path]) -> None:
    kind, family, *_ = name.split(".")
    same(alone(f"{kind}.{family}"), pair / name, name)


def test_a_run_goes_on_with_another_number_of_processes(tmp_path: Path, alone: Callable[[str], Path]) -> None:
    name = "sft.showo.steps=3.keep=9"
    whole = alone(name)
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    for processes, last in ((2, 1), (1, 2)):  # from step 1 with two, from step 2 with one
        for path in checkpoint.find(folder):
            if int(path.name.removeprefix("step-")) > last:
                shutil.rmtree(path)
        if processes == 2:
            sharded.several({name: folder})
            assert (checkpoint.find(folder)[1] / checkpoint.PARTS).is_dir()
        else:
            fit(sharded.job(name), folder, progress=False)
    assert [path.name for path in checkpoint.find(folder)] == ["step-00000001", "step-00000002", "step-00000003"]
    same(whole, folder, name)


def _asks(name: str, folder: Path) -> None:
    assert workers.count() == 2
    assert workers.everyone(workers.place()) == [0, 1]
    assert list(workers.own_rows(6)) == [[0, 1, 2], [3, 4, 5]][workers.place()]
    assert workers.joined_list([workers.place()] * 2) == [0, 0, 1, 1]
    assert workers.joined_rows(torch.full((1, 2), float(workers.place()))).tolist() == [[0.0, 0.0], [1.0, 1.0]]
    assert workers.summed({"a": 1.0}) == {"a": 2.0}
    with pytest.raises(ValueError, match="5 rows cannot be dealt out evenly to 2 processes"):
        workers.own_rows(5)
    for wrong, message in (
        ("sft.showo.micro_batches=1", "2 processes cannot share out micro_batches=1"),
        ("sft.mindomni.gather=layers", "its model tells no layers"),
        ("sft.showo.replicas=3", "2 processes make no 3 whole copies"),
    ):
        with pytest.raises(ValueError, match=message):
            fit(sharded.job(wrong), folder / wrong, progress=False)
        assert not (folder / wrong).exists()
    own = checkpoint.write_json

    def no_room(path: Path, value: object) -> None:
        if path.name == "state.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        own(path, value)

    checkpoint.write_json = no_room
    with pytest.raises(checkpoint.NotWritten, match="step 1 could not be written .*No space left on device. Make room"):
        fit(sharded.job("sft.showo"), folder / "full", progress=False)  # it fails in one process and is told by both
    assert not any((folder / "full" / "checkpoints").iterdir())


def test_processes_know_each_other_and_refuse_what_they_cannot_share(tmp_path: Path) -> None:
    sharded.several({"asks": tmp_path}, work=_asks)


def test_what_goes_wrong_in_one_process_is_told(tmp_path: Path) -> None:
    def fails(name: str, folder: Path) -> None:
        raise ValueError(f"process {workers.place()} fails")

    with pytest.raises(RuntimeError, match="process 1 fails"):
        sharded.several({"any": tmp_path}, work=fails)


LONG = (
    *(f"{kind}.{family}" for kind in ("unigrpo", "dpo", "rgpo") for family in sharded.FAMILIES),
    *(f"{kind}.{family}.gather=layers" for kind in ("sft", "dpo", "unigrpo") for family in ("mmada", "showo")),
    "sft.mmada.replicas=2",
)


@pytest.mark.slow
def test_every_method_on_every_family_does_with_two_processes_what_it_does_with_one(
    tmp_path: Path, alone: Callable[[str], Path]
) -> None:
    sharded.several({name: tmp_path / name for name in LONG})
    for name in LONG:
        kind, family, *_ = name.split(".")
        same(alone(f"{kind}.{family}"), tmp_path / name, name)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # torch's compiler warns of its own doings
def test_compiled_layers_end_with_the_same_weights(tmp_path: Path, alone: Callable[[str], Path]) -> None:
    name = "sft.showo.compile=True"
    sharded.several({name: tmp_path / "two"})
    same(alone("sft.showo"), tmp_path / "two", name)
    fit(sharded.job(name), tmp_path / "one", progress=False)
    same(alone("sft.showo"), tmp_path / "one", name)


@pytest.mark.slow
def test_four_processes_hold_two_copies_in_two_parts(tmp_path: Path, alone: Callable[[str], Path]) -> None:
    names = ("sft.mmada.micro_batches=4.replicas=2", "sft.mmada.micro_batches=4.gather=layers.replicas=2")
    sharded.several({name: tmp_path / name for name in names}, processes=4)
    for name in names:
        same(alone("sft.mmada.micro_batches=4"), tmp_path / name, name)


def killed(folder: Path, name: str, seconds: float) -> bool:
    """Two processes do a job and are killed together after so long; whether they were still at it."""
    child = os.fork()
    if not child:
        os.setsid()  # a group of their own, which dies as one
        try:
            sharded.several({name: folder})
        finally:
            os._exit(0)
    time.sleep(seconds)
    os.killpg(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.slow
def test_two_processes_that_are_killed_at_any_moment_go_on_to_the_same_bits(tmp_path: Path) -> None:
    name, rng, early = "sft.mmada.steps=6.checkpoint_every=1", random.Random(0), 0
    begin = time.monotonic()
    sharded.several({name: tmp_path / "whole"})
    took = time.monotonic() - begin
    wanted = sharded.weights(tmp_path / "whole")
    for moment in range(10):
        folder = tmp_path / f"killed-{moment}"
        early += killed(folder, name, rng.uniform(0.1, 1.0) * took)
        sharded.several({name: folder})
        found = sharded.weights(folder)
        assert found.keys() == wanted.keys() and all(torch.equal(found[key], wanted[key]) for key in wanted)
        assert not list((folder / "checkpoints").glob(".partial-*"))
    assert early > 5, "most of them were killed before they were done"
