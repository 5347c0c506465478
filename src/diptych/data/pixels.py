"""The one place where stored pixel values become what networks see, and back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from diptych.config import Range
from diptych.data.opening import DamagedPictureError
from diptych.words import counted

Pixels = NDArray[Any]  # (H, W, C): uint8, uint16 or float32
Level = float | tuple[float, ...]  # a value of all channels, or one for each
DType = Literal["uint8", "uint16", "float32"]
MOST_NAMED = 4  # channels, each with its range
DIM = 64  # of 255: of 16 bits the upper 8 are read, of which 12 and 13 bits fill 16 and 32 levels


@dataclass(frozen=True)
class PixelFormat:
    """How a domain's pictures are stored: ``(H, W, channels)`` arrays of ``dtype``.

    Stored values ``low .. high`` are mapped linearly to -1 .. 1; where channels measure different
    things, each has its own. (Pictures of 8 bits have one range.)
    """

    channels: int
    dtype: DType
    low: Level
    high: Level

    def __post_init__(self) -> None:
        counts = {len(level) if isinstance(level, tuple) else 0 for level in (self.low, self.high)}
        one, several = counts == {0}, counts == {self.channels} and self.dtype != "uint8"
        ranges = zip(_each(self.low), _each(self.high), strict=False)
        in_order = all(-math.inf < low < high < math.inf for low, high in ranges)
        if self.channels < 1 or not (one or several) or not in_order:
            raise ValueError(f"no pictures are like that: {self}")

    @property
    def range(self) -> Range | tuple[Range, ...]:
        """``(low, high)``, or such a pair for each channel, as settings hold them."""
        pairs = tuple(zip(_each(self.low), _each(self.high), strict=True))
        return pairs if isinstance(self.low, tuple) else pairs[0]

    @property
    def bytes_a_pixel(self) -> int:
        """Of memory."""
        return self.channels * np.dtype(self.dtype).itemsize

    @property
    def lowest(self) -> float:
        """``low``, of the channel where it is lowest."""
        return min(_each(self.low))

    @property
    def highest(self) -> float:
        """``high``, of the channel where it is highest."""
        return max(_each(self.high))

    @property
    def is_image(self) -> bool:
        """Whether they are what Pillow, browsers and videos hold: 8 bits, grey or RGB."""
        return self.dtype == "uint8" and self.channels in (1, 3)

    @property
    def bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Integers are kept inside these: ``low .. high``, as far as ``dtype`` reaches."""
        low, high = self.levels
        return np.maximum(low, 0), np.minimum(high, np.iinfo(self.dtype).max)

    @property
    def levels(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """``low`` and ``high``, ``()`` or ``(C,)``."""
        return np.asarray(self.low, np.float64), np.asarray(self.high, np.float64)

    def to_tensor(self, pictures: Pixels | Tensor) -> Tensor:
        """Stored ``(N, H, W, C)`` pictures as a float32 ``(N, C, H, W)`` tensor in [-1, 1].

        A tensor stays on its device. Values outside ``low .. high`` come out as -1 and 1: one that
        is far beyond would be all that a network sees.
        """
        if isinstance(pictures, Tensor):
            stored = pictures
        else:  # (PyTorch takes no array that is read-only, or lies backwards)
            stored = torch.from_numpy(np.require(pictures, requirements=["C", "W"]))
        x = stored.permute(0, 3, 1, 2).to(torch.float32, copy=True)
        if isinstance(self.low, tuple) or isinstance(self.high, tuple):
            low, high = (x.new_tensor(level).view(-1, 1, 1) for level in (self.low, self.high))
            return x.sub_(low).mul_(2 / (high - low)).sub_(1).clamp_(-1, 1)
        if self.low != 0:
            x.sub_(self.low)
        x.mul_(2 / (self.high - self.low)).sub_(1)
        return x if self.holds_all else x.clamp_(-1, 1)

    @property
    def holds_all(self) -> bool:
        """Whether no value of 8 bits is beyond the range."""
        return self.dtype == "uint8" and self.lowest <= 0 and self.highest >= 255

    def remark(self, picture: Pixels) -> str | None:
        """What is to be said of a stored picture whose values go beyond ``low`` or ``high``."""
        if self.holds_all:
            return None
        low, high = (np.broadcast_to(level, self.channels) for level in self.levels)
        lows, highs = picture.min((0, 1)), picture.max((0, 1))
        beyond = np.flatnonzero((lows < low) | (highs > high))
        if not len(beyond):
            return None
        each = isinstance(self.low, tuple)
        channels = beyond[:1] if each else np.arange(self.channels)
        return (
            f"its values reach from {lows[channels].min():g} to {highs[channels].max():g}"
            f"{f' in channel {beyond[0] + 1}' if each else ''}, beyond the model's "
            f"{low[channels].min():g} to {high[channels].max():g}: what is beyond is clipped"
        )

    def to_pixels(self, x: Tensor) -> Pixels:
        """The inverse of ``to_tensor``; integers are rounded and kept inside ``low .. high``."""
        if self.dtype == "uint8":  # float32 is exact enough, and a GPU hands over bytes only
            low, high = self.lowest, self.highest
            scaled = (x.detach().float() + 1).mul_((high - low) / 2).add_(low)
            whole = scaled.nan_to_num_().round_().clamp_(*map(float, self.bounds)).to(torch.uint8)
            return np.ascontiguousarray(whole.permute(0, 2, 3, 1).cpu().numpy())
        unit = x.detach().cpu().double().permute(0, 2, 3, 1).numpy()  # MPS has no float64
        low_level, high_level = self.levels
        stored = (unit + 1) * ((high_level - low_level) / 2) + low_level
        if self.dtype != "float32":
            stored = np.nan_to_num(stored).round().clip(*self.bounds)
        return np.ascontiguousarray(stored.astype(self.dtype))

    def l1(self, x: Pixels, y: Pixels) -> float:
        """mean|x - y| of two stored pictures in the units of networks, in which values span 2."""
        low, high = self.levels
        if not self.holds_all:  # (as ``to_tensor``)
            x, y = np.clip(x, low, high), np.clip(y, low, high)
        difference = np.subtract(x, y, dtype=np.float32)
        means = np.abs(difference, out=difference).mean((0, 1), dtype=np.float64)
        return float((means * 2 / (high - low)).mean())

    def describe(self) -> str:
        """A few words for people: ``3 channels, uint8, 0 to 255``."""
        channels = counted(self.channels, "channel")
        return f"{channels}, {self.dtype}, {self.span()}"

    def span(self) -> str:
        """``0 to 255``, or of the first channels each: ``0 to 2990, 5 to 811, ...``."""
        each = list(zip(_each(self.low), _each(self.high), strict=True))
        words = [f"{low:g} to {high:g}" for low, high in each[:MOST_NAMED]]
        return ", ".join(words + (["..."] if len(each) > MOST_NAMED else []))


def _each(level: Level) -> tuple[float, ...]:
    return level if isinstance(level, tuple) else (level,)


RGB = PixelFormat(3, "uint8", 0, 255)


def resize(picture: Pixels, width: int, height: int) -> Pixels:
    """Bicubic, antialiased; dtype, channels and range are kept. ``picture`` is ``(H, W, C)``."""
    if picture.shape[:2] == (height, width):
        return picture
    if picture.dtype == np.uint8 and picture.shape[2] in (1, 3):
        return from_pil(to_pil(picture).resize((width, height), Image.Resampling.BICUBIC))
    planes = [
        np.asarray(
            Image.fromarray(picture[..., c].astype(np.float32)).resize(
                (width, height), Image.Resampling.BICUBIC
            )
        )
        for c in range(picture.shape[2])
    ]
    # Bicubic overshoots at edges: no value may appear that the picture does not reach.
    stack = np.stack(planes, axis=-1).clip(picture.min((0, 1)), picture.max((0, 1)))
    return (stack if picture.dtype == np.float32 else stack.round()).astype(picture.dtype)


def resize_labels(picture: Pixels, width: int, height: int) -> Pixels:
    """Each pixel that of the place in its middle: no value appears that is not in the picture."""
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(int), old - 1)
        for new, old in ((height, picture.shape[0]), (width, picture.shape[1]))
    )
    scaled: Pixels = picture[rows][:, columns]
    return scaled


