"""Which picture comes when, and how it is cropped: a pure function of seed and position.

Nothing is remembered between draws, so a resumed run continues with a single number.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Draw:
    """A picture's index, where its crop lies (0 to 1 of the free room), and whether to mirror.

    ``size``, 0 to 1, is how large the crop is, if it may be larger than what is trained on.
    """

    index: int
    x: float
    y: float
    flip: bool
    size: float = 0.0


@dataclass(frozen=True)
class Sampler:
    """Shuffled passes over ``count`` pictures. ``stream`` tells domain A and B apart."""

    count: int
    seed: int
    stream: int

    def draw(self, position: int) -> Draw:
        """The draw number ``position`` (0, 1, 2, ...); every pass shows each picture once."""
        epoch, place = divmod(position, self.count)
        index = int(_shuffled(self.count, self.seed, self.stream, epoch)[place])
        # Philox is counter-based: each position has its own part of the random stream. (To set a
        # counter takes a quarter of the time of making a generator, which asks for entropy.)
        philox, fresh = self._philox
        fresh["state"]["counter"] = np.array([0, position, 0, 0], np.uint64)
        philox.state = fresh
        x, y, flip, size = np.random.Generator(philox).random(4).tolist()
        return Draw(index, x, y, flip < 0.5, size)

    @cached_property
    def _philox(self) -> tuple[np.random.Philox, Any]:
        """The stream's generator and its first state."""
        philox = np.random.Philox(key=[self.seed, self.stream])
        return philox, philox.state


@lru_cache(maxsize=8)  # four streams, each of which may go from one pass to the next
def _shuffled(count: int, seed: int, stream: int, epoch: int) -> NDArray[np.int64]:
    philox = np.random.Philox(key=[seed, stream], counter=[0, 0, epoch, 1])
    return np.random.Generator(philox).permutation(count)
