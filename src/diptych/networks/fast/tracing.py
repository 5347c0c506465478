"""When layers take their quick forms, and when the plain ones."""

from __future__ import annotations

import torch
from torch import Tensor


def being_traced() -> bool:
    """True while others read the layers.

    They are to find the plain formulas, and make them fast in their own way.
    """
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None


def compiled_for_gpu(x: Tensor) -> bool:
    """Whether the layer is read by PyTorch's compiler, for a CUDA or ROCm GPU."""
    return torch.compiler.is_compiling() and x.is_cuda


def quick_on(x: Tensor) -> bool:
    """Whether ``x`` is on the CPU, where features are kept channels last, and nobody traces."""
    return x.device.type == "cpu" and not being_traced()
