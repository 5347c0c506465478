"""A trained generator made ready for the CPU: the same function in less time.

Convolutions 3x3 with many channels take most of a generator's time. They are computed by Winograd's
minimal filtering F(4x4, 3x3) (Lavin & Gray, 2016, "Fast algorithms for convolutional neural
networks"): 36 products for 16 outputs in place of 144, and a little addition. All is kept channels
last, for which PyTorch's instance norm is slow and its batch norm, of one picture, is not.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)

FEWEST_CHANNELS = 64  # below, moving tiles about takes longer than the products saved
TILES_AT_ONCE = 64  # for each thread: so many stay in a core's cache

# The transforms for the points 0, 1, -1, 2, -2 and infinity (Lavin & Gray, 2016, section 4.3).
_INPUT = [
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
]
_KERNEL = [
    [1 / 4, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
]
_OUTPUT = [
    [1, 1, 1, 1, 1, 0],
    [0, 1, -1, 2, -2, 0],
    [0, 1, 1, 4, 4, 0],
    [0, 1, -1, 8, -8, 1],
]


def made_quick(network: Network) -> Network:
    """A copy of ``network`` for use on the CPU, in float32: up to rounding the same function.

    Layers that nothing is known about stay as they are, so this works for every generator.
    """
    quick = copy.deepcopy(network)
    for module in list(quick.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.InstanceNorm2d) and not child.affine:
                setattr(module, name, QuickInstanceNorm(child.eps))
            elif isinstance(child, nn.Conv2d) and _suits(child):
                setattr(module, name, QuickConvolution(child))
    for parameter in quick.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return quick


def _suits(layer: nn.Conv2d) -> bool:
    one = (1, 1)
    return (
        layer.kernel_size == (3, 3)
        and (layer.stride, layer.dilation, layer.groups) == (one, one, 1)
        and layer.padding in ((0, 0), one)
        and layer.padding_mode == "zeros"
        and min(layer.in_channels, layer.out_channels) >= FEWEST_CHANNELS
    )


class QuickInstanceNorm(nn.Module):
    """Instance norm without scale and shift: batch norm of each picture by itself."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        pictures = [
            F.batch_norm(x[i : i + 1], None, None, training=True, eps=self.eps)
            for i in range(len(x))
        ]
        return pictures[0] if len(pictures) == 1 else torch.cat(pictures)


class QuickConvolution(nn.Module):
    """A 3x3 convolution of stride 1; ``(N, C, H, W)`` in and out, channels last."""

    kernel: Tensor
    bias: Tensor
    to_kernel_domain: Tensor
    from_kernel_domain: Tensor

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.padding = int(layer.padding[0])
        transform = torch.tensor(_KERNEL, dtype=torch.float64)
        weight = layer.weight.detach().double()
        kernel = torch.einsum("ai,bj,ocij->abco", transform, transform, weight)
        bias = torch.zeros(layer.out_channels) if layer.bias is None else layer.bias.detach()
        self.register_buffer("kernel", kernel.flatten(0, 1).float().contiguous())  # (36, C, out)
        self.register_buffer("bias", bias)
        self.register_buffer("to_kernel_domain", _both_ways(_INPUT))  # (36, 36)
        self.register_buffer("from_kernel_domain", _both_ways(_OUTPUT))  # (16, 36)

    def forward(self, x: Tensor) -> Tensor:
        p, height, width = self.padding, x.shape[2], x.shape[3]
        height, width = height + 2 * p - 2, width + 2 * p - 2  # of the output
        down, across = -(-height // 4), -(-width // 4)  # tiles
        below, right = 4 * down - height, 4 * across - width  # what the last ones lack
        x = F.pad(x, (p, p + right, p, p + below)) if p or below or right else x
        rows = x.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
        out = torch.empty(len(x), 4 * down, 4 * across, len(self.bias))
        at_once = max(1, TILES_AT_ONCE * torch.get_num_threads() // across)
        for picture, painted in zip(rows, out, strict=True):
            for first in range(0, down, at_once):
                last = min(down, first + at_once)
                strip = picture[4 * first : 4 * last + 2]
                self._convolve(strip, painted[4 * first : 4 * last], last - first, across)
        return out[:, :height, :width].permute(0, 3, 1, 2)

    def _convolve(self, strip: Tensor, painted: Tensor, down: int, across: int) -> None:
        """Fill ``painted``, ``(4 down, 4 across, out)``, from a strip with a border of one."""
        row, column, channels = strip.stride(0), strip.stride(1), strip.shape[2]
        tiles = strip.as_strided(
            (6, 6, down, across, channels), (row, column, 4 * row, 4 * column, 1)
        )
        spread = torch.mm(self.to_kernel_domain, tiles.reshape(36, -1))
        products = torch.bmm(spread.view(36, down * across, channels), self.kernel)
        square = torch.mm(self.from_kernel_domain, products.view(36, -1))
        square = square.view(4, 4, down, across, -1).permute(2, 0, 3, 1, 4)
        torch.add(square, self.bias, out=painted.view(down, 4, across, 4, -1))


def _both_ways(transform: list[list[int]]) -> Tensor:
    """The transform of rows and columns of a square, for the square's values in one row."""
    one_way = torch.tensor(transform, dtype=torch.float32)
    return torch.kron(one_way, one_way)
