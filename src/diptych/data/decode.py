"""One picture file in, one ``(H, W, C)`` array out; or a one-line reason why not."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError, features

from diptych.config import DomainConfig
from diptych.data.pixels import Pixels, from_pil
from diptych.errors import UsageError

SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".npy"]
    + ([".avif"] if features.check("avif") else [])
)
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
ORIENTATION = 0x0112  # EXIF tag


class DamagedPictureError(Exception):
    """This file cannot be read as a picture; the message is the reason, in a few words."""


def read_picture(path: Path, domain: DomainConfig, background: str = "white") -> Pixels:
    """Decode the file at ``path``: upright, on ``background``, with the channels asked for.

    Returns ``(H, W, C)``: uint8 for 8-bit reading; uint8, uint16 or float32 for native depth.
    Raises DamagedPictureError with the reason for anything that is not such a picture.
    """
    read: Callable[[], Pixels]
    if domain.depth == "8bit":
        read = lambda: _read_8bit(path, domain.channels or 3, background)  # noqa: E731
    else:
        read = lambda: _read_native(path, domain.channels, background)  # noqa: E731
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of oddities in files that decode all the same
            picture = read()
    except DamagedPictureError:
        raise
    except MemoryError:
        raise DamagedPictureError("too large for this machine's memory") from None
    except (Exception, Image.DecompressionBombError) as error:
        # Decoders raise nearly every exception there is on a broken file; each means the same.
        raise DamagedPictureError(_reason(error)) from error
    if picture.size == 0:
        raise DamagedPictureError("it has no pixels")
    if picture.dtype == np.float32 and not np.isfinite(picture).all():
        raise DamagedPictureError("it holds NaN or infinite values")
    return picture


def parse_background(colour: str) -> tuple[int, int, int]:
    """``white``, ``#ff8800`` ... as RGB. Raises UsageError."""
    try:
        rgb = ImageColor.getrgb(colour)
    except ValueError:
        raise UsageError(
            f"data.background {colour!r} is not a colour: try white or #ff8800"
        ) from None
    return rgb[0], rgb[1], rgb[2]


def _reason(error: BaseException) -> str:
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, UnidentifiedImageError):
        return "not a picture, or of an unknown format"
    if isinstance(error, struct.error | IndexError | SyntaxError | EOFError):
        return "broken file"
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _read_8bit(path: Path, channels: int, background: str) -> Pixels:
    if path.suffix.lower() == ".npy":
        array = _load_array(path)
        if array.dtype != np.uint8:
            raise DamagedPictureError(f"it holds {array.dtype} values: use --depth native")
        return _with_channels(array, channels)
    # (Opened here: Pillow turns some TIFF files wrongly when it opens them by name itself.)
    with open(path, "rb") as file, Image.open(file) as image:
        image.load()
        return from_image(image, channels, background)


def from_image(image: Image.Image, channels: int, background: str) -> Pixels:
    """A PIL image of any mode as uint8 ``(H, W, channels)``: upright, with 1 to 4 channels.

    With 1 or 3 channels transparent parts show ``background``; 2 and 4 keep the transparency as
    the last channel. Palettes and CMYK become RGB; of 16 bits the upper 8 are kept. Raises
    DamagedPictureError for 32-bit values and other numbers of channels.
    """
    if image.mode in ("F", "I"):
        raise DamagedPictureError("it holds values of 32 bits: use --depth native")
    if channels not in MODES:
        raise DamagedPictureError(f"it is an 8-bit picture and has no {channels} channels")
    if image.mode.startswith("I;16"):
        # Pillow would clip at 255, which gives white pictures.
        high_byte = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        orientation = image.getexif().get(ORIENTATION, 1)
        image = Image.fromarray(_oriented(high_byte, orientation))
    else:
        image = _upright(image)
    if image.has_transparency_data and channels in (1, 3):
        rgba = image.convert("RGBA")
        image = Image.new("RGBA", rgba.size, background)
        image.alpha_composite(rgba)
    if channels == 2:  # Pillow knows no way to it from colour
        rgba = image.convert("RGBA")
        image = Image.merge("LA", (rgba.convert("L"), rgba.getchannel("A")))
    return from_pil(image.convert(MODES[channels]))


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # unreadable EXIF data says nothing against the picture
        return image.copy()


def _read_native(path: Path, channels: int | None, background: str) -> Pixels:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        array = _load_array(path)
    elif suffix in (".tif", ".tiff"):
        array = _read_tiff(path, channels, background)
    elif suffix == ".png":
        array = _read_png(path, channels, background)
    else:  # the other formats are 8-bit
        return _read_8bit(path, channels or 3, background)
    picture = _standard_dtype(array)
    return picture if channels is None else _with_channels(picture, channels)


