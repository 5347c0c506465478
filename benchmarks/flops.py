"""Floating-point operations of a training step, counted from the shapes of the layers.

Only convolutions count, a multiplication and an addition as two; all else is below one percent.
What is counted is the method as published: a faster way to the same numbers (fewer passes, fewer
multiplications) does not make the count smaller, so it shows as a higher rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from diptych.config import Config
from diptych.network_config import DiscriminatorConfig, GeneratorConfig


@dataclass(frozen=True)
class Convolution:
    """One layer: a ``kernel`` x ``kernel`` window at ``places`` places of one picture."""

    channels_in: int
    channels_out: int
    kernel: int
    places: int

    @property
    def operations(self) -> int:
        return 2 * self.channels_in * self.channels_out * self.kernel**2 * self.places


def generator_layers(
    config: GeneratorConfig, channels_in: int, channels_out: int, height: int, width: int
) -> list[Convolution]:
    """The convolutions of a ResNet generator for one picture of ``height`` x ``width``."""
    if config.architecture != "resnet" or config.downsample != "stride":
        raise ValueError("only the published ResNet generator is counted")
    widths = [config.width * 2**halving for halving in range(config.halvings + 1)]
    places = [height * width // 4**halving for halving in range(config.halvings + 1)]
    grids = list(zip(widths, places, strict=True))  # from fine to coarse
    transposed = config.upsample == "transpose"  # its window lies on the coarse grid
    return [
        Convolution(channels_in, widths[0], 7, places[0]),
        *(Convolution(fine, coarse, 3, at) for (fine, _), (coarse, at) in pairwise(grids)),
        *[Convolution(widths[-1], widths[-1], 3, places[-1])] * (2 * config.blocks),
        *(
            Convolution(coarse, fine, 3, few if transposed else many)
            for (coarse, few), (fine, many) in pairwise(grids[::-1])
        ),
        Convolution(widths[0], channels_out, 7, places[0]),
    ]


def discriminator_layers(
    config: DiscriminatorConfig, channels: int, height: int, width: int
) -> list[Convolution]:
    """The convolutions of a PatchGAN for one picture of ``height`` x ``width``."""
    plain = config.padding and config.sees is None and not (config.fine or config.texture)
    if config.architecture != "patch" or not plain:
        raise ValueError("only the published PatchGAN is counted")
    layers, before = [], channels
    for layer in range(config.layers + 1):
        after = config.width * min(2**layer, 8)
        if layer < config.layers:
            height, width = height // 2, width // 2
        else:  # stride 1: a 4x4 window with a border of one loses a row and a column
            height, width = height - 1, width - 1
        layers.append(Convolution(before, after, 4, height * width))
        before = after
    return [*layers, Convolution(before, 1, 4, (height - 1) * (width - 1))]


def forward(layers: list[Convolution]) -> int:
    """Operations of one pass forward, for one picture."""
    return sum(layer.operations for layer in layers)


def training_step(config: Config, channels: int = 3) -> int:
    """Operations of one step: both G and both D, forward and backward.

    Backward costs a pass for the slopes of the weights and one for those of the inputs; the first
    layer does without the latter where its input is a picture, and D without the former while G
    learns.
    """
    size = config.data.size
    G = generator_layers(config.generator, channels, channels, size, size)
    D = discriminator_layers(config.discriminator, channels, size, size)
    of_picture = 3 * forward(G) - G[0].operations
    of_fake = 3 * forward(G)
    passes_of_pictures = 2 if config.loss.identity > 0 else 1
    one_G = passes_of_pictures * of_picture + of_fake
    one_D_for_G = 2 * forward(D)
    one_D = 2 * (3 * forward(D) - D[0].operations)  # real and fake
    batch = config.training.batch * config.training.accumulate
    return batch * 2 * (one_G + one_D_for_G + one_D)
