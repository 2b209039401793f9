"""What a run tells trackers."""

import sys

import pytest

from limner.train import track


class Noted:
    """A tracker that keeps what it is told."""

    requires_logging_directory = True
    made = []

    def __init__(self, run, folder):
        self.run, self.folder, self.told, self.ended = run, folder, [], False
        Noted.made.append(self)

    def start(self):
        self.told.append("start")

    def store_init_configuration(self, values):
        self.told.append(values)

    def log(self, values, step):
        self.told.append((step, values))

    def finish(self):
        self.ended = True


def test_a_tracker_is_told_settings_and_numbers_and_closed(tmp_path, monkeypatch):
    from accelerate import tracking

    Noted.made.clear()
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "noted", Noted)
    monkeypatch.setattr(tracking, "get_available_trackers", lambda: ["noted"])
    config = {"lr": 0.1, "settings": {"sizes": [1, 2], "deep": {"x": True}}}
    with pytest.raises(KeyError), track.tracked(["noted", "noted"], "toy", tmp_path, config) as trackers:
        trackers.log(3, {"step": 3, "loss": 0.5})
        trackers.log(3, {"loss": 0.4}, "validation/")
        raise KeyError
    (one,) = Noted.made
    assert (one.run, one.folder) == ("toy", str(tmp_path / "track")) and one.ended
    assert one.told == ["start", {"lr": 0.1, "settings.sizes": "[1, 2]", "settings.deep.x": True},
                        (3, {"loss": 0.5}), (3, {"validation/loss": 0.4})]  # fmt: skip


def test_tensorboard_gets_the_numbers(tmp_path):
    pytest.importorskip("tensorboard")
    with track.tracked(["tensorboard"], "toy", tmp_path, {"lr": 0.1}) as trackers:
        trackers.log(3, {"loss": 0.5})
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "track" / "toy"))
    events.Reload()
    assert [(each.step, each.value) for each in events.Scalars("loss")] == [(3, 0.5)]


def test_no_trackers_load_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with track.tracked([], "toy", tmp_path, {}) as trackers:
        trackers.log(1, {"loss": 1.0})


def test_unknown_and_missing_trackers_are_told():
    with pytest.raises(ValueError, match="--track nothing: there are .*tensorboard"):
        track.check(["nothing"])
    from accelerate.tracking import get_available_trackers

    if "clearml" not in map(str, get_available_trackers()):
        with pytest.raises(ValueError, match="--track clearml needs a package that is not here: pip install clearml"):
            track.check(["clearml"])
