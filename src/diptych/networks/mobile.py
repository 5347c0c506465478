"""The residual block of GAN Compression (Li et al., 2020): separable convolutions."""

from __future__ import annotations

from torch import nn

from diptych.networks.blocks import NormLayer, ResidualBlock


def mobile_block(channels: int, inside: int, norm: NormLayer) -> ResidualBlock:
    """Two separable convolutions with ``inside`` channels between them.

    A search has found the widths: ``generator.widths`` has one for each block.
    """
    return ResidualBlock(
        nn.ReflectionPad2d(1),
        separable(channels, inside, norm),
        norm(inside),
        nn.ReLU(inplace=True),
        nn.ReflectionPad2d(1),
        separable(inside, channels, norm),
        norm(channels),
    )


def separable(channels_in: int, channels_out: int, norm: NormLayer) -> nn.Sequential:
    """A 3x3 convolution of each channel by itself, a norm, and one that mixes the channels."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_in, 3, groups=channels_in),
        norm(channels_in),
        nn.Conv2d(channels_in, channels_out, 1),
    )
