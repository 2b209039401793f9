"""MMaDA against numbers recorded from the published code, with small random weights; see check.py."""

import json
import shutil
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parent))

import check  # noqa: E402
import checks_layout  # noqa: E402
import checks_training  # noqa: E402
from reference import Reference  # noqa: E402

DATA = Path(__file__).parent / "data" / "mmada"


@pytest.fixture(scope="module")
def ref():
    return Reference(DATA)


@pytest.fixture(scope="module")
def rows_of(ref):
    return cache(lambda one: list(one(ref)))


@pytest.mark.parametrize("one", check.CHECKS, ids=lambda one: one.__name__)
def test_everything_recorded_is_matched(rows_of, one):
    assert rows_of(one)
    assert not [row for row in rows_of(one) if not row.ok]


def test_no_recorded_result_is_left_out(ref, rows_of):
    compared = {row.tensor for one in check.CHECKS for row in rows_of(one)}
    given = {"prompt", "answer", "input_ids", "uncond_input_ids", "attention_mask", "uncond_attention_mask", "hole"}
    given |= {"known_codes", "image_ids", "image_ids_masked", "pixels", "rect_codes", "pad_mask", "t", "transfer_mask"}
    given |= {"full_ids", "reward", "step_map", "old_logp", "completion_ids", "completion_mask", "prompt_ids"}
    given |= {"prompt_mask", "advantages", "new_logps", "old_logps", "ref_logps"}
    given |= {f"{kind}_{what}" for kind in ("base", "chat", "mmu", "r2i", "t2i") for what in ("clean", "labels")}
    given |= {"mmu_prompt_mask", "r2i_prompt_mask", "t2i_ids", "t2i_mask"}
    given |= {"filter_logits", "gumbel_logits", "gumbel_noise_u", "topk_mask_len", "topk_probs", "topk_u"}
    left = {name for name in ref.io.keys() - compared if name.rsplit("/", 1)[1] not in given}
    assert not left


def changed(tmp_path, name):
    folder = tmp_path / "changed"
    shutil.copytree(DATA, folder)
    io = load_file(folder / "io.safetensors")
    value = io[name].flatten()
    value[-1] = value[-1] * 1.001 + 1e-3 if value.is_floating_point() else value[-1] + 1
    save_file(io | {name: value.view(io[name].shape)}, folder / "io.safetensors")
    return str(folder)


@pytest.mark.parametrize(
    "part, name",
    [
        (checks_layout.network, "fwd/plain/logits"),
        (checks_layout.layouts, "prompt/tiny/mmu/input_ids"),
        (checks_training.unigrpo, "rl/uni/loss_grpo"),
    ],
)
def test_a_mismatch_is_shown_and_fails(tmp_path, monkeypatch, capsys, part, name):
    monkeypatch.setattr(check, "CHECKS", [part])
    assert check.main([str(DATA)]) == 0
    assert "0 wrong" in capsys.readouterr().out
    assert check.main([changed(tmp_path, name)]) == 1
    wrong = [line for line in capsys.readouterr().out.splitlines() if line.startswith("WRONG")]
    assert len(wrong) == 1 and wrong[0].endswith(name)


def test_what_cannot_be_computed_fails_and_the_rest_is_compared(tmp_path, monkeypatch, capsys):
    shutil.copytree(DATA, tmp_path / "less")
    io = load_file(tmp_path / "less" / "io.safetensors")
    del io["fwd/plain/logits"]
    save_file(io, tmp_path / "less" / "io.safetensors")
    monkeypatch.setattr(check, "CHECKS", [checks_layout.network, checks_layout.schedules])
    assert check.main([str(tmp_path / "less")]) == 1
    said = capsys.readouterr().out
    assert "network stopped: KeyError 'fwd/plain/logits'" in said and "ok" in said


def test_another_folder_is_refused(tmp_path, capsys):
    assert check.main([str(tmp_path)]) == 2
    assert "is it a reference folder?" in capsys.readouterr().err
    for name in ("config.json", "cases.json"):
        (tmp_path / name).write_text(json.dumps({}))
    assert check.main([str(tmp_path)]) == 2
    assert check.main([]) == 2


def test_bfloat16_stays_near_the_official_bfloat16(ref):
    half = type(ref.network)(ref.config)
    half.load_state_dict(ref.network.state_dict())
    half.to(torch.bfloat16)
    ids = ref["fwd/input_ids"]
    with torch.no_grad():
        ours = half(ids, torch.ones_like(ids, dtype=torch.bool)).float()
    assert (ours - ref["fwd/bf16/plain_logits"].float()).abs().mean() < 0.05
