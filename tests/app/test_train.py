"""Training by a shipped recipe, as a new user does it: started, stopped with Ctrl-C, started again."""

import signal
import subprocess
import sys
import time

from safetensors.torch import load_file

STEPS = 4


def command(folder):
    recipe = ["mmada.tiny_stage_one", "--steps", str(STEPS), "--threads", "1", "--folder", str(folder)]
    return [sys.executable, "-m", "limner.app.cli", "train", *recipe]


def test_an_interrupted_run_ends_with_the_weights_of_an_unbroken_one(tmp_path):
    broken, unbroken = tmp_path / "broken", tmp_path / "unbroken"
    first = subprocess.Popen(command(broken), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    # the run is under way once its configuration is written; the first steps take some seconds
    while not (broken / "config.json").exists() and first.poll() is None:
        time.sleep(0.05)
    first.send_signal(signal.SIGINT)
    said, _ = first.communicate(timeout=120)
    assert first.returncode == 130, said
    assert "run the same command again" in said
    assert not (broken / "released").exists()
    for folder in (broken, unbroken):
        done = subprocess.run(command(folder), capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr
    one, other = (load_file(folder / "released" / "model.safetensors") for folder in (broken, unbroken))
    assert one.keys() == other.keys()
    assert all(bool((one[name] == other[name]).all()) for name in one)
