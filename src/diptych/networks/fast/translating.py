"""What need not be done for each picture, where a network only translates."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from diptych.networks.fast.casting import Model, with_bf16_convolutions
from diptych.networks.fast.norms import InstanceNorm
from diptych.networks.fast.winograd import Conv3x3


def for_translating(model: Model) -> Model:
    """A twin of ``model`` as ``with_bf16_convolutions`` makes it, for use without gradients.

    Winograd's kernels are transformed once; and a bias that an instance norm takes out again, with
    all else that is the same in all of a picture, is not added.
    """
    twin = with_bf16_convolutions(model)
    for sequence in twin.modules():
        if not isinstance(sequence, nn.Sequential):
            continue
        for layer, following in pairwise(sequence):
            if isinstance(layer, Conv3x3):
                layer.fixed = True
                if isinstance(following, InstanceNorm):
                    layer.bias = None
    return twin
