"""Discriminators: a picture in, a map of verdicts out."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from diptych.config import DiscriminatorConfig
from diptych.networks.augment import augment
from diptych.networks.blocks import NormLayer, channels_last, full_precision, norm_layer


class Discriminator(nn.Module):
    """``layers``, whose last makes the verdicts. No sigmoid: the objectives take raw verdicts.

    While training, ``augments`` lets it see pictures shifted and recoloured at random.
    """

    def __init__(self, layers: list[nn.Module], augments: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(*layers)
        self.augments = augments

    def forward(self, x: Tensor) -> Tensor:
        if self.augments and self.training:
            x = augment(x)
        return full_precision(self.body(channels_last(x)))

    def features(self, x: Tensor) -> Tensor:
        """What the last layer judges by: ``(N, channels, H', W')``, of the pictures as they are."""
        return full_precision(self.body[:-1](x))


def patch_layers(
    channels: int, width: int, layers: int, norm: NormLayer, padding: bool
) -> list[nn.Module]:
    """PatchGAN (Isola et al., 2017): one verdict per overlapping patch, not one per picture.

    A patch is all that one output number can see: 70 x 70 pixels with ``layers = 3`` (five
    convolutions 4x4, the first three of stride 2), 34 with 2, 16 with 1. Judging patches asks for
    the right texture and leaves the composition to the cycle loss; it also works at any size.

    With padding, patches reach over the edge, and D can tell the edge by its zeros; without, they
    lie within the picture.

    Input ``(N, channels, H, W)``; output ``(N, 1, H', W')``, with padding ``H / 2**layers - 2``
    high, without as many as patches fit in at steps of ``2**layers``.
    """
    around = 1 if padding else 0
    body: list[nn.Module] = [
        nn.Conv2d(channels, width, 4, stride=2, padding=around),
        nn.LeakyReLU(0.2, inplace=True),
    ]
    before = width
    for layer in range(1, layers + 1):
        after = width * min(2**layer, 8)
        stride = 2 if layer < layers else 1
        body += [
            nn.Conv2d(before, after, 4, stride=stride, padding=around),
            norm(after),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        before = after
    return [*body, nn.Conv2d(before, 1, 4, padding=around)]


def pixel_layers(channels: int, width: int, norm: NormLayer) -> list[nn.Module]:
    """A PatchGAN whose patch is one pixel (Isola et al., 2017): it judges colours only.

    Input ``(N, channels, H, W)``; output ``(N, 1, H, W)``.
    """
    return [
        nn.Conv2d(channels, width, 1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(width, 2 * width, 1),
        norm(2 * width),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(2 * width, 1, 1),
    ]


def make_discriminator(config: DiscriminatorConfig, channels: int) -> Discriminator:
    """Build the discriminator that ``config`` describes, with PyTorch's default weights."""
    norm = norm_layer("none" if config.norm == "spectral" else config.norm)
    if config.architecture == "pixel":
        layers = pixel_layers(channels, config.width, norm)
    else:
        layers = patch_layers(channels, config.width, config.layers, norm, config.padding)
    if config.norm == "spectral":  # bounds each layer's slope by 1 (Miyato et al., 2018)
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                spectral_norm(layer)
    return Discriminator(layers, config.augment)
