"""The published reward model, with small random weights, against what its own code gave."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image as pil
from safetensors.torch import load_file, save_file

from limner.judges.official import filtered
from limner.models import checkpoint
from limner.models.llava.network import NAMES, Sizes, _named, build, convert, load
from limner.models.llava.pictures import grid, pixels
from limner.models.llava.render import ASKED, PICTURE, question

DATA = Path(__file__).parents[2] / "parity" / "data" / "image-generation-cot"
IO = load_file(DATA / "llava_onevision_tiny" / "io.safetensors")
CASES = [(form, shape) for form in ("pad", "anyres_max_9") for shape in ("square", "wide")]


@pytest.fixture(scope="module")
def looker():
    return load(DATA / "llava_onevision_tiny", dtype=torch.float32)


def picture(shape):
    return pil.fromarray(IO[f"image_u8.{shape}"].numpy())


def sides():
    ids = IO["input_ids"][0].tolist()
    place = ids.index(-200)
    return ids[:place], ids[place + 1 :]


@pytest.mark.parametrize(("form", "shape"), CASES, ids=str)
def test_pictures_are_cut_as_published(form, shape):
    seen = pixels(picture(shape), "pad" if form == "pad" else "anyres")
    seen = seen[0] if form == "pad" else seen
    assert list(seen.shape) == IO[f"{form}.{shape}.pixel_shape"].tolist()
    torch.testing.assert_close(seen[..., ::24, ::24], IO[f"{form}.{shape}.pixel_grid"], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("form", "shape"), CASES, ids=str)
def test_words_and_picture_answer_as_published(looker, form, shape):
    looker.form = "pad" if form == "pad" else "anyres"
    name, (before, behind) = f"{form}.{shape}", sides()
    features = looker.features(picture(shape))
    embeds = looker.embedded(before, features, behind)[0]
    assert len(embeds) == int(IO[f"{name}.num_embeds"])
    for got, wanted in (
        (embeds[:12], IO[f"{name}.embeds_first12"]),
        (embeds[-12:], IO[f"{name}.embeds_last12"]),
        (embeds.norm(dim=-1), IO[f"{name}.embeds_row_norms"]),
        (looker.next_word(before, features, behind), IO[f"{name}.logits_last"]),
        (filtered(IO[f"{name}.logits_last"]), IO[f"{name}.processed_first_token_probs"]),
    ):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=2e-5)


def test_questions_are_the_published_strings():
    recorded = json.loads((DATA / "reward_prompts.json").read_text())
    for name in ("orm", "clarity", "potential", "dpo_guidance"):
        wanted = recorded[name].replace("{prompt}", "a red {cat}")
        assert question({"orm": "outcome"}.get(name, name), "a red {cat}") == wanted
    assert all(question(name, "x").count(PICTURE) == 1 for name in ASKED)


def test_every_released_name_has_its_place():
    (released,) = json.loads((DATA / "full_keys.json").read_text()).values()
    with torch.device("meta"):
        wanted = {name: list(tensor.shape) for name, tensor in build(Sizes()).state_dict().items()}
    matched = {}
    for name, tensor in _named((name, torch.empty(shape, device="meta")) for name, (shape, _) in released.items()):
        matched[checkpoint.translate(name, NAMES)] = list(tensor.shape)
    assert matched == wanted and len(released) == len(wanted) == 765


def test_the_best_fitting_grid_keeps_most_with_the_least_waste():
    assert grid((256, 256)) == (1, 1) and grid((768, 384)) == (2, 1) and grid((500, 1500)) == (2, 4)


def test_a_converted_folder_is_one_that_transformers_loads(looker, tmp_path):
    from transformers import LlavaOnevisionForConditionalGeneration

    about = convert(DATA / "llava_onevision_tiny", tmp_path / "new", torch.float32)
    assert about["names_matched"] == len(looker.network.state_dict()) == len(about["tensors"])
    again = LlavaOnevisionForConditionalGeneration.from_pretrained(tmp_path / "new", dtype=torch.float32).eval()
    ids = torch.tensor([[3, 4, 5]])
    with torch.no_grad():
        ours, theirs = looker.network(input_ids=ids).logits, again(input_ids=ids).logits
    assert torch.equal(ours, theirs)
    with pytest.raises(ValueError, match="exists already"):
        convert(DATA / "llava_onevision_tiny", tmp_path / "new")


def test_weights_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no config\.json"):
        load(tmp_path)
    weights = load_file(DATA / "llava_onevision_tiny" / "weights.safetensors")
    (tmp_path / "config.json").write_text((DATA / "llava_onevision_tiny" / "config.json").read_text())
    save_file({**weights, "model.extra": torch.zeros(1)}, tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match=r"model\.extra"):
        load(tmp_path)
    weights.pop("model.mm_projector.2.bias")
    save_file(weights, tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match="lack"):
        load(tmp_path)
    looker = load(DATA / "llava_onevision_tiny")
    with pytest.raises(ValueError, match="without a tokenizer"):
        looker.ids(question("outcome", "a cat"))
