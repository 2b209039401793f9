"""Every golden scoring case of the published benchmarks comes out as the official code has it."""

import importlib.util
from pathlib import Path

import pytest

HERE = Path(__file__).parent
spec = importlib.util.spec_from_file_location("checks_benchmarks", HERE / "checks_benchmarks.py")
checks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(checks)
GOLDEN = HERE / "data" / "benchmarks"


@pytest.mark.parametrize("name", sorted(checks.COMPUTED))
def test_every_case_is_scored_as_published(name):
    number, wrong = checks.mismatches(GOLDEN, name)
    assert number >= 10
    assert not wrong, "\n".join(wrong[:5])
