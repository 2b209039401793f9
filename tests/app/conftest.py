"""What the tests of the commands share: an untrained model of tables, and an empty folder to work in."""

import pytest

from limner.models.echo import Echo


@pytest.fixture(scope="module")
def echo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("echo")
    Echo().save(folder)
    return str(folder)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
