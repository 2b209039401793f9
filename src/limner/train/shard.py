"""One model over several processes: torch's ``fully_shard`` (FSDP2) under torchrun.

Weights, gradients, optimiser and averages are cut along their first dimension, a part for every process; with
``replicas`` above 1 (HSDP) there are so many whole copies, each cut over the processes of its own. An update's loss is
the sum of what the processes compute, and so is its gradient, in float32.

Weights come together again in one of two ways (``Run.gather``):

    whole    all trainable weights for the length of an update, frozen ones stand whole in every process. Processes may
             call the model each in its own way, as often as they like: what group learning does.
    layers   each layer's weights when it is called, forward and backward, frozen ones too. All processes must call the
             same layers in the same order. For models that tell their layers (``Model.layers``).

Letters: W processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from limner.algorithms import workers
from limner.models.base import Model
from limner.train.run import Objective, Run

PATIENCE = timedelta(minutes=30)  # until a process that waits for another gives up


@contextmanager
def joined(device: torch.device) -> Iterator[torch.device]:
    """In the group of the processes that torchrun started; the device is this process's own. Alone without torchrun."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield device
    finally:
        dist.destroy_process_group()


def mesh_of(device: torch.device, replicas: int) -> DeviceMesh:
    """The processes in a row (W,), or with ``replicas`` in a table (replicas, W / replicas).

    Raises ValueError where W is no multiple of it.
    """
    count = workers.count()
    if replicas == 1:
        return init_device_mesh(device.type, (count,), mesh_dim_names=("shard",))
    if count % replicas:
        raise ValueError(f"{count} processes make no {replicas} whole copies; give replicas that divide {count}")
    return init_device_mesh(device.type, (replicas, count // replicas), mesh_dim_names=("replicate", "shard"))


def layers_of(model: nn.Module) -> list[nn.Module]:
    """The layers of all models inside, policy and reference alike."""
    found = [layer for part in model.modules() if isinstance(part, Model) for layer in part.layers()]
    return list(dict.fromkeys(found))


class _Objective(nn.Module):
    """The objective as a module's forward: what ``fully_shard`` takes for one pass through the model."""

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, batch: Any, rng: torch.Generator | None) -> Any:
        if rng is None:  # a gradient of zero for everything: the end of an update, when gradients are added up
            return sum((p.sum() * 0.0 for p in self.model.parameters() if p.requires_grad), torch.zeros(()))
        return self.objective(self.model, batch, rng)


class Engine:
    """The objective on one process, or sharded over several. The model stays the same object with the same names."""

    def __init__(self, run: Run, model: nn.Module, device: torch.device) -> None:
        self.run, self.model = run, model
        self.root: Any = None
        if workers.count() == 1:
            model.to(device)
            return
        layers = layers_of(model) if run.gather == "layers" else []
        if run.gather == "layers" and not layers:
            raise ValueError(
                f"run {run.name!r} gathers weights layer by layer, but its model tells no layers; set gather='whole'"
            )
        mesh = mesh_of(device, run.replicas)
        policy = MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False)
        for layer in layers:
            fully_shard(layer, mesh=mesh, reshard_after_forward=True, mp_policy=policy)
        inside = {p for layer in layers for p in layer.parameters()}
        alone = {p for p in model.parameters() if not p.requires_grad and p not in inside}
        for p in alone:
            p.data = p.data.to(device)
        self.root = _Objective(model, run.objective)
        fully_shard(self.root, mesh=mesh, reshard_after_forward=False, mp_policy=policy, ignored_params=alone)
        for part in self.root.modules():
            if isinstance(part, FSDPModule):
                part.set_gradient_divide_factor(1.0)
                part.set_force_sum_reduction_for_comms(True)
        self.root.set_reshard_after_backward(False, recurse=False)
        # in whole, processes may differ in what they compute, so gradients are added up once, at the end
        self.at_end = run.gather == "whole"
        self.root.set_requires_gradient_sync(not self.at_end)

    def loss(self, batch: Any, rng: torch.Generator) -> tuple[Tensor, Any]:
        """What the objective says of a batch."""
        run = self.run.objective
        found: tuple[Tensor, Any] = run(self.model, batch, rng) if self.root is None else self.root(batch, rng)
        return found

    def reduce(self) -> None:
        """Add up the gradients of all processes; a weight that none of them used has none."""
        if self.root is None:
            return
        if self.at_end:
            used = self._used()
            self.root.set_requires_gradient_sync(True)
            self.root(None, None).backward()
            self.root.set_requires_gradient_sync(False)
        self.root.reshard()
        if self.at_end:
            for parameter, one in zip(self._trainable(), used, strict=True):
                if not one:
                    parameter.grad = None

    def _trainable(self) -> list[nn.Parameter]:
        return [p for p in self.model.parameters() if p.requires_grad]

    def _used(self) -> list[bool]:
        """Which trainable weights have a gradient in any process."""
        own = [p.grad is not None or p.dtype != torch.float32 for p in self._trainable()]
        return [any(some) for some in zip(*workers.everyone(own), strict=True)]

    def stepped(self) -> None:
        """The weights have changed: what models remember of the old ones is forgotten."""
        for part in self.model.modules():
            if isinstance(part, Model):
                part.forget()

    @contextmanager
    def whole(self) -> Iterator[nn.Module]:
        """The model with all its weights, outside an update."""
        if self.root is None:
            yield self.model
            return
        with ExitStack() as stack:
            self.root.unshard()
            stack.callback(self.root.reshard)
            yield stack.enter_context(workers.whole(self.model))
