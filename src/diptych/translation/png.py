"""PNG files, written in half the time that the usual libraries take (benchmarks/NOTES.md).

Those try all five filters on each row, byte by byte, where two in passes over many rows do as well.
The numbers are those of the PNG specification (W3C, third edition): chunks in 11, filters in 9.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from diptych.data.pixels import Pixels

Rows = NDArray[np.uint8]  # (rows, bytes)

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # by channels: grey, grey and alpha, RGB, RGB and alpha
LEFT, ABOVE = 1, 2  # the filters that subtract these neighbours ("Sub", "Up")
EFFORT = 1  # of 9: a quarter of the time of the usual 6, and photographs get no larger
SEARCH = zlib.Z_RLE  # for runs only: quicker, and smaller but for drawings of many patterns
AT_ONCE = 2**18  # bytes of a picture, which stay in a core's cache
METRE = 1 / 0.0254  # in inches


def write_png(file: BinaryIO, picture: Pixels, per_inch: tuple[float, float] | None = None) -> None:
    """Write ``picture``, ``(H, W, C)`` of uint8 or uint16 with one to four channels.

    The second and the fourth channel are transparency, as PNG has it. ``per_inch``: pixels across
    and down, which the file holds to the nearest pixel a metre. Raises OSError.
    """
    height, width, channels = picture.shape
    depth = 8 * picture.itemsize
    file.write(SIGNATURE)
    header = struct.pack(">IIBBBBB", width, height, depth, COLOUR_TYPES[channels], 0, 0, 0)
    _write_chunk(file, b"IHDR", header)
    per_metre = [round(one * METRE) for one in per_inch or (0, 0)]
    if all(per_metre):
        _write_chunk(file, b"pHYs", struct.pack(">IIB", *per_metre, 1))
    packer = zlib.compressobj(EFFORT, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, SEARCH)
    for rows in _filtered(picture):
        if packed := packer.compress(rows.data):
            _write_chunk(file, b"IDAT", packed)
    _write_chunk(file, b"IDAT", packer.flush())
    _write_chunk(file, b"IEND", b"")


def _write_chunk(file: BinaryIO, name: bytes, content: bytes) -> None:
    check = zlib.crc32(content, zlib.crc32(name))
    file.write(struct.pack(">I", len(content)) + name + content + struct.pack(">I", check))


def _filtered(picture: Pixels) -> Iterator[Rows]:
    """The picture's bytes, a few rows at a time, each row by the better of the two filters."""
    pixel, row = picture.itemsize * picture.shape[2], picture[:1].nbytes
    count = max(1, AT_ONCE // row)
    above = np.zeros((1, row), np.uint8)
    for top in range(0, len(picture), count):
        rows = _bytes(picture[top : top + count])
        yield _by_better_filter(rows, above, pixel)
        above = rows[-1:]


def _bytes(rows: Pixels) -> Rows:
    """Numbers of 16 bits with the higher byte first."""
    ordered = np.ascontiguousarray(rows, rows.dtype.newbyteorder(">"))
    return ordered.reshape(len(rows), -1).view(np.uint8)


def _by_better_filter(rows: Rows, above: Rows, pixel: int) -> Rows:
    """Each row after the number of its filter; ``pixel``: bytes. (Differences are modulo 256.)"""
    from_left = rows.copy()
    from_left[:, pixel:] -= rows[:, :-pixel]
    from_above = rows - np.concatenate((above, rows[:-1]))
    by_left = _size(from_left) < _size(from_above)
    filtered = np.empty((len(rows), 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = np.where(by_left, LEFT, ABOVE)
    filtered[:, 1:] = np.where(by_left[:, None], from_left, from_above)
    return filtered


def _size(differences: Rows) -> NDArray[np.uint64]:
    """The sum of each row's differences, of -128 to 127, without their signs."""
    sums: NDArray[np.uint64] = np.minimum(differences, 0 - differences).sum(1, dtype=np.uint64)
    return sums
