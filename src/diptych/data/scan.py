"""Reading a whole folder of pictures to learn what is in it, without keeping them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diptych.config import Config, DataConfig, DomainConfig
from diptych.data.alike import Look, look_of
from diptych.data.cache import Entry, Skipped, reach
from diptych.data.cache_build import stamp_of
from diptych.data.decode import read_picture
from diptych.data.eight_bit import open_image
from diptych.data.geometry import kept_size, stored_size
from diptych.data.many import in_order, or_reason
from diptych.data.opening import kind_of, no_warnings, opened
from diptych.data.pixels import Pixels
from diptych.host.files import file_sha256


@dataclass(frozen=True)
class Seen:
    """A readable picture."""

    path: Path
    format: str
    mode: str
    dtype: str
    width: int
    height: int
    entry: Entry  # as the cache would hold it
    spread: float  # standard deviation of its values
    look: Look


@dataclass(frozen=True)
class Scan:
    """A folder, read."""

    name: str
    folder: Path
    reading: DomainConfig
    files: tuple[Path, ...]
    seen: tuple[Seen, ...]
    skipped: tuple[Skipped, ...]

    @property
    def usable(self) -> list[Seen]:
        """Those that training takes: of the commonest dtype and number of channels."""
        kinds = [(one.dtype, one.entry.shape[2]) for one in self.seen]
        most = Counter(kinds).most_common(1)
        return [one for one, kind in zip(self.seen, kinds, strict=True) if kind == most[0][0]]


def scan_folder(
    name: str,
    folder: Path,
    files: Sequence[Path],
    reading: DomainConfig,
    config: Config,
    progress: Callable[[int], None],
) -> Scan:
    """Decode every file as training would, on all cores. ``progress(done)`` counts them."""
    data, multiple = config.data, config.generator.size_multiple

    def see(path: Path) -> Seen:
        picture = read_picture(path, reading, data.background)
        return _see(path, folder, picture, data, multiple)

    seen: list[Seen] = []
    skipped: list[Skipped] = []
    for done, (path, result) in enumerate(in_order(or_reason(see), files), 1):
        if isinstance(result, str):
            skipped.append(Skipped(str(path.relative_to(folder)), result))
        else:
            seen.append(result)
        progress(done)
    return Scan(name, folder, reading, tuple(files), tuple(seen), tuple(skipped))


def _see(path: Path, folder: Path, picture: Pixels, data: DataConfig, multiple: int) -> Seen:
    height, width, channels = picture.shape
    form, mode = _format_and_mode(path, picture)
    w, h = stored_size(data, *kept_size(data, width, height), multiple)
    name, shape = str(path.relative_to(folder)), (h, w, channels)
    entry = Entry(name, file_sha256(path), 0, shape, *reach(picture), stamp_of(path))
    sample = picture[:: max(1, height // 128), :: max(1, width // 128)]
    spread = float(sample.astype(np.float64).std((0, 1)).max())
    return Seen(
        path, form, mode, str(picture.dtype), width, height, entry, spread, look_of(picture)
    )


def _format_and_mode(path: Path, picture: Pixels) -> tuple[str, str]:
    """``JPEG``, ``RGB``; where Pillow has no word for it, dtype and channels."""
    values = f"{picture.dtype} x {picture.shape[2]}"
    with no_warnings(), opened(path) as file:
        kind = kind_of(file)
        if kind == "npy":
            return "NPY", values
        try:
            image = open_image(file)
        except Exception:  # a kind of TIFF that only tifffile reads
            return kind.upper(), values
        form = "JPEG" if image.format == "MPO" else image.format
        return form or kind.upper(), image.mode
