"""What a training does about numbers that are none: NaN and infinity."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

MOST_IN_A_ROW = 20  # steps that may be left out before the run goes back to a checkpoint
# (fp16 leaves out up to 16 steps at its start, until its loss scale fits.)
LOWER_RATE = 0.5  # the share of its learning rate that a run goes on with after going back


class GuardedAdam(torch.optim.Adam):
    """Adam in one kernel, which leaves its step out where ``found_inf`` is 1.0 and not 0.0."""

    found_inf: Tensor

    def __init__(
        self, parameters: Iterable[nn.Parameter], rate: float, betas: tuple[float, float]
    ) -> None:
        super().__init__(parameters, lr=rate, betas=betas, fused=True)


def any_not_finite(losses: Iterable[Tensor], parameters: Iterable[nn.Parameter]) -> Tensor:
    """1.0 if a loss or a gradient is NaN or infinite, else 0.0; on the device, nobody waits.

    The sum of squares of a gradient tells: it is finite only if every number is (and their
    squares do not overflow, at 1.8e19, where a step would be no use either).
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    norms = torch.stack([norm.float() for norm in torch._foreach_norm(gradients)])
    total = norms.sum() + torch.stack([loss.detach().float() for loss in losses]).sum()
    return 1 - total.isfinite().float()
