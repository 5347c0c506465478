"""The generators of the field's repositories as their code names them, rebuilt to test against.

Only the nesting matters here: it names the tensors of their files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Layer = Callable[..., nn.Module]


class Wrapped(nn.Module):
    """A list of layers under the name ``model``."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class ConvBlock(nn.Module):
    """A residual block under the name ``conv_block``."""

    def __init__(self, channels: int, norm: Layer, bias: bool, dropout: bool) -> None:
        super().__init__()
        half: Any = lambda: [  # noqa: E731
            nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3, bias=bias), norm(channels)
        ]  # fmt: skip
        between = [nn.ReLU(), *([nn.Dropout(0.5)] if dropout else [])]
        self.conv_block = nn.Sequential(*half(), *between, *half())

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class Blur(nn.Module):
    """CUT's downsampling (3 taps) or upsampling (4 taps), with its filter as a buffer."""

    def __init__(self, channels: int, taps: list[float], up: bool) -> None:
        super().__init__()
        row = torch.tensor(taps)
        kernel = torch.outer(row, row) / row.sum() ** 2 * (4 if up else 1)
        self.register_buffer("filt", kernel.expand(channels, 1, -1, -1).clone())
        self.up = up

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        if not self.up:
            padded = F.pad(x, (1, 1, 1, 1), "reflect")
            return F.conv2d(padded, self.filt, stride=2, groups=channels)
        padded = F.pad(x, (1, 1, 1, 1), "replicate")
        wide = F.conv_transpose2d(padded, self.filt, stride=2, padding=2, groups=channels)
        return wide[:, :, 1:, 1:][:, :, :-1, :-1]


def resnet(
    width: int, blocks: int, batch: bool = False, dropout: bool = False, blur: bool = False,
    channels: int = 3, plain: bool = False,
) -> nn.Module:  # fmt: skip
    """``ResnetGenerator`` of pytorch-CycleGAN-and-pix2pix or, with ``blur``, of CUT.

    ``plain``: without norm.
    """
    norm: Layer = nn.BatchNorm2d if batch else nn.Identity if plain else nn.InstanceNorm2d
    bias = not batch and not plain  # as in their code, where only instance norm asks for one
    layers: list[nn.Module] = [
        nn.ReflectionPad2d(3), nn.Conv2d(channels, width, 7, bias=bias), norm(width), nn.ReLU()
    ]  # fmt: skip
    for n in (width, 2 * width):
        stride = 1 if blur else 2
        layers += [nn.Conv2d(n, 2 * n, 3, stride, 1, bias=bias), norm(2 * n), nn.ReLU()]
        layers += [Blur(2 * n, [1, 2, 1], up=False)] if blur else []
    layers += [ConvBlock(4 * width, norm, bias, dropout) for _ in range(blocks)]
    for n in (4 * width, 2 * width):
        if blur:
            layers += [Blur(n, [1, 3, 3, 1], up=True), nn.Conv2d(n, n // 2, 3, 1, 1, bias=bias)]
        else:
            layers.append(nn.ConvTranspose2d(n, n // 2, 3, 2, 1, 1, bias=bias))
        layers += [norm(n // 2), nn.ReLU()]
    return Wrapped([*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, channels, 7), nn.Tanh()])


class Skip(nn.Module):
    """One level of ``UnetGenerator``: what comes in is joined to what the level makes of it."""

    def __init__(self, layers: list[nn.Module], outermost: bool) -> None:
        super().__init__()
        self.model = nn.Sequential(*layers)
        self.outermost = outermost

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) if self.outermost else torch.cat([x, self.model(x)], 1)


def unet(width: int, levels: int, batch: bool = False) -> nn.Module:
    """``UnetGenerator``, built from the inside out."""
    norm: Layer = nn.BatchNorm2d if batch else nn.InstanceNorm2d
    bias = not batch
    widths = [width * min(2**level, 8) for level in range(levels)]
    inner: nn.Module | None = None
    for level in reversed(range(levels)):
        here, above = widths[level], widths[level - 1] if level else 3
        down = nn.Conv2d(above, here, 4, 2, 1, bias=bias)
        arriving = here if inner is None else 2 * here
        outermost = level == 0
        up = nn.ConvTranspose2d(arriving, above, 4, 2, 1, bias=bias or outermost)
        if outermost:
            assert inner is not None
            layers = [down, inner, nn.ReLU(), up, nn.Tanh()]
        elif inner is None:
            layers = [nn.LeakyReLU(0.2), down, nn.ReLU(), up, norm(above)]
        else:
            layers = [nn.LeakyReLU(0.2), down, norm(here), inner, nn.ReLU(), up, norm(above)]
        inner = Skip(layers, outermost)
    assert inner is not None
    return _named(inner)


def _named(outermost: nn.Module) -> nn.Module:
    """Under the name ``model``, without a list around it."""
    wrapper = nn.Module()
    wrapper.model = outermost
    wrapper.forward = outermost.forward  # type: ignore[method-assign]
    return wrapper
