"""Whether a network is being read by a compiler or an exporter."""

from __future__ import annotations

import torch


def being_traced() -> bool:
    """True while others read the layers: they are to find the plain formulas, and make them fast
    in their own way."""
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None
