"""The pretrained horse -> zebra generator of ../shared/reference, rebuilt to measure with.

MIT-HAN-Lab GAN Compression (Li et al., 2020), "sub_mobile_resnet_9blocks": a ResNet generator
whose residual blocks convolve each channel by itself, then mix the channels.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn


def separable(before: int, after: int) -> nn.Module:
    wrapper = nn.Module()
    wrapper.conv = nn.Sequential(
        nn.Conv2d(before, before, 3, groups=before),
        nn.InstanceNorm2d(before),
        nn.Conv2d(before, after, 1),
    )
    wrapper.forward = lambda x: wrapper.conv(x)  # type: ignore[method-assign]
    return wrapper


class Block(nn.Module):
    def __init__(self, outside: int, inside: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1), separable(outside, inside), nn.InstanceNorm2d(inside),
            nn.ReLU(), nn.Identity(),
            nn.ReflectionPad2d(1), separable(inside, outside), nn.InstanceNorm2d(outside),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


def load(path: Path) -> nn.Module:
    """The generator in evaluation mode; the layers' places in the list name the weights."""
    weights = torch.load(path, weights_only=True)
    insides = [weights[f"model.{i}.conv_block.1.conv.2.weight"].shape[0] for i in range(10, 19)]
    norm, relu = nn.InstanceNorm2d, nn.ReLU
    layers = [
        nn.ReflectionPad2d(3), nn.Conv2d(3, 16, 7), norm(16), relu(),
        nn.Conv2d(16, 32, 3, 2, 1), norm(32), relu(),
        nn.Conv2d(32, 128, 3, 2, 1), norm(128), relu(),
        *(Block(128, inside) for inside in insides),
        nn.ConvTranspose2d(128, 32, 3, 2, 1, 1), norm(32), relu(),
        nn.ConvTranspose2d(32, 16, 3, 2, 1, 1), norm(16), relu(),
        nn.ReflectionPad2d(3), nn.Conv2d(16, 3, 7), nn.Tanh(),
    ]  # fmt: skip
    network = nn.Module()
    network.model = nn.Sequential(*layers)
    network.load_state_dict(weights)
    return network.model.eval()
