"""CycleGAN whose two ways are computed at the same time, on the CPU.

In each of a step's hundreds of operations all threads of PyTorch wait for the last one: a second
core hardly helps small layers, and one that another program uses too holds up all the others. But
the two ways have nothing to do with one another until one translates what the other has made, so
each gets half of the threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from diptych.config import Config
from diptych.cyclegan import Both, CycleGAN
from diptych.training.two_ways import Network, TwoWays

T = TypeVar("T")


class InTwoThreads(TwoWays):
    """On the CPU."""

    def __init__(self, model: CycleGAN) -> None:
        super().__init__(model)
        self.helper = ThreadPoolExecutor(1, "diptych's second way")
        self.helpers_threads = 0  # of PyTorch

    @contextmanager
    def sharing_threads(self) -> Iterator[None]:
        """Around a step: each way has half of the threads. With one thread they take turns."""
        threads = torch.get_num_threads()
        self.helpers_threads = threads // 2
        torch.set_num_threads(threads - self.helpers_threads)
        try:
            yield
        finally:
            self.helpers_threads = 0
            torch.set_num_threads(threads)

    def _both(self, f: Network, g: Network, x: Tensor, y: Tensor) -> Both:
        if not self.helpers_threads:
            return super()._both(f, g, x, y)
        # (Networks may have weights that want a gradient where x and y want none.)
        weights = torch.zeros((), requires_grad=True)
        both: Both = _AtOnce.apply(self, f, g, x, y, weights)  # type: ignore[no-untyped-call]
        return both

    def at_once(self, mine: Callable[[], T], others: Callable[[], T]) -> tuple[T, T]:
        """What the two give, ``others`` in the second thread. Raises what one of them raises."""
        threads = self.helpers_threads

        def helped() -> T:
            if torch.get_num_threads() != threads:  # (each thread of Python has its own number)
                torch.set_num_threads(threads)
            return others()

        helping = self.helper.submit(helped)
        try:
            made = mine()
        finally:
            wait([helping])  # (nobody else may touch what it works on)
        return made, helping.result()


class _AtOnce(torch.autograd.Function):
    """``f(x), g(y)`` and, on the way back, their gradients."""

    @staticmethod
    def forward(
        ctx: Any, ways: InTwoThreads, f: Network, g: Network, x: Tensor, y: Tensor, _: Tensor
    ) -> Both:
        ctx.ways = ways
        ctx.of_f, ctx.of_g = ways.at_once(lambda: _traced(f, x), lambda: _traced(g, y))
        return ctx.of_f[1].detach(), ctx.of_g[1].detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, df: Tensor, dg: Tensor) -> tuple[Tensor | None, ...]:
        dx, dy = ctx.ways.at_once(lambda: _back(ctx.of_f, df), lambda: _back(ctx.of_g, dg))
        del ctx.of_f, ctx.of_g
        return None, None, None, dx, dy, None


def _traced(network: Network, x: Tensor) -> tuple[Tensor, Tensor]:
    """The input, cut off from what made it, and the output, which knows the way back to there."""
    own = x.detach().requires_grad_(x.requires_grad)
    with torch.enable_grad():
        return own, network(own)


def _back(traced: tuple[Tensor, Tensor], dy: Tensor) -> Tensor | None:
    """The gradient of the input, if it wants one; those of weights are added to theirs."""
    x, y = traced
    torch.autograd.backward(y, dy)
    return x.grad


def draws_random_numbers(config: Config) -> bool:
    """Whether networks do: in two threads these would come in another order each time."""
    return config.generator.dropout > 0 or config.discriminator.augment
