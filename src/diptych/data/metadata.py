"""What a picture's file says about its pixels: how large they are, where they lie, what is missing.

A translation has the same pixels in other colours, so that all of it still holds.
"""

from __future__ import annotations

import math
import re
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from diptych.data.eight_bit import exif_of, open_image, orientation_of
from diptych.data.opening import kind_of, no_warnings, told_by
from diptych.data.tiff import channels_of, first_picture, first_whole, open_tiff, page_orientation

SHORT, DOUBLE, ASCII = 3, 12, 2  # TIFF's types
GEOREFERENCE = {  # the tags of GeoTIFF 1.1 (OGC 19-008r4, clause 7), and what goes with them
    33550: DOUBLE,  # pixel scale
    33922: DOUBLE,  # tie points
    34264: DOUBLE,  # transformation
    34735: SHORT,  # keys of the reference system ...
    34736: DOUBLE,  # ... and their numbers
    34737: ASCII,  # ... and names
    50844: DOUBLE,  # rational polynomials of a satellite's camera
}
NO_DATA = 42113  # GDAL's tag
INCH, CENTIMETRE = 2, 3  # TIFF's units of resolution
ACROSS, DOWN, UNIT = 282, 283, 296  # tags of the resolution, in TIFF and in EXIF
SIDEWAYS = (5, 6, 7, 8)  # EXIF's orientations that exchange across and down
MICRONS = {"nm": 1e-3, "um": 1.0, "\\u00B5m": 1.0, "\u00b5m": 1.0, "\u03bcm": 1.0, "micron": 1.0,
           "mm": 1e3}  # microscopes' units  # fmt: skip

Tag = tuple[int, int, int, Any, bool]  # as tifffile writes it: code, type, count, value, once


@dataclass(frozen=True)
class Metadata:
    """What the header of a picture file says.

    ``per_inch``: pixels per inch across and down, 300 where a scan is to be printed in its size;
    None if unknown. ``channels``: of a TIFF file whose pixels are not plain grey or colour; else 0.
    ``transparent``: whether the last one is transparency. ``no_data``: the value of pixels of
    which nothing is known. ``values``: the dtype of a TIFF's.
    """

    per_inch: tuple[float, float] | None = None
    georeference: tuple[Tag, ...] = ()
    channels: int = 0
    transparent: bool = False
    no_data: float | None = None
    values: str = ""


NOTHING = Metadata()


def metadata_of(path: Path) -> Metadata:
    """What a picture file says; ``NOTHING`` for one that cannot be read."""
    return told_by(path, read_metadata, NOTHING)


def read_metadata(file: BinaryIO) -> Metadata:
    """As ``metadata_of``."""
    try:
        with no_warnings():
            kind = kind_of(file)
            if kind == "npy":
                return NOTHING
            if kind == "tiff":
                return _of_tiff(file)
            with open_image(file) as image:
                return Metadata(
                    _sensible(_dpi(image), orientation_of(image)),
                    transparent=image.has_transparency_data,
                )
    except Exception:  # what is wrong with it shows when it is read
        return NOTHING


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    """What the file's own header says, or else its EXIF data."""
    # (Of a JPEG whose header says nothing Pillow says 72, or what EXIF has across for both.)
    if image.format not in ("JPEG", "MPO") or image.info.get("jfif_unit") in (1, 2):
        found: tuple[float, float] | None = image.info.get("dpi")
        if found is not None:
            return found
    exif = exif_of(image)
    inch = {INCH: 1.0, CENTIMETRE: 2.54}.get(exif.get(UNIT, INCH))
    if inch is None or not (ACROSS in exif and DOWN in exif):
        return None
    return float(exif[ACROSS]) * inch, float(exif[DOWN]) * inch


def _of_tiff(file: BinaryIO) -> Metadata:
    import tifffile

    kinds = tifffile.PHOTOMETRIC
    with open_tiff(file) as tiff:
        page = first_whole(tiff)
        extra = [int(sample) for sample in page.extrasamples]
        coloured = page.photometric not in (kinds.MINISBLACK, kinds.MINISWHITE)
        orientation = page_orientation(page)
        upright = orientation == 1  # (others are turned when they are read)
        tags = [_tag(page, code, kind) for code, kind in GEOREFERENCE.items() if upright]
        return Metadata(
            _sensible(_resolution(tiff, page), orientation),
            tuple(tag for tag in tags if tag is not None),
            channels=0 if coloured and not extra else channels_of(first_picture(tiff)),
            transparent=extra in ([1], [2]),
            no_data=_no_data(page),
            values=str(page.dtype),
        )


