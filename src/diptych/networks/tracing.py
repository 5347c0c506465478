"""When layers take their quick forms, and when the plain ones."""

from __future__ import annotations

import torch
from torch import Tensor


def being_traced() -> bool:
    """True while others read the layers: they are to find the plain formulas, and make them fast
    in their own way."""
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None


def quick_on(x: Tensor) -> bool:
    """Whether ``x`` is what the quick forms are for: float32 on the CPU, computed in float32."""
    if being_traced() or torch.is_autocast_enabled("cpu"):
        return False
    return x.device.type == "cpu" and x.dtype == torch.float32
