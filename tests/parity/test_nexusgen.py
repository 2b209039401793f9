"""Nexus-Gen against numbers recorded from the published code, with small random weights; see check.py."""

import sys
from functools import cache
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from checks_nexusgen import CHECKS, NexusReference  # noqa: E402

DATA = Path(__file__).parent / "data" / "nexusgen"


@pytest.fixture(scope="module")
def ref():
    return NexusReference(DATA)


@pytest.fixture(scope="module")
def rows_of(ref):
    return cache(lambda one: list(one(ref)))


@pytest.mark.parametrize("one", CHECKS, ids=lambda one: one.__name__)
def test_everything_recorded_is_matched(rows_of, one):
    assert rows_of(one)
    assert not [row for row in rows_of(one) if not row.ok]
