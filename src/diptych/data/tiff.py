"""TIFF files: the first page, upright, with its values as the file means them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from diptych.data.alpha import on_background
from diptych.data.eight_bit import ORIENTATION, oriented, read_image
from diptych.data.opening import (
    DamagedPictureError,
    DeepValuesError,
    check_size,
    kind_of,
    told_by,
)
from diptych.data.pixels import Pixels, check_grey, from_pil, to_pil, with_channels
from diptych.data.profile import as_srgb

PROFILE = 34675  # tag
# Those that say how pixels are stored: size, bits, compression, colours, parts, and the like.
OF_PIXELS = frozenset([
    256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 338, 339, 530,
])  # fmt: skip
CHANNELS_FIRST = ("SYX", "CYX")
AXES = ("YX", "YXS", "YXC", *CHANNELS_FIRST, "QYX")  # tifffile's names for what can be one picture


@dataclass(frozen=True)
class _Page:
    array: Pixels  # (H, W, C), any dtype
    bits: int  # that count, of each value
    colours: int  # channels that are no transparency or other extra
    alpha: bool  # the last channel is transparency ...
    premultiplied: bool  # ... that the colours were multiplied by
    profile: bytes | None  # of its colours

    def on(self, background: str) -> Pixels:
        return on_background(self.array, background, self.premultiplied, self.bits)


def read_tiff(file: BinaryIO, channels: int | None, background: str) -> Pixels:
    """``(H, W, C)`` in the file's own dtype, palettes as RGB, ink and Lab as 8-bit RGB.

    Transparency is laid on ``background`` unless ``channels`` counts it in.
    """
    page = _first_page(file, keep_ink=channels == 4)
    if page is None:
        return read_image(file, channels or 3, background, profiles=False)
    alpha = page.alpha and page.array.dtype.kind in "uf" and page.array.shape[2] != channels
    array = page.on(background) if alpha else page.array
    if channels == 1:
        check_grey(array, page.colours)
    return array


def read_tiff_as_8bit(file: BinaryIO, channels: int, background: str) -> Pixels:
    """uint8 ``(H, W, channels)``; of deeper integers the upper 8 bits.

    Raises DeepValuesError for signed, 32-bit and floating-point values, and for other channels.
    """
    page = _first_page(file, keep_ink=False)
    if page is None:
        return read_image(file, channels, background)
    if page.array.dtype not in (np.bool_, np.uint8, np.uint16):
        raise DeepValuesError(f"{page.array.dtype} values")
    array = page.on(background) if page.alpha else page.array
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    elif array.dtype == np.uint16:
        array = (array >> max(0, page.bits - 8)).astype(np.uint8)
    if array.shape[2] == page.colours + 1:  # a channel of unknown meaning
        array = array[..., : page.colours]
    if array.shape[2] == 3:
        array = from_pil(as_srgb(to_pil(np.ascontiguousarray(array)), page.profile))
    if array.shape[2] > 3:
        raise DeepValuesError(f"{array.shape[2]} channels")
    return with_channels(array, channels)


def read_tiff_transparency(file: BinaryIO) -> Pixels | None:
    """As ``read_transparency`` of other pictures; None also for floating-point values."""
    page = _first_page(file, keep_ink=False)
    if page is None or not page.alpha or page.array.dtype not in (np.uint8, np.uint16):
        return None
    last: Pixels = page.array[..., -1:]
    alpha: Pixels = (last >> max(0, page.bits - 8)).astype(np.uint8)
    return None if alpha.min() == 255 else alpha


def open_tiff(file: BinaryIO) -> Any:
    """tifffile's view of this file, and of no other that its OME metadata may name."""
    import tifffile

    return tifffile.TiffFile(file, _multifile=False)


def has_more_pages(path: Path) -> bool:
    """Whether a TIFF file holds more pictures than the one that is read from it."""

    def ask(file: BinaryIO) -> bool:
        if kind_of(file) != "tiff":
            return False
        with open_tiff(file) as tiff:
            whole = [page for page in tiff.pages if _is_whole(page.aspage())]
            return len(whole) > len(_pages(first_picture(tiff)))

    return told_by(path, ask, otherwise=False)


def _is_whole(page: Any) -> bool:
    """Whether a page is a picture, and no small view or mask of another."""
    return not page.is_reduced and not page.is_mask


def first_whole(tiff: Any) -> Any:
    """The first page that is a picture. (Some writers put a small view before it.)

    Raises DamagedPictureError if there is no page.
    """
    if not len(tiff.pages):
        raise DamagedPictureError("broken file")
    pages = (page.aspage() for page in tiff.pages)
    return next(filter(_is_whole, pages), tiff.pages[0].aspage())


def first_picture(tiff: Any) -> Any:
    """The first page or, where several are the channels of one picture, their series."""
    page, series = first_whole(tiff), tiff.series[0]
    return series if series.axes in AXES and page.index == 0 else page


def _pages(picture: Any) -> Sequence[Any]:
    """Of a page (whose own ``pages`` are other views of it) the page, of a series all."""
    import tifffile

    return picture.pages if isinstance(picture, tifffile.TiffPageSeries) else [picture]


