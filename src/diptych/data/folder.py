"""Finding the picture files of a folder."""

from __future__ import annotations

import os
from pathlib import Path

from diptych.data.decode import SUFFIXES
from diptych.errors import DiptychError


def find_pictures(folder: Path) -> list[Path]:
    """All picture files in ``folder`` and the folders below it, sorted by name.

    Files are chosen by their ending; hidden files and folders are passed over, links to folders
    are not followed (they can form loops). Raises DiptychError if the folder is missing, cannot
    be listed, or holds no picture.
    """
    if not folder.exists():
        raise DiptychError(f"there is no folder {folder}: check the name")
    if not folder.is_dir():
        raise DiptychError(f"{folder} is a file: give the folder that holds the pictures")

    def fail(error: OSError) -> None:
        raise DiptychError(f"cannot list the folder {error.filename}: {error.strerror}")

    found = []
    for parent, folders, files in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(parent, name)
            if not name.startswith(".") and path.suffix.lower() in SUFFIXES and path.is_file():
                found.append(path)
    if not found:
        endings = " ".join(sorted(SUFFIXES))
        raise DiptychError(f"there is no picture in {folder} (looked for {endings})")
    return sorted(found, key=lambda path: os.fsencode(path.relative_to(folder)))
