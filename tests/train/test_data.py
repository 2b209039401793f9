from __future__ import annotations

import threading
from itertools import islice
from typing import NamedTuple

import pytest
import torch

from limner.train.data import each_step, prefetched, seed_of, to_device


def test_every_step_has_the_same_data_wherever_a_run_starts() -> None:
    batches = each_step(lambda seed, size: (seed, size))
    assert list(islice(batches(3, 0, 8), 10))[4:] == list(islice(batches(3, 4, 8), 6))


def test_seeds_differ_by_seed_step_and_use() -> None:
    seeds = {seed_of(seed, step, use) for seed in range(5) for step in range(200) for use in ("batch", "objective")}
    assert len(seeds) == 2000
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize("depth", [0, 1, 5])
def test_prefetching_keeps_order_and_ends_where_the_data_ends(depth: int) -> None:
    with prefetched(iter(range(20)), depth) as batches:
        assert list(batches) == list(range(20))


def test_an_error_in_the_maker_is_raised_at_its_batch() -> None:
    def maker():
        yield 1
        raise RuntimeError("no more paper")

    with prefetched(maker(), 3) as batches:
        assert next(batches) == 1
        with pytest.raises(RuntimeError, match="no more paper"):
            next(batches)


def test_leaving_early_ends_the_thread() -> None:
    with prefetched(each_step(lambda seed, size: seed)(0, 0, 1), 2) as batches:
        next(batches)
    assert not [thread for thread in threading.enumerate() if thread.name == "batches"]


def test_only_tensors_move_and_containers_keep_their_type() -> None:
    class Pair(NamedTuple):
        left: torch.Tensor
        right: str

    batch = {"pair": Pair(torch.ones(2), "a"), "list": [torch.zeros(1), 3]}
    moved = to_device(batch, torch.device("meta"))
    assert isinstance(moved["pair"], Pair) and moved["pair"].right == "a" and moved["list"][1] == 3
    assert moved["pair"].left.device.type == "meta" and moved["list"][0].device.type == "meta"
