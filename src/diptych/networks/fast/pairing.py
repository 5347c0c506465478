"""Two networks of one shape as one, with half as many calls of each layer.

A small layer takes a processor longer to start than to compute.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from diptych.networks.fast.norms import GroupNorm


class Pair(nn.Module):
    """``first(x), second(y)``, for networks whose layers are alike.

    ``x`` and ``y`` of one shape, ``(N, C, H, W)``, go through as one of 2C channels: all that is
    per channel does not notice, and convolutions have two groups. The weights are copies, those of
    ``first`` before those of ``second``. Layers that mix channels in other ways (pixel norm, the
    joints of a U-Net) or have other weights in each pass (spectral norm) cannot be paired.
    """

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.both = copy.deepcopy(first)
        for layer, other in zip(self.both.modules(), second.modules(), strict=True):
            _append(layer, other)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        together: Tensor = self.both(torch.cat([x, y], dim=1))
        first, second = together.chunk(2, dim=1)
        return first, second


def _append(layer: nn.Module, other: nn.Module) -> None:
    """Let ``layer`` do the work of ``other`` too, on as many channels more."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        layer.groups *= 2
        layer.in_channels *= 2
        layer.out_channels *= 2
    elif isinstance(layer, nn.InstanceNorm2d):
        layer.num_features *= 2
    elif isinstance(layer, GroupNorm):
        layer.num_groups *= 2
        layer.num_channels *= 2
    for name, weight in list(layer.named_parameters(recurse=False)):
        joined = torch.cat([weight.detach(), other.get_parameter(name).detach()])
        layer.register_parameter(name, nn.Parameter(joined))