def channels_of(picture: Any) -> int:
    """How many channels a page or series has."""
    if len(picture.shape) < 3:
        return 1
    return int(picture.shape[0 if _has_channels_first(picture) else -1])


def _has_channels_first(picture: Any) -> bool:
    if picture.axes == "QYX":  # of unknown meaning: the shorter end is the channels
        return bool(picture.shape[0] < picture.shape[2])
    return picture.axes in CHANNELS_FIRST


def _first_page(file: BinaryIO, keep_ink: bool) -> _Page | None:
    """None for colours that Pillow knows how to turn to RGB: inks, Lab, old forms of JPEG."""
    import tifffile

    photometric = tifffile.PHOTOMETRIC
    size = file.seek(0, 2)
    file.seek(0)
    with open_tiff(file) as tiff:
        page, source = first_whole(tiff), first_picture(tiff)
        _check_tags(page, file)
        if _is_for_pillow(page, keep_ink):
            return None
        if source.axes not in AXES:
            raise DamagedPictureError(f"it is no flat picture (its axes are {source.axes})")
        width, height = page.imagewidth, page.imagelength
        values = math.prod(source.shape) // max(1, width * height)
        check_size(width, height, values * (page.dtype or np.dtype(np.float64)).itemsize)
        for one in _pages(source):
            if one is not None:
                _check_parts(one, size)
        array = np.asarray(source.asarray(maxworkers=1))
        array = np.moveaxis(array, 0, -1) if _has_channels_first(source) else array
        array = array[..., None] if array.ndim == 2 else array
        bits, colours = page.bitspersample, 3 if page.photometric == photometric.RGB else 1
        if page.photometric == photometric.PALETTE:
            array, colours = _in_colour(array[..., 0], np.asarray(page.colormap)), 3
        elif page.photometric == photometric.MINISWHITE and array.dtype.kind in "bu":
            array = array.copy()
            ink = array[..., :colours]  # (what follows is transparency, if there is any)
            ink[:] = ~ink if array.dtype == np.bool_ else 2**bits - 1 - ink
        if array.dtype == np.uint8 and bits < 8 and colours == 1:
            array = array * np.uint8(255 // (2**bits - 1))
        extra = [int(sample) for sample in page.extrasamples]
        return _Page(
            oriented(array, page_orientation(page)), bits, colours,
            alpha=extra in ([1], [2]) and array.shape[2] == colours + 1, premultiplied=extra == [1],
            profile=tag.value if (tag := page.tags.get(PROFILE)) is not None else None,
        )  # fmt: skip


def _is_for_pillow(page: Any, keep_ink: bool) -> bool:
    import tifffile

    kind, names = page.photometric, tifffile.PHOTOMETRIC
    if kind == names.SEPARATED:
        return not keep_ink
    if kind == names.YCBCR:  # tifffile turns only JPEG into RGB
        return bool(page.compression != tifffile.COMPRESSION.JPEG)
    return kind in (names.CIELAB, names.ICCLAB, names.ITULAB)


def _check_tags(page: Any, file: BinaryIO) -> None:
    """Raise where one that says what pixels are cannot be read: tifffile goes on without it."""
    tiff = page.parent.tiff
    order: Literal["little", "big"] = "little" if tiff.byteorder == "<" else "big"
    file.seek(page.offset)
    count = int.from_bytes(file.read(tiff.tagnosize), order)
    entries = file.read(count * tiff.tagsize)
    starts = range(0, len(entries), tiff.tagsize)
    codes = {int.from_bytes(entries[start : start + 2], order) for start in starts}
    if missing := codes & OF_PIXELS - set(page.tags.keys()):
        raise DamagedPictureError(f"broken file: its tag {min(missing)} cannot be read")


def _check_parts(page: Any, size: int) -> None:
    """Raise unless all strips or tiles lie in the file: tifffile leaves black what is missing."""
    parts = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    # (Maps leave out parts of which nothing is known: there both numbers are 0.)
    may_be_empty = page.keyframe.is_geotiff or page.keyframe.is_gdal
    whole = all(count > 0 < offset or (offset == count and may_be_empty) for offset, count in parts)
    if not whole or math.prod(page.keyframe.chunked) > len(parts):
        raise DamagedPictureError("broken file: parts of the picture are missing")
    if max((int(offset) + int(count) for offset, count in parts), default=0) > size:
        raise DamagedPictureError("it is cut short: its end is missing")


def page_orientation(page: Any) -> int:
    """As EXIF's; 1 (upright) where it is missing or unreadable."""
    tag = page.tags.get(ORIENTATION)
    try:
        return int(tag.value) if tag is not None else 1
    except (TypeError, ValueError):  # it says nothing against the picture
        return 1


def _in_colour(places: Pixels, palette: Pixels) -> Pixels:
    """uint8 RGB of ``(H, W)`` places in a TIFF palette ``(3, K)``, which counts to 65535."""
    if places.dtype == np.bool_:  # (of one bit)
        places = places.view(np.uint8)
    colours = np.moveaxis(palette[:, places], 0, -1)
    # Some writers put 8-bit colours in as they are.
    return (colours >> 8 if palette.max() > 255 else colours).astype(np.uint8)
