"""Released checkpoints are read as they are, converted with a certificate, and what is wrong is said in a line."""

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parent))

from tiny import make_codec, make_model, make_release, make_words  # noqa: E402

from limner import catalog  # noqa: E402
from limner.app.cli import main  # noqa: E402
from limner.models import checkpoint  # noqa: E402
from limner.models.showo.config import ShowOConfig, released  # noqa: E402
from limner.models.showo.model import ShowO, read_config  # noqa: E402
from limner.models.showo.network import Network  # noqa: E402
from limner.models.showo.weights import NAMES  # noqa: E402

KEYS = Path(__file__).parents[2] / "parity" / "data" / "showo" / "full_keys.json"


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    make_codec(folder / "magvitv2")
    make_words(folder / "phi")
    return make_release(folder / "model")


@pytest.mark.parametrize("begin, clip, count", [("show-o (", False, 437), ("show-o-w-clip-vit", True, 441)])
def test_every_name_of_the_released_models_is_matched_in_full_size(begin, clip, count):
    listed = next(table for name, table in json.loads(KEYS.read_text()).items() if name.startswith(begin))
    with torch.device("meta"):
        network = Network(released(512, clip))
        given = [(name, torch.empty(shape)) for name, (shape, _) in listed.items()]
    matched = checkpoint.load_into(network, given, NAMES, torch.float32, "meta")
    assert matched["names_matched"] == count
    assert matched["parameters"] == (1_454_472_322 if clip else 1_448_176_770)


@pytest.mark.parametrize("form", ["pytorch_model", "bin"])
def test_any_kind_of_file_is_read_and_a_prompt_is_drawn(release, tmp_path, form):
    folder = make_release(tmp_path / "model", form)
    places = {"codec": release.parent / "magvitv2", "words": release.parent / "phi"}
    models = [catalog.load_model(one, **places) for one in (release, folder)]
    ours, theirs = (model.network.state_dict() for model in models)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    codes = models[0].process("image")
    assert codes.how.mask == models[0].config.mask and models[0].codec.num_codes == 8


def test_eight_bits_and_other_places_are_near(release):
    plain = ShowO.load(release, words=release.parent / "phi")
    small = ShowO.load(release, words=release.parent / "phi", quantise="int8")
    ids = torch.arange(12).view(2, 6)
    sees = torch.ones(2, 6, 6, dtype=torch.bool)
    with torch.no_grad():
        error = (small.network(ids, sees) - plain.network(ids, sees)).norm() / plain.network(ids, sees).norm()
    assert 0 < error < 0.03 and small.network.layers[0].up_proj.stored.element_size() == 1


def test_a_hub_id_brings_its_codec_and_tokenizer_and_may_name_a_folder(release, monkeypatch, tmp_path):
    asked = []
    homes = {"showlab/magvitv2": release.parent / "magvitv2", "microsoft/phi-1_5": release.parent / "phi"}

    def snapshot_download(name, allow_patterns):
        asked.append((name, allow_patterns))
        return str(homes.get(name, release.parent if "CoT" in name else release))

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    (release.parent / "dpo").exists() or (release.parent / "dpo").symlink_to(release)
    for name in ("showlab/show-o", "ZiyuG/Image-Generation-CoT/dpo"):
        asked.clear()
        model = catalog.load_model(name)
        assert model.codec.num_codes == 8
        assert [one for one, _ in asked] == ["/".join(name.split("/")[:2]), "showlab/magvitv2", "microsoft/phi-1_5"]
        assert not any("safetensors" in pattern for pattern in asked[2][1]), "of Phi only the tokenizer is wanted"
    assert (asked[0][1][0], asked[0][1][-1]) == ("dpo/*.json", "dpo/*.safetensors")
    assert all(pattern.startswith("dpo/") for pattern in asked[0][1])
    with pytest.raises(ValueError, match="has no folder 'none/'"):
        catalog.download("ZiyuG/Image-Generation-CoT/none")


def test_a_model_that_sees_with_clip_wants_it_beside(tmp_path, monkeypatch):
    folder = make_release(tmp_path / "model", w_clip_vit=True)
    wanted = []
    monkeypatch.setattr(catalog, "download", lambda name, weights=True: wanted.append(name) or tmp_path)
    catalog.companions("showlab/show-o-w-clip-vit", folder, {})
    assert wanted == ["showlab/magvitv2", "microsoft/phi-1_5", "openai/clip-vit-large-patch14-336"]
    wanted.clear()
    catalog.companions("showlab/show-o", make_release(tmp_path / "plain"), {})
    assert len(wanted) == 2


def test_a_converted_folder_stands_alone_and_is_certified(release, tmp_path, capsys):
    target = tmp_path / "ours"
    command = ["convert", str(release), str(target), "--codec", str(release.parent / "magvitv2"), "--certify"]
    assert main(command) == 0
    assert "tokenizer" in capsys.readouterr().out
    certificate = json.loads((target / "certificate.json").read_text())
    assert certificate["family"] == "showo" and certificate["names_matched"] == 6 - 1 + 2 * 18
    assert certificate["tensors"]["showo.model.layers.1.self_attn.q_layernorm.weight"]["dtype"] == "bfloat16"
    ours = ShowO.load(target, words=release.parent / "phi")
    assert ours.config == read_config(release) and ours.codec.num_codes == 8
    with pytest.raises(ValueError, match="no tokenizer.json"):
        ShowO.load(target)


def test_what_does_not_fit_is_named(release, tmp_path):
    data = json.loads((release / "config.json").read_text())
    for changes, message in (
        ({"vocab_size": 99}, "vocab_size is 99"),
        ({"phi": {"qk_layernorm": False}}, "qk_layernorm is False"),
        ({"_class_name": "Other"}, "describes a Other"),
        ({"limner": {"colour": 1, "grids": {"8": 4}}}, "unknown fields under limner: colour"),
    ):
        with pytest.raises(ValueError, match=message):
            ShowOConfig.from_json(data | changes)
    missing = {name: value for name, value in data.items() if name != "codebook_size"}
    with pytest.raises(ValueError, match="lacks codebook_size"):
        ShowOConfig.from_json(missing)
    weights = dict(checkpoint.read(release))
    folder = make_release(tmp_path / "more")
    save_file(weights | {"showo.extra": torch.zeros(1)}, folder / "model.safetensors")
    with pytest.raises(ValueError, match="showo.extra, which this network does not have"):
        ShowO.load(folder, words=release.parent / "phi")


def test_a_saved_model_is_read_again_by_its_family(tmp_path):
    model = make_model(places=32)
    model.save(tmp_path / "small")
    loaded = catalog.load_model(tmp_path / "small")
    assert isinstance(loaded, ShowO) and loaded.config == model.config
