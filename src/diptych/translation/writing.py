"""Translations as files: formats, what they hold, and files that are whole or absent."""

from __future__ import annotations

import errno
import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

import numpy as np

from diptych.data.decode import SUFFIXES
from diptych.data.folder import OTHER_PICTURES
from diptych.data.metadata import ASCII, NO_DATA, NOTHING, Metadata
from diptych.data.opening import TooLargeError
from diptych.data.pixels import PixelFormat, Pixels, to_pil
from diptych.errors import UsageError
from diptych.host.files import explain_os_errors, replace, sweep_old
from diptych.translation.png import write_png

FileFormat = Literal["png", "jpg", "webp", "tif", "bmp", "npy"]
FORMATS = get_args(FileFormat)
# Endings by which people mean a file and no folder, also of formats that are only read, or neither.
PICTURE_ENDINGS = SUFFIXES | OTHER_PICTURES | {".npz", ".pdf"}
MOST_A_SIDE = {"jpg": 65_500, "webp": 16_383}  # pixels; the others hold what memory does
MOST_PER_INCH = 65_000  # in JPEG


def default_format(target: PixelFormat) -> str:
    """The file format that keeps every value: png for 8 and 16 bits, else tif."""
    if target.dtype != "float32" and target.channels in (1, 3):
        return "png"
    return "tif"


def format_of(ending: str) -> str:
    """The name of the format of ``.JPEG``, ``.png`` ..., which need not be one of ``FORMATS``."""
    return ending.lower().removeprefix(".").replace("jpeg", "jpg").replace("tiff", "tif")


def check_format(name: str, target: PixelFormat) -> None:
    """Raise UsageError if files of this format cannot hold such pictures."""
    if name not in FORMATS:
        raise UsageError(f"cannot write {name!r}: choose from {', '.join(FORMATS)}")
    if name in ("tif", "npy") or target.is_image:
        return
    if name == "png" and target.dtype != "float32" and target.channels <= 4:  # (2, 4: with alpha)
        return
    raise UsageError(f"{name} cannot hold {target.describe()}: use {default_format(target)}")


def check_sides(name: str, height: int, width: int) -> None:
    """Raise TooLargeError for a side that is longer than the format allows."""
    if name in MOST_A_SIDE and max(height, width) > MOST_A_SIDE[name]:
        raise TooLargeError(
            f"{name} holds at most {MOST_A_SIDE[name]} pixels a side, and its translation has "
            f"{width} x {height}: use png"
        )


def write_picture(path: Path, picture: Pixels, metadata: Metadata = NOTHING) -> None:
    """Write stored pixels in the format that the file's ending names, as ``encode_picture``."""
    try:
        with written_aside(path) as aside, open(aside.path, "wb") as file:
            encode_picture(file, format_of(path.suffix), picture, metadata)
    except OSError as error:
        if error.errno is None:  # (NumPy tells only how much the disk took)
            raise OSError(errno.ENOSPC, f"the disk may be full ({error})") from error
        raise


def sweep(jobs_lie_in: set[Path]) -> None:
    """Remove what translations that were killed have left in these folders."""
    for folder in jobs_lie_in:
        if folder.is_dir():
            sweep_old(folder, r"\.\d+-\d+\.partial\.\w+")


@dataclass
class Aside:
    """A file under way at ``path``, which is to become ``target``."""

    path: Path
    target: Path


@contextmanager
def written_aside(path: Path) -> Iterator[Aside]:
    """Where to write in the block what is to become ``path``: that is whole, or as it was before.

    Raises DiptychError if it cannot be renamed.
    """
    # (No more of its name: that may have all the letters that the disk allows.)
    name = f".{os.getpid()}-{threading.get_ident()}.partial{path.suffix}"
    aside = Aside(path.with_name(name), path)
    try:
        yield aside
        with explain_os_errors(f"write {aside.target}"):
            replace(aside.path, aside.target)
    except BaseException:
        with suppress(OSError):
            aside.path.unlink()
        raise


def encode_picture(
    file: BinaryIO, name: str, picture: Pixels, metadata: Metadata = NOTHING
) -> None:
    """Write stored pixels in one of FORMATS, values unchanged.

    (JPEG and lossy WebP round, as those formats do.) Of ``metadata`` is written what the format
    can hold: tif holds all, jpg, bmp and png the resolution. Raises TooLargeError as
    ``check_sides``, OSError, and whatever else an encoder raises.
    """
    check_sides(name, *picture.shape[:2])
    if name == "npy":
        np.save(file, picture)
    elif name == "tif":
        _write_tiff(file, picture, metadata)
    elif name == "png":
        write_png(file, picture, metadata.per_inch)
    else:
        whole = io.BytesIO()  # (of a file that a disk took a part of, Pillow would say nothing)
        form = {"jpg": "JPEG", "webp": "WEBP", "bmp": "BMP"}[name]
        to_pil(picture).save(whole, form, quality=95, **_dpi(name, metadata.per_inch))
        file.write(whole.getbuffer())


def _dpi(name: str, per_inch: tuple[float, float] | None) -> dict[str, tuple[float, float]]:
    """As Pillow takes it: pixels per inch that the format can hold."""
    if per_inch is None or (name == "jpg" and max(per_inch) > MOST_PER_INCH):
        return {"dpi": (0, 0)} if name == "bmp" else {}  # (else Pillow says 96 in a BMP)
    return {"dpi": per_inch}


def _write_tiff(file: BinaryIO, picture: Pixels, metadata: Metadata) -> None:
    import tifffile

    channels = picture.shape[2]
    extra: dict[str, Any] = {"photometric": "rgb" if channels in (3, 4) else "minisblack"}
    if channels not in (1, 3):
        extra["planarconfig"] = "contig"
    if channels in (2, 4):  # (that the last one is transparency is tifffile's guess)
        extra["extrasamples"] = ["unassalpha" if metadata.transparent else "unspecified"]
    if metadata.per_inch is not None:
        extra |= {"resolution": metadata.per_inch, "resolutionunit": "INCH"}
    tags = list(metadata.georeference)
    if metadata.no_data is not None:
        tags.append((NO_DATA, ASCII, 0, f"{metadata.no_data:.17g}", True))
    one = picture[..., 0] if channels == 1 else picture
    tifffile.imwrite(file, one, metadata=None, extratags=tags, **extra)
