"""The ResNet generator of GAN Compression (Li et al., 2020): separable convolutions."""

from __future__ import annotations

from torch import Tensor, nn

from diptych.config import GeneratorConfig
from diptych.networks.blocks import (
    NormLayer,
    as_computed,
    decoder,
    encoder,
    full_precision,
    norm_layer,
)


def separable(channels_in: int, channels_out: int, norm: NormLayer) -> nn.Sequential:
    """A 3x3 convolution of each channel by itself, a norm, and one that mixes the channels."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_in, 3, groups=channels_in),
        norm(channels_in),
        nn.Conv2d(channels_in, channels_out, 1),
    )


class MobileBlock(nn.Module):
    """A residual block of two separable convolutions with ``inside`` channels between them."""

    def __init__(self, channels: int, inside: int, norm: NormLayer) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReflectionPad2d(1),
            separable(channels, inside, norm),
            norm(inside),
            nn.ReLU(inplace=True),
            nn.ReflectionPad2d(1),
            separable(inside, channels, norm),
            norm(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        correction: Tensor = self.body(x)
        return x + correction


class MobileGenerator(nn.Module):
    """As ``ResnetGenerator``, about 30 times smaller, with the widths that a search has found.

    ``widths``: channels behind the first convolution, the two that halve, within each block, and
    behind the two layers that double. Input ``(N, channels_in, H, W)`` in [-1, 1], H and W
    multiples of 4 and at least 16; output ``(N, channels_out, H, W)`` in [-1, 1].
    """

    def __init__(self, config: GeneratorConfig, channels_in: int, channels_out: int) -> None:
        super().__init__()
        norm = norm_layer(config.norm)
        first, second, outside, *insides, up, last = config.mobile_widths()
        self.encode = encoder(channels_in, (first, second, outside), config.downsample, norm)
        self.transform = nn.Sequential(*(MobileBlock(outside, n, norm) for n in insides))
        self.decode = decoder((outside, up, last), channels_out, config.upsample, norm)

    def forward(self, x: Tensor) -> Tensor:
        painted = self.decode(self.transform(self.encode(as_computed(x, self))))
        return full_precision(painted).tanh()
