"""What need not be done for each picture, where a network only translates."""

from __future__ import annotations

from diptych.networks.fast.casting import Model, with_bf16_convolutions
from diptych.networks.fast.idle_biases import drop_idle_biases
from diptych.networks.fast.winograd import Conv3x3


def for_translating(model: Model) -> Model:
    """A twin of ``model`` as ``with_bf16_convolutions`` makes it, for use without gradients.

    Winograd's kernels are transformed once, and biases that change nothing are not added.
    """
    twin = with_bf16_convolutions(model)
    drop_idle_biases(twin)
    for layer in twin.modules():
        if isinstance(layer, Conv3x3):
            layer.fixed = True
    return twin
