"""Discriminators: a picture in, a map of verdicts out."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from diptych.network_config import DiscriminatorConfig
from diptych.networks.augment import augment
from diptych.networks.blocks import norm_layer
from diptych.networks.precision import as_computed, full_precision


class Discriminator(nn.Module):
    """A PatchGAN (Isola et al., 2017), as ``config`` describes it, with PyTorch's default weights.

    Input ``(N, channels, H, W)`` in [-1, 1]; output raw verdicts ``(N, 1, H', W')``: no sigmoid,
    since the objectives take them as they are. It sees the picture ``shrink`` times smaller a side;
    without padding ``centred``; in training, with ``config.augment``, shifted and recoloured at
    random. With ``config.texture`` a second network judges the ``texture`` of what the first one
    sees: its verdicts are a second channel.
    """

    def __init__(self, config: DiscriminatorConfig, channels: int, shrink: int = 1) -> None:
        super().__init__()
        pixel = config.architecture == "pixel"
        layers = pixel_layers(config, channels) if pixel else patch_layers(config, channels)
        self.body = nn.Sequential(*layers)
        self.texture_body = nn.Sequential(*patch_layers(config, 1)) if config.texture else None
        self.augments, self.shrink = config.augment, shrink
        centres = not (pixel or config.padding)
        self.patch, self.stride = (config.patch, config.stride) if centres else (0, 1)
        if config.norm == "spectral":  # of the weights as a matrix: 1 (Miyato et al., 2018)
            for layer in list(self.modules()):
                if isinstance(layer, nn.Conv2d):
                    spectral_norm(layer)

    def forward(self, x: Tensor) -> Tensor:
        if self.augments and self.training:
            x = augment(x)
        x = self._seen(x)
        verdicts: Tensor = self.body(as_computed(x, self))
        if self.texture_body is not None:
            fine: Tensor = self.texture_body(as_computed(texture(x), self))
            verdicts = torch.cat([verdicts, fine], dim=1)
        return full_precision(verdicts)

    def features(self, x: Tensor) -> Tensor:
        """What the last layer judges by: ``(N, channels, H', W')``, without augmentation."""
        return full_precision(self.body[:-1](as_computed(self._seen(x), self)))

    @property
    def looks_straight(self) -> bool:
        """Whether it is shown pictures as they are, but for where its patches lie."""
        return not self.augments and self.shrink == 1

    def _seen(self, x: Tensor) -> Tensor:
        return centred(shrunk(x, self.shrink), self.patch, self.stride)


def shrunk(x: Tensor, times: int) -> Tensor:
    """``(N, C, H, W)`` to ``(N, C, H / times, W / times)``: the means of squares.

    A discriminator that sees pictures from afar knows nothing of what is finest in them, and
    teaches no weave for it; its patches are as large beside an animal as in smaller pictures.
    (Where ``times`` does not divide a side, of the rest half is left out at either end.)
    """
    if times == 1:
        return x
    top, left = (length % times // 2 for length in x.shape[2:])
    return F.avg_pool2d(x[:, :, top:, left:], times)


def centred(x: Tensor, patch: int, stride: int) -> Tensor:
    """Cut at the top and the left, so that the patches lie in the picture's middle.

    ``patch`` and ``stride``: the pixels a side of one, and from one to the next. Convolutions begin
    at the top left, and what is not enough for one more patch is left over at the bottom and the
    right: of 64 pixels three, with patches of 25 in steps of 4. Cutting one off at the top leaves
    two. (0 and 1 cut nothing.)
    """
    top, left = ((length - patch) % stride // 2 for length in x.shape[2:])
    return x[:, :, top:, left:]


def texture(x: Tensor) -> Tensor:
    """What is finer than 7 pixels, in grey: ``(N, C, H, W)`` in [-1, 1] to ``(N, 1, H, W)``.

    A discriminator that sees colours judges by them, since they are learned first. One that sees
    no colours (as in Ignatov et al., 2017, "DSLR-quality photos", section 3.1.2), nor light and
    shade, has to ask for stripes. Doubled, it spreads about as widely as pictures do.
    """
    grey = x.mean(dim=1, keepdim=True)
    return 2 * (grey - F.avg_pool2d(grey, 7, stride=1, padding=3, count_include_pad=False))


def patch_layers(config: DiscriminatorConfig, channels: int) -> list[nn.Module]:
    """PatchGAN (Isola et al., 2017): one verdict per overlapping patch, not one per picture.

    A patch is what the convolutions of one output number see: 70 x 70 pixels with ``layers = 3``
    (five of them 4x4, the first three of stride 2), 34 with 2, 16 with 1. Of the rest of the
    picture instance and group norm bring in no more than their means and deviations. Judging
    patches asks for the right texture and leaves the composition to the cycle loss; it also works
    at any size.

    With padding, patches reach over the edge, and D can tell the edge by its zeros; without, they
    lie within the picture.

    A first layer of stride 2 sees stripes of three pixels as others of six, and its gradient is a
    checkerboard (Odena et al., 2016). ``fine`` puts the layer of stride 1 first, at about twice
    the cost; patches are then 49, 25 and 13 pixels wide.

    Input ``(N, channels, H, W)``; output ``(N, 1, H', W')``, with padding ``H / 2**layers - 2``
    high, without as many as patches fit in at steps of ``2**layers`` (``centred``).
    """
    around, halvings, norm = int(config.padding), [2] * config.layers, norm_layer(config.norm)
    widths = [config.width * min(2**layer, 8) for layer in range(config.layers + 1)]
    first, *halving, last = [1, *halvings, 1] if config.fine else [*halvings, 1, 1]
    body: list[nn.Module] = [
        nn.Conv2d(channels, config.width, 4, stride=first, padding=around),
        nn.LeakyReLU(0.2, inplace=True),
    ]
    for (before, after), stride in zip(pairwise(widths), halving, strict=True):
        body += [
            nn.Conv2d(before, after, 4, stride=stride, padding=around),
            norm(after),
            nn.LeakyReLU(0.2, inplace=True),
        ]
    return [*body, nn.Conv2d(widths[-1], 1, 4, stride=last, padding=around)]


def pixel_layers(config: DiscriminatorConfig, channels: int) -> list[nn.Module]:
    """A PatchGAN whose patch is one pixel (Isola et al., 2017): it judges colours only.

    Input ``(N, channels, H, W)``; output ``(N, 1, H, W)``.
    """
    width, norm = config.width, norm_layer(config.norm)
    return [
        nn.Conv2d(channels, width, 1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(width, 2 * width, 1),
        norm(2 * width),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(2 * width, 1, 1),
    ]
