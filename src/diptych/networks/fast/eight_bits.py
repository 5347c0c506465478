"""Convolutions of 8-bit numbers, for translating on a CPU that multiplies four of them at a time.

Features are written as 256 levels, ``x = low + step * level``, from the lowest to the highest of a
picture, and the weights of each kernel as -127 to 127 steps of its own (Jacob et al., 2018,
"Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
eq. 1). The sums of their products are exact; all else is computed in float32. Of what a ReLU
returned, the result differs from the exact one by about 1.5e-2 of its size, as Winograd's in bf16.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HIGHEST = 255  # level
MOST = 127  # steps of a weight (one more below zero would round both sides differently)
FLAT, NOTHING = 1e-6, 1e-12  # range, of the largest number and at all, that is as good as none
AT_ONCE = 2**18  # numbers that stay in a core's cache while they become levels

Edge = Literal["mirror", "repeat", "zero"]


class Kernels(NamedTuple):
    """What a convolution is made of: ``weight`` (O, C, H, W), and what arranges its results."""

    weight: Tensor
    bias: Tensor | None
    stride: int = 1
    arrange: Callable[[Tensor], Tensor] | None = None


class Before(NamedTuple):
    """What is done to features before they are convolved, in as many passes as levels take.

    Instance norm with this ``eps``, a ReLU, ``margin`` pixels around them.
    """

    eps: float | None
    relu: bool
    margin: int
    edge: Edge


class EightBitConv(nn.Module):
    """``before``, and a convolution: float32 ``(N, C, H, W)`` in and out, channels last.

    Each picture of a batch has levels of its own.
    """

    def __init__(self, before: Before, kernels: Kernels) -> None:
        super().__init__()
        self.before = before
        weight = kernels.weight.detach()
        self.step = weight.abs().amax((1, 2, 3)).clamp(min=NOTHING) / MOST
        whole = (weight / self.step[:, None, None, None]).round().to(torch.int8)
        self.of_ones = whole.sum((1, 2, 3)) * self.step  # what the kernels make of them
        bias = weight.new_zeros(len(weight)) if kernels.bias is None else kernels.bias.detach()
        self.bias = nn.Parameter(bias, requires_grad=False)
        self.arrange = kernels.arrange
        self.stride = [kernels.stride] * 2
        self.no_offset = torch.zeros(len(weight), dtype=torch.int32)
        self.packed = torch.ops.onednn.qconv_prepack(
            whole, self.step, 1.0, 0, self.stride, [0, 0], [1, 1], 1, None
        )

    def forward(self, x: Tensor) -> Tensor:
        return each_alone(self._alone, x)

    def _alone(self, picture: Tensor) -> Tensor:
        gain, shift = self._normalised(picture)
        lowest, highest = self._range(picture, gain, shift)
        zero_is_seen = self.before.edge == "zero" and self.before.margin > 0
        if zero_is_seen:
            lowest, highest = min(lowest, 0.0), max(highest, 0.0)
        step = max(highest - lowest, FLAT * max(highest, -lowest), NOTHING) / HIGHEST
        zero = -lowest / step
        if zero_is_seen:
            zero = float(round(zero))  # (so it is a level)
        levels = self._levels(picture, gain / step, shift / step + zero)
        self._fill_margin(levels, round(zero))
        y = self.convolved(levels, step, zero)
        return y if self.arrange is None else self.arrange(y)

    def convolved(self, levels: Tensor, step: float, zero: float) -> Tensor:
        """The convolution of ``step * (levels - zero)``, levels ``(1, C, H, W)`` in uint8."""
        y: Tensor = torch.ops.onednn.qconv2d_pointwise(
            levels, step, 0, self.packed, self.step, self.no_offset,
            self.bias - step * zero * self.of_ones,
            self.stride, [0, 0], [1, 1], 1, 1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        return y

    def _normalised(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """What the norm multiplies each channel by, and what it adds then: (C,)."""
        if self.before.eps is None:
            return torch.ones(picture.shape[1]), torch.zeros(picture.shape[1])
        mean, variance = torch.batch_norm_update_stats(picture, None, None, 0.0)
        gain = (variance + self.before.eps).rsqrt()
        return gain, -mean * gain

    def _range(self, picture: Tensor, gain: Tensor, shift: Tensor) -> tuple[float, float]:
        """The lowest and the highest number after norm and ReLU."""
        _, channels, height, _ = picture.shape
        rows = picture.permute(0, 2, 3, 1).reshape(height, -1)  # (long ones are quick)
        highest = rows.amax(0).view(-1, channels).amax(0)
        top = float((highest * gain + shift).max())
        if self.before.relu:
            return 0.0, top
        lowest = rows.amin(0).view(-1, channels).amin(0)
        return float((lowest * gain + shift).min()), top

    def _levels(self, picture: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        """``gain * picture + shift`` rounded to levels, with room around them."""
        n, channels, height, width = picture.shape
        shape = (n, channels, height + 2 * self.before.margin, width + 2 * self.before.margin)
        levels = torch.empty(shape, dtype=torch.uint8, memory_format=torch.channels_last)
        inside = levels.narrow(2, self.before.margin, height).narrow(3, self.before.margin, width)
        gain, shift = gain[:, None, None], shift[:, None, None] + 0.5  # (so that they are rounded)
        rows = max(1, AT_ONCE // (channels * width))
        parts = torch.split(picture, rows, 2), torch.split(inside, rows, 2)
        for part, own in zip(*parts, strict=True):
            own.copy_(torch.addcmul(shift, part, gain).clamp_(0, HIGHEST))
        return levels

    def _fill_margin(self, levels: Tensor, zero: int) -> None:
        margin, edge = self.before.margin, self.before.edge
        for side in (levels, levels.transpose(2, 3)):  # (rows, then columns)
            for i in range(margin):
                inside = 2 * margin - i if edge == "mirror" else margin
                for place, seen in ((i, inside), (-1 - i, -1 - inside)):
                    side[:, :, place] = zero if edge == "zero" else side[:, :, seen]


class RoughInstanceNorm(nn.Module):
    """Instance norm by batch norm's kernel, which lacks digits that 8 bits do not have either."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return each_alone(self._alone, x)

    def _alone(self, picture: Tensor) -> Tensor:
        return F.batch_norm(picture, None, None, training=True, eps=self.eps)


def each_alone(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``function`` of each picture of a batch, as a batch."""
    if len(x) == 1:
        return function(x)
    return torch.cat([function(picture) for picture in torch.split(x, 1)])
