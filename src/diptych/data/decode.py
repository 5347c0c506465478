"""One picture file in, one ``(H, W, C)`` array out; or a one-line reason why not."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from diptych.config import DomainConfig
from diptych.data.eight_bit import read_image
from diptych.data.metadata import NOTHING, read_metadata
from diptych.data.missing import MissingPixels, find_missing
from diptych.data.native import load_array, read_native
from diptych.data.opening import (
    AVIF,
    MOST_PIXELS,
    NO_MEMORY,
    DamagedPictureError,
    DeepValuesError,
    TooLargeError,
    kind_of,
    no_warnings,
    opened,
)
from diptych.data.pixels import PixelFormat, Pixels, with_channels
from diptych.data.size import picture_size
from diptych.data.tiff import read_tiff_as_8bit
from diptych.words import first_line

LARGEST = 1e30  # so that float32 holds the difference of two
MOST_UNKNOWN = 0.5  # of a picture to learn from: what is filled teaches little
SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".tif", ".tiff", ".gif",
     ".npy", ".heic", ".heif", ".hif"] + ([".avif"] if AVIF else [])
)  # fmt: skip


def read_picture(path: Path, reading: DomainConfig, background: str = "white") -> Pixels:
    """Decode the file at ``path``: upright, on ``background``, with the channels asked for.

    What the file holds counts, not how its name ends; of several pages or frames the first is
    read; 8-bit reading brings colours to sRGB, as a file's profile says. Returns ``(H, W, C)``:
    uint8 for 8-bit reading; uint8, uint16 or float32 for native depth. Where nothing is known it is
    filled, as ``MissingPixels.filled`` does. Raises DamagedPictureError with the reason for
    anything that is not such a picture, is cut short, would take more than 2**30 bytes, or is
    unknown for the most part.
    """
    picture, missing = read_with_missing(path, reading, background)
    if missing is not None and missing.share > MOST_UNKNOWN:
        raise DamagedPictureError(f"it has no data in {missing.share:.0%} of its pixels")
    return picture


def read_with_missing(
    path: Path, reading: DomainConfig, background: str
) -> tuple[Pixels, MissingPixels | None]:
    """As ``read_picture``, and what was filled, however much it is."""
    with one_reason(), opened(path) as file:
        return _decode(file, reading, background)


def decode_picture(
    data: bytes, reading: DomainConfig, background: str, most_pixels: int
) -> tuple[Pixels, MissingPixels | None]:
    """Decode what a file holds, as ``read_with_missing`` does, without a file.

    Raises TooLargeError, before anything is decoded, for more than ``most_pixels``.
    """
    if not data:
        raise DamagedPictureError("it is empty")
    with one_reason():
        width, height = picture_size(io.BytesIO(data))
        if width * height > most_pixels:
            raise TooLargeError(f"its {width} x {height} pixels are too many: scale it down")
        return _decode(io.BytesIO(data), reading, background)


def is_deeper(path: Path) -> bool:
    """Whether a file holds deeper values than the 8 bits that were read of it."""
    try:
        return read_picture(path, DomainConfig(depth="native")).dtype != np.uint8
    except DamagedPictureError:  # (as 8 bits it could be read)
        return False


def reading_of(stored: PixelFormat) -> DomainConfig:
    """How files are read to get pictures that are stored like that."""
    eight = stored.is_image and stored.lowest >= 0 and stored.highest <= 255
    usual = stored.dtype == "uint8" and (stored.low, stored.high) == (0, 255)
    return DomainConfig(
        channels=stored.channels,
        depth="8bit" if eight else "native",
        range=None if usual else stored.range,
    )


def _decode(
    file: BinaryIO, reading: DomainConfig, background: str
) -> tuple[Pixels, MissingPixels | None]:
    if reading.depth == "8bit":
        picture = _read_8bit(file, reading.channels or 3, background)
    else:
        picture = read_native(file, reading.channels, background)
    if picture.size == 0:
        raise DamagedPictureError("it has no pixels")
    file.seek(0)
    told = read_metadata(file) if kind_of(file) == "tiff" else NOTHING
    missing = find_missing(picture, told.no_data)
    if picture.dtype == np.uint8 and told.values == "uint16" and told.no_data is not None:
        file.seek(0)
        missing = find_missing(read_native(file, None, background), told.no_data)  # (before 8 bits)
    if missing is not None:
        picture = missing.filled(picture)
    if picture.dtype == np.float32 and not (picture.max() <= LARGEST and picture.min() >= -LARGEST):
        raise DamagedPictureError(
            f"it holds infinite values or some beyond {LARGEST:g}, as where there is no data: make "
            "them NaN"
        )
    return picture, missing


@contextmanager
def one_reason() -> Iterator[None]:
    """Whatever a decoder raises in the block comes out as a DamagedPictureError."""
    try:
        with no_warnings():
            yield
    except DamagedPictureError:
        raise
    except Image.DecompressionBombError:
        raise TooLargeError(
            f"its pixels are too many: more than {MOST_PIXELS}, scale it down"
        ) from None
    except MemoryError:
        raise DamagedPictureError(NO_MEMORY) from None
    except Exception as error:
        # Decoders raise nearly every exception there is on a broken file; each means the same.
        raise DamagedPictureError(_reason(error)) from error


def _read_8bit(file: BinaryIO, channels: int, background: str) -> Pixels:
    kind = kind_of(file)
    if kind == "npy":
        array = load_array(file)
        if array.dtype != np.uint8:
            raise DeepValuesError(f"{array.dtype} values")
        return with_channels(array, channels)
    if kind == "tiff":
        return read_tiff_as_8bit(file, channels, background)
    return read_image(file, channels, background)


def _reason(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, UnidentifiedImageError):
        return "not a picture, or of an unknown format"
    if "truncated" in str(error).lower():
        return "it is cut short: its end is missing"
    if isinstance(error, struct.error | IndexError | SyntaxError | EOFError):
        return "broken file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return first_line(error)[:200]