def _no_data(page: Any) -> float | None:
    """GDAL's value for no data as pictures have it after reading, which turns ink into light."""
    import tifffile

    found, bits, kinds = (
        _number(_value(page, NO_DATA, "")),
        page.bitspersample,
        tifffile.PHOTOMETRIC,
    )
    if found is None or page.photometric == kinds.PALETTE:  # (a place in it is no colour)
        return None
    if page.photometric == kinds.MINISWHITE and page.dtype.kind in "bu":
        found = 2**bits - 1 - found
    grey = page.photometric in (kinds.MINISBLACK, kinds.MINISWHITE)
    return found * (255 // (2**bits - 1)) if bits < 8 and grey else found


def _resolution(tiff: Any, page: Any) -> tuple[float, float] | None:
    """Pixels per inch across and down; None if what is said makes no sense."""
    with suppress(ArithmeticError, TypeError, ValueError):
        return _stated_resolution(tiff, page)
    return None


def _stated_resolution(tiff: Any, page: Any) -> tuple[float, float] | None:
    """The same by TIFF's own tags, or by those of microscopes."""
    across, down = (_microns(tiff.ome_metadata or "", axis) for axis in "XY")
    if across and down:
        return 25_400 / across, 25_400 / down
    unit = {INCH: 1.0, CENTIMETRE: 2.54}.get(_value(page, UNIT, INCH), 0.0)
    if not unit and tiff.is_imagej:
        micron = MICRONS.get((tiff.imagej_metadata or {}).get("unit", ""), 0.0)
        unit = 25_400 / micron if micron else 0.0
    (across, a), (down, b) = (_value(page, tag, (0, 1)) for tag in (ACROSS, DOWN))
    return (across * unit / a, down * unit / b) if a and b else None


def _microns(ome: str, axis: str) -> float:
    """How wide (X) or high (Y) a pixel is; 0 where OME's header does not say it."""
    size = re.search(f'PhysicalSize{axis}="([^"]+)"', ome)
    unit = re.search(f'PhysicalSize{axis}Unit="([^"]+)"', ome)
    micron = MICRONS.get(unit[1], 0.0) if unit else 1.0  # (what OME means where it says nothing)
    return float(size[1]) * micron if size else 0.0


def _value(page: Any, code: int, default: Any) -> Any:
    tag = page.tags.get(code)
    return default if tag is None else tag.value


def _tag(page: Any, code: int, kind: int) -> Tag | None:
    """None where there is none, or one that no file can hold as this."""
    tag = page.tags.get(code)
    if tag is None or int(tag.dtype) != kind:
        return None
    if kind == ASCII:  # (its bytes, in whatever letters: keys count them)
        page.parent.filehandle.seek(tag.valueoffset)
        return code, kind, tag.count, page.parent.filehandle.read(tag.count), True
    numbers = tag.value if isinstance(tag.value, tuple) else (tag.value,)
    struct.pack(f"{len(numbers)}{'d' if kind == DOUBLE else 'H'}", *numbers)
    return code, kind, len(numbers), numbers, True


def _number(text: Any) -> float | None:
    """GDAL writes numbers as text, ``nan`` too."""
    try:
        number = float(text)
    except (TypeError, ValueError):
        return None
    return None if math.isinf(number) else number


def _sensible(per_inch: tuple[float, float] | None, orientation: int) -> tuple[float, float] | None:
    """Of the picture as it is read, which is turned by EXIF's ``orientation``.

    None for what not all files can hold as a resolution (BMP counts 31 bits a metre).
    """
    if per_inch is None or not all(1e-3 <= one <= 5e7 for one in per_inch):
        return None
    across, down = map(float, per_inch)
    return (down, across) if orientation in SIDEWAYS else (across, down)
