"""Files: written so that a reader finds the whole old one or the new one; names, errors."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from diptych.errors import DiptychError, UsageError

WINDOWS = os.name == "nt"
WAITS = (0.1, 0.5, 2.0)  # seconds, for what may pass
MAY_PASS = (errno.EBUSY, errno.ESTALE)  # on disks of networks


AnyPath = str | os.PathLike[str]  # as a program may call a file or a folder


def as_path(given: AnyPath) -> Path:
    """What a program calls a file or a folder; ``~`` is the home folder, as in a shell.

    Raises UsageError for what is no path, DiptychError for a name that is too long for the disk.
    """
    if not isinstance(given, str | os.PathLike):
        raise UsageError(f"a {type(given).__name__} is no path: give a name")
    if not os.fspath(given):
        raise UsageError("the name of a file or folder is empty: give one")
    path = Path(os.path.expanduser(given))
    try:
        os.lstat(path)
    except ValueError as error:  # (a zero byte)
        raise UsageError(f"{str(path)!r} is no path: {error}") from error
    except OSError as error:  # (it need not be there yet)
        if error.errno == errno.ENAMETOOLONG:
            raise DiptychError(f"cannot use {path}: {error.strerror}") from error
    return path


def is_text(path: Path) -> bool:
    """Whether a name is text: on Linux it may be bytes that are none, of another encoding, say."""
    try:
        str(path).encode()
        return True
    except UnicodeEncodeError:
        return False


def write_whole(path: Path, content: bytes | str) -> None:
    """Write ``content`` aside, flush it to the disk, and rename it to ``path``."""
    aside = path.parent / f".{uuid4().hex}.partial"  # (a name may be as long as they get)
    # File names may hold bytes that are no text; a page shows a question mark for them.
    data = content.encode("utf-8", "replace") if isinstance(content, str) else content
    try:
        with open(aside, "wb") as file:
            file.write(data)
            file.flush()
            flush_to_disk(file.fileno())
        replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def replace(source: Path, target: Path) -> None:
    """Rename, over what is there.

    It waits a little where a disk of a network has lost its way, and on Windows for those who read
    the old file.
    """
    for seconds in WAITS:
        try:
            os.replace(source, target)
            return
        except OSError as error:
            being_read = WINDOWS and isinstance(error, PermissionError)
            if not being_read and error.errno not in MAY_PASS:
                raise
            time.sleep(seconds)
    os.replace(source, target)


def file_sha256(path: Path) -> str:
    """The sha256 of a file's content, in hexadecimal; the file may be larger than memory."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def lies_in(path: Path, folder: Path) -> bool:
    """Whether ``path`` is ``folder`` or below it, wherever links lead; neither need exist."""
    try:  # (realpath, since links may form a loop)
        return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
    except UnicodeEncodeError:  # (a name that this system's letters cannot spell is of no folder)
        return False


def sweep_old(folder: Path, ours: str) -> None:
    """Remove what processes that were killed, a day ago or before, have left in ``folder``.

    ``ours`` is a regular expression of whole names: others may have such files there too.
    """
    for left in (path for path in folder.iterdir() if re.fullmatch(ours, path.name)):
        with suppress(OSError):
            if time.time() - last_written(left) < 24 * 60 * 60:
                continue
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink()


def last_written(path: Path) -> float:
    """When a file was, or the last one in a folder, in seconds since 1970."""
    # (Who writes into a file of a folder leaves the folder's own time as it is.)
    times = (inside.stat().st_mtime for inside in path.glob("*"))
    return max(times, default=path.stat().st_mtime)


def flush_to_disk(handle: int) -> None:
    """``os.fsync``; on macOS, where that leaves it to the disk when it writes, what does not."""
    if sys.platform == "darwin":
        import fcntl

        with suppress(OSError):  # (disks of networks do not know it)
            fcntl.fcntl(handle, fcntl.F_FULLFSYNC)
            return
    os.fsync(handle)


def sync_file(path: Path) -> None:
    """Flush what another hand has written into a file, before it is renamed to its place."""
    with open(path, "r+b") as file:  # (Windows flushes none that is only read)
        flush_to_disk(file.fileno())


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names, so that a rename in it outlives a power cut.

    Where a file system (of a network, say) flushes no folders, it is left to that.
    """
    if WINDOWS:  # which cannot open folders, and syncs names by itself
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        flush_to_disk(handle)
    except OSError as error:
        if error.errno in (errno.EIO, errno.ENOSPC, errno.EDQUOT):
            raise
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """Make a folder, and those that it lies in. Raises DiptychError if it cannot be made."""
    with explain_os_errors(f"make the folder {folder}"):
        folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def explain_os_errors(doing: str) -> Iterator[None]:
    """Turn an OSError (disk full, no permission) into one line: "cannot {doing}: reason"."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise DiptychError(f"cannot {doing}: {reason}") from error
