"""Does a training look as if it went wrong? Each finding says what was seen and what to try."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from diptych.config import Config
from diptych.data.pixels import PixelFormat, Pixels
from diptych.model_file import ModelInfo
from diptych.sides import Side
from diptych.training.samples import Translated

ZERO_LOSS = 0.01  # of D; guessing scores 0.5 with LSGAN, 1.4 with bce, 2 with hinge
LONG = 1000  # steps at zero loss
ALIKE = 0.05  # share of the sources' variety that is left in the translations
INVERTED = -0.3  # correlation of brightness
SAME = 0.02  # mean|fake - source| in [-1, 1] units
EARLY = 0.1  # share of the run in which doing nothing is no bad sign yet
FEWEST = 100  # steps after which pictures say something


class Health:
    """Remembers what it has said, so that nobody hears a warning twice before it is made anew."""

    def __init__(self, config: Config) -> None:
        self.loss = config.loss
        # What holds a translation to its source, as one would set it.
        if config.method == "cyclegan":
            self.holds = f"loss.cycle (it is {config.loss.cycle:g})"
            self.leaves_alone = f"loss.identity (it is {config.loss.identity:g})"
            if config.loss.plain > 0:
                self.leaves_alone += f" and loss.plain (it is {config.loss.plain:g})"
        else:
            self.holds = f"contrast.source (it is {config.contrast.source:g})"
            self.leaves_alone = f"contrast.target (it is {config.contrast.target:g})"
        generator = config.generator
        self.fades = generator.least_change if generator.output == "retouch" else 0.0
        self.said: set[str] = set()
        self.zero_since: dict[str, int] = {}

    def look_at_losses(self, step: int, losses: dict[str, float]) -> list[str]:
        """Whether a discriminator has won: mean losses since the last look, by name."""
        if self.loss.adversarial == "wgangp":
            return []  # its losses have no zero that means anything
        found = []
        for name in ("D_a", "D_b"):
            if losses.get(name, 1.0) > ZERO_LOSS:
                self.zero_since.pop(name, None)
            elif step - self.zero_since.setdefault(name, step) >= LONG:
                found.append(
                    f"{name} has been at zero loss for {LONG} steps: it knows every fake, and its "
                    "generator learns nothing from it. Try discriminator.augment=true, a smaller "
                    "discriminator.width or a lower optimizer.discriminator_rate"
                )
        return self._new(found)

    def look_at_pictures(
        self,
        progress: float,
        made: dict[Side, list[Translated]],
        real: dict[Side, list[Pixels]],
        info: ModelInfo,
    ) -> list[str]:
        """Whether translations of held-out pictures are all alike, inverted, or no change.

        ``real``: held-out pictures of both domains. (Some domains are of little variety.)
        """
        if info.step < FEWEST:
            return []
        found = []
        idle = []
        # (Where channels differ there is nothing to compare with: those losses are off.)
        alike = info.a.channels == info.b.channels
        keeps_colours = self.leaves_alone if alike else self.holds
        holds_back = f"{self.holds} and {self.leaves_alone}" if alike else self.holds
        if self.fades and alike:
            holds_back += f" and generator.least_change (it is {self.fades:g})"
        for to, pictures in made.items():
            own, other = info.formats(to)
            sources = [brightness(one.picture, own) for one in pictures]
            fakes = [brightness(one.fake, other) for one in pictures]
            targets = [brightness(one, other) for one in real[to]]
            if variety(fakes) < ALIKE * min(variety(sources), variety(targets)):
                found.append(
                    f"all translations to {to.upper()} look alike, whatever the picture: the "
                    "generator has collapsed. Start again with another --seed, a lower "
                    f"optimizer.rate or a higher {self.holds}"
                )
            elif pictures and np.mean(list(map(correlation, sources, fakes))) < INVERTED:
                found.append(
                    f"translations to {to.upper()} are dark where their sources are light: unless "
                    f"{to.upper()} is meant to be so, colours are inverted. Raise "
                    f"{keeps_colours}, or start again with another --seed"
                )
            if own.channels == other.channels:  # (colours may change where brightness does not)
                sources = [unit(one.picture, own) for one in pictures]
                fakes = [unit(one.fake, other) for one in pictures]
            change = [np.abs(x - y).mean() for x, y in zip(sources, fakes, strict=True)]
            idle.append(bool(change) and float(np.mean(change)) < SAME)
        if progress > EARLY and idle and all(idle):
            found.append(
                f"every picture is left nearly as it is. Lower {holds_back}, or raise "
                "training.judged, so that the discriminators have more to say"
            )
        return self._new(found)

    def _new(self, found: Iterable[str]) -> list[str]:
        lines = [line for line in found if line not in self.said]
        self.said.update(lines)
        return lines


def unit(picture: Pixels, pixel_format: PixelFormat) -> NDArray[np.float64]:
    """A stored ``(H, W, C)`` picture as ``(C, H, W)`` in [-1, 1]."""
    return pixel_format.to_tensor(picture[None])[0].double().numpy()


def brightness(picture: Pixels, pixel_format: PixelFormat) -> NDArray[np.float64]:
    """The mean over channels of a stored ``(H, W, C)`` picture, ``(H, W)`` in [-1, 1]."""
    mean: NDArray[np.float64] = unit(picture, pixel_format).mean(axis=0)
    return mean


def variety(pictures: Sequence[NDArray[np.float64]]) -> float:
    """How much pictures differ from one another: mean|x - y| over all pairs of equal size."""
    pairs = itertools.combinations(pictures, 2)
    return float(np.mean([np.abs(x - y).mean() for x, y in pairs if x.shape == y.shape] or [0.0]))


def correlation(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Pearson's correlation, -1 to 1; 0 where one of the two is constant."""
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / scale if scale > 0 else 0.0
