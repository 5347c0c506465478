"""Building the cache of a picture folder: on all cores, and nothing twice."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from diptych.config import DataConfig, DomainConfig
from diptych.data.cache import INDEX, PIXELS, Entry, PictureCache, Skipped, columns, reach
from diptych.data.decode import read_picture
from diptych.data.geometry import fit_for_training
from diptych.data.many import in_order, or_reason
from diptych.data.pixels import Pixels
from diptych.errors import DiptychError
from diptych.host.files import file_sha256, flush_to_disk, write_whole
from diptych.words import counted

FIRST = 50  # pictures, after which it shows how large all will be
ALIGNED = 8  # bytes: where a picture starts is a multiple of this, so that any dtype can be viewed
SECONDS, GROWN = 10, 1.1  # after so long, and so many more pictures, all so far are put on record
OnProgress = Callable[[int, int], None]  # done, total
Decoded = dict[tuple[str, str], tuple[PictureCache, int]]  # where a picture is, by name and stamp


def stamp_of(path: Path) -> str:
    """What changes when a file does: its size, and when it was last written to and changed."""
    try:
        status = path.stat()
    except OSError:
        return "gone"  # (reading it will say why)
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def build(
    aside: Path,
    folder: Path,
    files: Sequence[Path],
    reading: DomainConfig,
    data: DataConfig,
    multiple: int,
    before: Decoded,
    on_progress: OnProgress,
) -> None:
    """Write the pixels of every file in order, and the index: decoded on all cores.

    What is in ``before`` is taken from there. Now and then ``aside`` is a whole cache of what is
    done so far, for who goes on if this process is killed.
    """
    aside.mkdir()

    def decode(path: Path) -> tuple[Entry, Pixels]:
        name, stamp = str(path.relative_to(folder)), stamp_of(path)
        if (name, stamp) in before:
            cache, i = before[name, stamp]
            return cache.entries[i], cache[i]
        picture = read_picture(path, reading, data.background)
        fitted = fit_for_training(picture, data, multiple)
        shape = (fitted.shape[0], fitted.shape[1], fitted.shape[2])
        return Entry(name, file_sha256(path), 0, shape, *reach(picture), stamp), fitted

    entries: list[tuple[str, Entry]] = []  # with the dtype of each
    skipped: list[Skipped] = []
    offset = 0
    recorded, at = 0, time.monotonic()
    with open(aside / PIXELS, "wb") as out:
        for done, (path, result) in enumerate(in_order(or_reason(decode), files), 1):
            if isinstance(result, str):
                skipped.append(Skipped(str(path.relative_to(folder)), result))
            else:
                entry, picture = result
                out.write(bytes(-offset % ALIGNED))
                offset += -offset % ALIGNED
                out.write(picture.tobytes())
                entries.append((str(picture.dtype), replace(entry, offset=offset)))
                offset += picture.nbytes
            if done == FIRST:
                _check_room(aside, offset / done * (len(files) - done))
            if len(entries) > GROWN * recorded and time.monotonic() - at > SECONDS:
                _record(out, aside, *of_one_kind(folder, entries, list(skipped)), skipped)
                recorded, at = len(entries), time.monotonic()
            on_progress(done, len(files))
        _record(out, aside, *of_one_kind(folder, entries, skipped), skipped)


def _record(
    out: BinaryIO, aside: Path, entries: Sequence[Entry], dtype: str, skipped: Sequence[Skipped]
) -> None:
    """Put the pixels on the disk, then the index that knows of them."""
    out.flush()
    flush_to_disk(out.fileno())
    index = {
        "dtype": dtype,
        "entries": columns(entries),
        "skipped": [vars(one) for one in skipped],
    }
    write_whole(aside / INDEX, json.dumps(index))


def _check_room(place: Path, need: float) -> None:
    """Raise DiptychError if the disk does not hold so many bytes more."""
    free = shutil.disk_usage(place).free
    if need > free:
        raise DiptychError(
            f"decoded pictures take about {need / 1e9:.1f} GB more, and the disk of the picture "
            f"cache {place.parent} has {free / 1e9:.1f} GB free: make room, or set DIPTYCH_CACHE "
            "to a folder on another"
        )


def of_one_kind(
    folder: Path, entries: Sequence[tuple[str, Entry]], skipped: list[Skipped]
) -> tuple[list[Entry], str]:
    """The entries of the commonest dtype and channel count, and that dtype.

    ``entries`` come with the dtype of each; the rest go to ``skipped``. Raises DiptychError if
    there are none.
    """
    if not entries:
        first = skipped[0]
        raise DiptychError(
            f"none of the {counted(len(skipped), 'picture')} in {folder} can be read; "
            f"the first: {first.name}: {first.reason}"
        )
    kinds = Counter((dtype, entry.shape[2]) for dtype, entry in entries)
    (dtype, channels), _ = kinds.most_common(1)[0]
    kept = []
    for own_dtype, entry in entries:
        if (own_dtype, entry.shape[2]) == (dtype, channels):
            kept.append(entry)
        else:
            reason = f"{own_dtype} with {entry.shape[2]} channels among {dtype} with {channels}"
            skipped.append(Skipped(entry.name, reason, readable=True))
    return kept, dtype
