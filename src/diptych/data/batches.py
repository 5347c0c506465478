"""From cached pictures to the batches ``a`` and ``b`` that a step sees."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from diptych.config import DataConfig
from diptych.data.domain import Domain
from diptych.data.pixels import Pixels
from diptych.data.sampler import Draw, Sampler


class Batches:
    """Random crops of one domain, on ``device``, in [-1, 1]; ``stream`` differs between domains."""

    def __init__(
        self, domain: Domain, data: DataConfig, seed: int, stream: int, device: torch.device
    ) -> None:
        self.domain = domain
        self.data = data
        self.device = device
        self.sampler = Sampler(len(domain.train), seed, stream)

    def at(self, position: int, size: int) -> Tensor:
        """The draws ``position .. position + size - 1`` as one ``(size, C, H, W)`` batch."""
        pictures = [self._cut(self.sampler.draw(position + i)) for i in range(size)]
        stored = torch.from_numpy(np.stack(pictures)).to(self.device)
        return self.domain.pixel_format.to_tensor(stored)

    def _cut(self, draw: Draw) -> Pixels:
        picture = self.domain.cache[self.domain.train[draw.index]]
        if self.data.preprocess not in ("resize", "none"):
            picture = crop(picture, self.data.size, draw)
        return picture[:, ::-1] if self.data.flip and draw.flip else picture


def crop(picture: Pixels, size: int, draw: Draw) -> Pixels:
    """The ``size`` x ``size`` window that ``draw`` chose; every place is equally likely."""
    top = int(draw.y * (picture.shape[0] - size + 1))
    left = int(draw.x * (picture.shape[1] - size + 1))
    return picture[top : top + size, left : left + size]
