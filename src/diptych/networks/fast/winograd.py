"""3x3 convolutions on the CPU with a quarter of the multiplications (Winograd, 1980).

Lavin & Gray (2016), "Fast Algorithms for Convolutional Neural Networks", F(4x4, 3x3): the picture
is cut into 6x6 tiles that overlap by two pixels, and each gives 4x4 pixels of the result,

    Y = A^T [ (G g G^T) * (B^T d B) ] A        (their eq. 8)

where ``*`` multiplies place by place: 36 products for 16 results, where the plain formula takes
144. Summed over the input's channels they are 36 matrix products, which processors do best; the
transforms are small matrix products too. Features are kept channels last, so that all else moves
long rows. Of what a ReLU returned, the result differs from the exact one by about 9e-7 of its size
in float32 and 1.3e-2 in bf16, the plain formula's by 5e-7 and 2e-3.

A convolution of several groups makes the products of each: what is called ``P`` below are 36 places
times the groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from diptych.host.processor import has_quick_bf16_vectors
from diptych.networks.fast.tracing import quick_on

# Below, moving tiles and transforming kernels takes longer than the multiplications that they save.
FEWEST_CHANNELS = {torch.float32: 64, torch.bfloat16: 128}
FEWEST_TILES = 64  # in a batch
# For each thread, when nothing is kept for a gradient: so many stay in its cache.
TILES_AT_ONCE = {torch.float32: 64, torch.bfloat16: 128}

# A convolution is a product of polynomials, known by its values at six points: these and infinity.
# Lavin & Gray take 0, 1, -1, 2 and -2 (section 4.3). These round half as much and are as fast.
POINTS = (0, 3 / 4, -3 / 4, 3 / 2, -3 / 2)


def _transforms(points: Sequence[float]) -> tuple[Tensor, Tensor, Tensor]:
    """``B^T`` (6, 6), ``G`` (6, 3) and ``A^T`` (4, 6), by the method of Toom and Cook.

    ``G`` and the transpose of ``A^T`` take values at the points: sums of a point's powers, and at
    infinity the last coefficient. ``B^T`` comes from Lagrange's interpolation, whose denominators
    are in ``G``.
    """
    last = len(points)
    B, G, A = np.zeros((6, 6)), np.zeros((6, 3)), np.zeros((4, 6))
    for i, point in enumerate(points):
        others = [other for other in points if other != point]
        B[i, :last] = np.poly(others)[::-1]  # (coefficients of the polynomial with these roots)
        G[i] = point ** np.arange(3) / np.prod(np.subtract(point, others))
        A[:, i] = point ** np.arange(4)
    B[last] = np.poly(points)[::-1]
    G[last, -1] = A[-1, last] = 1
    return torch.from_numpy(B), torch.from_numpy(G), torch.from_numpy(A)


def _both_ways(matrix: Tensor) -> Tensor:
    """``M x M^T`` as one product with the square ``x`` written as one row."""
    return torch.kron(matrix, matrix)


# (36, 36), (36, 9) and (16, 36)
TILE, KERNEL, RESULT = (_both_ways(matrix) for matrix in _transforms(POINTS))


class Conv3x3(nn.Conv2d):
    """``nn.Conv2d(channels_in, channels_out, 3)`` without padding, by the faster way that pays."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 3)
        self.fixed = False  # whether the weights will stay as they are
        self._kept: Tensor | None = None
        self._kept_of: tuple[int, int] | None = None  # the version of the weights, and their place

    def forward(self, x: Tensor) -> Tensor:
        # (before a look at sizes, which would become constants for a tracer)
        if not (quick_on(x) and _saves_work(x.dtype)):
            return super().forward(x)
        height, width = x.shape[2] - 2, x.shape[3] - 2
        below, right = -height % 4, -width % 4  # what the last tiles lack
        tiles = len(x) * (height + below) * (width + right) // 16
        channels = min(self.in_channels, self.out_channels) // self.groups
        if channels < FEWEST_CHANNELS[x.dtype] or tiles < FEWEST_TILES:
            return super().forward(x)
        if not (below or right):
            return _convolve(x, self._kernels(), self.bias)
        y = _convolve(F.pad(x, (0, right, 0, below)), self._kernels(), self.bias)
        return y[..., :height, :width].contiguous(memory_format=torch.channels_last)

    def _kernels(self) -> Tensor:
        """The transformed kernels.

        A generator runs twice a step, so they are kept until their gradient was taken: only then
        does an optimizer change the weights. (PyTorch's fused ones do not count a new version.)
        Where the weights are fixed they are kept for good.
        """
        weight, kept = self.weight, self._kept
        if self.fixed:
            if kept is None:
                kept = self._kept = transform_kernels(weight, self.groups)
            return kept
        if not (torch.is_grad_enabled() and weight.requires_grad):
            return transform_kernels(weight, self.groups)
        state = (weight._version, weight.data_ptr())
        if kept is None or self._kept_of != state:
            kept = self._kept = TransformKernels.apply(weight, self)  # type: ignore[no-untyped-call]
            self._kept_of = state
        return kept

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}  # (copies make their own)


