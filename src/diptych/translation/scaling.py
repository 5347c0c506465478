"""Pictures scaled to the size that a person asks for."""

from __future__ import annotations

from numbers import Integral

import torch.nn.functional as F
from torch import Tensor

from diptych.data.opening import MOST_PIXELS, TooLargeError
from diptych.data.pixels import Pixels, resize
from diptych.errors import UsageError


def scaled(picture: Pixels, size: int | None) -> Pixels:
    """The picture with its shorter side scaled to ``size`` pixels; unchanged for None.

    Raises as ``allowed_shape``.
    """
    height, width = allowed_shape(picture.shape[0], picture.shape[1], size)
    return resize(picture, width, height)


def scaled_tensor(x: Tensor, shape: tuple[int, int]) -> Tensor:
    """An ``(N, C, H, W)`` batch with ``shape`` rows and columns, bicubic and antialiased."""
    there = x.cpu() if x.device.type == "mps" else x  # (which PyTorch can from 2.8 on only)
    return F.interpolate(there, shape, mode="bicubic", antialias=True).to(x.device)


def allowed_shape(height: int, width: int, size: int | None) -> tuple[int, int]:
    """``scaled_shape``, where that is not too much.

    Raises TooLargeError where scaling makes more pixels than a file may have.
    """
    rows, columns = scaled_shape(height, width, size)
    if size is not None and rows * columns > MOST_PIXELS:
        raise TooLargeError(
            f"size {size} makes it {columns} x {rows} pixels, too many: give a smaller one"
        )
    return rows, columns


def scaled_shape(height: int, width: int, size: int | None) -> tuple[int, int]:
    """Height and width, the shorter one scaled to ``size`` pixels; unchanged for None.

    Raises UsageError for a size that is no whole number of 1 or more, or more than any picture's.
    """
    if size is None:
        return height, width
    if not isinstance(size, Integral) or isinstance(size, bool) or not 1 <= size <= MOST_PIXELS:
        raise UsageError(f"size {size!r}: give a number of pixels, 1 or more")
    factor = size / min(height, width)
    return max(1, round(height * factor)), max(1, round(width * factor))
