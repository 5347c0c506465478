"""Discriminators: a picture in, a map of verdicts out."""

from __future__ import annotations

from torch import Tensor, nn

from diptych.config import DiscriminatorConfig
from diptych.networks.blocks import NormLayer, full_precision, norm_layer


class PatchDiscriminator(nn.Module):
    """PatchGAN (Isola et al., 2017): one verdict per overlapping patch, not one per picture.

    A patch is all that one output number can see: 70 x 70 pixels with ``layers = 3`` (five
    convolutions 4x4, the first three of stride 2), 34 with 2, 16 with 1. Judging patches asks for
    the right texture and leaves the composition to the cycle loss; it also works at any size.
    There is no sigmoid: the objectives in ``losses.py`` take raw verdicts.

    Input ``(N, channels, H, W)``; output ``(N, 1, H / 2**layers - 2, W / 2**layers - 2)``.
    """

    def __init__(self, channels: int, width: int, layers: int, norm: NormLayer) -> None:
        super().__init__()
        body: list[nn.Module] = [
            nn.Conv2d(channels, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        before = width
        for layer in range(1, layers + 1):
            after = width * min(2**layer, 8)
            stride = 2 if layer < layers else 1
            body += [
                nn.Conv2d(before, after, 4, stride=stride, padding=1),
                norm(after),
                nn.LeakyReLU(0.2, inplace=True),
            ]
            before = after
        body.append(nn.Conv2d(before, 1, 4, padding=1))
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        return full_precision(self.body(x))


class PixelDiscriminator(nn.Module):
    """A PatchGAN whose patch is one pixel (Isola et al., 2017): it judges colours only.

    Input ``(N, channels, H, W)``; output ``(N, 1, H, W)``.
    """

    def __init__(self, channels: int, width: int, norm: NormLayer) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(width, 2 * width, 1),
            norm(2 * width),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(2 * width, 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return full_precision(self.body(x))


def make_discriminator(config: DiscriminatorConfig, channels: int) -> nn.Module:
    """Build the discriminator that ``config`` describes, with PyTorch's default weights."""
    norm = norm_layer(config.norm)
    if config.architecture == "pixel":
        return PixelDiscriminator(channels, config.width, norm)
    return PatchDiscriminator(channels, config.width, config.layers, norm)


def smallest_size(config: DiscriminatorConfig) -> int:
    """The smallest height or width, in pixels, that yields at least one verdict."""
    return 1 if config.architecture == "pixel" else 3 * 2**config.layers
