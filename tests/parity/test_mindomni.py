"""MindOmni against numbers recorded from the published code, with small random weights; see check.py."""

import sys
from functools import cache
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import checks_mindomni  # noqa: E402
from checks_mindomni import CHECKS, MindOmniReference  # noqa: E402

DATA = Path(__file__).parent / "data" / "mindomni"


@pytest.fixture(scope="module")
def ref():
    return MindOmniReference(DATA)


@pytest.fixture(scope="module")
def rows_of(ref):
    return cache(lambda one: list(one(ref)))


@pytest.mark.parametrize("one", CHECKS, ids=lambda one: one.__name__)
def test_everything_recorded_is_matched(rows_of, one):
    assert rows_of(one)
    assert not [row for row in rows_of(one) if not row.ok]


def test_no_recorded_result_is_left_out(ref, rows_of):
    compared = {row.tensor.removesuffix(" (condition)") for one in CHECKS for row in rows_of(one)}
    given = {"noise", "noise_small", "t", "time_in", "input_ids", "image_span", "input_latent", "latent_noise"}
    given |= {"pixels", "pred", "u", "x0", "x1"}
    left = {name for name in ref.io.keys() - compared if name.rsplit(".", 1)[1] not in given}
    assert not left


def test_a_wrong_number_is_found(ref, monkeypatch):
    monkeypatch.setitem(ref.io, "scheduler.sigma_4", ref["scheduler.sigma_4"] * 1.001)
    assert [row.tensor for row in checks_mindomni.scheduler(ref) if not row.ok] == ["scheduler.sigma_4"]
