"""Which size pictures are stored at, cropped to and shown at (the ``preprocess`` setting)."""

from __future__ import annotations

from collections.abc import Callable

from diptych.config import DataConfig
from diptych.data.pixels import Pixels, resize
from diptych.network_config import SMALLEST

LONGEST = 16  # times its width: a strip that is enlarged may always be that long
ENLARGED = 4  # times the file's own pixels: no cut where a picture takes no more than that
MOST_ENLARGED = 2**24  # pixels

Resize = Callable[[Pixels, int, int], Pixels]  # picture, width, height


def load_size(data: DataConfig) -> int:
    """The shorter side (or the width) before a random crop; 286 for crops of 256, as published."""
    return max(data.size, data.load_size or round(data.size * 286 / 256))


def crop_size(data: DataConfig, height: int, width: int, share: float) -> int:
    """Pixels a side of the crop of a stored picture that is shrunk to ``data.size``.

    With ``data.zoom`` pictures are stored larger. The largest crop (``share`` 1) is as much of the
    picture as without; the smallest (0) has ``data.size`` pixels; between them all ratios are
    equally likely.
    """
    closer = max(1.0, min(height, width) / load_size(data)) if data.zooms else 1.0
    side: int = round(data.size * closer**share)
    return min(side, height, width)


def kept_size(data: DataConfig, width: int, height: int) -> tuple[int, int]:
    """Width and height of the middle part of a picture that is trained on: nearly always all of it.

    Only a very long and thin picture, of which a crop needs a manifold enlargement, loses its
    ends: 1 x 5000 pixels at 286 times their size would take more than a gigabyte. Its longer side
    is cut to 16 times the shorter one, or to what takes 4 times the file's pixels, if that is more.
    """
    if data.preprocess in ("resize", "none"):
        return width, height
    short, scale = min(width, height), _scale(data, width, height)
    room = max(
        LONGEST * (short * scale) ** 2, min(ENLARGED * width * height, MOST_ENLARGED)
    )  # pixels after scaling
    if scale <= 1 or width * height * scale**2 <= room:
        return width, height
    long = max(short, int(room / (short * scale**2)))
    return (long, height) if width > height else (width, long)


def stored_size(data: DataConfig, width: int, height: int, multiple: int) -> tuple[int, int]:
    """Width and height at which a picture goes into the cache; crops are cut from that.

    ``width`` and ``height`` are those that were kept of it (``kept_size``).
    """
    if data.preprocess == "resize":
        return data.size, data.size
    if not data.one_size:
        return _to_multiple(width, multiple), _to_multiple(height, multiple)
    scale = _scale(data, width, height)
    return max(data.size, round(width * scale)), max(data.size, round(height * scale))


def _scale(data: DataConfig, width: int, height: int, zoom: float | None = None) -> float:
    scale = 1.0
    if data.preprocess == "resize-crop":
        scale = load_size(data) / min(width, height)
        if scale < 1:  # (there is nothing to see closer in what is enlarged)
            scale = min(1, (zoom or data.zoom) * scale)
    elif data.preprocess == "scale-width-crop":
        scale = load_size(data) / width
    return max(scale, data.size / min(width, height))  # a crop must fit in


def _to_multiple(length: int, multiple: int) -> int:
    return max(SMALLEST, multiple, round(length / multiple) * multiple)


def fit_for_training(picture: Pixels, data: DataConfig, multiple: int) -> Pixels:
    """A picture, or its kept middle, in its ``stored_size``; ``(H, W, C)``."""
    picture = _middle(picture, *kept_size(data, picture.shape[1], picture.shape[0]))
    height, width = picture.shape[:2]
    return resize(picture, *stored_size(data, width, height, multiple))


def fit_for_looking(
    picture: Pixels, data: DataConfig, multiple: int, resize: Resize = resize
) -> Pixels:
    """A held-out ``(H, W, C)`` picture as the networks were trained on such, without chance.

    With a crop: shorter side to ``size``, then the middle; or, where a ``load_size`` is given, as
    close as it looks in training (the usual one is so near to ``size`` that all can be shown).
    Otherwise as in training.
    """
    picture = _middle(picture, *kept_size(data, picture.shape[1], picture.shape[0]))
    height, width = picture.shape[:2]
    if data.preprocess in ("resize", "none"):
        return resize(picture, *stored_size(data, width, height, multiple))
    if data.preprocess == "crop" or data.load_size is not None:
        scale = _scale(data, width, height, zoom=1)
    else:
        scale = data.size / min(width, height)
    scaled = (max(data.size, round(length * scale)) for length in (width, height))
    return _middle(resize(picture, *scaled), data.size, data.size)


def _middle(picture: Pixels, width: int, height: int) -> Pixels:
    top = (picture.shape[0] - height) // 2
    left = (picture.shape[1] - width) // 2
    return picture[top : top + height, left : left + width]
