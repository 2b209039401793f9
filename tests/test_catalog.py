"""Names, folders and families."""

import json
from importlib import import_module
from importlib.util import find_spec

import pytest
import torch

from limner import catalog
from limner.models.base import Model
from limner.models.echo import Echo


@pytest.fixture
def folder(tmp_path):
    # in a folder of its own: the parent must hold nothing else
    Echo(seed=3).save(tmp_path / "models" / "small")
    return tmp_path / "models" / "small"


def test_a_folder_is_loaded_by_its_family(folder):
    model = catalog.load_model(folder)
    assert isinstance(model, Echo) and model.seed == 3 and not model.training
    assert all(tensor.dtype == torch.float32 for tensor in model.parameters())


def test_the_dtype_is_as_wished(folder):
    assert next(catalog.load_model(folder, dtype="bfloat16").parameters()).dtype == torch.bfloat16


def test_the_folders_inside_the_package_are_known_by_name(folder, monkeypatch):
    monkeypatch.setattr(catalog, "PRETRAINED", folder.parent)
    assert folder.name in catalog.names() and catalog.find(folder.name) == folder
    row = next(row for row in catalog.describe() if row["name"] == folder.name)
    assert row["family"] == "echo" and row["bytes"] > 0


def test_what_cannot_be_loaded_is_explained(folder, tmp_path):
    with pytest.raises(ValueError, match="no model called 'nobody'; there are: .*; or give the path"):
        catalog.find("nobody")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no config.json"):
        catalog.find(tmp_path / "empty")
    with pytest.raises(ValueError, match="dtype='int3'"):
        catalog.load_model(folder, dtype="int3")
    with pytest.raises(ValueError, match="device='abacus'"):
        catalog.load_model(folder, device="abacus")


def test_options_and_forms_that_a_family_does_not_have_are_refused(folder):
    with pytest.raises(ValueError, match="codec= is no option of the family echo; it takes: none"):
        catalog.load_model(folder, codec="somewhere")
    with pytest.raises(ValueError, match="family echo has no released form"):
        catalog.converter(folder)


def test_a_hub_id_is_no_path_that_is_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert catalog.is_hub_id("owner/name") and not catalog.is_hub_id("/owner/name")
    (tmp_path / "owner").mkdir()
    assert not catalog.is_hub_id("owner/name")
    with pytest.raises(ValueError, match="no model called 'owner/name'"):
        catalog.find("owner/name")


@pytest.mark.parametrize("text", ["not json", "[]", "{}", json.dumps({"family": "none"}), json.dumps({"family": []})])
def test_a_config_without_a_known_family_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match="config.json"):
        catalog.load_model(tmp_path)


@pytest.mark.parametrize("family", catalog.FAMILIES)
def test_every_family_names_a_model_class_of_that_family(family):
    module, _, name = catalog.FAMILIES[family].partition(":")
    assert find_spec(module) is not None
    cls = getattr(import_module(module), name)
    assert issubclass(cls, Model) and cls.family == family
