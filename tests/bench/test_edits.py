"""Edits are judged by the scene and by every pixel that must stay."""

import json

import numpy as np
import pytest

from limner.bench import edits
from limner.models.base import Model
from limner.models.echo import Echo
from limner.world.draw import render
from limner.world.edits import EDITS


@pytest.fixture(scope="module")
def some():
    return edits.some_edits(2, 0)


def test_there_are_as_many_of_every_kind_and_the_seed_decides(some):
    assert [one.kind for one in some] == [kind for kind in EDITS for _ in range(2)]
    assert some == edits.some_edits(2, 0) and some != edits.some_edits(2, 1)


def test_the_exact_picture_is_right_and_the_source_is_not(some):
    for one in some:
        exact = edits.judge(one, render(one.after, 64))
        assert exact.strict and exact.off == 0
        assert not edits.judge(one, render(one.before, 64)).scene


def test_pixels_that_must_stay_and_do_not_are_seen(some):
    one = next(one for one in some if one.kind == "recolour")
    shown = render(one.after, 64).copy()
    same = (render(one.before, 64) == shown).all(axis=2)
    rows, columns = np.nonzero(same)
    count = int(0.03 * len(rows)) + 1
    shown[rows[:count], columns[:count]] ^= 128
    found = edits.judge(one, shown)
    assert found.off == pytest.approx(count / len(rows)) and not found.strict
    with pytest.raises(ValueError, match="64 x 64"):
        edits.judge(one, shown[:32])


class Unable(Echo):
    edits = False


def test_a_report_is_written_and_a_model_that_cannot_edit_is_refused(tmp_path):
    report = edits.evaluate(Echo(), 1, 2, out=tmp_path)
    assert report["all"]["strict"]["mean"] == 0 and report["all"]["strict"]["total"] == len(EDITS)
    assert [step["total"] for step in report["stories"]["steps"]] == [2, 2, 2]
    assert json.loads((tmp_path / "report.json").read_text()) == report and (tmp_path / "sheet.png").is_file()
    assert isinstance(Unable(), Model)
    with pytest.raises(ValueError, match="cannot edit"):
        edits.evaluate(Unable(), 1, 0)
