"""Translating a picture strip by strip, with the result of translating it whole.

What keeps a large picture in memory is normalisation: instance and group norm need the mean and
variance of a layer's features over the whole picture before the first of them can be used. So
the picture is swept from top to bottom once for each such layer, and once more for the result:

* A sweep computes the features strip by strip, each with the rows around it that its layers see.
* Mean and variance are put together from those of the strips (Chan et al., 1979) in float64.
* Features on the grid where the residual blocks work, or one four times coarser than the picture,
  are kept from one sweep to the next. Finer ones are many times larger and few, and computed again.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diptych.errors import unheard
from diptych.networks.blocks import BlurDown, ResidualBlock
from diptych.networks.fast.norms import PixelNorm
from diptych.networks.generator import ResnetGenerator, UnetGenerator
from diptych.translation import rows as layers
from diptych.translation.feature_store import FeatureStore, nowhere
from diptych.translation.rows import Rows

# channels, height, width -> a place for such features
Keep = Callable[[int, int, int], FeatureStore]
NormLayer = nn.InstanceNorm2d | nn.GroupNorm


@dataclass
class Statistics:
    """Mean and squared deviations of each channel over the rows seen so far, in float64."""

    count: int = 0
    mean: Tensor | float = 0.0
    squares: Tensor | float = 0.0  # sum of squared deviations from the mean

    def add(self, features: Tensor) -> None:
        """Take in ``(1, C, rows, W)`` features (Chan, Golub & LeVeque, 1979, equation 2.1)."""
        # (A CPU sums a strip in float64 too. The rest is done there: not every GPU has float64.)
        variance, mean = torch.var_mean(features[0].flatten(1), dim=1, correction=0)
        count = features.shape[2] * features.shape[3]
        total = self.count + count
        change = mean.cpu().double() - self.mean
        self.squares += variance.cpu().double() * count + change**2 * (self.count * count / total)
        self.mean += change * (count / total)
        self.count = total


def scale_and_shift(layer: NormLayer, seen: Statistics) -> tuple[Tensor, Tensor]:
    """What ``layer`` multiplies each channel by and then adds, both ``(1, C, 1, 1)`` float32."""
    mean, variance = torch.as_tensor(seen.mean), torch.as_tensor(seen.squares) / seen.count
    channels = len(mean)
    if isinstance(layer, nn.GroupNorm):
        square = (variance + mean**2).view(layer.num_groups, -1).mean(1)
        mean = mean.view(layer.num_groups, -1).mean(1)
        variance = square - mean**2
        each = channels // layer.num_groups
        mean, variance = mean.repeat_interleave(each), variance.repeat_interleave(each)
    scale = (variance + layer.eps).rsqrt()
    if layer.weight is not None:
        scale = scale * layer.weight.cpu().double()
    shift = -mean * scale
    if layer.bias is not None:
        shift = shift + layer.bias.cpu().double()
    return scale.float().view(1, -1, 1, 1), shift.float().view(1, -1, 1, 1)


def normalise(layer: NormLayer, seen: Statistics, features: Tensor) -> Tensor:
    """``features`` behind an instance or group norm, given the statistics of all of them."""
    scale, shift = scale_and_shift(layer, seen)
    return features.mul_(scale.to(features.device)).add_(shift.to(features.device))


class Walk:
    """A picture's way through a generator, layer by layer, each time some rows of it.

    ``sweep(x, use)`` reads all of ``x`` and calls ``use(top, rows)`` with each strip.
    """

    def __init__(
        self,
        height: int,
        device: torch.device,
        keep: Keep,
        sweep: Callable[[Rows, Callable[[int, Tensor], None]], None],
    ) -> None:
        self.height = height
        self.device = device
        self.keep = keep
        self.sweep = sweep
        self.coarse = 4  # features on grids so many times coarser than the picture are kept
        self.place: FeatureStore | None = None  # where the features lie that the walk goes on from
        self.latest: Rows | None = None  # what reads them
        self.needed: list[FeatureStore] = []  # features that come in again later
        self.most_room = 0.0  # bytes that taking the picture whole would need

    def through(self, layer: nn.Module, x: Rows) -> Rows:
        """Behind ``layer``."""
        y = self._through(layer, x)
        self.most_room = max(self.most_room, y.room * y.height)
        return y

    def _through(self, layer: nn.Module, x: Rows) -> Rows:
        match layer:
            case nn.Sequential():
                for one in layer:
                    x = self.through(one, x)
                return x
            case nn.InstanceNorm2d() | nn.GroupNorm():
                return self.normalised(layer, x)
            case ResidualBlock():
                return self.corrected(layer.body, x)
            case nn.ReflectionPad2d():
                return layers.reflected(x, layer)
            case nn.Conv2d():
                return layers.convolved(x, layer)
            case nn.ConvTranspose2d():
                return layers.transposed(x, layer)
            case nn.Upsample():
                return layers.doubled(x, layer)
            case BlurDown():
                return layers.blurred(x, layer)
            case nn.ReLU() | nn.LeakyReLU() | nn.BatchNorm2d() | PixelNorm():
                return layers.pointwise(x, layer)
            case nn.Identity() | nn.Dropout():  # (which does nothing after training)
                return x
            case ResnetGenerator():
                self.coarse = 2**layer.halvings
                painted = x
                for part in (layer.encode, layer.transform, layer.decode):
                    painted = self.through(part, painted)
                if layer.output == "picture":
                    return layers.pointwise(painted, torch.tanh_)
                change = layers.pointwise(painted, layer.change)
                return layers.pointwise(layers.added(change, x), lambda y: y.clamp_(-1, 1))
            case UnetGenerator():
                return self.there_and_back(layer, x)
        raise TypeError(f"no way to take {type(layer).__name__} by strips")

    def there_and_back(self, generator: UnetGenerator, x: Rows) -> Rows:
        """As ``UnetGenerator.forward``."""
        before = []
        for down in generator.down:
            x = self.through(down, x)
            before.append(x)
            if self.place is not None:
                self.needed.append(self.place)
        x = self.through(generator.up[-1], before.pop())
        for up in list(generator.up)[-2::-1]:
            x = self.through(up, layers.joined(before.pop(), x))
        return layers.pointwise(x, torch.tanh_)

    def corrected(self, body: nn.Module, x: Rows) -> Rows:
        """Behind a residual block; its sums take the place of its input."""
        x = x if x is self.latest else self.settled(x)
        own = self.place
        assert own is not None
        self.needed.append(own)
        change = self.through(body, x)
        total = layers.added(x, change)
        if self.place is own:  # nothing was kept on the way: each sum needs input around it
            x = self.settled(total)
        else:
            self.sweep(total, own.write)
            self.place, self.latest = own, x
        self.needed.remove(own)
        return x

    def normalised(self, layer: NormLayer, x: Rows) -> Rows:
        """Behind a norm layer, after a sweep for its statistics."""
        seen = Statistics()
        if self.coarse * x.height <= self.height:
            x = self.settled(x, seen.add)
        else:
            self.sweep(x, lambda top, rows: seen.add(rows))
        return layers.pointwise(x, lambda rows: normalise(layer, seen, rows))

    def settled(self, x: Rows, look: Callable[[Tensor], None] = unheard) -> Rows:
        """``x``, computed and kept, in the place of the features that it is made of if it can be.

        Each strip is shown to ``look``, and written when the next one, which may need what it
        replaces, has been read.
        """
        place, waiting = self.place, list[tuple[int, Tensor]]()
        if place is None or place in self.needed or place.shape != (x.channels, x.height, x.width):
            place = self.keep(x.channels, x.height, x.width)
        self.place = place

        def write(top: int, rows: Tensor) -> None:
            look(rows)
            if waiting:
                place.write(*waiting.pop())
            waiting.append((top, rows))

        self.sweep(x, write)
        for top, rows in waiting:
            place.write(top, rows)
        self.latest = layers.kept(place, self.device)
        return self.latest


def device_of(generator: nn.Module) -> torch.device:
    """Where its weights are; the CPU for one without any."""
    return next((weight.device for weight in generator.parameters()), torch.device("cpu"))


@dataclass
class Effort:
    """What translating a picture by strips takes, and what taking it whole would."""

    work: float = 0.0  # multiplications
    room: float = 0.0  # bytes of memory for each row of the picture in a strip
    kept: int = 0  # bytes of features that are kept
    whole: float = 0.0  # bytes that taking it whole would need


def effort(generator: nn.Module, picture: Rows) -> Effort:
    """Walk without computing anything."""
    found = Effort()
    alive: list[weakref.ref[FeatureStore]] = []

    def keep(channels: int, height: int, width: int) -> FeatureStore:
        place = nowhere(channels, height, width)
        alive.append(weakref.ref(place))
        found.kept = max(found.kept, sum(k.size for ref in alive if (k := ref()) is not None))
        return place

    def sweep(x: Rows, use: Callable[[int, Tensor], None]) -> None:
        found.work += x.work * x.height
        found.room = max(found.room, x.room * x.height / picture.height)

    walk = Walk(picture.height, device_of(generator), keep, sweep)
    sweep(walk.through(generator, picture), lambda top, rows: None)
    found.whole = walk.most_room
    return found


def translate_by_strips(
    generator: nn.Module,
    picture: Rows,
    rows: int,
    keep: Keep,
    write: Callable[[int, Tensor], None],
    progress: Callable[[float], None],
) -> None:
    """``write(top, fake)`` for strips of ``rows`` rows, ``(1, C, rows, W)`` in [-1, 1], in order.

    ``picture`` is as the generator takes it; ``progress`` is told the work done since last time,
    in multiplications (``Effort.work`` in all).
    """

    def sweep(x: Rows, use: Callable[[int, Tensor], None]) -> None:
        step = max(1, rows * x.height // picture.height)
        for top in range(0, x.height, step):
            bottom = min(top + step, x.height)
            use(top, x.read(top, bottom))
            progress(x.work * (bottom - top))

    walk = Walk(picture.height, device_of(generator), keep, sweep)
    sweep(walk.through(generator, picture), write)
