"""What goes into convolutions of 16 bits, and what comes out of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diptych.networks.fast.tracing import compiled_for_gpu, quick_on


def as_computed(x: Tensor, network: nn.Module) -> Tensor:
    """``x`` in the precision of the network's weights.

    On the CPU, and compiled for a GPU, also laid out pixel by pixel, as convolutions like it best.
    """
    precision = next(network.parameters()).dtype
    by_pixel = quick_on(x) or compiled_for_gpu(x)
    return x.to(precision, memory_format=torch.channels_last) if by_pixel else x.to(precision)


def full_precision(x: Tensor) -> Tensor:
    """float16 and bfloat16 as float32, so that losses are not summed in 8 bits; others as is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
