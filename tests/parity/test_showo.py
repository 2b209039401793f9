"""Show-o against numbers recorded from the published code, with small random weights; see check.py."""

import sys
from functools import cache
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import check  # noqa: E402
import checks_showo  # noqa: E402

DATA = Path(__file__).parent / "data" / "showo"
# what a comparison starts from; the lists of attended tokens are wrong and never used, as their makers say
GIVEN = {"attn_list", "image_ids", "labels_in", "rand", "image_tokens", "timesteps", "noise", "init_image_ids"}
GIVEN |= {"uniform_noise", "additive_example", "additive_min", "mmu_vit_row_index", "image_u8", "mask_u8"}
GIVEN |= {"clip_features", "text_ids", "rect_indices", "codebook_lookup_in", "preprocess_in_u8", "draw"}
GIVEN |= {"input_ids", "uncond_input_ids", "labels"}


@pytest.fixture(scope="module")
def ref():
    return checks_showo.ShowOReference(DATA)


@pytest.fixture(scope="module")
def rows_of(ref):
    return cache(lambda one: list(one(ref)))


@pytest.mark.parametrize("one", checks_showo.CHECKS, ids=lambda one: one.__name__)
def test_everything_recorded_is_matched(rows_of, one):
    assert rows_of(one)
    assert not [row for row in rows_of(one) if not row.ok]


def test_no_recorded_result_is_left_out(ref, rows_of):
    compared = {row.tensor for one in checks_showo.CHECKS for row in rows_of(one)}
    left = {name for name in ref.io.keys() - compared if name.rsplit("/")[-1].rsplit(".")[-1] not in GIVEN}
    assert not left


def test_the_folder_is_known_by_what_it_holds(monkeypatch, capsys):
    monkeypatch.setattr(checks_showo, "CHECKS", (checks_showo.names, checks_showo.masks))
    assert check.main([str(DATA)]) == 0
    assert "mask.mix_lvg_v2" in capsys.readouterr().out
