"""Where the caches of picture folders lie: found again, or built on all cores.

A cache folder is named by a hash of what it was made from (file names, sizes, times, and how they
were read), so a changed folder gets a new cache and an unchanged one is opened at once. Times are
those of the last writing and of the last change, as in git's index: the first travels with files.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from diptych.config import DataConfig, DomainConfig
from diptych.data.cache import (
    INDEX,
    PIXELS,
    Entry,
    PictureCache,
    Skipped,
    columns,
    reach,
    read_cache,
)
from diptych.data.decode import read_picture
from diptych.data.geometry import fit_for_training, load_size
from diptych.data.many import in_order, or_reason
from diptych.data.opening import DamagedPictureError
from diptych.data.pixels import Pixels
from diptych.errors import DiptychError, unheard
from diptych.files import (
    explain_os_errors,
    file_sha256,
    flush_to_disk,
    replace,
    sweep_old,
    sync_folder,
    write_whole,
)
from diptych.words import counted

# Of the cache's layout and of how pictures are read; part of the key, so old ones are not found.
VERSION = 6
FIRST = 50  # pictures, after which it shows how large all will be
ALIGNED = 8  # bytes: where a picture starts is a multiple of this, so that any dtype can be viewed
OnProgress = Callable[[int, int], None]  # done, total


def cache_root() -> Path:
    """Where caches live: ``$DIPTYCH_CACHE``, or ``diptych`` in the user's cache folder."""
    if given := os.environ.get("DIPTYCH_CACHE"):
        return Path(given).expanduser()
    home = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    try:
        return (Path(home) if home else Path.home() / ".cache") / "diptych"
    except RuntimeError as error:  # as of a user who is known by a number alone
        raise DiptychError(
            "there is no home folder to keep decoded pictures in: set DIPTYCH_CACHE to a folder"
        ) from error


def open_cache(
    folder: Path,
    files: Sequence[Path],
    reading: DomainConfig,
    data: DataConfig,
    multiple: int,
    on_progress: OnProgress = unheard,
) -> PictureCache:
    """Open the cache of ``files`` (all below ``folder``), building it if it is not there yet.

    Raises DiptychError when not one file can be read, or the cache cannot be written.
    """
    root = cache_root()
    place = place_of(folder, files, reading, data, multiple)
    own = place.with_name(f"{place.name}.{_user()}")  # for what another user's cannot be
    with explain_os_errors(f"write the picture cache {root} (set DIPTYCH_CACHE to move it)"):
        found = place.exists()
        for there in (own, place):
            cache = _read_if_whole(there) if there.exists() else None
            if cache is not None and not _some_read_now(cache, folder, reading, data):
                return cache
            cache = None  # (Windows removes no file that is mapped)
        root.mkdir(parents=True, exist_ok=True)
        sweep(root)
        aside = place.with_name(f"{place.name}.{uuid4().hex}.partial")
        try:
            _build(aside, folder, files, reading, data, multiple, on_progress)
            if found:
                shutil.rmtree(place, ignore_errors=True)
            try:
                replace(aside, place)
                sync_folder(root)
            except OSError:
                if found or _read_if_whole(place) is None:  # (else another process was faster)
                    shutil.rmtree(own, ignore_errors=True)
                    replace(aside, own)
                    place = own
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        _forget_others(place)
        return read_cache(place)


def sweep(root: Path) -> None:
    """Remove what processes that were killed while building have left."""
    sweep_old(root, r"[0-9a-f]{16}-[0-9a-f]{32}\.[0-9a-f]{32}\.partial")


def _forget_others(place: Path) -> None:
    """Remove what was decoded of the same folder in the same way before its files changed.

    (A training that still reads it keeps it; on Windows it is removed another time.)
    """
    where, shared = place.name.partition("-")[0], place.name.partition(".")[0]
    for other in place.parent.glob(f"{where}-*"):
        if not other.name.startswith(shared) and not other.name.endswith(".partial"):
            shutil.rmtree(other, ignore_errors=True)


def _read_if_whole(place: Path) -> PictureCache | None:
    """The cache; None if a power cut or somebody's hand has left only part of it."""
    try:
        return read_cache(place)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _user() -> int:
    return os.getuid() if os.name != "nt" else 0


def _some_read_now(
    cache: PictureCache, folder: Path, reading: DomainConfig, data: DataConfig
) -> bool:
    """Whether a file that could not be read can be now: permissions and disks get mended."""
    for one in cache.skipped:
        if not one.readable:
            with suppress(DamagedPictureError):
                read_picture(folder / one.name, reading, data.background)
                return True
    return False


def place_of(
    folder: Path, files: Sequence[Path], reading: DomainConfig, data: DataConfig, multiple: int
) -> Path:
    """The folder of the cache of ``files``, named by all that its content depends on.

    The first half of its name is of the folder and how it is read, the second one of the files.
    """
    usual = 3 if reading.depth == "8bit" else None
    read_as = {
        "version": VERSION,
        "depth": reading.depth,
        "channels": reading.channels or usual,
        "data": data.model_dump(include={"size", "preprocess", "background"}),
        "load_size": load_size(data),
        "zoom": data.zoom if data.zooms else 1.0,
        "multiple": None if data.one_size else multiple,  # (else sizes are given)
    }
    place = hashlib.sha256(json.dumps(read_as, sort_keys=True).encode())
    place.update(os.fsencode(os.path.realpath(folder)))
    digest = hashlib.sha256()
    for path in files:
        try:
            status = path.stat()
        except OSError:
            continue  # gone since the scan: building will name it
        digest.update(os.fsencode(path.relative_to(folder)))
        times = f"{status.st_mtime_ns} {status.st_ctime_ns}"
        digest.update(f"\0{status.st_size} {times}\0".encode())
    return cache_root() / f"{place.hexdigest()[:16]}-{digest.hexdigest()[:32]}"


def _build(
    aside: Path,
    folder: Path,
    files: Sequence[Path],
    reading: DomainConfig,
    data: DataConfig,
    multiple: int,
    on_progress: OnProgress,
) -> None:
    """Decode every file on all cores and write the pixels in order, then the index."""
    aside.mkdir()
    fit = fit_for_training(data, multiple)

    def decode(path: Path) -> tuple[str, Pixels, tuple[tuple[float, ...], tuple[float, ...]]]:
        picture = read_picture(path, reading, data.background)
        return file_sha256(path), fit(picture), reach(picture)

    entries: list[tuple[str, Entry]] = []  # with the dtype of each
    skipped: list[Skipped] = []
    offset = 0
    with open(aside / PIXELS, "wb") as out:
        for done, (path, result) in enumerate(in_order(or_reason(decode), files), 1):
            name = str(path.relative_to(folder))
            if isinstance(result, str):
                skipped.append(Skipped(name, result))
            else:
                content, picture, reached = result
                out.write(bytes(-offset % ALIGNED))
                offset += -offset % ALIGNED
                out.write(picture.tobytes())
                shape = (picture.shape[0], picture.shape[1], picture.shape[2])
                entries.append((str(picture.dtype), Entry(name, content, offset, shape, *reached)))
                offset += picture.nbytes
            if done == FIRST:
                _check_room(aside, offset / done * (len(files) - done))
            on_progress(done, len(files))
        out.flush()
        flush_to_disk(out.fileno())
    kept, dtype = of_one_kind(folder, entries, skipped)
    index = {
        "dtype": dtype,
        "entries": columns(kept),
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
