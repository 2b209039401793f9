"""`limner convert`: what it writes is what the released folder holds, and a certificate says so."""

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[1] / "models" / "mmada"))

from release import make_codec, make_release  # noqa: E402

from limner.app.cli import main  # noqa: E402
from limner.models.mmada.model import MMaDA, load_codec  # noqa: E402


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    make_codec(folder / "magvitv2")
    return make_release(folder / "model")


def test_a_converted_folder_is_loaded_as_ours_and_certified(release, tmp_path, capsys):
    target = tmp_path / "models" / "ours"
    command = ["convert", str(release), str(target), "--codec", str(release.parent / "magvitv2"), "--certify"]
    assert main(command) == 0
    assert "27 tensors" in capsys.readouterr().out
    assert sorted(path.name for path in target.parent.iterdir()) == ["ours"]
    theirs, ours = MMaDA.load(release, codec=release.parent / "magvitv2"), MMaDA.load(target)
    assert ours.config == theirs.config and ours.codec.num_codes == 8
    assert torch.equal(ours.network.head.weight, theirs.network.head.weight)
    certificate = json.loads((target / "certificate.json").read_text())
    assert (certificate["names_matched"], certificate["dtype"]) == (27, "bfloat16")
    row = certificate["tensors"]["model.transformer.blocks.1.k_proj.weight"]
    assert row["shape"] == [8, 16] and row["dtype"] == "bfloat16" and len(row["sha256"]) == 64
    assert certificate["codec_tensors"]["encoder.conv_in.weight"]["dtype"] == "float32"
    assert main(command) == 2
    assert "exists already" in capsys.readouterr().err


def test_figures_beside_a_reference_stand_in_the_certificate(release, tmp_path, capsys):
    network = MMaDA.load(release).network
    ids = torch.arange(12).view(2, 6)
    with torch.no_grad():
        logits = network(ids, torch.ones_like(ids, dtype=torch.bool))
        codec, pixels = load_codec(release.parent / "magvitv2"), torch.linspace(-1, 1, 3 * 64).view(1, 3, 8, 8)
        codes = codec.encode(pixels)
        of_codec = {"vq/pixels": pixels, "vq/encoder_out": codec.latents(pixels), "vq/codes": codes.flatten(1)}
        of_codec |= {"vq/quantized": codec.config.quantiser.values(codes), "vq/decoded": codec.decode(codes)}
    for name, error in (("right", 0.0), ("wrong", 0.1)):
        (tmp_path / name).mkdir()
        recorded = {"fwd/input_ids": ids, "fwd/plain/logits": logits * (1 + error)} | of_codec
        save_file(recorded, tmp_path / name / "io.safetensors")
        target = tmp_path / f"model-{name}"
        beside = ["--codec", str(release.parent / "magvitv2"), "--reference", str(tmp_path / name)]
        status = main(["convert", str(release), str(target), *beside])
        assert status == (1 if error else 0)
        rows = json.loads((target / "certificate.json").read_text())["parity"]
        assert rows.pop("fwd/plain/logits")["ok"] == (not error)
        assert rows["vq/decoded"]["ok"] and all(row["ok"] for row in rows.values())
        assert ("NO " in capsys.readouterr().out) == bool(error)


def test_the_type_may_change_and_nothing_is_left_of_a_failure(release, tmp_path, capsys):
    assert main(["convert", str(release), str(tmp_path / "wide"), "--dtype", "float32", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["dtype"] == "float32"
    assert not (tmp_path / "wide" / "certificate.json").exists()
    broken = make_release(tmp_path / "broken")
    (broken / "model-00003-of-00003.safetensors").unlink()
    assert main(["convert", str(broken), str(tmp_path / "gone")]) == 2
    assert "lists model-00003-of-00003.safetensors" in capsys.readouterr().err
    assert main(["convert", str(release), str(tmp_path / "gone"), "--reference", str(release)]) == 2
    assert "no io.safetensors" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "wide"]
