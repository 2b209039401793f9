"""A step in pieces is the whole step."""

import pytest
import torch

from limner.train.micro import micro_steps


def test_pieces_have_the_gradient_and_the_numbers_of_the_whole():
    rows = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    found = []
    for size in (5, 2):
        weight = torch.ones(3, requires_grad=True)

        def loss_of(some, weight=weight):
            loss = ((torch.stack(some) @ weight) ** 2).mean()
            return loss, {"loss": float(loss.detach()), "rows": float(len(some))}

        loss, numbers = micro_steps(loss_of, list(rows), size)
        loss.backward()
        found.append((float(loss.detach()), numbers["loss"], weight.grad))
    assert found[0][0] == pytest.approx(found[1][0]) and found[1][1] == pytest.approx(found[1][0])
    torch.testing.assert_close(found[0][2], found[1][2])


def test_a_number_that_some_pieces_lack_is_the_mean_of_the_others():
    weight = torch.ones((), requires_grad=True)
    _, numbers = micro_steps(lambda some: (weight * 1.0, {"odd": 3.0} if some[0] % 2 else {}), [0, 1, 2, 3], 1)
    assert numbers == {"odd": 3.0}
