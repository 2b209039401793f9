"""The codec against numbers recorded from Show-o's release of it, with small random weights (MMaDA's: test_mmada)."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from limner.codecs.magvit import RELEASED, MagvitCodec, MagvitConfig, to_pixels, to_uint8
from limner.codecs.magvit_layers import Stack
from limner.codecs.quantise import Quantiser

DATA = Path(__file__).parent / "data" / "showo" / "magvitv2_tiny"
CLOSE = {"rtol": 1e-4, "atol": 1e-4}  # float32, other order of summation


def _showo() -> MagvitConfig:
    data = json.loads((DATA / "config.json").read_text())
    halves = [
        Stack(data[half]["ch"], tuple(data[half]["ch_mult"]), tuple(data[half]["num_res_blocks"]))
        for half in ("encoder", "decoder")
    ]
    return MagvitConfig(*halves, Quantiser("lfq", (2,) * data["z_channels"]))


def _recorded() -> dict[str, torch.Tensor]:
    """The recorded tensors; integers were stored in fewer bits."""
    recorded = load_file(DATA / "io.safetensors")
    return {name: tensor.long() if tensor.dtype == torch.int16 else tensor for name, tensor in recorded.items()}


NAMES = {
    "pixels": "pixel_values",
    "latents": "pre_h",
    "values": "z_q",
    "codes": "indices",
    "uint8": "decoded_u8",
    "rect": "rect_indices",
    "rect_grid": (6, 4),
}


@pytest.fixture(scope="module")
def case():
    return MagvitCodec.from_weights(DATA / "weights.safetensors", _showo()), _recorded(), NAMES


def test_latents_codes_and_values_equal_the_recorded_ones(case):
    codec, recorded, names = case
    pixels = recorded[names["pixels"]]
    with torch.no_grad():
        latents = codec.latents(pixels)
    torch.testing.assert_close(latents, recorded[names["latents"]], **CLOSE)
    codes = codec.encode(pixels)
    assert torch.equal(codes.flatten(1), recorded[names["codes"]])
    assert torch.equal(codec.config.quantiser.values(codes), recorded[names["values"]])


def test_decoded_pixels_and_bytes_equal_the_recorded_ones(case):
    codec, recorded, names = case
    grid = recorded[names["latents"]].shape[2:]
    codes = recorded[names["codes"]].unflatten(1, grid)
    with torch.no_grad():
        pixels = codec.decode(codes)
    torch.testing.assert_close(pixels, recorded["decoded"].clamp(-1, 1), **CLOSE)
    difference = to_uint8(pixels).int() - recorded[names["uint8"]].int()
    assert difference.abs().max() <= 1  # truncation at a boundary


def test_codes_of_any_grid_are_decoded(case):
    codec, recorded, names = case
    codes = recorded[names["rect"]].unflatten(1, names["rect_grid"])
    with torch.no_grad():
        torch.testing.assert_close(codec.decode(codes), recorded["rect_decoded"].clamp(-1, 1), **CLOSE)


def test_training_losses_of_the_quantiser_equal_the_recorded_ones(case):
    codec, recorded, names = case
    quantised = codec.config.quantiser(recorded[names["latents"]])
    torch.testing.assert_close(quantised.commitment, recorded["quantizer_loss"].squeeze(), **CLOSE)
    torch.testing.assert_close(quantised.entropy, recorded["entropy_loss"].squeeze(), **CLOSE)


def test_reconstruction_in_training_is_what_decoding_the_codes_gives(case):
    codec, recorded, names = case
    pixels = recorded[names["pixels"]]
    with torch.no_grad():
        shown, quantised = codec(pixels)
        torch.testing.assert_close(shown.clamp(-1, 1), codec.decode(quantised.codes), **CLOSE)


def test_bytes_become_the_recorded_pixels():
    recorded = _recorded()
    torch.testing.assert_close(to_pixels(recorded["image_u8"]), recorded["pixel_values"], rtol=0, atol=1e-6)


def test_released_architecture_has_the_released_size():
    with torch.device("meta"):
        codec = MagvitCodec(RELEASED)
    assert sum(parameter.numel() for parameter in codec.parameters()) == 95_387_004
    assert (codec.num_codes, codec.factor) == (8192, 16)
