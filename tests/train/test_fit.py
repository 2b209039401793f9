from __future__ import annotations

import json
import math
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn

from limner.train import checkpoint
from limner.train.data import seed_of
from limner.train.fit import Diverged, Interrupted, fit
from limner.train.optim import clip_gradient
from limner.train.run import Run

sys.path.insert(0, str(Path(__file__).parent))
from toy import Net, fingerprint, make, objective, stopped_at, toy  # noqa: E402


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "numbers.jsonl").read_text().splitlines()]


def told(folder: Path) -> list[dict[str, float]]:
    """The lines without what depends on the clock."""
    clock = ("samples_per_second", "cpu_seconds", "wall_seconds")
    return [{key: value for key, value in line.items() if key not in clock} for line in lines(folder)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    fit(toy(), folder, progress=False)
    return folder


def as_program(folder: Path, step: int, number: int) -> int:
    command = [sys.executable, str(Path(__file__).parent / "toy.py"), str(folder), str(step), str(number)]
    return subprocess.run(command, timeout=600, check=False, capture_output=True).returncode


def test_the_loss_falls(tmp_path: Path) -> None:
    result = fit(replace(toy(), steps=300, batch_size=64), tmp_path, progress=False)
    assert result.numbers["loss"] < 0.7 * lines(tmp_path)[0]["loss"]


def test_a_run_from_every_checkpoint_ends_with_the_same_bits(tmp_path: Path, whole: Path) -> None:
    run = replace(toy(), keep=99)
    fit(run, tmp_path / "all", progress=False)
    steps = [int(path.name[5:]) for path in checkpoint.find(tmp_path / "all")]
    assert steps == [7, 14, 21, 28, 30]
    for step in steps:
        folder = tmp_path / f"from-{step}"
        shutil.copytree(tmp_path / "all", folder)
        for path in checkpoint.find(folder):
            if int(path.name[5:]) > step:
                shutil.rmtree(path)
        fit(run, folder, progress=False)
        assert fingerprint(folder) == fingerprint(whole)
        assert told(folder) == told(whole)


@pytest.mark.parametrize("step", [0, 5, 6, 7, 20, 29])
def test_an_interrupted_run_goes_on_to_the_same_bits(step: int, tmp_path: Path, whole: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    if step < 29:
        with pytest.raises(Interrupted, match=f"stopped after step {step + 1}; run the same command again"):
            fit(stopped_at(toy(), step, signal.SIGINT), tmp_path, progress=False)
        assert checkpoint.find(tmp_path)[-1].name == f"step-{step + 1:08d}"
    else:  # nothing is left to do
        fit(stopped_at(toy(), step, signal.SIGINT), tmp_path, progress=False)
    assert signal.getsignal(signal.SIGINT) is before
    fit(toy(), tmp_path, progress=False)
    assert fingerprint(tmp_path) == fingerprint(whole)
    assert told(tmp_path) == told(whole)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_is_a_keyboard_interrupt_with_the_usual_status(
    number: signal.Signals, status: int, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt) as caught:
        fit(stopped_at(toy(), 2, number), tmp_path, progress=False)
    assert isinstance(caught.value, Interrupted)
    assert caught.value.status == status


def test_a_killed_process_goes_on_to_the_same_bits(tmp_path: Path, whole: Path) -> None:
    assert as_program(tmp_path, 17, signal.SIGKILL) == -signal.SIGKILL
    assert checkpoint.find(tmp_path)[-1].name == "step-00000014"
    assert as_program(tmp_path, -1, 0) == 0
    assert fingerprint(tmp_path) == fingerprint(whole)
    assert told(tmp_path) == told(whole)


def test_a_run_killed_again_and_again_goes_on_to_the_same_bits(tmp_path: Path, whole: Path) -> None:
    for _ in range(3):  # each dies 8 steps after where it went on, once past a checkpoint
        with pytest.raises(RuntimeError, match="killed"):
            fit(replace(toy(), objective=_failing_at(8)), tmp_path, progress=False)
    fit(toy(), tmp_path, progress=False)
    assert fingerprint(tmp_path) == fingerprint(whole)
    assert told(tmp_path) == told(whole)


def _failing_at(step: int):
    calls = 0

    def failing(model, batch, rng):
        nonlocal calls
        calls += 1
        if calls > step:
            raise RuntimeError("killed")
        return objective(model, batch, rng)

    return failing


def test_a_checkpoint_that_was_half_written_is_ignored_and_cleared(tmp_path: Path, whole: Path) -> None:
    with pytest.raises(Interrupted):
        fit(stopped_at(toy(), 9, signal.SIGINT), tmp_path, progress=False)
    half = tmp_path / "checkpoints" / ".partial-step-00000014"
    half.mkdir()
    (half / "state.safetensors").write_bytes(b"half")
    with (tmp_path / "numbers.jsonl").open("a") as file:
        file.write('{"step": 12, "lo')
    fit(toy(), tmp_path, progress=False)
    assert not half.exists()
    assert fingerprint(tmp_path) == fingerprint(whole)
    assert told(tmp_path) == told(whole)


def test_lines_are_never_doubled(whole: Path) -> None:
    assert [line["step"] for line in lines(whole)] == [4, 8, 12, 16, 20, 24, 28, 30]
    assert set(lines(whole)[0]) == {
        *("step", "loss", "absolute", "gradient_norm", "lr", "samples_per_second", "cpu_seconds", "wall_seconds")
    }


def test_only_the_newest_checkpoints_are_kept(whole: Path) -> None:
    assert [path.name for path in checkpoint.find(whole)] == ["step-00000028", "step-00000030"]
    assert sorted(path.name for path in whole.iterdir()) == ["checkpoints", "config.json", "numbers.jsonl"]


def test_a_finished_run_is_returned_without_a_further_step(tmp_path: Path) -> None:
    first = fit(toy(), tmp_path, progress=False)
    again = fit(replace(toy(), objective=_failing_at(0)), tmp_path, progress=False)
    assert again.numbers == first.numbers
    for (name, a), (_, b) in zip(first.model.state_dict().items(), again.model.state_dict().items(), strict=True):
        assert torch.equal(a, b), name


def test_other_settings_are_refused_by_name(whole: Path) -> None:
    before = (whole / "numbers.jsonl").read_bytes()
    with pytest.raises(ValueError, match=r"lr was 0.02 and is now 0.1; steps was 30 and is now 40.*another folder"):
        fit(replace(toy(), lr=0.1, steps=40), whole, progress=False)
    with pytest.raises(ValueError, match=r"settings was {} and is now {'width': 3}"):
        fit(replace(toy(), settings={"width": 3}), whole, progress=False)
    assert (whole / "numbers.jsonl").read_bytes() == before


def test_reporting_may_change_when_a_run_goes_on(tmp_path: Path, whole: Path) -> None:
    with pytest.raises(Interrupted):
        fit(stopped_at(toy(), 9, signal.SIGINT), tmp_path, progress=False)
    fit(replace(toy(), log_every=1, checkpoint_every=3, prefetch=0), tmp_path, progress=False)
    assert fingerprint(tmp_path) == fingerprint(whole)


def test_a_model_of_another_shape_is_refused(whole: Path) -> None:
    class Wider(Net):
        def __init__(self) -> None:
            super().__init__()
            self.outer = nn.Linear(16, 2)

    with pytest.raises(ValueError, match=r"does not fit the model.*ema/outer.bias"):
        fit(replace(toy(), build=Wider), whole, progress=False)


def test_other_frozen_weights_are_refused(whole: Path) -> None:
    class Other(Net):
        def __init__(self) -> None:
            super().__init__()
            self.fixed.data += 1

    with pytest.raises(ValueError, match="other frozen weights"):
        fit(replace(toy(), build=Other), whole, progress=False)


def test_without_resume_a_used_folder_is_refused(whole: Path) -> None:
    with pytest.raises(ValueError, match="already holds a run"):
        fit(toy(), whole, resume=False, progress=False)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_the_run_and_harms_nothing(value: float, tmp_path: Path, whole: Path) -> None:
    calls = 0

    def broken(model, batch, rng):
        nonlocal calls
        calls += 1
        loss, numbers = objective(model, batch, rng)
        return (loss * value if calls == 12 else loss), numbers

    with pytest.raises(Diverged, match=r"loss (nan|inf).* at step 11 of run 'toy'.*lower lr"):
        fit(replace(toy(), objective=broken), tmp_path, progress=False)
    assert [path.name for path in checkpoint.find(tmp_path)] == ["step-00000007"]
    fit(toy(), tmp_path, progress=False)
    assert fingerprint(tmp_path) == fingerprint(whole)


def test_a_gradient_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    def broken(model, batch, rng):
        return model.outer.bias.sum().mul(0.0).sqrt(), {}

    with pytest.raises(Diverged, match="gradient_norm (nan|inf) at step 0"):
        fit(replace(toy(), objective=broken), tmp_path, progress=False)
    assert not checkpoint.find(tmp_path)


def test_a_number_that_was_not_measured_is_left_out_of_the_mean(tmp_path: Path) -> None:
    calls = 0

    def sometimes(model, batch, rng):
        nonlocal calls
        calls += 1
        return objective(model, batch, rng)[0], {"rare": 5.0 if calls % 4 == 0 else math.nan}

    fit(replace(toy(), objective=sometimes), tmp_path, progress=False)
    assert lines(tmp_path)[0]["rare"] == 5.0


def test_an_objective_may_not_report_what_the_loop_reports(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="reports lr, which fit reports itself"):
        fit(replace(toy(), objective=lambda m, b, r: (objective(m, b, r)[0], {"lr": 1.0})), tmp_path, progress=False)


def test_samples_and_release_see_averaged_weights_and_change_nothing(tmp_path: Path, whole: Path) -> None:
    seen: list[tuple[int, bool]] = []

    def sample(model: nn.Module, folder: Path, step: int) -> None:
        seen.append((step, model.training))
        torch.rand(3)
        (folder / f"{step}.txt").write_text(str(float(model.outer.bias)))  # type: ignore[arg-type]

    def finish(model: nn.Module, folder: Path) -> None:
        (folder / "bias.txt").write_text(str(float(model.outer.bias)))  # type: ignore[arg-type]

    result = fit(replace(toy(), sample=sample, sample_every=20, finish=finish), tmp_path, progress=False)
    assert seen == [(20, False), (30, False)]
    assert fingerprint(tmp_path) == fingerprint(whole)
    assert result.released == tmp_path / "released"
    assert (tmp_path / "released/bias.txt").read_text() == (tmp_path / "samples/30.txt").read_text()
    assert not result.model.training


def test_threads_and_the_global_generator_are_given_back(tmp_path: Path) -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    fit(replace(toy(), threads=threads + 1), tmp_path, progress=False)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_data_that_ends_early_is_an_error(tmp_path: Path) -> None:
    def few(seed: int, start: int, size: int):
        return iter([make(step, size) for step in range(start, 5)])

    with pytest.raises(ValueError, match="ended at step 5 of 30"):
        fit(replace(toy(), batches=few), tmp_path, progress=False)


@pytest.mark.parametrize(
    "change",
    [
        {"ema": 0.0},
        {"dtype": "bfloat16"},
        {
            "optimizer": lambda m, lr, wd: torch.optim.SGD(
                [p for p in m.parameters() if p.requires_grad], lr, momentum=0.9
            )
        },
        {"schedule": "cosine", "clip": 0.0},
    ],
)
def test_other_kinds_of_run_go_on_bit_for_bit_too(change: dict, tmp_path: Path) -> None:
    run: Run = replace(toy(), steps=12, **change)
    fit(run, tmp_path / "whole", progress=False)
    with pytest.raises(Interrupted):
        fit(stopped_at(run, 4, signal.SIGINT), tmp_path / "cut", progress=False)
    fit(run, tmp_path / "cut", progress=False)
    assert fingerprint(tmp_path / "cut") == fingerprint(tmp_path / "whole")


def test_the_config_is_data_and_names_versions_and_digests(whole: Path) -> None:
    config = json.loads((whole / "config.json").read_text())
    assert config["run"] == toy().config()
    assert config["versions"][0]["torch"] == torch.__version__
    assert len(config["digests"]["initial_weights"]) == 64


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_names_the_run_its_step_and_its_loss(terminal: bool, tmp_path: Path) -> None:
    screen = Console(file=StringIO(), force_terminal=terminal, width=120)
    fit(toy(), tmp_path, console=screen)
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "toy" in text and "30/30" in text and "loss 0." in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps=0"),
        ({"hold": 2.0}, "hold=2.0"),
        ({"schedule": "stairs"}, "constant, cosine, hold_then_decay"),
        ({"dtype": "float8"}, "bfloat16, float32"),
        ({"ema": 1.0}, "ema=1.0"),
        ({"settings": {"f": print}}, "plain JSON"),
    ],
)
def test_a_run_checks_its_settings(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(toy(), **change)


def test_the_batch_that_made_a_run_diverge_is_kept(tmp_path: Path) -> None:
    calls = 0

    def broken(model, batch, rng):
        nonlocal calls
        calls += 1
        loss, numbers = objective(model, batch, rng)
        return (loss * math.nan if calls == 4 else loss), numbers

    run = replace(toy(), objective=broken, micro_batches=2)
    with pytest.raises(
        Diverged, match=r"loss nan, .* at step 1 .*its batch is in .*step-00000001-process-0.pt"
    ) as caught:
        fit(run, tmp_path, progress=False)
    assert str(tmp_path) in str(caught.value)
    kept = torch.load(tmp_path / "diverged/step-00000001-process-0.pt", weights_only=False)
    made = run.batches(run.seed, 2, run.batch_size // 2)
    assert len(kept) == 2
    assert all(torch.equal(batch["x"], next(made)["x"]) for batch in kept)


def test_micro_batches_add_up_to_the_mean_of_their_losses(tmp_path: Path) -> None:
    losses = []

    def noted(model, batch, rng):
        loss, numbers = objective(model, batch, rng)
        losses.append(float(loss.detach()))
        return loss, numbers

    run = replace(toy(), objective=noted, micro_batches=4, steps=1, optimizer=lambda m, lr, wd: _plain(m, lr))
    moved = fit(run, tmp_path, progress=False)
    assert len(losses) == 4 and moved.numbers["loss"] == pytest.approx(sum(losses) / 4)
    torch.manual_seed(run.seed)
    model = run.build().train()
    for number, batch in zip(range(4), run.batches(run.seed, 0, 4), strict=False):
        torch.manual_seed(seed_of(run.seed, number, "torch"))
        rng = torch.Generator().manual_seed(seed_of(run.seed, number, "objective"))
        (objective(model, batch, rng)[0] / 4).backward()
    assert float(clip_gradient(model, 0.0)) == pytest.approx(moved.numbers["gradient_norm"], rel=1e-6)


def _plain(model: nn.Module, lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr)


def test_frozen_weights_stay_and_rates_scale_what_they_name(tmp_path: Path) -> None:
    torch.manual_seed(0)
    before = Net()
    run = replace(toy(), steps=1, ema=0.0, clip=0.0, warmup=0, optimizer=lambda m, lr, wd: _plain(m, lr))
    after = {}
    for name, changes in {"plain": {}, "held": {"frozen": "inner"}, "slow": {"rates": {"middle": 0.5}}}.items():
        after[name] = fit(replace(run, **changes), tmp_path / name, progress=False).model.state_dict()
    start = before.state_dict()
    assert torch.equal(after["held"]["inner.weight"], start["inner.weight"])
    assert not torch.equal(after["held"]["outer.weight"], start["outer.weight"])
    half, full = (after[name]["middle.weight"] - start["middle.weight"] for name in ("slow", "plain"))
    torch.testing.assert_close(half, full / 2, rtol=1e-3, atol=1e-7)
    assert torch.equal(after["slow"]["outer.weight"], after["plain"]["outer.weight"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frozen": "nothing"}, "frozen='nothing' matches no trainable weight"),
        ({"frozen": ""}, None),
        ({"frozen": ".*"}, "matches every trainable weight"),
        ({"rates": {"none": 2.0}}, "no trainable weight is called like 'none'"),
        ({"recompute": True}, "its model tells no layers"),
    ],
)
def test_what_a_run_does_to_a_model_is_checked(changes: dict, message: str | None, tmp_path: Path) -> None:
    run = replace(toy(), steps=1, **changes)
    if message is None:
        fit(run, tmp_path / "run", progress=False)
        return
    with pytest.raises(ValueError, match=message):
        fit(run, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_run_begun_before_a_setting_existed_goes_on(tmp_path: Path, whole: Path) -> None:
    with pytest.raises(Interrupted):
        fit(stopped_at(toy(), 9, signal.SIGINT), tmp_path, progress=False)
    config = json.loads((tmp_path / "config.json").read_text())
    for name in ("micro_batches", "divides", "frozen", "rates", "gather"):
        del config["run"][name]
    (tmp_path / "config.json").write_text(json.dumps(config))
    fit(toy(), tmp_path, progress=False)
    assert fingerprint(tmp_path) == fingerprint(whole)
