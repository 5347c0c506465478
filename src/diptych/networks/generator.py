"""Generators: a picture in, a picture of the other domain out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diptych.config import GeneratorConfig, Upsample
from diptych.networks.blocks import NormLayer, ResidualBlock, full_precision, norm_layer, upsample


class ResnetGenerator(nn.Module):
    """The CycleGAN generator (Zhu et al., 2017, section 7.1; after Johnson et al., 2016).

    Read it as an auto-encoder: ``encode`` describes the picture on a grid four times coarser,
    ``transform`` rewrites that description from one domain's terms into the other's, ``decode``
    paints it again. Unlike an auto-encoder for compression, the middle keeps 4 x 4 pixels x 256
    channels, enough to keep every detail in place.

    Input ``(N, channels_in, H, W)`` in [-1, 1], H and W multiples of 4 and at least 16; output
    ``(N, channels_out, H, W)`` in [-1, 1].
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        width: int,
        blocks: int,
        norm: NormLayer,
        up: Upsample,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.encode = nn.Sequential(
            nn.ReflectionPad2d(3),
            nn.Conv2d(channels_in, width, 7),
            norm(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            norm(2 * width),
            nn.ReLU(inplace=True),
            nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1),
            norm(4 * width),
            nn.ReLU(inplace=True),
        )
        self.transform = nn.Sequential(
            *(ResidualBlock(4 * width, norm, dropout) for _ in range(blocks))
        )
        self.decode = nn.Sequential(
            upsample(up, 4 * width, 2 * width),
            norm(2 * width),
            nn.ReLU(inplace=True),
            upsample(up, 2 * width, width),
            norm(width),
            nn.ReLU(inplace=True),
            nn.ReflectionPad2d(3),
            nn.Conv2d(width, channels_out, 7),
            nn.Tanh(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return full_precision(self.decode(self.transform(self.encode(x))))


class UnetGenerator(nn.Module):
    """U-Net (Ronneberger et al., 2015) as used by pix2pix (Isola et al., 2017).

    ``levels`` stride-2 convolutions down to a code, as many transposed ones back up, and at each
    level the features of the way down are joined to those of the way up.

    Input ``(N, channels_in, H, W)`` in [-1, 1], H and W multiples of ``2 ** levels``; output
    ``(N, channels_out, H, W)`` in [-1, 1].
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        width: int,
        levels: int,
        norm: NormLayer,
        up: Upsample,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        widths = [width * min(2**level, 8) for level in range(levels)]
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        for level in range(levels):
            outermost, innermost = level == 0, level == levels - 1
            above = channels_in if outermost else widths[level - 1]
            here = widths[level]
            down: list[nn.Module] = [] if outermost else [nn.LeakyReLU(0.2)]
            down.append(nn.Conv2d(above, here, 4, stride=2, padding=1))
            if not (outermost or innermost):
                down.append(norm(here))
            # Everything but the code arrives twice as wide: from below and from the way down.
            arriving = here if innermost else 2 * here
            rise: list[nn.Module] = [nn.ReLU()]
            if outermost:
                rise += [_unet_up(up, arriving, channels_out), nn.Tanh()]
            else:
                rise += [_unet_up(up, arriving, above), norm(above)]
                if dropout and above == 8 * width:
                    rise.append(nn.Dropout(dropout))
            self.down.append(nn.Sequential(*down))
            self.up.append(nn.Sequential(*rise))

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for down in self.down:
            x = down(x)
            kept.append(x)
        x = self.up[-1](kept.pop())
        for up in reversed(self.up[:-1]):
            x = up(torch.cat([kept.pop(), x], dim=1))
        return full_precision(x)


def _unet_up(kind: Upsample, channels_in: int, channels_out: int) -> nn.Module:
    if kind == "transpose":
        return nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1)
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="nearest"),
        nn.Conv2d(channels_in, channels_out, 3, padding=1),
    )


def make_generator(config: GeneratorConfig, channels_in: int, channels_out: int) -> nn.Module:
    """Build the generator that ``config`` describes, with PyTorch's default weights."""
    norm = norm_layer(config.norm)
    if config.architecture == "unet":
        return UnetGenerator(
            channels_in,
            channels_out,
            config.width,
            config.levels,
            norm,
            config.upsample,
            config.dropout,
        )
    return ResnetGenerator(
        channels_in,
        channels_out,
        config.width,
        config.blocks,
        norm,
        config.upsample,
        config.dropout,
    )


def size_multiple(config: GeneratorConfig) -> int:
    """Height and width must be a multiple of this many pixels."""
    return 2**config.levels if config.architecture == "unet" else 4
