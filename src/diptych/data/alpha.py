"""Transparent pictures of any depth, laid onto a colour."""

from __future__ import annotations

import numpy as np
from PIL import ImageColor

from diptych.data.missing import MissingPixels
from diptych.data.pixels import LUMINANCE, Pixels
from diptych.errors import UsageError

ROWS_AT_ONCE = 256  # (the arithmetic takes 8 bytes a value)


def parse_background(colour: str) -> tuple[int, int, int]:
    """``white``, ``#ff8800`` ... as RGB. Raises UsageError."""
    try:
        rgb = ImageColor.getrgb(colour)
    except ValueError:
        raise UsageError(
            f"data.background {colour!r} is not a colour: try white or #ff8800"
        ) from None
    return rgb[0], rgb[1], rgb[2]


def off_background(mixed: Pixels, alpha: Pixels, background: str) -> Pixels:
    """uint8 ``(H, W, 1 or 3)`` that ``on_background`` has mixed, as the colours without it.

    ``alpha``: uint8 ``(H, W, 1)``. What cannot be seen is like what can be next to it, so that no
    edge gets a fringe where a picture is scaled.
    """
    colour = np.array(parse_background(background), np.float64)
    behind = colour if mixed.shape[2] == 3 else colour @ LUMINANCE
    alone = np.empty_like(mixed)
    for top in range(0, len(mixed), ROWS_AT_ONCE):
        rows = slice(top, top + ROWS_AT_ONCE)
        seen = np.maximum(alpha[rows], 1) / 255
        colours = (mixed[rows] - behind * (1 - seen)) / seen
        alone[rows] = np.rint(colours).clip(0, 255)
    hidden = alpha[..., 0] == 0
    return MissingPixels(hidden, 0).filled(alone) if hidden.any() else alone


def on_background(
    array: Pixels, background: str, premultiplied: bool = False, bits: int | None = None
) -> Pixels:
    """``(H, W, 2 or 4)`` with alpha in the last channel as ``(H, W, 1 or 3)``; dtype is kept.

    Alpha and colours span 0 to 1 for floats, else as many ``bits`` as count, by default the dtype's
    own. ``premultiplied``: the colours were already multiplied by alpha.
    """
    whole_number = array.dtype.kind == "u"
    full = float(2 ** (bits or 8 * array.dtype.itemsize) - 1) if whole_number else 1.0
    rgb = np.array(parse_background(background), np.float64) / 255 * full
    behind: Pixels = rgb if array.shape[2] == 4 else rgb @ LUMINANCE
    mixed = np.empty((*array.shape[:2], array.shape[2] - 1), array.dtype)
    for top in range(0, len(array), ROWS_AT_ONCE):
        rows = array[top : top + ROWS_AT_ONCE].astype(np.float64)
        alpha = rows[..., -1:] / full
        colours = rows[..., :-1] if premultiplied else rows[..., :-1] * alpha
        colours = colours + behind * (1 - alpha)
        mixed[top : top + ROWS_AT_ONCE] = (
            np.rint(colours).clip(0, full) if whole_number else colours
        )
    return mixed
