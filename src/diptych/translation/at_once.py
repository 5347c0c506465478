"""How many pictures go through a generator in one batch."""

from __future__ import annotations

import math

from diptych.translation.translator import Translator

PIXELS = 2**21  # of a batch on a GPU: large pictures go one by one
# Eight pictures of 64 px are a fifth faster together, and go together; of 256 px they are a quarter
# slower (laptop preset, one core), as they leave the cache.
PIXELS_ON_CPU = 2**15


def at_once(translator: Translator, shape: tuple[int, ...], batch: int) -> int:
    """Pictures of the shape ``(H, W, ...)`` for one batch: 1 to ``batch``."""
    height, width = shape[:2]
    pixels = max(height * width, math.prod(translator.taken(height, width)))
    room = PIXELS_ON_CPU if translator.device.type == "cpu" else PIXELS
    return max(1, min(batch, room // pixels))
