"""Finding the picture files of a folder."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from diptych.data.decode import SUFFIXES
from diptych.errors import DiptychError

# Folders of small copies, deleted and old files: of Synology's and QNAP's disks, macOS, Windows,
# Linux.
OF_STORAGE = frozenset([
    "@eaDir", "@tmp", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot", "__MACOSX",
    "$RECYCLE.BIN", "System Volume Information", "lost+found",
])  # fmt: skip
# Endings of pictures that are not read.
OTHER_PICTURES = frozenset([
    ".arw", ".avif", ".cr2", ".cr3", ".dcm", ".dds", ".dng", ".exr", ".fit", ".fits", ".hdr",
    ".ico", ".jp2", ".jpx", ".jxl", ".nef", ".nii", ".pbm", ".pgm", ".pnm", ".ppm", ".psd", ".svg",
    ".tga",
]) - SUFFIXES  # fmt: skip
NO_ENDING = "without an ending"


def find_pictures(folder: Path, endings: frozenset[str] = SUFFIXES) -> list[Path]:
    """All picture files in ``folder`` and the folders below it, sorted by name.

    Files are chosen by their ending, one of ``endings``; hidden files and folders are passed over,
    and what storage systems keep beside pictures (``OF_STORAGE``). Links to folders are followed,
    into each folder once (they can form loops). What cannot be read is in the list too,
    so that reading can name it: what has such an ending and is no ordinary file (a pipe, a link to
    nowhere).
    Raises DiptychError if the folder is missing, cannot be listed, or holds no picture.
    """

    files = _files(folder)
    found = [path for path in files if path.suffix.lower() in endings]
    if not found:
        names, there = " ".join(sorted(endings)), kinds_in_words(_kinds(files))
        but = f"; it holds {there}: save pictures of other kinds as TIFF, PNG or JPEG"
        raise DiptychError(
            f"there is no picture in {folder} (looked for {names}{but if there else ''})"
        )
    # (With / on all systems: the order says what is held out, and what each step sees.)
    return sorted(found, key=lambda path: os.fsencode(path.relative_to(folder).as_posix()))


def passed_over(folder: Path) -> dict[str, int]:
    """How many files are in ``folder`` that are taken for no pictures, by ending (``.mp4``)."""
    return _kinds(path for path in _files(folder) if path.suffix.lower() not in SUFFIXES)


def _files(folder: Path) -> list[Path]:
    """All that is to be seen in a folder and those below it. Raises DiptychError."""

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
        found += [Path(parent, name) for name in files if name[0] != "."]
    return found


def _kinds(files: Iterable[Path]) -> dict[str, int]:
    """By ending, the commonest first."""
    counts = Counter(path.suffix.lower() or NO_ENDING for path in files)
    return dict(sorted(counts.items(), key=lambda kind: (-kind[1], kind[0])))


def kinds_in_words(kinds: Mapping[str, int]) -> str:
    """``3 .psd, 1 .zip``: three of them, and how many others there are."""
    first, others = list(kinds.items())[:3], sum(list(kinds.values())[3:])
    words = [f"{count} {kind}" for kind, count in first]
    return ", ".join(words + ([f"{others} others"] if others else []))