def _saves_work(dtype: torch.dtype) -> bool:
    """Whether a convolution of this precision takes its time for multiplications."""
    if dtype == torch.bfloat16 and not has_quick_bf16_vectors():  # (matrix units, or none for bf16)
        return False
    return dtype in FEWEST_CHANNELS and not torch.is_autocast_enabled("cpu")


def _convolve(x: Tensor, kernels: Tensor, bias: Tensor | None) -> Tensor:
    if torch.is_grad_enabled():
        y: Tensor = Winograd.apply(x, kernels, bias)  # type: ignore[no-untyped-call]
        return y
    rows = x.permute(0, 2, 3, 1).contiguous()
    y = _new_result(rows, _outputs(kernels))
    painted = y.permute(0, 2, 3, 1)
    across = painted.shape[2] // 4
    at_once = 4 * max(1, TILES_AT_ONCE[x.dtype] * torch.get_num_threads() // across)
    for i in range(len(rows)):
        for first in range(0, painted.shape[1], at_once):
            part = painted[i : i + 1, first : first + at_once]
            seen = rows[i : i + 1, first : first + part.shape[1] + 2]
            tiles = cut_tiles(seen, groups=len(kernels) // 36)
            join_tiles(torch.bmm(tiles, kernels.transpose(1, 2)), part)
            if bias is not None:
                part += bias
    return y


def transform_kernels(weight: Tensor, groups: int) -> Tensor:
    """``G g G^T`` of all kernels: ``(O, C, 3, 3)`` to ``(P, O / groups, C)``."""
    squares = weight.permute(2, 3, 0, 1).reshape(9, -1)
    return (KERNEL.to(squares.dtype) @ squares).view(36 * groups, -1, weight.shape[1])


def _outputs(kernels: Tensor) -> int:
    """How many channels transformed kernels make."""
    return len(kernels) // 36 * kernels.shape[1]


class TransformKernels(torch.autograd.Function):
    """``transform_kernels`` of the weights of ``layer``, which drops them at their gradient."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, layer: Conv3x3) -> Tensor:
        ctx.layer = layer
        return transform_kernels(weight, layer.groups)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dkernels: Tensor) -> tuple[Tensor, None]:
        ctx.layer._kept = None
        squares = KERNEL.T.to(dkernels.dtype) @ dkernels.view(36, -1)
        return squares.view(3, 3, -1, dkernels.shape[2]).permute(2, 3, 0, 1), None


class Winograd(torch.autograd.Function):
    """``(N, C, H + 2, W + 2)`` features to ``(N, O, H, W)``, H and W multiples of 4.

    ``kernels`` are transformed ones. All steps but the product are linear, so the gradients are
    the same steps transposed.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernels: Tensor, bias: Tensor | None) -> Tensor:
        tiles = cut_tiles(x.permute(0, 2, 3, 1).contiguous(), groups=len(kernels) // 36)
        ctx.save_for_backward(tiles, kernels)
        y = _new_result(x.permute(0, 2, 3, 1), _outputs(kernels))
        join_tiles(torch.bmm(tiles, kernels.transpose(1, 2)), y.permute(0, 2, 3, 1))
        return y if bias is None else y.add_(bias[:, None, None])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        tiles, kernels = ctx.saved_tensors
        dy = dy.permute(0, 2, 3, 1).contiguous()
        dproducts = join_tiles_transposed(dy, groups=len(kernels) // 36)
        dx = dkernels = dbias = None
        if ctx.needs_input_grad[0]:
            dtiles = torch.bmm(dproducts, kernels)
            dx = cut_tiles_transposed(dtiles, dy.shape[:3]).permute(0, 3, 1, 2)
        if ctx.needs_input_grad[1]:
            dkernels = torch.bmm(dproducts.transpose(1, 2), tiles)
        if ctx.needs_input_grad[2]:
            dbias = dy.sum((0, 1, 2))
        return dx, dkernels, dbias


def cut_tiles(rows: Tensor, groups: int) -> Tensor:
    """``B^T d B`` of all tiles: ``(N, H + 2, W + 2, C)`` to ``(P, N * H/4 * W/4, C / groups)``."""
    squares = _tiles(rows, groups, slice(0, 6), slice(0, 6)).reshape(36, -1)
    return (TILE.to(rows.dtype) @ squares).view(36 * groups, -1, rows.shape[3] // groups)


def cut_tiles_transposed(dtiles: Tensor, shape: torch.Size) -> Tensor:
    """The gradient of ``cut_tiles``, for a result of ``shape``: overlaps are added up."""
    n, height, width = shape
    groups, channels = len(dtiles) // 36, dtiles.shape[2]
    squares = TILE.T.to(dtiles.dtype) @ dtiles.view(36, -1)
    squares = squares.view(6, 6, groups, n, height // 4, width // 4, channels)
    drows = dtiles.new_empty(n, height + 2, width + 2, groups * channels)
    drows[:, -2:], drows[:, :, -2:] = 0, 0
    own, next_one = slice(0, 4), slice(4, 6)  # the last two rows are the next tile's first
    _tiles(drows, groups, own, own).copy_(squares[own, own])
    for down, across in ((own, next_one), (next_one, own), (next_one, next_one)):
        _tiles(drows, groups, down, across).add_(squares[down, across])
    return drows


def _tiles(rows: Tensor, groups: int, down: slice, across: slice) -> Tensor:
    """A view of places in each tile: ``(down, across, groups, N, H/4, W/4, C / groups)``."""
    n, height, width, channels = rows.shape
    s = rows.stride()
    places = (down.stop - down.start, across.stop - across.start)
    channels //= groups
    return rows.as_strided(
        (*places, groups, n, height // 4, width // 4, channels),
        (s[1], s[2], channels * s[3], s[0], 4 * s[1], 4 * s[2], s[3]),
        rows.storage_offset() + down.start * s[1] + across.start * s[2],
    )


def join_tiles(products: Tensor, y: Tensor) -> None:
    """``A^T m A`` of all tiles ``(P, N * H/4 * W/4, O / groups)``, to ``y``: ``(N, H, W, O)``."""
    squares = RESULT.to(products.dtype) @ products.view(36, -1)
    by_place = _by_place(y, groups=len(products) // 36)
    by_place.copy_(squares.view(by_place.shape))


def join_tiles_transposed(dy: Tensor, groups: int) -> Tensor:
    """The gradient of ``join_tiles``."""
    squares = _by_place(dy, groups).reshape(16, -1)
    return (RESULT.T.to(dy.dtype) @ squares).view(36 * groups, -1, dy.shape[3] // groups)


def _by_place(y: Tensor, groups: int) -> Tensor:
    """``(N, 4d, 4a, O)`` results as a view with places in a tile first.

    ``(4, 4, groups, N, d, a, O / groups)``
    """
    n, height, width, channels = y.shape
    split = y.view(n, height // 4, 4, width // 4, 4, groups, channels // groups)
    return split.permute(2, 4, 5, 0, 1, 3, 6)


def _new_result(rows: Tensor, outputs: int) -> Tensor:
    """Room for ``(N, O, H, W)`` results of ``(N, H + 2, W + 2, C)`` rows, channels last."""
    n, height, width, _ = rows.shape
    shape = (n, outputs, height - 2, width - 2)
    return torch.empty(shape, dtype=rows.dtype, memory_format=torch.channels_last)