LUMINANCE = np.array([0.299, 0.587, 0.114])  # ITU-R 601-2, as Pillow's mode L


def with_channels(picture: Pixels, channels: int) -> Pixels:
    """Grey as RGB, or RGB weighted to grey; dtype is kept.

    Raises DamagedPictureError for any other change of the number of channels.
    """
    have = picture.shape[2]
    if have == channels:
        return picture
    if have == 1 and channels == 3:
        return np.repeat(picture, channels, axis=2)
    if channels == 1 and have == 3:
        grey: Pixels = (picture.astype(np.float64) @ LUMINANCE)[..., None]
        return (grey if picture.dtype == np.float32 else grey.round()).astype(picture.dtype)
    raise DamagedPictureError(f"it has {counted(have, 'channel')}, not {channels}")


def check_grey(picture: Pixels, colours: int) -> None:
    """Raise DamagedPictureError for channels that are no colours, and could not become grey."""
    if picture.shape[2] == 3 and colours == 1:
        raise DamagedPictureError("it has 3 channels that are no colours, not 1")


def to_pil(picture: Pixels) -> Image.Image:
    """A uint8 ``(H, W, 1 or 3)`` array as a PIL image of mode L or RGB."""
    return Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture)


def from_pil(image: Image.Image) -> Pixels:
    """A PIL image of mode L or RGB as a uint8 ``(H, W, C)`` array."""
    array = np.asarray(image)
    return array[..., None] if array.ndim == 2 else array


def preview(picture: Pixels, pixel_format: PixelFormat) -> Image.Image:
    """Any picture as 8-bit RGB to look at, of more than three channels the first three.

    8-bit ones are shown as they are stored, others over their range.
    """
    shown = picture[..., :3] if picture.shape[2] >= 3 else picture[..., :1]
    if pixel_format.dtype != "uint8":
        low, high = (
            np.broadcast_to(level, picture.shape[2])[: shown.shape[2]]
            for level in pixel_format.levels
        )
        unit = (shown.astype(np.float64) - low) / (high - low)
        shown = (unit.clip(0, 1) * 255).round().astype(np.uint8)
    return to_pil(np.ascontiguousarray(shown)).convert("RGB")


def nearest_colour(pictures: Pixels, palette: Pixels) -> NDArray[np.int64]:
    """For each pixel of ``(..., 3)`` uint8 pictures the index of the nearest of ``(K, 3)`` colours.

    Nearest by Euclidean distance in RGB; the first of equally near ones.
    """
    difference = pictures[..., None, :].astype(np.int32) - palette.astype(np.int32)
    nearest: NDArray[np.int64] = np.square(difference).sum(-1).argmin(-1)
    return nearest
