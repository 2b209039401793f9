import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from limner.codecs.magvit import RELEASED, TINY, TINY_LARGE, MagvitCodec, MagvitConfig, to_pixels, to_uint8
from limner.codecs.magvit_layers import Stack
from limner.codecs.quantise import Quantiser

HALF = Stack(base=8, widths=(1, 2), blocks=(1, 1), patch=4, groups=4)
SMALL = MagvitConfig(HALF, HALF, Quantiser("lfq", (2,) * 12), larger={2: replace(HALF, patch=8)})


@pytest.fixture
def codec():
    torch.manual_seed(0)
    return MagvitCodec(SMALL).eval()


@pytest.fixture
def pixels():
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("config", [SMALL, replace(TINY, larger={2: TINY_LARGE}), RELEASED])
def test_config_survives_json(config):
    assert MagvitConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_config_of_something_else_is_refused():
    with pytest.raises(ValueError, match="codec 'magvit'"):
        MagvitConfig.from_json({"codec": "other"})
    data = SMALL.to_json()
    data["encoder"]["colour"] = 1
    with pytest.raises(ValueError, match="unknown fields"):
        MagvitConfig.from_json(data)


def test_decoder_of_another_size_is_refused():
    with pytest.raises(ValueError, match="must make 16"):
        replace(SMALL, larger={2: HALF})


def test_picture_becomes_a_grid_of_codes_and_a_picture_again(codec, pixels):
    codes = codec.encode(pixels)
    assert codes.shape == (2, 8, 8) and codes.dtype == torch.int64
    assert codes.min() >= 0 and codes.max() < codec.num_codes
    assert codec.decode(codes).shape == (2, 3, 64, 64)
    assert codec.decode(codes, size=128).shape == (2, 3, 128, 128)
    assert codec.decode(codes).abs().max() <= 1


def test_tiny_codec_makes_64_codes_of_a_64_px_picture(pixels):
    codec = MagvitCodec(TINY).eval()
    assert codec.encode(pixels).shape == (2, 8, 8)
    assert 1_000 <= codec.num_codes <= 4_096


def test_row_alone_has_the_codes_it_has_in_a_batch(codec, pixels):
    assert torch.equal(codec.encode(pixels)[1:], codec.encode(pixels[1:]))


def test_unavailable_size_is_refused_with_the_choices(codec):
    with pytest.raises(ValueError, match=r"choose one of \[64, 128\]"):
        codec.decode(torch.zeros(1, 8, 8, dtype=torch.int64), size=96)


def test_pixels_that_do_not_fit_the_grid_are_refused(codec):
    with pytest.raises(ValueError, match="multiples of 8"):
        codec.encode(torch.zeros(1, 3, 60, 64))


def test_gradients_reach_every_parameter_through_the_codes(codec, pixels):
    shown, quantised = codec(pixels)
    (shown.square().mean() + quantised.loss).backward()
    trained = [*codec.encoder.parameters(), *codec.decoder.parameters()]
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in trained)


def test_larger_decoder_learns_on_frozen_codes(codec, pixels):
    shown, _ = codec(pixels, size=128)
    shown.square().mean().backward()
    assert all(parameter.grad is None for parameter in codec.encoder.parameters())
    assert all(parameter.grad is not None for parameter in codec.larger.parameters())


def test_saved_codec_is_the_same_codec(codec, pixels, tmp_path):
    codec.save(tmp_path / "codec")
    again = MagvitCodec.from_folder(tmp_path / "codec")
    assert again.config == codec.config
    codes = codec.encode(pixels)
    assert torch.equal(again.encode(pixels), codes)
    assert torch.equal(again.decode(codes, size=128), codec.decode(codes, size=128))
    assert sorted(path.name for path in (tmp_path / "codec").iterdir()) == ["config.json", "model.safetensors"]


def test_derived_tables_are_accepted_in_safetensors_and_bin(codec, tmp_path):
    weights = {name: value.clone() for name, value in codec.state_dict().items()}
    weights |= {"quantize.embedding": torch.zeros(4, 2), "quantize.power_vals": torch.zeros(2, dtype=torch.int64)}
    save_file(weights, tmp_path / "pytorch_model.safetensors")
    torch.save(weights, tmp_path / "pytorch_model.bin")
    for path in (tmp_path, tmp_path / "pytorch_model.bin"):
        again = MagvitCodec.from_released(path, SMALL)
        assert torch.equal(again.encoder.conv_in.weight, codec.encoder.conv_in.weight)


def test_any_unmatched_name_or_shape_is_refused(codec, tmp_path):
    codec.save(tmp_path)
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    save_file({**weights, "decoder.extra": torch.zeros(1)}, file)
    with pytest.raises(ValueError, match="1 unknown .*decoder.extra"):
        MagvitCodec.from_folder(tmp_path)
    save_file({name: value for name, value in weights.items() if name != "decoder.conv_in.bias"}, file)
    with pytest.raises(ValueError, match="1 tensors missing .*decoder.conv_in.bias"):
        MagvitCodec.from_folder(tmp_path)
    save_file({**weights, "decoder.conv_in.bias": torch.zeros(3)}, file)
    with pytest.raises(ValueError, match="decoder.conv_in.bias has shape"):
        MagvitCodec.from_folder(tmp_path)


def test_folder_without_a_codec_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no config.json"):
        MagvitCodec.from_folder(tmp_path)
    with pytest.raises(ValueError, match="no codec weights"):
        MagvitCodec.from_released(tmp_path)


def test_bytes_survive_pixels_up_to_truncation():
    pictures = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(-1, -1, -1, 3)
    again = to_uint8(to_pixels(pictures))
    assert (pictures.int() - again.int()).abs().max() <= 1
    with pytest.raises(ValueError, match="uint8"):
        to_pixels(pictures.float())
