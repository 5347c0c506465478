"""3x3 convolutions on the CPU with a quarter of the multiplications (Winograd, 1980).

Lavin & Gray (2016), "Fast Algorithms for Convolutional Neural Networks", F(4x4, 3x3): the picture
is cut into 6x6 tiles that overlap by two pixels, and each gives 4x4 pixels of the result,

    Y = A^T [ (G g G^T) * (B^T d B) ] A        (their eq. 8)

where ``*`` multiplies place by place: 36 products for 16 results, where the plain formula takes
144. Summed over the input's channels they are 36 matrix products, which processors do best; the
transforms are small matrix products too. Features are kept channels last, so that all else moves
long rows. In float32 the result differs from the exact one by about 2e-6 of its size, the plain
formula's by 5e-7.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from diptych.networks.tracing import quick_in_float32

FEWEST_CHANNELS = 64  # below, moving tiles takes longer than the multiplications they save
FEWEST_TILES = 16  # in a batch: below, transforming the kernels takes longer
TILES_AT_ONCE = 64  # for each thread, when nothing is kept for a gradient: they stay in its cache

Matrix = Sequence[Sequence[float]]

# The transforms for the points 0, 1, -1, 2, -2 and infinity (Lavin & Gray, 2016, section 4.3).
_B: Matrix = [
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
]
_G: Matrix = [
    [1 / 4, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
]
_A: Matrix = [
    [1, 1, 1, 1, 1, 0],
    [0, 1, -1, 2, -2, 0],
    [0, 1, 1, 4, 4, 0],
    [0, 1, -1, 8, -8, 1],
]


def _both_ways(matrix: Matrix) -> Tensor:
    """``M x M^T`` as one product with the square ``x`` written as one row."""
    one_way = torch.tensor(matrix, dtype=torch.float64, device="cpu")
    return torch.kron(one_way, one_way)


TILE = _both_ways(_B)  # (36, 36)
KERNEL = _both_ways(_G)  # (36, 9)
RESULT = _both_ways(_A)  # (16, 36)


class Conv3x3(nn.Conv2d):
    """``nn.Conv2d(channels_in, channels_out, 3)`` without padding, by the faster way that pays."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 3)
        self._kept: tuple[tuple[int, int], Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        # (before a look at sizes, which would become constants for a tracer)
        if not quick_in_float32(x) or self.groups > 1:
            return super().forward(x)
        height, width = x.shape[2] - 2, x.shape[3] - 2
        below, right = -height % 4, -width % 4  # what the last tiles lack
        tiles = len(x) * (height + below) * (width + right) // 16
        if min(self.weight.shape[:2]) < FEWEST_CHANNELS or tiles < FEWEST_TILES:
            return super().forward(x)
        assert self.bias is not None
        if not (below or right):
            return _convolve(x, self._kernels(), self.bias)
        y = _convolve(F.pad(x, (0, right, 0, below)), self._kernels(), self.bias)
        return y[..., :height, :width].contiguous(memory_format=torch.channels_last)

    def _kernels(self) -> Tensor:
        """The transformed kernels.

        A generator runs twice a step, so they are kept until their gradient was taken: only then
        does an optimizer change the weights. (PyTorch's fused ones do not count a new version.)
        """
        weight = self.weight
        if not (torch.is_grad_enabled() and weight.requires_grad):
            return transform_kernels(weight)
        state = (weight._version, weight.data_ptr())
        if self._kept is None or self._kept[0] != state:
            kernels = TransformKernels.apply(weight, self)  # type: ignore[no-untyped-call]
            self._kept = (state, kernels)
        return self._kept[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}  # (copies make their own)


def _convolve(x: Tensor, kernels: Tensor, bias: Tensor) -> Tensor:
    if torch.is_grad_enabled():
        y: Tensor = Winograd.apply(x, kernels, bias)  # type: ignore[no-untyped-call]
        return y
    rows = x.permute(0, 2, 3, 1).contiguous()
    y = _new_result(rows, len(bias))
    painted = y.permute(0, 2, 3, 1)
    across = painted.shape[2] // 4
    at_once = 4 * max(1, TILES_AT_ONCE * torch.get_num_threads() // across)
    for i in range(len(rows)):
        for first in range(0, painted.shape[1], at_once):
            part = painted[i : i + 1, first : first + at_once]
            tiles = cut_tiles(rows[i : i + 1, first : first + part.shape[1] + 2])
            join_tiles(torch.bmm(tiles, kernels.transpose(1, 2)), part)
            part += bias
    return y


def transform_kernels(weight: Tensor) -> Tensor:
    """``G g G^T`` of all kernels: ``(O, C, 3, 3)`` to ``(36, O, C)``."""
    squares = weight.permute(2, 3, 0, 1).reshape(9, -1)
    return (KERNEL.to(squares.dtype) @ squares).view(36, *weight.shape[:2])


class TransformKernels(torch.autograd.Function):
    """``transform_kernels`` of the weights of ``layer``, which drops them at their gradient."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, layer: Conv3x3) -> Tensor:
        ctx.layer = layer
        return transform_kernels(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dkernels: Tensor) -> tuple[Tensor, None]:
        ctx.layer._kept = None
        _, outputs, channels = dkernels.shape
        squares = KERNEL.T.to(dkernels.dtype) @ dkernels.flatten(1)
        return squares.view(3, 3, outputs, channels).permute(2, 3, 0, 1), None


class Winograd(torch.autograd.Function):
    """``(N, C, H + 2, W + 2)`` features to ``(N, O, H, W)``, H and W multiples of 4.

    ``kernels`` are transformed ones. All steps but the product are linear, so the gradients are
    the same steps transposed.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernels: Tensor, bias: Tensor) -> Tensor:
        tiles = cut_tiles(x.permute(0, 2, 3, 1).contiguous())
        ctx.save_for_backward(tiles, kernels)
        y = _new_result(x.permute(0, 2, 3, 1), len(bias))
        join_tiles(torch.bmm(tiles, kernels.transpose(1, 2)), y.permute(0, 2, 3, 1))
        return y.add_(bias[:, None, None])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        tiles, kernels = ctx.saved_tensors
        dy = dy.permute(0, 2, 3, 1).contiguous()
        dproducts = join_tiles_transposed(dy)
        dx = dkernels = dbias = None
        if ctx.needs_input_grad[0]:
            dtiles = torch.bmm(dproducts, kernels)
            dx = cut_tiles_transposed(dtiles, dy.shape[:3]).permute(0, 3, 1, 2)
        if ctx.needs_input_grad[1]:
            dkernels = torch.bmm(dproducts.transpose(1, 2), tiles)
        if ctx.needs_input_grad[2]:
            dbias = dy.sum((0, 1, 2))
        return dx, dkernels, dbias


def cut_tiles(rows: Tensor) -> Tensor:
    """``B^T d B`` of all tiles: ``(N, H + 2, W + 2, C)`` to ``(36, N * H / 4 * W / 4, C)``."""
    squares = _tiles(rows, slice(0, 6), slice(0, 6)).reshape(36, -1)
    return (TILE.to(rows.dtype) @ squares).view(36, -1, rows.shape[3])


def cut_tiles_transposed(dtiles: Tensor, shape: torch.Size) -> Tensor:
    """The gradient of ``cut_tiles``, for a result of ``shape``: overlaps are added up."""
    n, height, width = shape
    channels = dtiles.shape[2]
    squares = TILE.T.to(dtiles.dtype) @ dtiles.flatten(1)
    squares = squares.view(6, 6, n, height // 4, width // 4, channels)
    drows = dtiles.new_empty(n, height + 2, width + 2, channels)
    drows[:, -2:], drows[:, :, -2:] = 0, 0
    own, next_one = slice(0, 4), slice(4, 6)  # the last two rows are the next tile's first
    _tiles(drows, own, own).copy_(squares[own, own])
    for down, across in ((own, next_one), (next_one, own), (next_one, next_one)):
        _tiles(drows, down, across).add_(squares[down, across])
    return drows


def _tiles(rows: Tensor, down: slice, across: slice) -> Tensor:
    """A view of the given places in each tile: ``(down, across, N, H / 4, W / 4, C)``."""
    n, height, width, channels = rows.shape
    s = rows.stride()
    return rows.as_strided(
        (down.stop - down.start, across.stop - across.start, n, height // 4, width // 4, channels),
        (s[1], s[2], s[0], 4 * s[1], 4 * s[2], s[3]),
        rows.storage_offset() + down.start * s[1] + across.start * s[2],
    )


def join_tiles(products: Tensor, y: Tensor) -> None:
    """``A^T m A`` of all tiles ``(36, N * H / 4 * W / 4, O)``, written to ``y``: (N, H, W, O)."""
    squares = RESULT.to(products.dtype) @ products.flatten(1)
    by_place = _by_place(y)
    by_place.copy_(squares.view(by_place.shape))


def join_tiles_transposed(dy: Tensor) -> Tensor:
    """The gradient of ``join_tiles``."""
    squares = _by_place(dy).reshape(16, -1)
    return (RESULT.T.to(dy.dtype) @ squares).view(36, -1, dy.shape[3])


def _by_place(y: Tensor) -> Tensor:
    """A view of ``(N, 4d, 4a, O)`` results as ``(4, 4, N, d, a, O)``: places in a tile first."""
    n, height, width, channels = y.shape
    return y.view(n, height // 4, 4, width // 4, 4, channels).permute(2, 4, 0, 1, 3, 5)


def _new_result(rows: Tensor, outputs: int) -> Tensor:
    """Room for ``(N, O, H, W)`` results of ``(N, H + 2, W + 2, C)`` rows, channels last."""
    n, height, width, _ = rows.shape
    shape = (n, outputs, height - 2, width - 2)
    return torch.empty(shape, dtype=rows.dtype, memory_format=torch.channels_last)
