"""Transposed convolutions, whose way back the CPU does faster without their bias."""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.networks.fast.tracing import quick_on


class TransposedConv(nn.ConvTranspose2d):
    """``nn.ConvTranspose2d(channels_in, channels_out, kernel, stride=2)`` to twice the size.

    PyTorch's gradient of a transposed convolution takes up to twice as long if it contains that of
    the bias, which is but the sum over all places. So it is not asked for that one.
    """

    def __init__(self, channels_in: int, channels_out: int, kernel: int) -> None:
        super().__init__(
            channels_in,
            channels_out,
            kernel,
            stride=2,
            padding=(kernel - 1) // 2,
            output_padding=kernel % 2,
        )

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        if not quick_on(x) or self.bias is None or output_size is not None:
            return super().forward(x, output_size)
        assert isinstance(self.padding, tuple)
        y = F.conv_transpose2d(
            x,
            self.weight,
            self.bias.detach(),
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
        )
        if self.bias.requires_grad and torch.is_grad_enabled():
            y = BiasGradient.apply(y, self.bias)  # type: ignore[no-untyped-call]
        return y

    def of_small(self) -> tuple[Tensor, Tensor | None]:
        """Kernels and bias of a plain convolution: of the picture itself, with zeros around it.

        As those of ``ResizeConv``: for the places ``(0, 0), (0, 1), (1, 0), (1, 1)`` of a square of
        the result, each of which sees 2x2 pixels. Of its row ``2 i + place`` the tap ``t`` comes
        from the row ``i + (place + 1 - t) / 2``.
        """
        size = self.kernel_size[0]
        taps = torch.zeros(2, 2, size)  # of a place, for the first and the second row that it sees
        for place, row in product(range(2), range(2)):
            if (tap := 3 - 2 * row - place) < size:
                taps[place, row, tap] = 1
        kernels = torch.einsum("pra,qsb,coab->pqocrs", taps, taps, self.weight)
        return kernels.flatten(0, 2), None if self.bias is None else self.bias.repeat(4)


class BiasGradient(torch.autograd.Function):
    """``y`` as it is, features ``(N, O, H, W)`` to which ``bias`` (O,) was added already."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, bias: Tensor) -> Tensor:
        ctx.mark_dirty(y)  # (no copy, and no view, which a ReLU could not work on in place)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        return dy, dy.sum((0, 2, 3))
