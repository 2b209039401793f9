import pytest
import torch

from limner.codecs.losses import reconstruction_loss


def test_loss_of_the_target_itself_is_zero():
    target = torch.rand(2, 3, 8, 8)
    loss, numbers = reconstruction_loss(target, target)
    assert loss.item() == 0 and numbers["psnr"] > 100


def test_blurred_edge_costs_more_than_an_equal_shift_of_an_area():
    target = torch.zeros(1, 3, 8, 8)
    target[..., 4:] = 1.0
    flat = target + 0.25
    uneven = target.clone()
    uneven[..., ::4] += 1.0
    assert reconstruction_loss(flat, target)[1]["absolute"] == reconstruction_loss(uneven, target)[1]["absolute"]
    assert reconstruction_loss(flat, target)[0] < reconstruction_loss(uneven, target)[0]


def test_psnr_of_a_tenth_of_the_range_is_20_dB():
    _, numbers = reconstruction_loss(torch.full((1, 3, 4, 4), 0.2), torch.zeros(1, 3, 4, 4))
    assert numbers["psnr"] == pytest.approx(20)


def test_different_shapes_are_refused():
    with pytest.raises(ValueError, match="same shape"):
        reconstruction_loss(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 8, 8))
