"""How networks are for a while: as for use, or without learning averages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluation_mode(*networks: nn.Module) -> Iterator[None]:
    """Within the block the networks are as for use (no dropout); after it as they were."""
    before = [network.training for network in networks]
    for network in networks:
        network.eval()
    try:
        yield
    finally:
        for network, training in zip(networks, before, strict=True):
            network.train(training)


@contextmanager
def averages_kept(*networks: nn.Module) -> Iterator[None]:
    """Within the block batch norm's running averages stay as they are.

    A generator in use normalises by them, so they must be of what it will translate: not of the
    target's pictures, which the identity loss shows it, and not of fakes.
    """
    norms = [
        layer
        for network in networks
        for layer in network.modules()
        if isinstance(layer, nn.BatchNorm2d)
    ]
    for layer in norms:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in norms:
            layer.track_running_stats = True
