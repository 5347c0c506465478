"""Pictures of another size than the training's, as a translator translates them."""

from __future__ import annotations

import math
from dataclasses import replace
from numbers import Integral

from torch import Tensor, nn

from diptych.config import Config
from diptych.data.opening import MOST_PIXELS
from diptych.errors import UsageError
from diptych.model_file import GeneratorPair
from diptych.network_config import SMALLEST
from diptych.sides import Side
from diptych.translation.translator import Translator

VIEW = 256  # pixels a side that people look at, where that costs no detail


class TranslatorAsNetwork(nn.Module):
    """One way of a translator as a network: ``(N, C, H, W)`` in [-1, 1], any H and W."""

    def __init__(self, translator: Translator, to: Side) -> None:
        super().__init__()
        self.translator, self.side = translator, to

    def forward(self, x: Tensor) -> Tensor:
        return self.translator.tensor(x, self.side)


def at_size(translator: Translator, size: int) -> GeneratorPair:
    """Generators for pictures of ``size`` pixels, which see them as the translator does.

    Raises UsageError for fewer pixels than networks take.
    """
    if not isinstance(size, Integral) or not SMALLEST <= size <= math.isqrt(MOST_PIXELS):
        most = math.isqrt(MOST_PIXELS)
        raise UsageError(f"size {size!r}: give a number of pixels, {SMALLEST} to {most:,}")
    ways = {to: TranslatorAsNetwork(translator, to) for to in translator.pair.ways}
    return GeneratorPair(ways["b"], ways.get("a"), replace(translator.info, size=size))


def with_size(config: Config, size: int) -> Config:
    """The settings by which pictures of ``size`` pixels are read, as close as in training."""
    data, load = config.data, config.data.load_size
    new = {"size": size, "load_size": load and max(1, round(load * size / data.size))}
    return config.model_copy(update={"data": data.model_copy(update=new)})


def viewed_size(translator: Translator) -> int:
    """The size to look at pictures in: larger than the training's, if those are seen from afar."""
    size = translator.info.size
    return max(size, VIEW) if translator.sees is not None else size
