"""Convolutions of 8-bit numbers, for translating on a CPU that multiplies four of them at a time.

Features are written as 256 levels, ``x = step * (level - zero)``, from the lowest to the highest of
a picture, and the weights of each kernel as -127 to 127 steps of its own (Jacob et al., 2018,
"Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
eq. 1). The sums of their products are exact; all else is computed in float32. Of what a ReLU
returned, the result differs from the exact one by about 1.5e-2 of its size, as Winograd's in bf16.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.networks.fast.norms import each_alone, roughly_normalised

HIGHEST = 255  # level
MOST = 127  # steps of a weight (one more below zero would round both sides differently)
FLAT, NOTHING = 1e-6, 1e-12  # range, of the largest number and at all, that is as good as none
AT_ONCE = 2**18  # numbers that stay in a core's cache while they become levels


class Kernels(NamedTuple):
    """``weight`` (O, C, H, W) and ``bias`` (O,) of a convolution.

    ``squares``: its channels are 2x2 pixels of a quarter as many (``WideConv.of_squares``).
    """

    weight: Tensor
    bias: Tensor | None
    stride: int = 1
    squares: bool = False


class Before(NamedTuple):
    """What is done to features before they are convolved.

    All of it takes no more passes over them than to find their levels: instance norm with this
    ``eps``, a ReLU, and ``margin`` pixels around them, which mirror them or are zero.
    """

    eps: float | None = None
    relu: bool = False
    margin: int = 0
    mirrors: bool = False


class EightBitConv(nn.Module):
    """What is ``before`` a convolution, and it: ``(N, C, H, W)`` float32, channels last.

    Each picture of a batch has levels of its own.
    """

    def __init__(self, before: Before, kernels: Kernels) -> None:
        super().__init__()
        self.before = before
        weight = kernels.weight.detach()
        self.step = weight.abs().amax((1, 2, 3)).clamp(min=NOTHING) / MOST
        self.whole = (weight / self.step[:, None, None, None]).round().to(torch.int8)
        self.of_ones = self.whole.sum((1, 2, 3)) * self.step  # what the kernels make of them
        bias = weight.new_zeros(len(weight)) if kernels.bias is None else kernels.bias.detach()
        # (A parameter, by which ``as_computed`` knows that features are float32.)
        self.bias = nn.Parameter(bias, requires_grad=False)
        self.stride = [kernels.stride] * 2
        self.squares = kernels.squares
        self.packed = self._pack()

    def _pack(self) -> Tensor:
        """The weights as oneDNN wants them."""
        packed: Tensor = torch.ops.onednn.qconv_prepack(
            self.whole, self.step, 1.0, 0, self.stride, [0, 0], [1, 1], 1, None
        )
        return packed

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "packed"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.packed = self._pack()  # (cannot be copied)

    def forward(self, x: Tensor) -> Tensor:
        return each_alone(self._alone, x)

    def _alone(self, picture: Tensor) -> Tensor:
        gain, shift = self._normalised(picture)
        lowest, highest = self._range(picture, gain, shift)
        adds_zeros = self.before.margin > 0 and not self.before.mirrors
        if adds_zeros:
            lowest, highest = min(lowest, 0.0), max(highest, 0.0)
        step = max(highest - lowest, FLAT * max(highest, -lowest), NOTHING) / HIGHEST
        if not math.isfinite(step):  # (an overflow, or what is no number: so is the result)
            lowest, step = 0.0, math.nan
        zero = -lowest / step if lowest else 0.0
        if adds_zeros:
            zero = float(round(zero))  # (so it is a level)
        levels = self._levels(picture, gain / step, shift / step + zero)
        self._fill_margin(levels, zero)
        y = self.convolved(levels, step, zero)
        return F.pixel_shuffle(y, 2) if self.squares else y

    def convolved(self, levels: Tensor, step: float, zero: float) -> Tensor:
        """The convolution of ``step * (levels - zero)``, levels ``(1, C, H, W)`` in uint8."""
        bias = self.bias - step * zero * self.of_ones  # (so that zero need be no whole number)
        zeros = torch.zeros(len(bias), dtype=torch.int32, device=bias.device)
        y: Tensor = torch.ops.onednn.qconv2d_pointwise(
            levels, step, 0, self.packed, self.step, zeros, bias,
            self.stride, [0, 0], [1, 1], 1,  # margin, spacing, groups
            1.0, 0, torch.float32, "none", [], "",  # step and zero of 8-bit results; nothing after
        )  # fmt: skip
        return y

    def _normalised(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """What the norm multiplies each channel by, and what it adds then: (C,)."""
        channels = picture.shape[1]
        if self.before.eps is None:
            return picture.new_ones(channels), picture.new_zeros(channels)
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

    def _fill_margin(self, levels: Tensor, zero: float) -> None:
        margin = self.before.margin
        for side in (levels, levels.transpose(2, 3)):  # (rows, then columns)
            for i in range(margin):
                for place, mirrored in ((i, 2 * margin - i), (-1 - i, -1 - 2 * margin + i)):
                    side[:, :, place] = side[:, :, mirrored] if self.before.mirrors else zero


class RoughInstanceNorm(nn.Module):
    """Instance norm of features in float32, to a few digits more than 8 bits have."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return roughly_normalised(x, self.eps)
