"""How large a picture's pixels are, and where on Earth they lie, as its file says."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from diptych.data.eight_bit import ORIENTATION, open_image
from diptych.data.opening import kind_of, no_warnings, opened
from diptych.data.tiff import first_whole

SHORT, DOUBLE, ASCII = 3, 12, 2  # TIFF's types
GEOREFERENCE = {  # the tags of GeoTIFF 1.1 (OGC 19-008r4, clause 7)
    33550: DOUBLE,  # pixel scale
    33922: DOUBLE,  # tie points
    34264: DOUBLE,  # transformation
    34735: SHORT,  # keys of the reference system ...
    34736: DOUBLE,  # ... and their numbers
    34737: ASCII,  # ... and names
}
INCH, CENTIMETRE = 2, 3  # TIFF's units of resolution


Tag = tuple[int, int, int, Any, bool]


@dataclass(frozen=True)
class Placement:
    """What of a picture still holds when its pixels are replaced by as many others.

    ``per_inch``: pixels per inch, 300 where a scan is to be printed in its size; None if unknown.
    ``georeference``: tags of GeoTIFF as tifffile writes them, (code, type, count, value, True).
    """

    per_inch: float | None = None
    georeference: tuple[Tag, ...] = ()


UNKNOWN = Placement()


def placement_of(path: Path) -> Placement:
    """What the header of a picture file says of its place; ``UNKNOWN`` if nothing."""
    try:
        with no_warnings(), opened(path) as file:
            kind = kind_of(file)
            if kind == "npy":
                return UNKNOWN
            if kind == "tiff":
                return _of_tiff(file)
            with open_image(file) as image:
                return Placement(_square(*image.info.get("dpi", (0, 0))))
    except Exception:  # what is wrong with it shows when it is read
        return UNKNOWN


def _of_tiff(file: BinaryIO) -> Placement:
    import tifffile

    with tifffile.TiffFile(file) as tiff:
        page = first_whole(tiff)
        unit = {INCH: 1.0, CENTIMETRE: 2.54}.get(_value(page, 296, INCH), 0.0)
        (across, a), (down, b) = (_value(page, tag, (0, 1)) for tag in (282, 283))
        upright = _value(page, ORIENTATION, 1) == 1  # (others are turned when they are read)
        tags = [_tag(code, kind, _value(page, code, ())) for code, kind in GEOREFERENCE.items()]
        return Placement(
            _square(across * unit / a, down * unit / b) if a and b else None,
            tuple(tag for tag in tags if tag[2]) if upright else (),
        )


def _tag(code: int, kind: int, value: Any) -> Tag:
    """Raises ValueError, TypeError or struct.error for what no file can hold as this."""
    if kind == ASCII:
        text = bytes(value or "", "ascii")
        return code, kind, len(text), text, True
    numbers = value if isinstance(value, tuple) else (value,)
    struct.pack(f"{len(numbers)}{'d' if kind == DOUBLE else 'H'}", *numbers)
    return code, kind, len(numbers), numbers, True


def _value(page: Any, code: int, default: Any) -> Any:
    tag = page.tags.get(code)
    return default if tag is None else tag.value


def _square(across: float, down: float) -> float | None:
    """The resolution of pixels that are as wide as high, which all but faxes are."""
    return float(across) if across == down and 0 < across < math.inf else None
