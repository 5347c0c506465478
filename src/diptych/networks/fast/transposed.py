"""Transposed convolutions, whose way back the CPU does faster without their bias."""

from __future__ import annotations

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


class BiasGradient(torch.autograd.Function):
    """``y`` as it is, features ``(N, O, H, W)`` to which ``bias`` (O,) was added already."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, bias: Tensor) -> Tensor:
        ctx.mark_dirty(y)  # (no copy, and no view, which a ReLU could not work on in place)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        return dy, dy.sum((0, 2, 3))
