"""How large a picture is, told by its header alone."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from diptych.data.eight_bit import open_image
from diptych.data.native import array_header
from diptych.data.opening import kind_of, told_by
from diptych.data.tiff import first_whole, open_tiff


def picture_size(file: BinaryIO) -> tuple[int, int]:
    """Width and height of the first picture in the file, as stored (it may lie on its side).

    Raises whatever the decoders raise for a file that is no picture.
    """
    kind = kind_of(file)
    if kind == "npy":
        shape, _ = array_header(file)
        return shape[1], shape[0]
    if kind == "tiff":
        return _tiff_size(file)
    with open_image(file) as image:
        return image.size


def pixels_of(path: Path) -> int:
    """How many pixels the picture at ``path`` has; 0 if its header does not say."""
    width, height = told_by(path, picture_size, otherwise=(0, 0))
    return width * height


def _tiff_size(file: BinaryIO) -> tuple[int, int]:
    with open_tiff(file) as tiff:
        page = first_whole(tiff)
        return page.imagewidth, page.imagelength
