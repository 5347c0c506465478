"""Two batches through the same networks, as one where that is possible."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Tensors = tuple[Tensor, ...]  # what networks take together, or give


def joinable(network: nn.Module) -> bool:
    """Whether two batches may go through as one: batch norm mixes the pictures of a batch."""
    return not any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())


def twice(
    networks: Callable[..., Tensors],
    x: Tensors,
    y: Tensors,
    join: bool,
    again: Callable[..., Tensors] | None = None,
) -> tuple[Tensors, Tensors]:
    """``networks(*x), networks(*y)``, in one pass where ``join`` and the shapes allow it.

    ``again``: used for ``y`` where the two are not joined.
    """
    if join and all(p.shape[1:] == q.shape[1:] for p, q in zip(x, y, strict=True)):
        joined = networks(*(torch.cat([p, q]) for p, q in zip(x, y, strict=True)))
        parts = [torch.split(z, [len(p), len(q)]) for z, p, q in zip(joined, x, y, strict=True)]
        first, second = zip(*parts, strict=True)
        return first, second
    return networks(*x), (again or networks)(*y)
