"""Pictures of a folder, decoded once: a memory-mapped file of pixels with an index.

Pictures may differ in size; they are stored one after the other in their own dtype.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diptych.data.opening import no_warnings
from diptych.data.pixels import Pixels

PIXELS, INDEX = "pixels.bin", "index.json"  # the files of a cache
ON_GPU = 1 / 8  # of its free memory may be taken by one folder's pictures


@dataclass(frozen=True)
class Skipped:
    """A file that was left out, and why."""

    name: str
    reason: str
    readable: bool = False  # by itself, but unlike the others


@dataclass(frozen=True)
class Entry:
    """One picture in the cache."""

    name: str  # path below the scanned folder
    content: str  # sha256 of the file
    offset: int  # bytes
    shape: tuple[int, int, int]
    # Smallest and largest values before any resizing: of each channel, or of 8 bits of all.
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    stamp: str  # changes when the file does

    @property
    def pixels(self) -> int:
        return self.shape[0] * self.shape[1]

    @property
    def low(self) -> float:
        """The smallest value of all channels."""
        return min(self.lows)

    @property
    def high(self) -> float:
        """The largest value of all channels."""
        return max(self.highs)


@dataclass(frozen=True)
class PictureCache:
    """Decoded pictures of one folder. ``cache[i]`` is an ``(H, W, C)`` array, read when used."""

    pixels: NDArray[np.uint8]
    dtype: np.dtype[Any]
    entries: tuple[Entry, ...]
    skipped: tuple[Skipped, ...]
    _values: dict[torch.device, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Pixels:
        entry = self.entries[index]
        height, width, channels = entry.shape
        size = height * width * channels * self.dtype.itemsize
        stored = self.pixels[entry.offset : entry.offset + size]
        return stored.view(self.dtype).reshape(height, width, channels)

    def tensor(self, index: int, device: torch.device) -> Tensor:
        """``cache[index]`` without a copy, not to be written to: on ``device``, if it can be there.

        A GPU gets all pictures at the first call, where its memory is large enough; all else stays
        on the CPU, in the cache's file.
        """
        if device not in self._values:
            self._values[device] = self._all_on(device)
        entry = self.entries[index]
        first = entry.offset // self.dtype.itemsize
        stored = self._values[device][first : first + math.prod(entry.shape)]
        return stored.view(entry.shape)

    def _all_on(self, device: torch.device) -> Tensor:
        """The values of all pictures, one after the other."""
        whole = len(self.pixels) // self.dtype.itemsize * self.dtype.itemsize
        with no_warnings():  # (of a file that cannot be written to)
            values = torch.from_numpy(self.pixels[:whole].view(self.dtype))
        if device.type != "cuda":
            return values
        free, _ = torch.cuda.mem_get_info(device)
        return values.to(device) if values.nbytes <= ON_GPU * free else values


def reach(picture: Pixels) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The ``lows`` and ``highs`` of a picture's entry."""
    axes = None if picture.dtype == np.uint8 else (0, 1)
    lows, highs = (np.atleast_1d(of).tolist() for of in (picture.min(axes), picture.max(axes)))
    return tuple(map(float, lows)), tuple(map(float, highs))


def contents(cache: PictureCache) -> set[str]:
    """What tells its pictures apart: the sha256 of their files."""
    return {entry.content for entry in cache.entries}


def columns(entries: Sequence[Entry]) -> list[list[Any]]:
    """One list for each field of the entries: of a million, JSON is read in half of the time."""
    return [list(column) for column in zip(*(vars(e).values() for e in entries), strict=True)]


def read_cache(place: Path) -> PictureCache:
    """Raises OSError, ValueError, KeyError or TypeError if it is not whole."""
    index = json.loads((place / INDEX).read_text())
    name, content, offset, shape, lows, highs, stamp = index["entries"]
    pixels = np.memmap(place / PIXELS, np.uint8, mode="r")
    dtype = np.dtype(index["dtype"])
    end = offset[-1] + math.prod(shape[-1]) * dtype.itemsize
    if len(pixels) < end:
        raise ValueError(f"{place / PIXELS} has {len(pixels)} bytes of {end}")
    shape, lows, highs = ([tuple(of) for of in column] for column in (shape, lows, highs))
    entries = tuple(map(Entry, name, content, offset, shape, lows, highs, stamp))
    skipped = tuple(Skipped(**one) for one in index["skipped"])
    return PictureCache(pixels, dtype, entries, skipped)
