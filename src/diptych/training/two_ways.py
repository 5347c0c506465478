"""CycleGAN whose two ways are computed at the same time, in one manner or another."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from diptych.cyclegan import Both, CycleGAN

Network = Callable[[Tensor], Tensor]


class TwoWays(CycleGAN):
    """A ``CycleGAN`` of the networks of ``model``; kinds of it say how ``_both`` are computed."""

    def __init__(self, model: CycleGAN) -> None:
        nn.Module.__init__(self)
        self.G_ab, self.G_ba, self.D_a, self.D_b = model.G_ab, model.G_ba, model.D_a, model.D_b

    def translate(self, to_b: Tensor, to_a: Tensor) -> Both:
        return self._both(self.G_ab, self.G_ba, to_b, to_a)

    def judge(self, a: Tensor, b: Tensor) -> Both:
        return self._both(self.D_a, self.D_b, a, b)

    def _both(self, f: Network, g: Network, x: Tensor, y: Tensor) -> Both:
        """``f(x), g(y)``, which have nothing to do with one another."""
        return f(x), g(y)
