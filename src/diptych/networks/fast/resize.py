"""Doubling by nearest neighbour and then convolving, without ever making the large picture."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from diptych.host.processor import has_quick_bf16_vectors
from diptych.networks.fast.tracing import compiled_for_gpu, quick_on

# Numbers in a batch's features, of a group: below, moving the results takes longer than what is
# saved. In bf16 that is so for vectors; matrix units multiply faster (estimated, not measured).
FEWEST = 2**16
FEWEST_FOR_MATRIX_UNITS = 2**18

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
        if compiled_for_gpu(x):
            return convolution(self[1](_doubled(x)))  # type: ignore[no-any-return]
        groups = convolution.groups
        # (sizes last: a look at them would make constants of them for a tracer)
        if not quick_on(x) or x.numel() // groups < _fewest(x.dtype):
            return super().forward(x)  # type: ignore[no-any-return, no-untyped-call]
        # Mirroring at the edge of the doubled picture repeats the edge of the small one.
        small = F.pad(x, (1, 1, 1, 1), "replicate")
        kernels = _by_place(convolution.weight, groups)
        bias = convolution.bias
        if bias is not None:
            bias = bias.view(groups, 1, -1).expand(-1, 4, -1).flatten()
        seen = F.conv2d(small, kernels, bias, groups=groups)
        y: Tensor = Interleave.apply(seen, groups)  # type: ignore[no-untyped-call]
        return y


def _doubled(x: Tensor) -> Tensor:
    """Each pixel as 2 x 2, for PyTorch's compiler.

    The way back through its own doubling is a sum of numbers that meet in no order, one by one.
    """
    n, channels, height, width = x.shape
    rows = x.permute(0, 2, 3, 1)[:, :, None, :, None].expand(-1, -1, 2, -1, 2, -1)
    return rows.reshape(n, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)


def _fewest(dtype: torch.dtype) -> int:
    in_matrices = dtype == torch.bfloat16 and not has_quick_bf16_vectors()
    return FEWEST_FOR_MATRIX_UNITS if in_matrices else FEWEST


def _by_place(weight: Tensor, groups: int) -> Tensor:
    """The four kernels that each of ``(O, C, 3, 3)`` becomes: ``(4 * O, C, 2, 2)``.

    Those for one place after the other, in each group.
    """
    channels = weight.shape[1]
    squares = WINDOW.to(weight) @ weight.permute(2, 3, 0, 1).reshape(9, -1)
    by_place = squares.view(2, 2, 2, 2, groups, -1, channels).permute(4, 0, 2, 5, 1, 3, 6)
    return by_place.reshape(-1, 2, 2, channels).permute(0, 3, 1, 2)


class Interleave(torch.autograd.Function):
    """Outputs for four places become neighbours.

    ``(N, 4 * O, H + 1, W + 1)``, place by place in each group, to ``(N, O, 2H, 2W)``.
    Each place sees the small picture from its own side, so that it leaves out one row and column.
    """

    @staticmethod
    def forward(ctx: Any, seen: Tensor, groups: int) -> Tensor:
        ctx.groups = groups
        n, channels, height, width = seen.shape
        shape = (n, channels // 4, 2 * height - 2, 2 * width - 2)
        y = torch.empty(shape, dtype=seen.dtype, memory_format=torch.channels_last)
        for own, place in _places(seen, y, groups):
            place.copy_(own)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None]:
        n, channels, height, width = dy.shape
        shape = (n, 4 * channels, height // 2 + 1, width // 2 + 1)
        dseen = torch.empty(shape, dtype=dy.dtype, memory_format=torch.channels_last).zero_()
        for own, place in _places(dseen, dy, ctx.groups):
            own.copy_(place)
        return dseen, None


def _places(seen: Tensor, y: Tensor, groups: int) -> list[tuple[Tensor, Tensor]]:
    """For each place, the view of its outputs in ``seen`` and that of their pixels in ``y``."""
    height, width = seen.shape[2] - 1, seen.shape[3] - 1
    outputs = torch.unflatten(seen, 1, (groups, 4, -1)).unbind(2)
    y = torch.unflatten(y, 1, (groups, -1))
    return [
        (outputs[2 * i + j][..., i : i + height, j : j + width], y[..., i::2, j::2])
        for i in (0, 1)
        for j in (0, 1)
    ]
