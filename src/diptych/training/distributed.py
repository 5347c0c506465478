"""Several processes, one training: started by torchrun, each works on its own batches.

Gradients are averaged by hand after the backward pass. It is the same sum that
DistributedDataParallel makes, without wrapping networks that are used several times per step.
Every function is a no-op in a single process.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the other processes that torchrun started, if any; leave at the end."""
    if started_together() == 1 or dist.is_initialized():
        yield
        return
    # On a GPU both: what is not in its memory need not wait for it.
    backends = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    # The others wait while process 0 decodes a large folder.
    dist.init_process_group(backends, timeout=timedelta(hours=6))
    try:
        yield
    finally:
        dist.destroy_process_group()


def started_together() -> int:
    """How many processes torchrun has started with this one; 1 without torchrun."""
    torchrun = {"RANK", "MASTER_ADDR"} <= os.environ.keys()  # (clusters set the size alone too)
    return int(os.environ.get("WORLD_SIZE", "1")) if torchrun else 1


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This process's number, 0 to world_size - 1; number 0 writes files and talks."""
    return dist.get_rank() if dist.is_initialized() else 0


def share_start(model: nn.Module) -> None:
    """Give every process the weights of process 0."""
    if world_size() > 1:
        for tensor in (*model.parameters(), *model.buffers()):
            dist.broadcast(tensor.data, src=0)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over all processes, in one exchange."""
    if world_size() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= world_size()
    parts = torch.split(flat, [gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def agree(values: list[float]) -> list[float]:
    """The largest of each value over all processes: one clock and one stop signal for all.

    No GPU is waited for: every step asks.
    """
    if world_size() == 1:
        return values
    shared = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(shared, op=dist.ReduceOp.MAX)
    return shared.tolist()


def largest(value: Tensor) -> Tensor:
    """The largest of a tensor over all processes, on the device."""
    if world_size() > 1:
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return value


def mean(value: Tensor) -> Tensor:
    """The mean of a tensor over all processes."""
    if world_size() > 1:
        dist.all_reduce(value)
        value /= world_size()
    return value


def wait_for_all() -> None:
    """Return when every process has come here."""
    agree([0])
