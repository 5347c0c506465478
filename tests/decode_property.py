"""What must hold of every file there is; shared by test_fuzz.py and fuzz_decode.py."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from diptych.config import DomainConfig
from diptych.data.decode import DamagedPictureError, read_picture

READINGS = (
    DomainConfig(),
    DomainConfig(channels=1),
    DomainConfig(depth="native"),
    DomainConfig(depth="native", channels=4),
)
LONGEST = 20.0  # seconds, for files of some kilobytes; usually milliseconds


def check_reading(path: Path) -> int:
    """Read a file in every way: each gives a sound array, or DamagedPictureError with one line.

    Returns in how many ways it was read. AssertionError, or any other error, is a defect.
    """
    read = 0
    for reading in READINGS:
        start = time.perf_counter()
        try:
            picture = read_picture(path, reading)
        except DamagedPictureError as error:
            reason = str(error)
            assert reason, "refused without a reason"
            assert reason.isprintable(), reason
            assert len(reason) < 400, reason
        else:
            read += 1
            assert picture.ndim == 3, picture.shape
            assert picture.size, picture.shape
            allowed = ("uint8",) if reading.depth == "8bit" else ("uint8", "uint16", "float32")
            assert picture.dtype.name in allowed, picture.dtype
            assert picture.dtype.isnative
            channels = 3 if reading.depth == "8bit" else picture.shape[2]
            assert picture.shape[2] == (reading.channels or channels), picture.shape
            assert picture.dtype.kind != "f" or np.isfinite(picture).all()
        assert time.perf_counter() - start < LONGEST, "too slow"
    return read
