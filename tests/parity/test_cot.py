"""Image-Generation-CoT against what its published code did; see check.py."""

import sys
from functools import cache
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import check  # noqa: E402
import checks_cot  # noqa: E402

DATA = Path(__file__).parent / "data" / "image-generation-cot"
GIVEN = {"beta", "input_ids", "labels", "reward_yes_prob", "generated", "square", "wide", "uncond_input_ids"}


@pytest.fixture(scope="module")
def ref():
    return checks_cot.CotReference(DATA)


@pytest.fixture(scope="module")
def rows_of(ref):
    return cache(lambda one: list(one(ref)))


@pytest.mark.parametrize("one", checks_cot.CHECKS, ids=lambda one: one.__name__)
def test_everything_recorded_is_matched(rows_of, one):
    assert rows_of(one)
    assert not [row for row in rows_of(one) if not row.ok]


def test_no_recorded_result_is_left_out(ref, rows_of):
    compared = {row.tensor for one in checks_cot.CHECKS for row in rows_of(one)}
    left = {name for name in ref.io.keys() - compared if name.rsplit(".")[-1].rsplit("/")[-1] not in GIVEN}
    assert not {name for name in left if not name.endswith(("chosen_input_ids", "rejected_input_ids", "_labels"))}


def test_the_folder_is_known_by_what_it_holds(monkeypatch, capsys):
    monkeypatch.setattr(checks_cot, "CHECKS", (checks_cot.prompts,))
    assert check.main([str(DATA)]) == 0
    assert "prompts/clarity" in capsys.readouterr().out
