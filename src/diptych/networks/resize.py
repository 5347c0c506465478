"""Doubling by nearest neighbour and then convolving, without ever making the large picture."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from diptych.networks.tracing import quick_on

# Numbers in a picture's features: below, moving the results takes longer than what is saved.
FEWEST = {torch.float32: 2**15, torch.bfloat16: 2**17}

# Which of the three rows of a window (last index) are seen as each of two rows of the small picture
# (second), by the first and by the second of the two places that a pixel became (first index).
ROWS = torch.tensor(
    [[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]], dtype=torch.float32, device="cpu"
)
WINDOW = torch.kron(ROWS.view(4, 3), ROWS.view(4, 3))  # the same for rows and columns: (16, 9)


class ResizeConv(nn.Sequential):
    """``(N, C, H, W)`` to ``(N, O, 2H, 2W)``: nearest neighbour, then a 3x3 convolution.

    The layers inside are the formula. What is computed is the same in 2.25 times fewer
    operations: of the three rows that a window covers in the doubled picture two are always
    copies of one, so that each output sees 2x2 pixels of the small picture, through kernels whose
    rows and columns were added up. Which ones depends on its place, upper or lower, left or
    right: four convolutions in one.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels_in, channels_out, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        convolution = self[2]
        assert isinstance(convolution, nn.Conv2d)
        # (sizes last: a look at them would make constants of them for a tracer)
        plain = not quick_on(x) or convolution.groups > 1
        if plain or x[0].numel() < FEWEST.get(x.dtype, 0):
            return super().forward(x)  # type: ignore[no-any-return, no-untyped-call]
        assert convolution.bias is not None
        # Mirroring at the edge of the doubled picture repeats the edge of the small one.
        small = F.pad(x, (1, 1, 1, 1), "replicate")
        seen = F.conv2d(small, _by_place(convolution.weight), convolution.bias.repeat(4))
        y: Tensor = Interleave.apply(seen)  # type: ignore[no-untyped-call]
        return y


def _by_place(weight: Tensor) -> Tensor:
    """The four kernels that an ``(O, C, 3, 3)`` one becomes, place by place: (4 * O, C, 2, 2)."""
    outputs, channels = weight.shape[:2]
    squares = WINDOW.to(weight) @ weight.permute(2, 3, 0, 1).reshape(9, -1)
    by_place = squares.view(2, 2, 2, 2, outputs, channels).permute(0, 2, 4, 1, 3, 5)
    return by_place.reshape(4 * outputs, 2, 2, channels).permute(0, 3, 1, 2)


class Interleave(torch.autograd.Function):
    """Outputs for four places become neighbours.

    ``(N, 4 * O, H + 1, W + 1)``, place by place, to ``(N, O, 2H, 2W)``.
    Each place sees the small picture from its own side, so that it leaves out one row and column.
    """

    @staticmethod
    def forward(ctx: Any, seen: Tensor) -> Tensor:
        n, channels, height, width = seen.shape
        shape = (n, channels // 4, 2 * height - 2, 2 * width - 2)
        y = torch.empty(shape, dtype=seen.dtype, memory_format=torch.channels_last)
        for own, place in _places(seen, y):
            place.copy_(own)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> Tensor:
        n, channels, height, width = dy.shape
        shape = (n, 4 * channels, height // 2 + 1, width // 2 + 1)
        dseen = torch.empty(shape, dtype=dy.dtype, memory_format=torch.channels_last).zero_()
        for own, place in _places(dseen, dy):
            own.copy_(place)
        return dseen


def _places(seen: Tensor, y: Tensor) -> list[tuple[Tensor, Tensor]]:
    """For each place, the view of its outputs in ``seen`` and that of their pixels in ``y``."""
    height, width = seen.shape[2] - 1, seen.shape[3] - 1
    outputs = seen.chunk(4, dim=1)
    return [
        (outputs[2 * i + j][..., i : i + height, j : j + width], y[..., i::2, j::2])
        for i in (0, 1)
        for j in (0, 1)
    ]
