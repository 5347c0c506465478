"""One process at a time in a run folder, or at a download."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from diptych.errors import DiptychError
from diptych.host.files import explain_os_errors

NAME = ".lock"
TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)


@contextmanager
def only_one(folder: Path, name: str = NAME, other: str = "--run") -> Iterator[bool]:
    """Hold the lock ``name`` in ``folder``, which must exist, within the block; yields True.

    Yields False, without a lock, on a file system that has none (some network disks). ``other``:
    the option by which a person who is refused may choose another.

    The operating system takes the lock back when its owner ends, however it ends, so none is ever
    left behind. Raises DiptychError if another process has it, or the folder cannot be written.
    """
    path = folder / name
    with explain_os_errors(f"write the folder {folder}"):
        handle, locked = _open_locked(path, other)
    try:
        with explain_os_errors(f"write the folder {folder}"):
            os.truncate(handle, 0)
            os.write(handle, str(os.getpid()).encode())
        yield locked
    finally:
        with suppress(OSError):  # read-only by now, or gone: a name without a lock harms nobody
            path.unlink()
        os.close(handle)


def _open_locked(path: Path, other: str) -> tuple[int, bool]:
    while True:
        # (A link would lead to a file of somebody's, whose content is replaced.)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0))
        try:
            _lock(handle)
        except OSError as error:
            if error.errno not in TAKEN:
                return handle, False
            owner = os.pread(handle, 20, 0).decode(errors="replace") if os.name != "nt" else ""
            os.close(handle)
            who = f"process {owner}" if owner else "another process"
            raise DiptychError(
                f"{path.parent} is in use by {who}: wait until it ends, stop it, or choose "
                f"another {other}"
            ) from None
        # The owner before may have removed the file between our opening and locking it.
        if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
            return handle, True
        os.close(handle)


def _lock(handle: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
