"""Trackers (TensorBoard, Weights & Biases, Trackio, ...) through `accelerate.tracking`, beside the JSON lines.

A tracker is given what a line of numbers holds, when the line is written. A run that is resumed goes on in the same
tracker's run as far as the tracker does so; the JSON lines are the record that a run stands by.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PACKAGES = {"comet_ml": "comet-ml"}  # where a tracker's package has another name


class Trackers:
    """Any number of trackers, each told the same."""

    def __init__(self, trackers: Sequence[Any] = ()) -> None:
        self.trackers = list(trackers)

    def log(self, step: int, values: Mapping[str, float], prefix: str = "") -> None:
        """Numbers of a step; ``prefix`` goes before every name."""
        named = {f"{prefix}{name}": value for name, value in values.items() if name != "step"}
        for tracker in self.trackers:
            tracker.log(named, step=step)


def check(names: Sequence[str]) -> None:
    """Raise ValueError for a tracker that is not known or not installed."""
    if not names:
        return
    try:
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
    except ImportError as error:
        raise ValueError("--track needs accelerate: pip install 'limner[large]'") from error
    there = {str(name) for name in get_available_trackers()}
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            raise ValueError(f"--track {name}: there are {', '.join(sorted(map(str, LOGGER_TYPE_TO_CLASS)))}")
        if name not in there:
            raise ValueError(f"--track {name} needs a package that is not here: pip install {PACKAGES.get(name, name)}")


@contextmanager
def tracked(names: Sequence[str], run: str, folder: Path, config: Mapping[str, Any]) -> Iterator[Trackers]:
    """The trackers of these names for a run with these settings; files of theirs go under ``folder``/track. Raises
    ValueError as `check` does."""
    check(names)
    if not names:
        yield Trackers()
        return
    from accelerate import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    PartialState()  # accelerate's own log messages want it
    found = []
    try:
        for name in dict.fromkeys(names):
            made = LOGGER_TYPE_TO_CLASS[name]
            where = [str(folder / "track")] if made.requires_logging_directory else []
            tracker = made(run, *where)
            tracker.start()
            found.append(tracker)
            tracker.store_init_configuration(dict(_flat(config)))
        yield Trackers(found)
    finally:
        for tracker in found:
            tracker.finish()


def _flat(config: Mapping[str, Any], front: str = "") -> Iterator[tuple[str, Any]]:
    """Settings without nesting: trackers take plain values alone."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{front}{name}.")
        else:
            yield f"{front}{name}", value if isinstance(value, bool | int | float | str) else str(value)
