"""Generators: a picture in, a picture of the other domain out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diptych.network_config import GeneratorConfig, Upsample
from diptych.networks.blocks import decoder, encoder, norm_layer, residual_block
from diptych.networks.fast.transposed import TransposedConv
from diptych.networks.mobile import mobile_block
from diptych.networks.precision import as_computed, full_precision


class ResnetGenerator(nn.Module):
    """The CycleGAN generator (Zhu et al., 2017, section 7.1; after Johnson et al., 2016).

    Read it as an auto-encoder: ``encode`` describes the picture on a grid halved ``halvings``
    times, ``transform`` rewrites that description from one domain's terms into the other's,
    ``decode`` paints it again. Unlike an auto-encoder for compression, the middle can keep every
    detail in place: with the paper's two halvings it holds 256 channels for each 4 x 4 pixels.
    The architecture ``mobile`` has blocks that make it about 5 times smaller; about 30 times with
    widths searched for layer by layer (Li et al., 2020).

    Input ``(N, channels_in, H, W)`` in [-1, 1], H and W multiples of ``2 ** halvings`` and at least
    16; output ``(N, channels_out, H, W)`` in [-1, 1].
    """

    def __init__(self, config: GeneratorConfig, channels_in: int, channels_out: int) -> None:
        super().__init__()
        norm = norm_layer(config.norm)
        same = channels_in == channels_out  # otherwise nothing of the source can be kept
        self.output = config.output if same else "picture"
        self.least_change = config.least_change
        self.strength = config.strength
        self.halvings = config.halvings
        if config.architecture == "mobile":
            first, second, middle, *insides, third, last = config.mobile_widths()
            down, up = [first, second, middle], [middle, third, last]
            blocks = [mobile_block(middle, inside, norm) for inside in insides]
        else:
            down = [config.width * 2**halving for halving in range(config.halvings + 1)]
            up = down[::-1]
            blocks = [residual_block(down[-1], norm, config.dropout) for _ in range(config.blocks)]
        self.encode = encoder(channels_in, down, config.downsample, norm)
        self.transform = nn.Sequential(*blocks)
        self.decode = decoder(up, channels_out, config.upsample, norm)

    def features(self, x: Tensor) -> list[Tensor]:
        """What CUT compares pictures by (Park et al., 2020, appendix C.1), each ``(N, C, H', W')``.

        The pixels, the halving convolutions, the first and the fifth residual block (or the last,
        if there are fewer).
        """
        x = as_computed(x, self)
        layers = [x]
        for layer in self.encode:
            x = layer(x)
            if isinstance(layer, nn.Conv2d):
                layers.append(x.clone())  # (without a norm the ReLU behind it works in place)
        del layers[1]  # the first convolution does not halve
        blocks = list(self.transform)[:5]
        for block in blocks:
            x = block(x)
            if block in (blocks[0], blocks[-1]):
                layers.append(x)
        return layers

    def feature_channels(self) -> list[int]:
        """How many channels each layer of ``features`` has."""
        first, *halving = (layer for layer in self.encode if isinstance(layer, nn.Conv2d))
        widths = [layer.out_channels for layer in halving]
        return [first.in_channels, *widths, *widths[-1:] * min(2, len(self.transform))]

    def forward(self, x: Tensor) -> Tensor:
        painted = full_precision(self.decode(self.transform(self.encode(as_computed(x, self)))))
        if self.output == "picture":
            return painted.tanh()
        # In training nothing is cut off: D has never seen a real picture beyond black and white, so
        # its slope leads back from there, where a clamp or a tanh has none.
        return x + painted if self.training else (x + self.change(painted)).clamp(-1, 1)

    def change(self, painted: Tensor) -> Tensor:
        """What is added to the input in use, of what a network that retouches has ``painted``.

        Small changes fade: of a pixel that changes by e on the mean of its channels the share
        ``e^2 / (e^2 + least_change^2)`` stays. It is a Wiener gain, to which what is much smaller
        than ``least_change`` is noise. (In training they do not, or none could grow.)
        """
        if self.least_change:
            power = painted.abs().mean(1, keepdim=True).square()
            painted = painted * (power / (power + self.least_change**2))
        return painted * self.strength if self.strength != 1 else painted


class UnetGenerator(nn.Module):
    """U-Net (Ronneberger et al., 2015) as used by pix2pix (Isola et al., 2017).

    ``levels`` stride-2 convolutions down to a code, as many transposed ones back up, and at each
    level the features of the way down are joined to those of the way up.

    Input ``(N, channels_in, H, W)`` in [-1, 1], H and W multiples of ``2 ** levels``; output
    ``(N, channels_out, H, W)`` in [-1, 1].
    """

    def __init__(self, config: GeneratorConfig, channels_in: int, channels_out: int) -> None:
        super().__init__()
        norm, up, levels = norm_layer(config.norm), config.upsample, config.levels
        widths = [config.width * min(2**level, 8) for level in range(levels)]
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
            rise.append(_unet_up(up, arriving, channels_out if outermost else above))
            if not outermost:
                rise.append(norm(above))
                if config.dropout and above == 8 * config.width and not innermost:
                    rise.append(nn.Dropout(config.dropout))
            self.down.append(nn.Sequential(*down))
            self.up.append(nn.Sequential(*rise))

    def forward(self, x: Tensor) -> Tensor:
        x = as_computed(x, self)
        kept = []
        for down in self.down:
            x = down(x)
            kept.append(x)
        x = self.up[-1](kept.pop())
        for up in reversed(self.up[:-1]):
            x = up(torch.cat([kept.pop(), x], dim=1))
        return full_precision(x).tanh()


def _unet_up(kind: Upsample, channels_in: int, channels_out: int) -> nn.Module:
    if kind == "transpose":
        return TransposedConv(channels_in, channels_out, 4)
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="nearest"),
        nn.Conv2d(channels_in, channels_out, 3, padding=1),
    )


def make_generator(config: GeneratorConfig, channels_in: int, channels_out: int) -> nn.Module:
    """Build the generator that ``config`` describes, with PyTorch's default weights."""
    kind = UnetGenerator if config.architecture == "unet" else ResnetGenerator
    return kind(config, channels_in, channels_out)
