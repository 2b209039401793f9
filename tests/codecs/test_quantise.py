import pytest
import torch

from limner.codecs.quantise import Quantiser

KINDS = [Quantiser("lfq", (2,) * 12), Quantiser("fsq", (8, 5, 5, 5)), Quantiser("fsq", (8, 8, 8, 8))]


@pytest.mark.parametrize("quantiser", KINDS)
def test_values_of_every_code_spell_that_code(quantiser):
    codes = torch.arange(quantiser.num_codes).view(1, 1, -1)
    values = quantiser.values(codes)
    assert values.unique(dim=3).shape[3] == quantiser.num_codes
    latents = values if quantiser.kind == "lfq" else torch.logit((values + 1) / 2) / 1.6
    assert torch.equal(quantiser.codes(latents), codes)


@pytest.mark.parametrize("quantiser", KINDS)
def test_training_sees_the_values_that_the_codes_stand_for(quantiser):
    latents = torch.randn(2, len(quantiser.levels), 4, 4, generator=torch.Generator().manual_seed(0))
    quantised = quantiser(latents)
    assert torch.equal(quantised.codes, quantiser.codes(latents))
    torch.testing.assert_close(quantised.values, quantiser.values(quantised.codes))


@pytest.mark.parametrize("quantiser", KINDS)
def test_gradients_pass_straight_through(quantiser):
    latents = torch.zeros(1, len(quantiser.levels), 2, 2, requires_grad=True)
    quantiser(latents).values.sum().backward()
    slope = 1.0 if quantiser.kind == "lfq" else 1.6 / 2
    torch.testing.assert_close(latents.grad, torch.full_like(latents, slope))


def test_channel_zero_is_the_most_significant_bit_and_zero_is_negative():
    latents = torch.tensor([1.0, 0.0, -1.0]).view(1, 3, 1, 1)
    assert Quantiser("lfq", (2, 2, 2)).codes(latents).item() == 4


def test_extreme_latents_stay_in_the_book():
    latents = torch.tensor([-1e9, 1e9]).view(2, 1, 1, 1)
    assert Quantiser("fsq", (5,)).codes(latents).flatten().tolist() == [0, 4]


def test_codes_outside_the_book_are_clamped():
    quantiser = Quantiser("lfq", (2, 2))
    assert torch.equal(quantiser.values(torch.tensor([[[-3, 99]]])), quantiser.values(torch.tensor([[[0, 3]]])))


def test_impossible_quantisers_are_refused():
    with pytest.raises(ValueError, match="no quantiser called 'vq'"):
        Quantiser("vq", (2,))
    with pytest.raises(ValueError, match="two levels"):
        Quantiser("lfq", (2, 3))
    with pytest.raises(ValueError, match="at least two levels"):
        Quantiser("fsq", ())
