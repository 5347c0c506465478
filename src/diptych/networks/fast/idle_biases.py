"""Biases that change nothing."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from diptych.networks.fast.norms import InstanceNorm


def drop_idle_biases(network: nn.Module) -> None:
    """Take the bias from each convolution before an instance norm.

    The norm takes it out again, with all else that is the same in all of a picture; its gradient is
    zero, and costs a look at all features.
    """
    for sequence in network.modules():
        if isinstance(sequence, nn.Sequential):
            for layer, following in pairwise(sequence):
                if isinstance(following, InstanceNorm):
                    last = layer[-1] if isinstance(layer, nn.Sequential) else layer
                    if isinstance(last, nn.Conv2d | nn.ConvTranspose2d):
                        last.bias = None