def _load_array(path: Path) -> np.ndarray[Any, Any]:
    """A ``.npy`` array of shape (H, W) or (H, W, C). Pickled objects are refused."""
    array = np.load(path, allow_pickle=False)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3:
        raise DamagedPictureError(f"its shape {array.shape} is neither (H, W) nor (H, W, C)")
    return np.asarray(array)


def _read_tiff(path: Path, channels: int | None, background: str) -> np.ndarray[Any, Any]:
    import tifffile

    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        axes = series.axes
        tag = file.pages[0].tags.get(ORIENTATION)
        orientation = int(tag.value) if tag is not None else 1
        if axes in ("YX", "YXS", "YXC"):
            array = series.asarray()
        elif axes in ("SYX", "CYX"):  # channel by channel
            array = np.moveaxis(series.asarray(), 0, -1)
        elif axes == "QYX":  # three dimensions of unknown meaning: the shorter end is channels
            array = series.asarray()
            if array.shape[0] < array.shape[2]:
                array = np.moveaxis(array, 0, -1)
        else:  # several pages: the first, as for any picture
            array = np.asarray(file.pages[0].asarray())
        page = file.pages[0]
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
            array = _in_colour(array, np.asarray(page.colormap))
        elif page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and array.dtype.kind in "bu":
            array = ~array
        has_alpha = any(int(sample) in (1, 2) for sample in page.extrasamples)
    array = array[..., None] if array.ndim == 2 else array
    if has_alpha and array.dtype.kind in "uf" and array.shape[2] in (2, 4):
        array = array if array.shape[2] == channels else _on_background(array, background)
    return _oriented(array, orientation)


def _in_colour(places: np.ndarray[Any, Any], palette: np.ndarray[Any, Any]) -> Pixels:
    """uint8 RGB of ``(H, W)`` places in a TIFF palette ``(3, K)``, which counts to 65535."""
    colours = np.moveaxis(palette[:, places], 0, -1)
    # Some writers put 8-bit colours in as they are.
    return (colours >> 8 if palette.max() > 255 else colours).astype(np.uint8)


def _read_png(path: Path, channels: int | None, background: str) -> np.ndarray[Any, Any]:
    import imagecodecs

    with Image.open(path) as image:  # Pillow reads 16-bit colour as 8-bit, but knows the rest
        bits = path.read_bytes()[24] if image.format == "PNG" else 8
        orientation = image.getexif().get(ORIENTATION, 1)
        if bits != 16:
            return _read_8bit(
                path, channels or (1 if image.mode in ("1", "L", "LA") else 3), background
            )
    array = np.asarray(imagecodecs.png_decode(path.read_bytes()))
    array = array[..., None] if array.ndim == 2 else array
    if array.shape[2] in (2, 4) and array.shape[2] != channels:
        array = _on_background(array, background)
    return _oriented(array, orientation)


def _on_background(array: np.ndarray[Any, Any], background: str) -> np.ndarray[Any, Any]:
    """Grey or colour with alpha in the last channel, laid onto ``background``; dtype is kept."""
    full = np.iinfo(array.dtype).max if array.dtype.kind == "u" else 1.0
    rgb = np.array(parse_background(background), np.float64) / 255 * full
    behind: Pixels = rgb if array.shape[2] == 4 else rgb @ LUMINANCE
    alpha = array[..., -1:] / full
    mixed: Pixels = array[..., :-1] * alpha + behind * (1 - alpha)
    return (mixed if array.dtype.kind == "f" else np.rint(mixed)).astype(array.dtype)


def _oriented(array: np.ndarray[Any, Any], orientation: int) -> np.ndarray[Any, Any]:
    """Turn and mirror an ``(H, W, C)`` array as EXIF orientation 1 to 8 says."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)


def _standard_dtype(array: np.ndarray[Any, Any]) -> Pixels:
    """uint8, uint16 and float32 stay; bits become 0 and 255; all other numbers float32."""
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    if array.dtype.kind not in "uif":
        raise DamagedPictureError(f"it holds {array.dtype} values, not numbers")
    native = array.astype(array.dtype.newbyteorder("="))
    return native if native.dtype in (np.uint8, np.uint16) else native.astype(np.float32)


LUMINANCE = np.array([0.299, 0.587, 0.114])  # ITU-R 601-2, as Pillow's mode L


def _with_channels(picture: Pixels, channels: int) -> Pixels:
    have = picture.shape[2]
    if have == channels:
        return picture
    if have == 1:
        return np.repeat(picture, channels, axis=2)
    if channels == 1 and have == 3:
        grey: Pixels = (picture.astype(np.float64) @ LUMINANCE)[..., None]
        return (grey if picture.dtype == np.float32 else grey.round()).astype(picture.dtype)
    raise DamagedPictureError(f"it has {have} channels, not {channels}")
