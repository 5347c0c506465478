"""Where the caches of picture folders lie: found again, or built.

A cache folder is named by a hash of what it was made from (file names, sizes, times, and how they
were read), so a changed folder gets a new cache and an unchanged one is opened at once. Times are
those of the last writing and of the last change, as in git's index: the first travels with files.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from diptych.config import DataConfig, DomainConfig
from diptych.data.cache import PictureCache, read_cache
from diptych.data.cache_build import Decoded, OnProgress, build, stamp_of
from diptych.data.decode import read_picture
from diptych.data.geometry import load_size
from diptych.data.opening import DamagedPictureError
from diptych.errors import DiptychError, unheard
from diptych.host.files import explain_os_errors, last_written, replace, sweep_old, sync_folder

# Of the cache's layout and of how pictures are read; part of the key, so old ones are not found.
VERSION = 7
ABANDONED = 600  # seconds: who decodes writes more often, or was killed


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
            before = _decoded_before(place)
            build(aside, folder, files, reading, data, multiple, before, on_progress)
            before.clear()  # (as above)
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
        cache = read_cache(place)  # (first: another process may forget this one as soon)
        _forget_others(place)
        return cache


def sweep(root: Path) -> None:
    """Remove what processes that were killed while building have left."""
    sweep_old(root, r"[0-9a-f]{16}-[0-9a-f]{32}\.[0-9a-f]{32}\.partial")


def _of_the_same_folder(place: Path) -> list[Path]:
    """All caches of the folder that is read in this way, unfinished ones too."""
    return sorted(place.parent.glob(f"{place.name.partition('-')[0]}-*"))


def _decoded_before(place: Path) -> Decoded:
    """Pictures that need not be decoded again: before files changed, or by who was killed."""
    before: Decoded = {}
    for other in _of_the_same_folder(place):
        if (cache := _read_if_whole(other)) is not None:
            before |= {(one.name, one.stamp): (cache, i) for i, one in enumerate(cache.entries)}
    return before


def _forget_others(place: Path) -> None:
    """Remove what was decoded of the same folder in the same way, before or by who was killed.

    (A training that still reads it keeps it; on Windows it is removed another time.)
    """
    shared = place.name.partition(".")[0]
    for other in _of_the_same_folder(place):
        partial = other.suffix == ".partial"
        if _is_abandoned(other) if partial else not other.name.startswith(shared):
            shutil.rmtree(other, ignore_errors=True)


def _is_abandoned(partial: Path) -> bool:
    try:
        return time.time() - last_written(partial) >= ABANDONED
    except OSError:  # (just finished, and renamed)
        return False


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
        digest.update(os.fsencode(path.relative_to(folder)))
        digest.update(f"\0{stamp_of(path)}\0".encode())
    return cache_root() / f"{place.hexdigest()[:16]}-{digest.hexdigest()[:32]}"
