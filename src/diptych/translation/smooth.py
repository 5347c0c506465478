"""Less flicker in videos: what a norm layer takes out of a frame follows the frames before it.

Instance and group norm measure the mean and variance of every frame anew. Something bright that
comes into view changes them at once, and with them the whole picture. Here each is an exponential
average over time: m(t) = s m(t-1) + (1 - s) m, with s = 2 ** (-seconds since t-1 / half life).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from diptych.data.pixels import Pixels
from diptych.networks.precision import full_precision

MEASURING = (nn.InstanceNorm2d, nn.GroupNorm)  # norms of whole pictures
CUT = 25.0  # of 255: mean difference of two neighbouring frames, seen from afar, that is a cut


@dataclass
class Past:
    """How much of the statistics each frame of a batch takes over from the frame before it."""

    shares: Sequence[float] = ()


class SmoothedNorm(nn.Module):
    """An instance or group norm for the frames of a video; batches come in the order of time."""

    def __init__(self, norm: nn.InstanceNorm2d | nn.GroupNorm, past: Past) -> None:
        super().__init__()
        self.norm = norm
        self.past = past
        self.last: tuple[Tensor, Tensor] | None = None  # mean and variance, (groups,) each

    def forward(self, x: Tensor) -> Tensor:
        groups = self.norm.num_groups if isinstance(self.norm, nn.GroupNorm) else x.shape[1]
        flat = full_precision(x).reshape(len(x), groups, -1)
        variances, means = torch.var_mean(flat, dim=2, correction=0)
        frames = []
        for one, mean, variance, share in zip(
            flat, means, variances, self.past.shares, strict=True
        ):
            if self.last is not None:
                mean = share * self.last[0] + (1 - share) * mean
                variance = share * self.last[1] + (1 - share) * variance
            self.last = mean, variance
            frames.append((one - mean[:, None]) * (variance[:, None] + self.norm.eps).rsqrt())
        y = torch.stack(frames).view_as(x)
        if self.norm.weight is not None:
            y = y * self.norm.weight[:, None, None]
        if self.norm.bias is not None:
            y = y + self.norm.bias[:, None, None]
        return y.to(x.dtype)


def measures_frames(generator: nn.Module) -> bool:
    """Whether it has norms of whole pictures, whose statistics can be smoothed."""
    return any(isinstance(part, MEASURING) for part in generator.modules())


def smoothed(generator: nn.Module, past: Past) -> nn.Module:
    """A copy of ``generator`` whose statistics follow the past."""
    if isinstance(generator, MEASURING):
        return SmoothedNorm(generator, past)
    copied = copy.copy(generator)
    copied._modules = {
        name: None if part is None else smoothed(part, past)
        for name, part in generator._modules.items()
    }
    return copied


def thumbnail(picture: Pixels) -> Pixels:
    """A frame, 16 pixels a side: what is left of it if it moves a little."""
    image = Image.fromarray(np.ascontiguousarray(picture)).convert("L")
    return np.asarray(image.resize((16, 16), Image.Resampling.BOX), np.float32)


def is_cut(before: Pixels, after: Pixels) -> bool:
    """Whether another scene begins between two frames (as ``thumbnail`` shows them)."""
    return bool(np.abs(before - after).mean() > CUT)
