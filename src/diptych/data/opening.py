"""Opening a file that may be anything: what it is, whether it is whole, how large it would get."""

from __future__ import annotations

import logging
import re
import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, TypeVar

from PIL import Image, features

from diptych.errors import DiptychError
from diptych.host.surroundings import shared

Kind = Literal["npy", "tiff", "png", "other"]
Answer = TypeVar("Answer")

AVIF = ["AVIF"] if features.check("avif") else []  # where Pillow was built with it
MOST_PIXELS = 178_956_970  # where Pillow, too, suspects a decompression bomb
MOST_BYTES = 2**30  # of one decoded picture
NO_MEMORY = "too large for this machine's memory"  # a reason

# Unless a program asks for their logs, these would write to the terminal about every broken file.
for _name in ("tifffile", "PIL"):
    logging.getLogger(_name).addHandler(logging.NullHandler())


class DamagedPictureError(DiptychError):
    """This file cannot be read as a picture; the message is the reason, in one short line."""


class TooLargeError(DamagedPictureError):
    """Nothing is wrong with the picture, but it has more pixels than were allowed."""


class DeepValuesError(DamagedPictureError):
    """It was to be read with 8 bits and has deeper ``values``, which training can read as such."""

    def __init__(self, values: str) -> None:
        super().__init__(f"it holds {values}: use --depth native")
        self.values = values

    def __reduce__(self) -> tuple[type[DeepValuesError], tuple[str]]:
        """(For worker processes, which send their errors home.)"""
        return type(self), (self.values,)


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file at ``path``, for reading. Links are followed.

    Raises DamagedPictureError for what is no ordinary file (a pipe or a device could block for
    ever) and for an empty one; OSError as ``open`` does.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise DamagedPictureError(f"it is {_what(status.st_mode)}, not an ordinary file")
    if not status.st_size:
        raise DamagedPictureError("it is empty")
    with open(path, "rb") as file:
        yield file


def _what(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    if stat.S_ISFIFO(mode):
        return "a pipe"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"


def told_by(path: Path, ask: Callable[[BinaryIO], Answer], otherwise: Answer) -> Answer:
    """What ``ask`` finds out from the file; ``otherwise`` if the file is broken, or not there.

    What is wrong with it shows when it is read.
    """
    try:
        with no_warnings(), opened(path) as file:
            return ask(file)
    except Exception:  # decoders raise nearly every exception there is
        return otherwise


def is_animated(path: Path) -> bool:
    """Whether a GIF, PNG, WebP or AVIF file holds more than one picture, to be shown in turn."""

    def ask(file: BinaryIO) -> bool:
        image = Image.open(file, formats=["GIF", "PNG", "WEBP", *AVIF])
        return bool(getattr(image, "is_animated", False))

    return told_by(path, ask, otherwise=False)


def kind_of(file: BinaryIO) -> Kind:
    """What a file holds, by its first bytes (names lie). Leaves it at its start."""
    start = file.read(8)
    file.seek(0)
    if start.startswith(b"\x93NUMPY"):
        return "npy"
    if start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "tiff"
    return "png" if start == b"\x89PNG\r\n\x1a\n" else "other"


def check_size(width: int, height: int, bytes_a_pixel: int) -> None:
    """Raise DamagedPictureError for more pixels, or bytes, than a picture may take in memory."""
    if width * height > MOST_PIXELS or width * height * bytes_a_pixel > MOST_BYTES:
        raise TooLargeError(
            f"its {width} x {height} pixels are too many: scale it down, or cut it into parts"
        )


_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # not stuffing, filling or restarts
_START, _END, _EMPTY = 0xD8, 0xD9, 0x01


def is_whole_jpeg(data: bytes) -> bool:
    """Whether the first picture of a JPEG file goes on to its end marker.

    Decoders fill up with grey what is missing; a download that stopped in a file of full length,
    zeros to its end, looks complete to them.
    """
    place = 0
    while match := _MARKER.search(data, place):
        code, place = data[match.start() + 1], match.end()
        if code == _END:
            return True
        if code not in (_START, _EMPTY):  # all others tell their length
            place += int.from_bytes(data[place : place + 2], "big")
    return False


@shared  # (else overlapping blocks of several threads leave a program without its warnings)
@contextmanager
def no_warnings() -> Iterator[None]:
    """Within the block no warnings of oddities in files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
