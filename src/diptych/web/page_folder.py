"""Where the page keeps its pictures for the hour that a browser may ask for them.

The API needs no files. Gradio, which the page is made with, hands pictures to the browser by name.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diptych.errors import DiptychError
from diptych.host.lock import only_one
from diptych.web.limits import RefusedError

KEPT_SECONDS = 3600
TIDIED_EVERY = 60.0  # seconds
MOST_BYTES = 512 * 10**6  # of all its files
JUST_MADE = 60  # seconds in which a browser fetches a file: it is not removed for another one
FAR = 2**32 - 1  # a time of change in the year 2106
PREFIX = "diptych-ui-"
STARTING_SECONDS = 60  # in which a new folder may not have its lock yet
MEMORY = Path("/dev/shm")  # a folder in memory, on Linux


@dataclass
class PageFolder:
    """A private folder; nothing outside it can be asked for."""

    path: Path
    coming: int = 0  # bytes of uploads and zips under way
    needed: Counter[Path] = field(default_factory=Counter)  # files that are about to be read

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
        """Keep a file under a name for people. Raises RefusedError if the disk does not take it.

        (Names of files may hold bytes that are no text.)
        """
        path = None
        try:
            path = Path(tempfile.mkdtemp(dir=self.path)) / name.encode("utf-8", "replace").decode()
            path.write_bytes(content)
        except OSError as error:
            if path is not None:
                shutil.rmtree(path.parent, ignore_errors=True)
            said = f"the server has no room for the picture: {error.strerror}"
            raise RefusedError(503, said) from error
        return path

    def keep(self, name: str, content: bytes) -> Path:
        """As ``write``, for as long as the server runs."""
        path = self.write(name, content)
        os.utime(path, (FAR, FAR))
        return path

    @contextmanager
    def room_for(self, count: int) -> Iterator[None]:
        """Within the block so many bytes may come. Raises RefusedError as ``make_room``."""
        self.make_room(count)
        self.coming += count
        try:
            yield
        finally:
            self.coming -= count

    @contextmanager
    def kept(self, names: Iterable[str]) -> Iterator[None]:
        """Within the block these files are not removed."""
        paths = [Path(os.path.realpath(name)) for name in names]
        self.needed.update(paths)
        try:
            yield
        finally:
            self.needed.subtract(paths)

    def make_room(self, count: int) -> None:
        """Remove what is too old and, for ``count`` more bytes, what is oldest.

        Raises RefusedError if the rest has just been made and fills the folder.
        """
        found: list[tuple[float, int, Path]] = []
        for folder, _, names in os.walk(self.path):  # (which minds no folder that has just gone)
            for path in (Path(folder, name) for name in names):
                with suppress(FileNotFoundError):
                    status = path.stat()
                    if stat.S_ISREG(status.st_mode):
                        found.append((status.st_mtime, status.st_size, path))
        now, total = time.time(), count + self.coming + sum(size for _, size, _ in found)
        for made, size, path in sorted(found):
            if self.needed[path] > 0:
                continue
            if now - made < (KEPT_SECONDS if total <= MOST_BYTES else JUST_MADE):
                break
            path.unlink(missing_ok=True)
            if path.parent != self.path:
                with suppress(OSError):  # (others are in it still)
                    path.parent.rmdir()
            total -= size
        if total > MOST_BYTES:
            raise RefusedError(429, "the page holds too many pictures: try again later", JUST_MADE)


@contextmanager
def page_folder() -> Iterator[PageFolder]:
    """A new private folder, in memory where the system has such, removed after the block.

    Folders of servers that were killed are removed as well.
    """
    place = _place()
    _remove_left_behind(place)
    outer = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place)).resolve()
    try:
        with only_one(outer):
            path = outer / "pictures"
            path.mkdir()
            folder = PageFolder(path)
            with _tidied(folder):
                yield folder
    finally:
        shutil.rmtree(outer, ignore_errors=True)


@contextmanager
def _tidied(folder: PageFolder) -> Iterator[None]:
    """Within the block what is too old goes, also when nobody comes who would need the room."""
    over = threading.Event()

    def tidy() -> None:
        while not over.wait(TIDIED_EVERY):
            with suppress(RefusedError):  # (all of it has just been made)
                folder.make_room(0)

    thread = threading.Thread(target=tidy, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _place() -> Path:
    try:
        roomy = shutil.disk_usage(MEMORY).free > 2 * MOST_BYTES
    except OSError:
        roomy = False
    return MEMORY if roomy and os.access(MEMORY, os.W_OK) else Path(tempfile.gettempdir())


def _remove_left_behind(place: Path) -> None:
    if os.name == "nt":  # has no owners to look at
        return
    for path in place.glob(f"{PREFIX}*"):
        with suppress(OSError, DiptychError):  # it is gone by now, or in use
            status = path.lstat()
            if status.st_uid == os.getuid() and status.st_mtime < time.time() - STARTING_SECONDS:
                with only_one(path) as locked:
                    if locked:
                        shutil.rmtree(path, ignore_errors=True)
