"""Which size pictures are stored at, cropped to and shown at (the ``preprocess`` setting)."""

from __future__ import annotations

from collections.abc import Callable

from diptych.config import DataConfig
from diptych.data.pixels import Pixels, resize

# Makes one decoded picture ready for the cache.
Fit = Callable[[Pixels], Pixels]


def load_size(data: DataConfig) -> int:
    """The shorter side (or the width) before a random crop; 286 for crops of 256, as published."""
    return max(data.size, data.load_size or round(data.size * 286 / 256))


def stored_size(data: DataConfig, width: int, height: int, multiple: int) -> tuple[int, int]:
    """Width and height at which a picture goes into the cache; crops are cut from that."""
    if data.preprocess == "resize":
        return data.size, data.size
    if data.preprocess == "none":
        return _to_multiple(width, multiple), _to_multiple(height, multiple)
    scale = 1.0
    if data.preprocess == "resize-crop":
        scale = load_size(data) / min(width, height)
    elif data.preprocess == "scale-width-crop":
        scale = load_size(data) / width
    scale = max(scale, data.size / min(width, height))  # a crop must fit in
    return max(data.size, round(width * scale)), max(data.size, round(height * scale))


def _to_multiple(length: int, multiple: int) -> int:
    return max(16, multiple, round(length / multiple) * multiple)


def fit_for_training(data: DataConfig, multiple: int) -> Fit:
    """A function that brings a picture to its ``stored_size``."""

    def fit(picture: Pixels) -> Pixels:
        height, width = picture.shape[:2]
        return resize(picture, *stored_size(data, width, height, multiple))

    return fit


def fit_for_looking(data: DataConfig, multiple: int) -> Fit:
    """A function that brings a held-out picture to what the network was trained on, no chance.

    With a crop: shorter side to ``size``, then the middle; otherwise as in training.
    """

    def fit(picture: Pixels) -> Pixels:
        height, width = picture.shape[:2]
        if data.preprocess in ("resize", "none"):
            return resize(picture, *stored_size(data, width, height, multiple))
        if data.preprocess != "crop":
            scale = data.size / min(width, height)
        else:
            scale = max(1.0, data.size / min(width, height))
        picture = resize(
            picture, max(data.size, round(width * scale)), max(data.size, round(height * scale))
        )
        top = (picture.shape[0] - data.size) // 2
        left = (picture.shape[1] - data.size) // 2
        return picture[top : top + data.size, left : left + data.size]

    return fit
