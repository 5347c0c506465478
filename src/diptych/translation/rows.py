"""Features of pictures too large for the memory: a few rows are computed at a time, when asked for.

Each function takes ``Rows`` and one layer and gives the ``Rows`` behind it. Asked for some rows, it
asks the ``Rows`` before it for those its layer sees (the halo), so any part can be computed from
the picture, and equals what the layers would give for the whole picture at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.networks.blocks import BlurDown
from diptych.translation.feature_store import FeatureStore

FLOAT = 4  # bytes
COPIES = 3  # of what goes into and comes out of a convolution: it may reorder both (measured)


@dataclass(frozen=True)
class Rows:
    """``height`` rows of ``(1, channels, 1, width)`` features; ``read(top, bottom)`` gives some.

    What is read is float32 on the device of the network, and belongs to the reader.
    """

    channels: int
    height: int
    width: int
    read: Callable[[int, int], Tensor]
    work: float  # multiplications for one row, all layers below included
    room: float  # bytes needed while one of many rows is computed

    @property
    def size(self) -> int:
        """Bytes of one row."""
        return FLOAT * self.channels * self.width


def kept(place: FeatureStore, device: torch.device) -> Rows:
    """Features that were computed before, on ``device`` again."""
    size = FLOAT * place.channels * place.width
    return Rows(
        place.channels, place.height, place.width,
        read=lambda top, bottom: place.read(top, bottom).to(device),
        work=size / FLOAT, room=2.0 * size,
    )  # fmt: skip


def pointwise(x: Rows, function: Callable[[Tensor], Tensor]) -> Rows:
    """Behind a layer that sees one place at a time; ``function`` may work in place."""
    return Rows(
        x.channels, x.height, x.width,
        read=lambda top, bottom: function(x.read(top, bottom)),
        work=x.work + x.size / FLOAT, room=max(x.room, 2 * x.size),
    )  # fmt: skip


def joined(x: Rows, y: Rows) -> Rows:
    """The channels of both."""
    return Rows(
        x.channels + y.channels, x.height, x.width,
        read=lambda top, bottom: torch.cat([x.read(top, bottom), y.read(top, bottom)], dim=1),
        work=x.work + y.work, room=max(x.room, x.size + y.room, 2 * (x.size + y.size)),
    )  # fmt: skip


def added(x: Rows, y: Rows) -> Rows:
    """The sum of both."""
    return Rows(
        x.channels, x.height, x.width,
        read=lambda top, bottom: x.read(top, bottom).add_(y.read(top, bottom)),
        work=x.work + y.work, room=max(x.room, x.size + y.room),
    )  # fmt: skip


def reflected(x: Rows, padding: nn.ReflectionPad2d) -> Rows:
    """Behind padding by reflection."""
    left, right, above, below = padding.padding
    width = x.width + left + right

    def read(top: int, bottom: int) -> Tensor:
        first, last = top - above, bottom - above
        if first >= 0 and last <= x.height:
            rows = x.read(first, last)
        else:
            places = reflection(torch.arange(first, last), x.height)
            lowest = int(places.min())
            rows = x.read(lowest, int(places.max()) + 1)
            rows = rows[:, :, (places - lowest).to(rows.device)]
        return F.pad(rows, (left, right, 0, 0), mode="reflect")

    size = FLOAT * x.channels * width
    return Rows(
        x.channels, x.height + above + below, width, read,
        work=x.work, room=max(x.room, x.size + size),
    )  # fmt: skip


def reflection(places: Tensor, length: int) -> Tensor:
    """Indices reflected into 0 .. ``length`` - 1, back and forth; no edge is repeated."""
    period = max(1, 2 * (length - 1))
    place = places % period
    return torch.minimum(place, period - place)


def convolved(x: Rows, layer: nn.Conv2d) -> Rows:
    """Behind a convolution of any stride, padded by zeros or not at all."""
    kernel, stride = layer.kernel_size[0], layer.stride[0]
    padding = tuple(int(n) for n in layer.padding)
    height, width = (
        (n + 2 * p - kernel) // stride + 1
        for n, p in zip((x.height, x.width), padding, strict=True)
    )

    def read(top: int, bottom: int) -> Tensor:
        first = top * stride - padding[0]
        last = (bottom - 1) * stride - padding[0] + kernel
        rows = x.read(max(first, 0), min(last, x.height))
        above, below = max(-first, 0), max(last - x.height, 0)
        if above or below:
            rows = F.pad(rows, (0, 0, above, below))
        return F.conv2d(
            rows, layer.weight, layer.bias, stride, (0, padding[1]), groups=layer.groups
        )

    return _behind(x, layer, height, width, read, stride, layer.weight.numel() * width)


def transposed(x: Rows, layer: nn.ConvTranspose2d) -> Rows:
    """Behind a transposed convolution."""
    kernel, stride = layer.kernel_size[0], layer.stride[0]
    padding, extra = [int(n) for n in layer.padding], layer.output_padding
    height, width = (
        (n - 1) * stride - 2 * p + kernel + e
        for n, p, e in zip((x.height, x.width), padding, extra, strict=True)
    )

    def read(top: int, bottom: int) -> Tensor:
        # Row i is spread over rows i * stride - padding, and the kernel - 1 below it.
        first = max(0, -(-(top + padding[0] - kernel + 1) // stride))
        last = min(x.height, (bottom - 1 + padding[0]) // stride + 1)
        y = F.conv_transpose2d(
            x.read(first, last), layer.weight, layer.bias, stride, (0, padding[1]),
            extra, layer.groups,
        )  # fmt: skip
        start = first * stride - padding[0]
        return y[:, :, top - start : bottom - start]

    work = layer.weight.numel() * x.width / stride
    return _behind(x, layer, height, width, read, 1 / stride, work)


def _behind(
    x: Rows, layer: nn.Conv2d | nn.ConvTranspose2d, height: int, width: int,
    read: Callable[[int, int], Tensor], taken: float, work: float,
) -> Rows:  # fmt: skip
    """Each row takes ``taken`` rows of ``x`` and ``work`` multiplications."""
    size = FLOAT * layer.out_channels * width
    return Rows(
        layer.out_channels, height, width, read,
        work=taken * x.work + work,
        room=max(taken * x.room, COPIES * (taken * x.size + size)),
    )  # fmt: skip


def doubled(x: Rows, layer: nn.Upsample) -> Rows:
    """Behind the nearest neighbour or bilinear interpolation to twice the size."""

    def read(top: int, bottom: int) -> Tensor:
        first, last = max(0, top // 2 - 1), min(x.height, (bottom + 1) // 2 + 1)
        y: Tensor = layer(x.read(first, last))
        return y[:, :, top - 2 * first : bottom - 2 * first]

    return Rows(
        x.channels, 2 * x.height, 2 * x.width, read,
        work=x.work / 2, room=max(x.room / 2, 2.5 * x.size),
    )  # fmt: skip


def blurred(x: Rows, layer: BlurDown) -> Rows:
    """Behind the blur that halves; heights are even."""

    def read(top: int, bottom: int) -> Tensor:
        first, last = max(0, 2 * top - 2), min(x.height, 2 * bottom + 2)
        y: Tensor = layer(x.read(first, last))
        return y[:, :, top - first // 2 : bottom - first // 2]

    return Rows(
        x.channels, x.height // 2, x.width // 2, read,
        work=2 * x.work + 9 * x.size / FLOAT / 2, room=max(2 * x.room, 5 * x.size),
    )  # fmt: skip
