"""Finding the picture files of a folder."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from diptych.data.decode import SUFFIXES
from diptych.errors import DiptychError

# Folders of small copies, deleted and old files: of Synology's and QNAP's disks, macOS, Windows,
# Linux.
OF_STORAGE = frozenset([
    "@eaDir", "@tmp", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot", "__MACOSX",
    "$RECYCLE.BIN", "System Volume Information", "lost+found",
])  # fmt: skip
PHONES = frozenset([".heic", ".heif"])  # pictures that Pillow cannot read: to be named as such


def find_pictures(folder: Path, endings: frozenset[str] = SUFFIXES) -> list[Path]:
    """All picture files in ``folder`` and the folders below it, sorted by name.

    Files are chosen by their ending, one of ``endings``; hidden files and folders are passed over,
    and what storage systems keep beside pictures (``OF_STORAGE``). Links to folders are followed,
    into each folder once (they can form loops). What cannot be read is in the list too,
    so that reading can name it: HEIC, and what has such an ending and is no ordinary file (a pipe,
    a link to nowhere).
    Raises DiptychError if the folder is missing, cannot be listed, or holds no picture.
    """

    def fail(error: OSError) -> None:
        raise DiptychError(
            f"cannot list the folder {error.filename}: {error.strerror}: make it readable, or move "
            "it away"
        )

    try:
        if not folder.exists():
            raise DiptychError(f"there is no folder {folder}: check the name")
        if not folder.is_dir():
            raise DiptychError(f"{folder} is a file: give the folder that holds the pictures")
    except OSError as error:  # a folder above it may not be entered
        fail(error)

    found = []
    entered = {os.path.realpath(folder)}
    for parent, folders, files in os.walk(folder, onerror=fail, followlinks=True):
        inside = {name: os.path.realpath(Path(parent, name)) for name in sorted(folders)}
        folders.clear()
        for name, real in inside.items():
            if name[0] != "." and name not in OF_STORAGE and real not in entered:
                entered.add(real)
                folders.append(name)
        found += [
            Path(parent, name)
            for name in files
            if not name.startswith(".") and Path(name).suffix.lower() in endings | PHONES
        ]
    if not found:
        names, there = " ".join(sorted(endings)), _kinds(folder)
        but = (
            f"; there are {there}: save pictures of other kinds as TIFF, PNG or JPEG"
            if there
            else ""
        )
        raise DiptychError(f"there is no picture in {folder} (looked for {names}{but})")
    # (With / on all systems: the order says what is held out, and what each step sees.)
    return sorted(found, key=lambda path: os.fsencode(path.relative_to(folder).as_posix()))


def _kinds(folder: Path) -> str:
    """``3 .heic, 1 .zip``: the commonest kinds of files in a folder."""
    names = (Path(name) for _, _, files in os.walk(folder) for name in files)
    kinds = Counter(path.suffix.lower() or path.name for path in names if path.name[0] != ".")
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(3))
