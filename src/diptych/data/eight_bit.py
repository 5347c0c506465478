"""Pictures of 8 bits, read by Pillow: any mode, upright, on a background, as grey or RGB."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from diptych.data.alpha import parse_background
from diptych.data.heic import have_pillow_read_heic, is_avif, is_heic
from diptych.data.opening import (
    AVIF,
    DamagedPictureError,
    DeepValuesError,
    check_size,
    is_whole_jpeg,
)
from diptych.data.pixels import Pixels, from_pil
from diptych.data.profile import as_srgb

# Not all that Pillow knows: it would hand PostScript to another program, for one.
FORMATS = ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", *AVIF]
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
ORIENTATION = 0x0112  # EXIF tag
PIXELS_AT_ONCE = 2**24


def read_image(file: BinaryIO, channels: int, background: str, profiles: bool = True) -> Pixels:
    """Decode a file with Pillow: uint8 ``(H, W, channels)``, as ``from_image`` makes it."""
    with open_image(file) as image:
        if image.format in ("JPEG", "MPO"):
            file.seek(0)
            if not is_whole_jpeg(file.read()):
                raise DamagedPictureError("it is cut short: its end is missing")
        image.load()
        return from_image(image, channels, background, profiles)


def open_image(file: BinaryIO) -> Image.Image:
    """Read a file's header with Pillow. Raises DamagedPictureError if it is far too large."""
    heic = is_heic(file)
    if heic:
        have_pillow_read_heic()
    try:
        image = Image.open(file, formats=["HEIF"] if heic else FORMATS)
    except UnidentifiedImageError:
        if heic or is_avif(file):  # (whose decoders say no more)
            name = "HEIC" if heic else "AVIF"
            raise DamagedPictureError(f"it is {name}, cut short or damaged") from None
        raise
    # (Pillow has this limit as well, but a program may have lifted it.)
    check_size(*image.size, bytes_a_pixel=4)
    return image


def read_transparency(file: BinaryIO) -> Pixels | None:
    """uint8 ``(H, W, 1)``, 0 where nothing is seen; None for a picture that is opaque all over."""
    alpha: Pixels = read_image(file, 2, "white")[..., 1:]
    return None if alpha.min() == 255 else alpha


def from_image(image: Image.Image, channels: int, background: str, profiles: bool = True) -> Pixels:
    """A PIL image of any mode as uint8 ``(H, W, channels)``: upright, with 1 to 4 channels.

    With 1 or 3 channels transparent parts show ``background``; 2 and 4 keep the transparency as
    the last channel. Palettes and CMYK become RGB; of 16 bits the upper 8 are kept. With
    ``profiles`` colours become those of sRGB, as a picture's own profile says; else they stay as
    they are stored. Raises DamagedPictureError for 32-bit values and other numbers of channels.
    """
    if image.mode in ("F", "I"):
        raise DeepValuesError("values of 32 bits")
    if channels not in MODES:
        raise DamagedPictureError(f"it is an 8-bit picture and has no {channels} channels")
    if image.mode.startswith("I;16"):
        # Pillow would clip at 255, which gives white pictures.
        deep, clear = np.asarray(image).astype(np.uint16), image.info.get("transparency")
        planes = (deep >> 8).astype(np.uint8)
        if isinstance(clear, int):  # a value that is to be seen through
            planes = np.dstack([planes, np.where(deep == clear, 0, 255).astype(np.uint8)])
        image = Image.fromarray(oriented(planes, orientation_of(image)))
    else:
        image = _upright(image)
    profile = image.info.get("icc_profile") if profiles else None
    # In strips, because every step makes a copy: the largest pictures would fill the memory.
    rows = max(1, PIXELS_AT_ONCE // max(1, image.width))
    picture = np.empty((image.height, image.width, channels), np.uint8)
    for top in range(0, image.height, rows):
        bottom = min(image.height, top + rows)
        strip = image if rows >= image.height else image.crop((0, top, image.width, bottom))
        picture[top:bottom] = _strip(as_srgb(strip, profile), channels, background)
    return picture


def _strip(image: Image.Image, channels: int, background: str) -> Pixels:
    if image.has_transparency_data and channels in (1, 3):
        rgba = _as(image, "RGBA")
        image = Image.new("RGBA", rgba.size, (*parse_background(background), 255))
        image.alpha_composite(rgba)
    if channels == 2:  # Pillow knows no way to it from colour
        rgba = _as(image, "RGBA")
        image = Image.merge("LA", (rgba.convert("L"), rgba.getchannel("A")))
    return from_pil(_as(image, MODES[channels]))


def _as(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)  # (which would copy it)


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation; 1 (upright) where it is missing or unreadable."""
    try:
        return int(exif_of(image).get(ORIENTATION, 1))
    except (TypeError, ValueError):
        return 1


def exif_of(image: Image.Image) -> Mapping[int, Any]:
    """EXIF data by tag; none where it is broken, which says nothing against the picture."""
    try:
        return image.getexif()
    except Exception:  # (decoders raise nearly every exception there is)
        return {}


def _upright(image: Image.Image) -> Image.Image:
    # (Asked first, because Pillow copies even what is upright: large pictures fill the memory.)
    if orientation_of(image) == 1:
        return image
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # as above
        return image


def oriented(array: Pixels, orientation: int) -> Pixels:
    """Turn and mirror an ``(H, W, ...)`` array as EXIF orientation 1 to 8 says."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)
