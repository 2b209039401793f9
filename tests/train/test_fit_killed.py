"""Whatever kills a run, the newest whole checkpoint is there and the run goes on from it to the same bits."""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors import safe_open

from limner.train import checkpoint
from limner.train.fit import fit

sys.path.insert(0, str(Path(__file__).parent))
from toy import fingerprint, objective, toy  # noqa: E402

RUN = replace(toy(), checkpoint_every=1, keep=2, prefetch=0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, float]:
    """(the fingerprint of a run left in peace, how long it took in seconds)."""
    folder = tmp_path_factory.mktemp("whole")
    begin = time.monotonic()
    fit(RUN, folder, progress=False)
    return fingerprint(folder), time.monotonic() - begin


def forked(work: Callable[[], object]) -> int:
    """A process of its own that does the work; its number."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)  # never back into the tests


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def check_whole(folder: Path) -> None:
    """No checkpoint that is one by its name is half-written."""
    for path in checkpoint.find(folder):
        assert json.loads((path / "state.json").read_text())["step"] == int(path.name.removeprefix("step-"))
        with safe_open(path / "state.safetensors", framework="pt") as file:
            assert all(file.get_tensor(name).isfinite().all() for name in file.keys())  # noqa: SIM118


def killed_after(seconds: float, folder: Path) -> None:
    child = forked(lambda: fit(RUN, folder, progress=False))
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    assert ended(child) in (-signal.SIGKILL, 0)  # it may have been done already


def goes_on(folder: Path, whole: str) -> None:
    check_whole(folder)
    fit(RUN, folder, progress=False)
    assert fingerprint(folder) == whole
    assert [path.name for path in checkpoint.find(folder)] == ["step-00000029", "step-00000030"]
    assert not list((folder / "checkpoints").glob(".partial-*"))


def at_random(moments: int, tmp_path: Path, whole: tuple[str, float]) -> None:
    found = set()
    for moment in range(moments):
        folder = tmp_path / str(moment)
        killed_after(random.Random(moment).uniform(0.0, 1.1) * whole[1], folder)
        found.add(len(checkpoint.find(folder)))
        goes_on(folder, whole[0])
        shutil.rmtree(folder)
    assert moments < 10 or len(found) > 1  # some before the first checkpoint, some after it


def test_a_run_killed_at_random_moments_ends_with_the_same_bits(tmp_path: Path, whole: tuple[str, float]) -> None:
    at_random(3, tmp_path, whole)


@pytest.mark.slow
def test_a_run_killed_at_fifty_random_moments_ends_with_the_same_bits(tmp_path: Path, whole: tuple[str, float]) -> None:
    at_random(50, tmp_path, whole)


# What a checkpoint does to the disk, in its order; a run that is killed before one of them has done those in front.
TOUCHES = (
    (checkpoint, "save_file"),
    (os, "fsync"),
    (os, "replace"),
    (os, "rename"),
    (shutil, "rmtree"),
    (Path, "mkdir"),
    (Path, "rename"),
)


def killed_at(touch: int, folder: Path) -> int:
    """Kill a run as it is about to touch the disk for the ``touch``-th time while it writes checkpoints."""

    def work() -> None:
        seen = [0]

        def watched(own: Callable[..., object]) -> Callable[..., object]:
            def call(*args: object, **kwargs: object) -> object:
                if seen[0] == touch:
                    os.kill(os.getpid(), signal.SIGKILL)
                seen[0] += 1
                return own(*args, **kwargs)

            return call

        save = checkpoint.save

        def saving(*args: object, **kwargs: object) -> object:
            for home, name in TOUCHES:
                setattr(home, name, watched(getattr(home, name)))
            checkpoint.save = save
            return save(*args, **kwargs)  # type: ignore[arg-type]

        checkpoint.save = saving  # type: ignore[assignment]
        fit(RUN, folder, progress=False)

    return ended(forked(work))


def at_touches(touches: range, tmp_path: Path, whole: tuple[str, float]) -> None:
    for touch in touches:
        folder = tmp_path / f"touch-{touch}"
        assert killed_at(touch, folder) == -signal.SIGKILL
        goes_on(folder, whole[0])
        shutil.rmtree(folder)


def test_a_run_killed_while_it_writes_a_checkpoint_ends_with_the_same_bits(
    tmp_path: Path, whole: tuple[str, float]
) -> None:
    at_touches(range(1, 33, 5), tmp_path, whole)


def test_what_a_run_left_that_was_killed_after_its_last_checkpoint_is_removed(
    tmp_path: Path, whole: tuple[str, float]
) -> None:
    fit(replace(RUN, keep=3), tmp_path, progress=False)
    (tmp_path / "checkpoints" / ".partial-step-00000027").mkdir()
    goes_on(tmp_path, whole[0])


@pytest.mark.slow
def test_a_run_killed_before_any_touch_of_the_disk_ends_with_the_same_bits(
    tmp_path: Path, whole: tuple[str, float]
) -> None:
    at_touches(range(0, 50), tmp_path, whole)


def test_a_checkpoint_that_finds_no_room_is_an_error_and_the_last_one_survives(
    tmp_path: Path, whole: tuple[str, float]
) -> None:
    calls = [0]
    reads, writes = os.pipe()

    def filling(model, batch, rng):  # type: ignore[no-untyped-def]
        calls[0] += 1
        if calls[0] == 10:  # files may no longer grow beyond a kilobyte, as on a disk that is full
            resource.setrlimit(resource.RLIMIT_FSIZE, (1024, resource.RLIM_INFINITY))
        return objective(model, batch, rng)

    def work() -> None:
        try:
            fit(replace(RUN, objective=filling), tmp_path, progress=False)
        except checkpoint.NotWritten as error:
            os.write(writes, str(error).encode())

    assert ended(forked(work)) == 0
    os.close(writes)
    with os.fdopen(reads) as told:
        text = told.read()
    assert text.startswith(f"the checkpoint of step 10 could not be written to {tmp_path / 'checkpoints'}: ")
    assert "Make room and run the same command again: it goes on from step-00000009" in text
    assert [path.name for path in checkpoint.find(tmp_path)] == ["step-00000008", "step-00000009"]
    goes_on(tmp_path, whole[0])


@pytest.mark.slow
def test_a_real_disk_may_be_full_at_any_point_of_a_run(tmp_path: Path, whole: tuple[str, float]) -> None:
    """Ten sizes of a disk in memory, the largest of which holds no more than two checkpoints and a part of a third."""
    disk, errors = tmp_path / "disk", 0
    disk.mkdir()
    for size in range(4, 44, 4):
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(disk)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("only root may mount a disk")
        try:
            with pytest.raises(OSError, match=f"could not be written to {disk}.*No space left on device.* it goes on"):
                fit(RUN, disk / "run", progress=False)
            errors += 1
            check_whole(disk / "run")
            assert len(checkpoint.find(disk / "run")) == min((size - 4) // 12, 2)
            subprocess.run(["mount", "-o", "remount,size=10m", str(disk)], check=True)
            goes_on(disk / "run", whole[0])
        finally:
            subprocess.run(["umount", "-l", str(disk)], check=True)  # a file that was read may still be mapped
    assert errors == 10


def test_numbers_that_find_no_room_are_an_error_that_names_the_file(
    tmp_path: Path, whole: tuple[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Path.open

    def no_room(self: Path, mode: str = "r", *args: object, **kwargs: object) -> object:
        if self.name == "numbers.jsonl" and mode == "a":
            raise OSError(errno.ENOSPC, "No space left on device")
        return own(self, mode, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", no_room)
    with pytest.raises(OSError, match="the numbers of step 4 could not be written to .*No space left on device"):
        fit(RUN, tmp_path, progress=False)
    monkeypatch.undo()
    goes_on(tmp_path, whole[0])
