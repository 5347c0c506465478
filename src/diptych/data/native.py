"""Pictures in their own depth: 16-bit PNG, TIFF and ``.npy`` as they were stored."""

from __future__ import annotations

import math
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy_format

from diptych.data.alpha import on_background
from diptych.data.eight_bit import open_image, orientation_of, oriented, read_image
from diptych.data.opening import DamagedPictureError, check_size, kind_of
from diptych.data.pixels import Pixels, check_grey, with_channels
from diptych.data.tiff import read_tiff


def read_native(file: BinaryIO, channels: int | None, background: str) -> Pixels:
    """``(H, W, C)``: uint8, uint16 or float32. Formats that have only 8 bits come as uint8."""
    kind = kind_of(file)
    if kind == "npy":
        array = load_array(file)
        if channels == 1:
            check_grey(array, colours=1)
    elif kind == "tiff":
        array = read_tiff(file, channels, background)
    elif kind == "png":
        array = _read_png(file, channels, background)
    else:
        return read_image(file, channels or _own_channels(file), background, profiles=False)
    picture = _standard_dtype(array)
    return picture if channels is None else with_channels(picture, channels)


def load_array(file: BinaryIO) -> Pixels:
    """A ``.npy`` array of shape (H, W) or (H, W, C), any dtype. Pickled objects are refused."""
    shape, dtype = array_header(file)
    here, size = file.tell(), file.seek(0, 2)
    if math.prod(shape) * dtype.itemsize > size - here:
        raise DamagedPictureError("it is cut short: its end is missing")
    file.seek(0)
    array: Pixels = np.load(file, allow_pickle=False)
    return array[..., None] if array.ndim == 2 else array


def array_header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of a ``.npy`` file, which is left where its values begin."""
    version = npy_format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise DamagedPictureError(f"it is of the unknown .npy version {version[0]}.{version[1]}")
    read_header = (
        npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
    )
    shape, _, dtype = read_header(file)
    if dtype.hasobject:
        raise DamagedPictureError("it holds Python objects, not numbers")
    if len(shape) not in (2, 3):
        raise DamagedPictureError(f"its shape {shape} is neither (H, W) nor (H, W, C)")
    if len(shape) == 3 and shape[0] <= 4 < min(shape[1:]):
        raise DamagedPictureError(f"its shape {shape} seems to be (C, H, W): save it as (H, W, C)")
    check_size(shape[1], shape[0], math.prod(shape[2:]) * dtype.itemsize)
    return shape, dtype


def _read_png(file: BinaryIO, channels: int | None, background: str) -> Pixels:
    import imagecodecs

    image = open_image(file)  # Pillow reads 16-bit colour as 8-bit, but knows the rest
    file.seek(24)
    bits = file.read(1)[0]
    if bits != 16:
        return read_image(file, channels or _own_channels(file), background, profiles=False)
    file.seek(0)
    array = np.asarray(imagecodecs.png_decode(_pixels_only(file.read())))
    array = array[..., None] if array.ndim == 2 else array
    if array.shape[2] in (2, 4) and array.shape[2] != channels:
        array = on_background(array, background)
    return oriented(array, orientation_of(image))


def _own_channels(file: BinaryIO) -> int:
    """Those of a file that Pillow reads; transparency does not count."""
    return 1 if open_image(file).mode in ("1", "L", "LA") else 3


def _pixels_only(png: bytes) -> bytes:
    """A PNG file without its remarks: libpng writes to the terminal about those it dislikes."""
    parts, place = [png[:8]], 8
    while place + 8 <= len(png):
        end = place + 12 + int.from_bytes(png[place : place + 4], "big")
        if png[place + 4 : place + 8] in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            parts.append(png[place:end])
        place = end
    return b"".join(parts)


def _standard_dtype(array: Pixels) -> Pixels:
    """uint8, uint16 and float32 stay; bits become 0 and 255; all other numbers float32."""
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    if array.dtype.kind not in "uif":
        raise DamagedPictureError(f"it holds {array.dtype} values, not numbers")
    native = array.astype(array.dtype.newbyteorder("="))
    if native.dtype in (np.uint8, np.uint16):
        return native
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
        return native.astype(np.float32)
