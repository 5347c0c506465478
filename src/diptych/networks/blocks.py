"""The pieces that generators and discriminators are built from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.network_config import Downsample, Norm, Upsample
from diptych.networks.fast.norms import GroupNorm, InstanceNorm, PixelNorm
from diptych.networks.fast.resize import ResizeConv
from diptych.networks.fast.transposed import TransposedConv
from diptych.networks.fast.wide import WideConv
from diptych.networks.fast.winograd import Conv3x3

NormLayer = Callable[[int], nn.Module]


def norm_layer(kind: Norm | Literal["spectral"]) -> NormLayer:
    """Return a function that makes the normalisation layer for a number of channels.

    Every kind subtracts a mean and divides by a standard deviation; they differ in what the two
    are taken over, for features of shape ``(N, C, H, W)``:

    * ``instance``: over H, W; one per picture and channel (Ulyanov et al., 2016). A picture's
      contrast is taken out, other pictures do not matter. The method's choice.
    * ``batch``: over N, H, W; one per channel (Ioffe & Szegedy, 2015), with running averages for
      use after training.
    * ``group``: over H, W and a group of channels; one per picture and group (Wu & He, 2018).
    * ``pixel``: over C; one per picture and pixel (Ba et al., 2016). What is in one place cannot
      change another, as spots do that grow to move the mean of a picture (Karras et al., 2020).
    * ``none``, and ``spectral``, which is of weights: no normalisation of features.

    Instance norm has no scale and shift here, as in the method's first implementation.
    """
    if kind == "instance":
        return InstanceNorm
    if kind == "batch":
        return nn.BatchNorm2d
    if kind == "group":
        return group_norm
    if kind == "pixel":
        return PixelNorm
    return lambda channels: nn.Identity()


def group_norm(channels: int) -> GroupNorm:
    """Group norm with 32 groups (Wu & He, 2018), or the most below that divide ``channels``."""
    groups = next(g for g in range(min(32, channels), 0, -1) if channels % g == 0)
    return GroupNorm(groups, channels)


def relu_after(norm: NormLayer) -> nn.ReLU:
    """In place, but for a norm that returns a view: its gradient would be copied twice."""
    return nn.ReLU(inplace=norm is not PixelNorm)


class ResidualBlock(nn.Module):
    """``x + body(x)`` (He et al., 2016; no ReLU after the sum).

    The block learns a correction to its input, which stays part of the result.
    Shape in and out: ``(N, channels, H, W)``.
    """

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        correction: Tensor = self.body(x)
        return x + correction


def residual_block(channels: int, norm: NormLayer, dropout: float = 0.0) -> ResidualBlock:
    """The paper's: conv3 - norm - relu - conv3 - norm."""
    return ResidualBlock(
        nn.ReflectionPad2d(1),
        Conv3x3(channels, channels),
        norm(channels),
        relu_after(norm),
        *([nn.Dropout(dropout)] if dropout else []),
        nn.ReflectionPad2d(1),
        Conv3x3(channels, channels),
        norm(channels),
    )


class BlurDown(nn.Module):
    """Halves height and width: a binomial 3x3 filter, then every second pixel (Zhang, 2019).

    The filter takes out what the coarser grid cannot hold, so that a picture moved by one pixel
    gives nearly the same features.
    """

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        row = 0.5 - 0.25 * (torch.arange(3, device=x.device, dtype=x.dtype) - 1).abs()
        kernel = torch.outer(row, row).expand(channels, 1, 3, 3)
        return F.conv2d(F.pad(x, (1, 1, 1, 1), "reflect"), kernel, stride=2, groups=channels)


def downsample(
    kind: Downsample, channels_in: int, channels_out: int, norm: NormLayer
) -> nn.Sequential:
    """Convolution, norm and ReLU that halve height and width.

    ``stride`` is the paper's convolution, which skips every second place; ``antialias`` keeps all
    and blurs before it skips, at four times the cost of the convolution.
    """
    stride = 2 if kind == "stride" else 1
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1),
        norm(channels_out),
        relu_after(norm),
        *([BlurDown()] if kind == "antialias" else []),
    )


def upsample(kind: Upsample, channels_in: int, channels_out: int) -> nn.Module:
    """A layer that doubles height and width.

    ``transpose`` is the paper's stride-2 transposed convolution. Its 3x3 window covers output
    pixels unevenly, which can show as a checkerboard; ``resize`` (nearest neighbour, then a plain
    convolution) covers all alike (Odena et al., 2016); ``antialias`` does the same with bilinear
    interpolation in place of the nearest neighbour, as CUT does (Park et al., 2020).
    """
    if kind == "transpose":
        return TransposedConv(channels_in, channels_out, 3)
    if kind == "antialias":
        return nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear"),
            nn.Conv2d(channels_in, channels_out, 3, padding=1),
        )
    return ResizeConv(channels_in, channels_out)


def encoder(
    channels_in: int, widths: Sequence[int], down: Downsample, norm: NormLayer
) -> nn.Sequential:
    """From a picture to features on a coarser grid: halved between each two of ``widths``."""
    first = widths[0]
    halving = (downsample(down, before, after, norm) for before, after in pairwise(widths))
    return nn.Sequential(
        nn.ReflectionPad2d(3),
        WideConv(channels_in, first, 7),
        norm(first),
        relu_after(norm),
        *chain.from_iterable(halving),
    )


def decoder(
    widths: Sequence[int], channels_out: int, up: Upsample, norm: NormLayer
) -> nn.Sequential:
    """The encoder's way back; values are not limited yet."""
    doubling: list[nn.Module] = []
    for before, after in pairwise(widths):
        doubling += [upsample(up, before, after), norm(after), relu_after(norm)]
    return nn.Sequential(
        *doubling,
        nn.ReflectionPad2d(3),
        WideConv(widths[-1], channels_out, 7),
    )


def count_parameters(network: nn.Module) -> int:
    """The number of weights in ``network``."""
    return sum(weight.numel() for weight in network.parameters())
