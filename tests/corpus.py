"""What the corpus is made of: a file's bytes, and what reading it must give.

Expectations are computed from the arrays that went into a file, never by the reader under test.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

Array = np.ndarray[Any, Any]


LOSSY = 6.0  # mean difference of a lossy copy of ``slope()``


@dataclass(frozen=True)
class Right:
    """The file is read, with these values; lossy formats differ by ``within`` on average."""

    pixels: Array  # (H, W, C)
    within: float = 0.0


@dataclass(frozen=True)
class Refused:
    """The file is skipped, with a reason that this pattern is found in."""

    reason: str


@dataclass(frozen=True)
class WholeOrRefused:
    """Some of the file is missing: what is read must be what the whole file gives, or nothing."""

    whole: Right


Outcome = Right | Refused | WholeOrRefused


@dataclass(frozen=True)
class Case:
    """One file, and the outcomes of reading it at 8 bits (3 channels) and at native depth."""

    name: str
    content: bytes
    eight: Outcome
    native: Outcome


def slope(height: int = 24, width: int = 36) -> Array:
    """Smooth RGB, different in all four corners, so that lossy formats keep it closely."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = x * (240 / width), y * (240 / height)
    return np.stack([red, green, 255 - red / 2 - green / 2], -1).astype(np.uint8)


def rough(height: int = 24, width: int = 36) -> Array:
    """Noise: no format can make it small, so every tenth of a file holds some of the picture."""
    return np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)


def grey(rgb: Array) -> Array:
    """ITU-R 601-2 luminance, (H, W)."""
    return np.asarray((rgb @ np.array([0.299, 0.587, 0.114])).round(), np.uint8)


def deep(channels: int) -> Array:
    """uint16 noise, (24, 36, channels)."""
    return np.random.default_rng(channels).integers(0, 65536, (24, 36, channels)).astype(np.uint16)


def three(one: Array) -> Array:
    """A grey (H, W) or (H, W, 1) array as (H, W, 3)."""
    plane = one if one.ndim == 2 else one[..., 0]
    return np.stack([plane] * 3, -1)


def column(one: Array) -> Array:
    """(H, W) as (H, W, 1)."""
    return one[..., None]


def pil(picture: Array | Image.Image, form: str, **options: Any) -> bytes:
    """Encoded by Pillow."""
    out = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(out, form, **options)
    return out.getvalue()


def heic(picture: Array | Image.Image, **options: Any) -> bytes:
    """Encoded by x265."""
    from pillow_heif import from_pillow

    out = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    from_pillow(image).save(out, **options)
    return out.getvalue()


def tif(array: Array, **options: Any) -> bytes:
    """Encoded by tifffile."""
    out = io.BytesIO()
    tifffile.imwrite(out, array, **options)
    return out.getvalue()


def npy(array: Array) -> bytes:
    """Encoded by NumPy."""
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def png(array: Array) -> bytes:
    """Encoded by imagecodecs, which writes 16-bit colour too."""
    return bytes(imagecodecs.png_encode(array))


def moving(form: str, first: Array, **options: Any) -> bytes:
    """An animation or a file of several pages that begins with ``first``."""
    others = [Image.fromarray(255 - first), Image.fromarray(first // 2)]
    return pil(first, form, save_all=True, append_images=others, **options)


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    import zlib

    checksum = zlib.crc32(kind + data).to_bytes(4, "big")
    return len(data).to_bytes(4, "big") + kind + data + checksum


def same(name: str, content: bytes, pixels: Array, within: float = 0.0) -> Case:
    """Read alike at 8 bits and at native depth."""
    return Case(name, content, Right(pixels, within), Right(pixels, within))


def on_white(rgba: Array) -> Array:
    """RGBA of fully clear and fully solid pixels, laid on white."""
    return np.where(rgba[..., 3:] == 255, rgba[..., :3], np.uint8(255))


def holes(rgb: Array) -> Array:
    """RGBA with every third column clear."""
    alpha = np.full(rgb.shape[:2], 255, np.uint8)
    alpha[:, ::3] = 0
    return np.dstack([rgb, alpha])


def few_colours() -> tuple[Array, Array]:
    """Places (24, 36) in a palette of four colours, and the colours (4, 3)."""
    colours = np.array([(9, 8, 7), (200, 30, 30), (30, 200, 30), (250, 250, 0)], np.uint8)
    return np.random.default_rng(1).integers(0, 4, (24, 36)).astype(np.uint8), colours


def only_native(name: str, content: bytes, pixels: Array, reason: str = "--depth native") -> Case:
    return Case(name, content, Refused(reason), Right(pixels))
