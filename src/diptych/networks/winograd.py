"""3x3 convolutions on the CPU with 2.25 times fewer multiplications (Winograd, 1980).

Lavin & Gray (2016), "Fast Algorithms for Convolutional Neural Networks", F(2x2, 3x3): the picture
is cut into 4x4 tiles that overlap by two pixels, and each gives 2x2 pixels of the result,

    Y = A^T [ (G g G^T) * (B^T d B) ] A        (their eq. 8)

where ``*`` multiplies place by place: 16 products for 4 results, where the plain formula takes
36. Summed over the input's channels the products are 16 matrix products, which processors do
best. Features are kept channels last, so that every other operation is a sum of long rows.
In float32 the result differs from the plain formula by about 1e-6 of its size, as the plain one
does from itself in another order of summation.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from diptych.networks.tracing import being_traced

FEWEST_CHANNELS = 64  # below, the tiles cost more than the multiplications they save
FEWEST_TILES = 32  # in a batch: below, transforming the weights costs more

_G = torch.tensor([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
G_BOTH_WAYS = torch.kron(_G, _G)  # (16, 9): G g G^T for a kernel g written as one row


class Conv3x3(nn.Conv2d):
    """``nn.Conv2d(channels_in, channels_out, 3)`` without padding, by the faster way that pays."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 3)

    def forward(self, x: Tensor) -> Tensor:
        if not _pays(x, self.weight):
            return super().forward(x)
        assert self.bias is not None
        height, width = x.shape[2] - 2, x.shape[3] - 2
        if height % 2 or width % 2:
            x = F.pad(x, (0, width % 2, 0, height % 2))
        y: Tensor = Winograd.apply(x, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return y[..., :height, :width].contiguous(memory_format=torch.channels_last)


def _pays(x: Tensor, weight: Tensor) -> bool:
    tiles = len(x) * (x.shape[2] - 2) * (x.shape[3] - 2) // 4
    fits = min(weight.shape[:2]) >= FEWEST_CHANNELS and tiles >= FEWEST_TILES
    plain = torch.is_autocast_enabled("cpu") or being_traced()
    return fits and x.device.type == "cpu" and x.dtype == torch.float32 and not plain


class Winograd(torch.autograd.Function):
    """``(N, C, H + 2, W + 2)`` features to ``(N, O, H, W)``, H and W even.

    All steps but the product are linear, so the gradients are the same steps transposed.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        tiles = cut_tiles(x.permute(0, 2, 3, 1).contiguous())
        kernels = transform_kernels(weight)
        ctx.save_for_backward(tiles, kernels)
        products = torch.bmm(tiles.flatten(2, 4).flatten(0, 1), kernels.transpose(1, 2))
        y = join_tiles(products.view(*tiles.shape[:5], len(weight)))
        return y.add_(bias[:, None, None])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        tiles, kernels = ctx.saved_tensors
        dy = dy.permute(0, 2, 3, 1).contiguous()
        products = join_tiles_transposed(dy).flatten(2, 4).flatten(0, 1)
        dx = dweight = dbias = None
        if ctx.needs_input_grad[0]:
            dtiles = torch.bmm(products, kernels)
            dx = cut_tiles_transposed(dtiles.view(tiles.shape)).permute(0, 3, 1, 2)
        if ctx.needs_input_grad[1]:
            dkernels = torch.bmm(products.transpose(1, 2), tiles.flatten(2, 4).flatten(0, 1))
            dweight = transform_kernels_transposed(dkernels)
        if ctx.needs_input_grad[2]:
            dbias = dy.sum((0, 1, 2))
        return dx, dweight, dbias


def transform_kernels(weight: Tensor) -> Tensor:
    """``G g G^T`` of all kernels: ``(O, C, 3, 3)`` to ``(16, O, C)``."""
    rows = weight.permute(2, 3, 0, 1).reshape(9, -1)
    return (G_BOTH_WAYS.to(rows.dtype) @ rows).view(16, *weight.shape[:2])


def transform_kernels_transposed(dkernels: Tensor) -> Tensor:
    """The gradient of ``transform_kernels``."""
    _, outputs, channels = dkernels.shape
    rows = G_BOTH_WAYS.T.to(dkernels.dtype) @ dkernels.flatten(1)
    return rows.view(3, 3, outputs, channels).permute(2, 3, 0, 1)


def cut_tiles(x: Tensor) -> Tensor:
    """``B^T d B`` of all tiles: ``(N, H + 2, W + 2, C)`` to ``(4, 4, N, H / 2, W / 2, C)``.

    ``B^T d`` of the rows ``d`` of a tile is: d0 - d2, d1 + d2, d2 - d1, d1 - d3.
    """
    n, height, width, channels = x.shape
    height, width = height // 2 - 1, width // 2 - 1
    rows = x.new_empty(4, n, height, x.shape[2], channels)
    _differences(x[:, 0::2], x[:, 1::2], dim=1, out=rows.unbind(0))
    tiles = x.new_empty(4, 4, n, height, width, channels)
    _differences(rows[:, :, :, 0::2], rows[:, :, :, 1::2], dim=3, out=tiles.unbind(1))
    return tiles


def _differences(even: Tensor, odd: Tensor, dim: int, out: tuple[Tensor, ...]) -> None:
    count = even.shape[dim] - 1
    d0, d2 = even.narrow(dim, 0, count), even.narrow(dim, 1, count)
    d1, d3 = odd.narrow(dim, 0, count), odd.narrow(dim, 1, count)
    torch.sub(d0, d2, out=out[0])
    torch.add(d1, d2, out=out[1])
    torch.sub(d2, d1, out=out[2])
    torch.sub(d1, d3, out=out[3])


def cut_tiles_transposed(tiles: Tensor) -> Tensor:
    """The gradient of ``cut_tiles``: tiles are laid down again, overlaps added up."""
    _, _, n, height, width, channels = tiles.shape
    rows = tiles.new_empty(4, n, height, 2 * width + 2, channels)
    _lay_down(tiles.unbind(1), dim=3, even=rows[:, :, :, 0::2], odd=rows[:, :, :, 1::2])
    x = tiles.new_empty(n, 2 * height + 2, 2 * width + 2, channels)
    _lay_down(rows.unbind(0), dim=1, even=x[:, 0::2], odd=x[:, 1::2])
    return x


def _lay_down(parts: tuple[Tensor, ...], dim: int, even: Tensor, odd: Tensor) -> None:
    t0, t1, t2, t3 = parts
    count = t0.shape[dim]
    even.narrow(dim, 0, count).copy_(t0)
    even.narrow(dim, count, 1).zero_()
    even.narrow(dim, 1, count).add_((t1 + t2).sub_(t0))
    torch.sub(t1, t2, out=odd.narrow(dim, 0, count)).add_(t3)
    odd.narrow(dim, count, 1).zero_()
    odd.narrow(dim, 1, count).sub_(t3)


def join_tiles(products: Tensor) -> Tensor:
    """``A^T m A`` of all tiles: ``(4, 4, N, h, w, O)`` to ``(N, O, 2h, 2w)``, channels last.

    ``A^T m`` of the rows ``m`` of a tile is: m0 + m1 + m2, m1 - m2 - m3.
    """
    _, _, n, height, width, channels = products.shape
    rows = products.new_empty(2, 4, n, height, width, channels)
    _sums(products.unbind(0), out=rows.unbind(0))
    shape = (n, channels, 2 * height, 2 * width)
    y = torch.empty(shape, dtype=products.dtype, memory_format=torch.channels_last)
    _sums(rows.unbind(1), out=_by_place_in_tile(y.permute(0, 2, 3, 1)).unbind(1))
    return y


def _sums(m: tuple[Tensor, ...], out: tuple[Tensor, ...]) -> None:
    torch.add(m[0], m[1], out=out[0]).add_(m[2])
    torch.sub(m[1], m[2], out=out[1]).sub_(m[3])


def join_tiles_transposed(dy: Tensor) -> Tensor:
    """The gradient of ``join_tiles``."""
    n, height, width, channels = dy.shape
    rows = dy.new_empty(2, 4, n, height // 2, width // 2, channels)
    _spread(_by_place_in_tile(dy).unbind(1), out=rows.unbind(1))
    products = dy.new_empty(4, 4, n, height // 2, width // 2, channels)
    _spread(rows.unbind(0), out=products.unbind(0))
    return products


def _spread(y: tuple[Tensor, ...], out: tuple[Tensor, ...]) -> None:
    out[0].copy_(y[0])
    torch.add(y[0], y[1], out=out[1])
    torch.sub(y[0], y[1], out=out[2])
    torch.neg(y[1], out=out[3])


def _by_place_in_tile(y: Tensor) -> Tensor:
    """A view of ``(N, 2h, 2w, C)`` as ``(2, 2, N, h, w, C)``: rows and columns within a tile."""
    n, height, width, channels = y.shape
    return y.view(n, height // 2, 2, width // 2, 2, channels).permute(2, 4, 0, 1, 3, 5)
