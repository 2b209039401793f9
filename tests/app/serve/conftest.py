"""A live server with a model of tables, a small masked family and a small flow family, and OpenAI's own client."""

import importlib.util
import sys
from pathlib import Path

import pytest
from PIL import Image as pil

from limner.answer import Limner

sys.path.insert(0, str(Path(__file__).parent))

from live import serving  # noqa: E402


def _families():
    """The table of small models that the conformance suite runs on."""
    path = Path(__file__).parents[2] / "conformance" / "conftest.py"
    spec = importlib.util.spec_from_file_location("families_of_the_conformance_suite", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def models():
    """Of each kind one: tables, masked pictures, pictures made by a flow."""
    families = _families()
    makers = {"echo": families.echo, "masked": families.mmada, "flow": families.mindomni}
    return {name: Limner(make().model, name) for name, make in makers.items()}


@pytest.fixture(scope="session")
def served(models):
    with serving(models, n=4, steps=50, prompt=5000, pixels=1_000_000, body=2**22, candidates=8) as live:
        yield live


@pytest.fixture(scope="session")
def client(served):
    with served.client() as made:
        yield made


@pytest.fixture(scope="session")
def ramp():
    """A picture that no model drew."""
    return pil.linear_gradient("L").resize((32, 32)).convert("RGB")
