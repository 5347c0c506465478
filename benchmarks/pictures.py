"""Pictures to measure with: photographs' worth of JPEGs on the disk, and domains in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diptych.data.cache import Entry, PictureCache
from diptych.data.domain import Domain
from diptych.data.pixels import RGB


def photograph(size: int, seed: int) -> NDArray[np.uint8]:
    """``(size, size, 3)``: blurred shapes with fine grain, which a JPEG takes about 25 kB for."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
    shapes = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), np.float32)
    grain = rng.normal(0, 6, (size, size, 1))
    return (shapes + grain).clip(0, 255).astype(np.uint8)


def write_jpegs(folder: Path, count: int, size: int, seed: int = 0) -> Path:
    """Fill ``folder`` with ``count`` JPEGs of ``size`` pixels a side, all different."""
    folder.mkdir(parents=True)
    for i in range(count):
        picture = Image.fromarray(photograph(size, seed + i))
        picture.save(folder / f"{i:06}.jpg", quality=90)
    return folder


def domain_in_memory(count: int, size: int, seed: int) -> Domain:
    """A domain of ``count`` pictures, ``size`` pixels a side, as if its cache had been opened."""
    pixels = np.stack([photograph(size, seed + i) for i in range(count)])
    shape = (size, size, 3)
    entries = tuple(
        Entry(f"{i}.png", f"{seed + i:064x}", i * pixels[0].nbytes, shape, (0,), (255,), "")
        for i in range(count)
    )
    cache = PictureCache(pixels.reshape(-1), np.dtype(np.uint8), entries, ())
    return Domain(Path("memory"), cache, tuple(range(count)), (), RGB)
