"""The moving average of the generators' weights, which translates better than the last step's."""

from __future__ import annotations

import torch
from torch import nn


def keep_share(half_life: float, step: int) -> float:
    """How much of the average to keep at ``step`` (1, 2, ...), for a half-life in steps.

    Early on the half-life is a tenth of the steps made so far, so that the average does not
    remember the random start (Karras et al., 2024, EDM2, motivate such a ramp).
    """
    return float(0.5 ** (1 / min(half_life, step / 10)))


@torch.no_grad()
def update_average(average: nn.Module, current: nn.Module, keep: float) -> None:
    """``average = keep * average + (1 - keep) * current``; buffers are copied."""
    torch._foreach_lerp_(list(average.parameters()), list(current.parameters()), 1 - keep)
    for kept, now in zip(average.buffers(), current.buffers(), strict=True):
        kept.copy_(now)
