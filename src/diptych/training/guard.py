"""What a training does about numbers that are none: NaN and infinity."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

MOST_IN_A_ROW = 20  # steps that may be left out before the run goes back to a checkpoint
# (fp16 leaves out up to 16 steps at its start, until its loss scale fits.)
LOWER_RATE = 0.5  # the share of its learning rate that a run goes on with after going back


class GuardedAdam(torch.optim.Adam):
    """Adam that leaves a step out where ``bad`` is 1.0 and not 0.0.

    On the CPU and on CUDA and ROCm it is one kernel, which looks at ``bad`` itself, so that no
    processor waits for another; elsewhere (MPS) the value is read first.
    """

    found_inf: Tensor  # (the name under which the kernel looks for it)

    def __init__(
        self, parameters: Iterable[nn.Parameter], rate: float, betas: tuple[float, float]
    ) -> None:
        parameters = list(parameters)
        self.fused = all(p.device.type in ("cpu", "cuda") for p in parameters)
        super().__init__(parameters, lr=rate, betas=betas, fused=self.fused)

    def step_unless(self, bad: Tensor) -> None:
        """One step, or none where ``bad`` is 1.0."""
        if self.fused:
            self.found_inf = bad
        elif bool(bad):
            return
        self.step()


def any_not_finite(losses: Iterable[Tensor], parameters: Iterable[nn.Parameter]) -> Tensor:
    """1.0 if a loss or a gradient is NaN or infinite, else 0.0; on the device, nobody waits.

    The sum of squares of a gradient tells: it is finite only if every number is (and their
    squares do not overflow, at 1.8e19, where a step would be no use either).
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    norms = torch.stack([norm.float() for norm in torch._foreach_norm(gradients)])
    total = norms.square().sum() + torch.stack([loss.detach().float() for loss in losses]).sum()
    return 1 - total.isfinite().float()
