"""Plans: sizes are those of the networks that are loaded, and ways order themselves as they must."""

import json
from pathlib import Path

import pytest
import torch

from limner import catalog
from limner.models.echo import Echo
from limner.models.plan import Outline, Part, Work, best, place_of, training, ways

GB = 1e9


@pytest.fixture(scope="module")
def nexus():
    """Nexus-Gen V2 in its released size, on the meta device."""
    return catalog.outline("nexus-gen-v2")


def part(outline, name):
    return next(each for each in outline.parts if each.name == name)


def test_the_released_sizes_are_those_of_the_released_files(nexus):
    # section 2 of the specification; the reader's and decoders' counts are of their own files
    assert part(nexus, "reader").parameters == 8_305_302_016
    assert part(nexus, "generation decoder").parameters == 11_901_408_320 + 31_481_856
    assert part(nexus, "editing decoder").parameters == 11_901_408_320 + 358_931_456
    assert all(p.is_meta for each in nexus.parts for p in each.network.parameters())


def test_24_gigabytes_hold_it_only_by_turns_and_in_eight_bits(nexus):
    found = {way.name: way for way in ways(nexus, place_of("cuda:24GB"))}
    assert not found["bfloat16"].fits and found["bfloat16"].peak > 65 * GB
    assert not found["bfloat16, offload=model"].fits  # a decoder alone has 24 GB
    assert (
        found["bfloat16, int8, offload=model"].fits and 12 * GB < found["bfloat16, int8, offload=model"].peak < 16 * GB
    )
    chosen = best(list(found.values()))
    assert chosen is not None and chosen.options == {"dtype": "bfloat16", "quantise": "int8", "offload": "model"}
    roomy = best(ways(nexus, place_of("cuda:80GB")))
    assert roomy is not None and roomy.options == {"dtype": "bfloat16"}
    assert best(ways(nexus, place_of("cuda:8GB"))) is None


def test_a_smaller_way_never_takes_more_memory_and_turns_take_more_time(nexus):
    found = {way.name: way for way in ways(nexus, place_of("cuda:48GB"))}
    plain, small, turns = found["bfloat16"], found["bfloat16, int8"], found["bfloat16, offload=model"]
    assert small.peak < plain.peak and turns.peak < plain.peak
    assert turns.total > plain.total
    painted = [plain.seconds[f"a picture ({name})"] for name in ("generation", "editing")]
    assert plain.total == pytest.approx(sum(plain.seconds.values()) - min(painted))  # a reply is painted once


def test_what_eight_bits_take_is_what_the_loaded_model_takes():
    from limner.models.compact import quantise

    model = catalog.load_model("tiny-mmada", dtype="bfloat16")
    network = part(catalog.outline("tiny-mmada"), "network")
    assert network.nbytes("bfloat16") == sum(p.nbytes for p in model.network.parameters())
    quantise(model.network, "int8")
    held = [*model.network.parameters(), *model.network.buffers()]
    assert network.nbytes("bfloat16", "int8") == sum(each.nbytes for each in held)


def test_a_folder_is_planned_by_its_own_config(tmp_path):
    folder = tmp_path / "half"
    folder.mkdir()
    config = json.loads((catalog.PRETRAINED / "tiny-mmada" / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"n_layers": 2}))
    whole, half = (part(catalog.outline(name), "network") for name in ("tiny-mmada", str(folder)))
    assert len(half.network.layers) == 2 < len(whole.network.layers)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nexus-gen-v3", "no model called 'nexus-gen-v3' can be planned; released ones are .*nexus-gen-v2"),
        ("echo", "echo has no plan"),
    ],
)
def test_what_cannot_be_planned_is_told(name, reason, tmp_path):
    if name == "echo":
        Echo().save(tmp_path / "echo")
        name = str(tmp_path / "echo")
    with pytest.raises(ValueError, match=reason):
        catalog.outline(name)


@pytest.mark.parametrize("text", ["cuda", "cuda:x", "tpu:16GB", "cuda:-1GB", "cuda:0GB"])
def test_a_device_says_its_memory(text):
    with pytest.raises(ValueError, match="say how much memory there is"):
        place_of(text)


@pytest.fixture
def toy():
    """One linear layer of 1,000 x 1,000 in a stack of one, that works 10 times over 5 tokens."""
    with torch.device("meta"):
        network = torch.nn.Sequential(torch.nn.ModuleList([torch.nn.Linear(1000, 1000, bias=False)]))
    work = Work("w", "net", 5, 10, width=1000)
    return Outline("toy", (Part("net", network, (network,)),), (work,), (), True, 7, 1, 1000, 50)


def test_time_is_the_longer_of_computing_and_reading(toy):
    place = place_of("cuda:24GB")
    (way, *_) = ways(toy, place)
    assert way.seconds["w"] == pytest.approx(10 * 2e6 / (0.7 * place.bandwidth))  # few tokens: weights are read
    (way, *_) = ways(toy, place, rows=10_000)
    assert way.seconds["w"] == pytest.approx(10 * 2 * 1e6 * 5 * 10_000 / (0.4 * place.operations))


def test_training_is_shared_out(toy):
    place = place_of("cuda:24GB")
    one = training(toy, place, batch=8, micro=2)
    assert one.bytes["weights"] == 4e6 and one.bytes["optimiser"] == 8e6 and one.bytes["averages"] == 4e6
    assert one.bytes["logits"] == 2 * 4 * 7 * 4 * 50 and one.trained == 1_000_000
    four = training(toy, place, gpus=4, batch=8, micro=2)
    assert four.bytes["weights"] == 1e6 and four.bytes["gathered"] == 2e6
    assert one.seconds == pytest.approx(4 * four.seconds)
    with pytest.raises(ValueError, match="8 rows a step cannot be shared out over 3 devices"):
        training(toy, place, gpus=3, batch=8)
    less = training(toy, place, batch=8, micro=2, recompute=True, ema=False)
    assert less.bytes["averages"] == 0 and less.seconds == pytest.approx(one.seconds * 4 / 3)


def test_micro_batches_are_as_few_as_fit(toy):
    roomy = training(toy, place_of("cuda:24GB"), batch=8)
    assert roomy.micro == 1 and roomy.fits
    needed = training(toy, place_of("cuda:24GB"), batch=8, micro=4).total
    tight = training(toy, place_of(f"cuda:{needed / 1e9 + 1e-5:.6f}GB"), batch=8)
    assert tight.micro == 4 and tight.fits
    assert not training(toy, place_of("cuda:0.5GB"), batch=8).fits


def test_every_released_name_belongs_to_one_family():
    from importlib import import_module

    every = [name for module in catalog.OUTLINES.values() for name in import_module(module).NAMES]
    assert len(set(every)) == len(every) and not set(every) & set(catalog.names())
    assert all((Path(catalog.__file__).parent / "models" / family).is_dir() for family in catalog.OUTLINES)
