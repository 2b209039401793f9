"""Several processes that train one model: which of them this is, what is gathered from all, and weights in whole.

Every process calls these at the same places in the same order. With one process they cost nothing and change nothing.
Processes are those of torch's default group; whoever starts them (``limner.train.shard``, under torchrun) makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")


def count() -> int:
    """How many processes work together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def place() -> int:
    """Which of them this is, from 0 on."""
    return dist.get_rank() if count() > 1 else 0


def everyone(value: T) -> list[T]:
    """The value of every process, in their order; it is pickled on the way."""
    if count() == 1:
        return [value]
    found: list[Any] = [None] * count()
    dist.all_gather_object(found, value)
    return found


def by_first(do: Callable[[], T]) -> T:
    """What the first process finds or does, told to all; a ValueError or OSError of its is everyone's."""
    if count() == 1:
        return do()
    found: tuple[T | None, Exception | None] = (None, None)
    if place() == 0:
        try:
            found = (do(), None)
        except (ValueError, OSError) as error:
            found = (None, error)
    value, wrong = everyone(found)[0]
    if wrong is not None:
        raise wrong
    return value  # type: ignore[return-value]


def together() -> None:
    """Wait until every process is here."""
    if count() > 1:
        dist.barrier()


def own_rows(total: int) -> range:
    """Which of ``total`` rows this process works on: neighbours, as many as every other process has.

    Raises ValueError where they cannot be dealt out evenly.
    """
    if total % count():
        raise ValueError(
            f"{total} rows cannot be dealt out evenly to {count()} processes; give a multiple of {count()}"
        )
    size = total // count()
    return range(place() * size, (place() + 1) * size)


def joined_rows(own: Tensor, dim: int = 0) -> Tensor:
    """The rows of all processes, in the order of ``own_rows``, along ``dim``."""
    if count() == 1:
        return own
    return torch.cat([part.to(own.device) for part in everyone(own.detach().cpu())], dim=dim)


def joined_list(own: list[T]) -> list[T]:
    """The items of all processes, in the order of ``own_rows``."""
    return [item for part in everyone(own) for item in part]


def summed(numbers: Mapping[str, float]) -> dict[str, float]:
    """Numbers added over all processes by name."""
    found: dict[str, float] = {}
    for some in everyone(dict(numbers)):
        for name, value in some.items():
            found[name] = found.get(name, 0.0) + value
    return found


def averaged(numbers: Mapping[str, float]) -> dict[str, float]:
    """The mean of each number over all processes, which have equally many rows."""
    return {name: value / count() for name, value in summed(numbers).items()}


@contextmanager
def whole(model: nn.Module) -> Iterator[nn.Module]:
    """The model with every layer's weights gathered, so that processes may call it each in its own way.

    Without it a sharded layer gathers its weights when it is called, and all processes must call the same layers in the
    same order.
    """
    from torch.distributed.fsdp import FSDPModule

    layers = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for layer in layers:
        layer.set_reshard_after_forward(False, recurse=False)
        layer.unshard()
    try:
        yield model
    finally:
        for layer in layers:
            layer.set_reshard_after_forward(True, recurse=False)
            layer.reshard()
