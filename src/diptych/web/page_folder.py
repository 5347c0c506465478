"""Where the page keeps its pictures for the hour that a browser may ask for them.

The API needs no files. Gradio, which the page is made with, hands pictures to the browser by name.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.web.limits import RefusedError

KEPT_SECONDS = 3600
MOST_BYTES = 512 * 10**6  # of all its files
FAR = 2**32 - 1  # a time of change in the year 2106
MEMORY = Path("/dev/shm")  # a folder in memory, on Linux


@dataclass(frozen=True)
class PageFolder:
    """A private folder; nothing outside it can be asked for."""

    path: Path

    def holds(self, name: str) -> bool:
        """Whether ``name``, which a client sent, is a file in here."""
        try:
            real = Path(os.path.realpath(name))  # (links and .. are followed)
            return real.is_relative_to(self.path) and real.is_file()
        except (OSError, ValueError):
            return False

    def check_names(self, message: Any) -> None:
        """Raise RefusedError if a message of a client names any other file, or a web address.

        Gradio would look at such names, and fetch such addresses.
        """
        if isinstance(message, dict):
            name = message.get("path")
            if name is not None and not (isinstance(name, str) and self.holds(name)):
                raise RefusedError(403, "only pictures that were uploaded here can be used")
        if isinstance(message, dict | list):
            for one in message.values() if isinstance(message, dict) else message:
                self.check_names(one)

    def read(self, name: str) -> bytes:
        """The content of an uploaded file. Raises RefusedError."""
        if not self.holds(name):
            raise RefusedError(404, "this picture is here no more: upload it again")
        return Path(name).read_bytes()

    def write(self, name: str, content: bytes) -> Path:
        """Keep a file under a name for people."""
        path = Path(tempfile.mkdtemp(dir=self.path)) / name
        path.write_bytes(content)
        return path

    def keep(self, name: str, content: bytes) -> Path:
        """As ``write``, for as long as the server runs."""
        path = self.write(name, content)
        os.utime(path, (FAR, FAR))
        return path

    def make_room(self, count: int) -> None:
        """Remove old files. Raises RefusedError if there is no room for ``count`` more bytes."""
        total, oldest = count, time.time() - KEPT_SECONDS
        for path in list(self.path.rglob("*")):
            try:
                status = path.stat()
                if status.st_mtime < oldest and path.is_file():
                    path.unlink()
                elif path.is_file():
                    total += status.st_size
            except FileNotFoundError:
                continue
        if total > MOST_BYTES:
            raise RefusedError(429, "the page holds too many pictures: try again later", 60)


@contextmanager
def page_folder() -> Iterator[PageFolder]:
    """A new private folder, in memory where the system has such, removed after the block."""
    path = Path(tempfile.mkdtemp(prefix="diptych-ui-", dir=_place())).resolve()
    try:
        yield PageFolder(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _place() -> Path | None:
    try:
        roomy = shutil.disk_usage(MEMORY).free > 2 * MOST_BYTES
    except OSError:
        return None
    return MEMORY if roomy and os.access(MEMORY, os.W_OK) else None
