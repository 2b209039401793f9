"""A network in eight bits, or spread over several places, computes nearly or exactly the same."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "mmada"))

from release import make_release  # noqa: E402

from limner import catalog  # noqa: E402
from limner.models.mmada import weights  # noqa: E402
from limner.models.mmada.model import MMaDA  # noqa: E402


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return make_release(tmp_path_factory.mktemp("hub") / "model")


def logits(model):
    ids = torch.arange(24).view(2, 12)
    with torch.no_grad():
        return model.network(ids, torch.ones_like(ids, dtype=torch.bool)).float()


@pytest.mark.parametrize("kind, most", [("int8", 0.02), ("fp8", 0.06)])
def test_eight_bits_are_near_and_small(release, kind, most):
    plain, small = MMaDA.load(release), MMaDA.load(release, quantise=kind)
    error = (logits(small) - logits(plain)).norm() / logits(plain).norm()
    assert 0 < error < most
    layer = small.network.layers[1].gate_proj
    assert layer.stored.element_size() == 1
    with pytest.raises(ValueError, match="load without quantise"):
        weights.released(small.network, torch.float32)


def test_layers_on_the_disk_compute_the_same(release, tmp_path):
    spread = catalog.load_model(release, device_map={"layers.1": "disk"}, offload=tmp_path)
    torch.testing.assert_close(logits(spread), logits(MMaDA.load(release)))
    assert any(tmp_path.iterdir())
    with pytest.raises(ValueError, match="load without device_map"):
        weights.released(spread.network, torch.float32)
    auto = MMaDA.load(release, device_map="auto", offload=tmp_path)
    torch.testing.assert_close(logits(auto), logits(MMaDA.load(release)))


@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_both_go_together(release, tmp_path, kind):
    both = MMaDA.load(release, quantise=kind, device_map={"layers.0": "disk", "layers.1": "disk"}, offload=tmp_path)
    torch.testing.assert_close(logits(both), logits(MMaDA.load(release, quantise=kind)))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"quantise": "int3"}, "int3.*int8, fp8"),
        ({"device_map": "everywhere"}, "everywhere"),
        ({"device_map": {"layers.7": "cpu"}}, "layers.7"),
        ({"device_map": {"layers.0": "disk"}}, "offload"),
    ],
)
def test_impossible_wishes_are_refused(release, options, message):
    with pytest.raises(ValueError, match=message):
        MMaDA.load(release, **options)
