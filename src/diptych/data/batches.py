"""From cached pictures to the batches ``a`` and ``b`` that a step sees."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from diptych.config import DataConfig
from diptych.data.domain import Domain
from diptych.data.geometry import crop_size
from diptych.data.sampler import Draw, Sampler


class Batches:
    """Random crops of one domain, on ``device``, in [-1, 1]; ``stream`` differs between domains.

    Where the pictures fit into a GPU's memory they are cut there.
    """

    def __init__(
        self, domain: Domain, data: DataConfig, seed: int, stream: int, device: torch.device
    ) -> None:
        self.domain = domain
        self.data = data
        self.device = device
        self.sampler = Sampler(len(domain.train), seed, stream)

    def at(self, position: int, size: int) -> Tensor:
        """The draws ``position .. position + size - 1`` as one ``(size, C, H, W)`` batch."""
        draws = [self.sampler.draw(position + i) for i in range(size)]
        stored = torch.stack([self._cut(draw) for draw in draws])
        if self.device.type != "mps":  # (which knows no uint16)
            stored = stored.to(self.device, non_blocking=True)
        x = self.domain.pixel_format.to_tensor(stored).to(self.device)
        for i, draw in enumerate(draws):
            if self.data.flip and draw.flip:  # (as floats: PyTorch does not mirror uint16)
                x[i] = x[i].flip(2)
        return x

    def _cut(self, draw: Draw) -> Tensor:
        picture = self.domain.cache.tensor(self.domain.train[draw.index], self.device)
        if self.data.preprocess in ("resize", "none"):
            return picture
        height, width, _ = picture.shape
        window = crop(picture, crop_size(self.data, height, width, draw.size), draw)
        return resized(window, self.data.size)


def crop(picture: Tensor, size: int, draw: Draw) -> Tensor:
    """The ``size`` x ``size`` window of an ``(H, W, C)`` picture that ``draw`` chose.

    Every place is equally likely.
    """
    top = int(draw.y * (picture.shape[0] - size + 1))
    left = int(draw.x * (picture.shape[1] - size + 1))
    return picture[top : top + size, left : left + size]


def resized(picture: Tensor, size: int) -> Tensor:
    """A square ``(H, W, C)`` picture at ``size`` pixels, on its device: as ``pixels.resize``."""
    if picture.shape[0] == size:
        return picture
    planes = picture.permute(2, 0, 1)[None]
    dtype = planes.dtype
    if dtype != torch.uint8 or planes.device.type != "cpu":  # (five times as fast as by floats)
        planes = planes.float()
    small = F.interpolate(planes, (size, size), mode="bicubic", antialias=True)
    if planes.dtype != torch.uint8:  # bicubic overshoots at edges, beyond what a picture reaches
        small = small.clamp(*(of((2, 3), keepdim=True) for of in (planes.amin, planes.amax)))
    if small.dtype != dtype:
        small = small.round_().to(dtype)
    return small[0].permute(1, 2, 0)
