"""What a translator makes of pictures of another size than it was trained on, to be scored."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from diptych.errors import UsageError
from diptych.model_file import GeneratorPair, Side
from diptych.translation.translator import SMALLEST, Translator


class Way(nn.Module):
    """One way of a translator as a network: ``(N, C, H, W)`` in [-1, 1], any H and W."""

    def __init__(self, translator: Translator, domain: Side) -> None:
        super().__init__()
        self.translator, self.domain = translator, domain

    def forward(self, x: Tensor) -> Tensor:
        return self.translator.tensor(x, self.domain)


def at_size(translator: Translator, size: int) -> GeneratorPair:
    """Generators for pictures of ``size`` pixels, which see them as the translator does.

    Raises UsageError for fewer pixels than networks take.
    """
    if size < SMALLEST:
        raise UsageError(f"size {size}: give {SMALLEST} pixels or more")
    ways = {to: Way(translator, to) for to in translator.pair.ways}
    return GeneratorPair(ways["b"], ways.get("a"), replace(translator.info, size=size))
