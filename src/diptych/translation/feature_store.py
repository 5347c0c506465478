"""Where the features of large pictures are kept: in memory, or in a file of their own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diptych.errors import DiptychError

ADVICE = "make room there, or name another folder in the environment as TMPDIR"


class NoRoomError(DiptychError):
    """The disk has no room for the features of a picture."""


@dataclass(frozen=True, eq=False)
class FeatureStore:
    """Features of a whole picture, ``(height, channels, width)`` float32 wherever they are."""

    channels: int
    height: int
    width: int
    read: Callable[[int, int], Tensor]  # rows top .. bottom, as (1, channels, rows, width)
    write: Callable[[int, Tensor], None]  # such rows, from row top on

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.channels, self.height, self.width

    @property
    def size(self) -> int:
        """Bytes."""
        return 4 * self.channels * self.height * self.width


def in_memory(channels: int, height: int, width: int) -> FeatureStore:
    """A place in memory."""
    features = torch.empty(height, channels, width, dtype=torch.float32)

    def read(top: int, bottom: int) -> Tensor:
        return (
            features[top:bottom].transpose(0, 1)[None].clone(memory_format=torch.contiguous_format)
        )

    def write(top: int, rows: Tensor) -> None:
        features[top : top + rows.shape[2]] = rows[0].transpose(0, 1)

    return FeatureStore(channels, height, width, read, write)


def in_file(channels: int, height: int, width: int) -> FeatureStore:
    """A place on the disk, given back when nobody holds it any more, also if the process dies.

    Read and written as a file: pages of a memory-mapped one would count as the process's memory.
    """
    file = tempfile.TemporaryFile(dir=folder())  # noqa: SIM115 (it lives as long as its reader)
    row = channels * width

    def read(top: int, bottom: int) -> Tensor:
        file.seek(top * row * 4)
        features = np.fromfile(file, np.float32, (bottom - top) * row)
        rows = torch.from_numpy(features).view(bottom - top, channels, width)
        return rows.transpose(0, 1)[None].contiguous()

    def write(top: int, rows: Tensor) -> None:
        try:
            file.seek(top * row * 4)
            rows[0].transpose(0, 1).cpu().contiguous().numpy().tofile(file)
            file.flush()
        except OSError as error:
            raise NoRoomError(
                f"cannot keep features of a large picture in {folder()}: "
                f"{error.strerror or error}: {ADVICE}"
            ) from error

    return FeatureStore(channels, height, width, read, write)


def nowhere(channels: int, height: int, width: int) -> FeatureStore:
    """No place: for counting what places would take."""

    def read(top: int, bottom: int) -> Tensor:
        raise AssertionError("nothing is kept here")

    return FeatureStore(channels, height, width, read, write=lambda top, rows: None)


def folder() -> Path:
    """TMPDIR, or where large temporary files belong: /tmp may itself lie in memory."""
    large = Path("/var/tmp")
    if "TMPDIR" not in os.environ and large.is_dir() and os.access(large, os.W_OK):
        return large
    return Path(tempfile.gettempdir())


def check_room(needed: float) -> None:
    """Raise NoRoomError unless the disk has room for ``needed`` bytes of features."""
    free = shutil.disk_usage(folder()).free
    if needed > free:
        raise NoRoomError(
            f"this picture needs {needed / 1e9:.1f} GB of disk while it is translated, and "
            f"{folder()} has {free / 1e9:.1f} GB free: {ADVICE}"
        )
