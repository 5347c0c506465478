"""What of a picture file goes to the translation beside its pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np

from diptych.data.caption import (
    Caption,
    Places,
    can_hold,
    missing,
    put_back,
    read_caption,
)
from diptych.data.decode import one_reason
from diptych.data.eight_bit import read_transparency
from diptych.data.pixels import PixelFormat, Pixels
from diptych.translation.scaling import scaled

SEEN_THROUGH = ("png", "webp", "tif")  # formats that hold transparency


@dataclass(frozen=True)
class Beside:
    """What goes from a picture's file to its translation's."""

    told: Caption  # what the picture's file says
    caption: Caption  # what the translation's will say
    missing: Places | None  # pixels of the picture of which nothing is known
    transparency: Pixels | None  # as a last channel of 8 bits

    def around(self, translation: Pixels, ending: str) -> Pixels:
        """What is to be written to a file of the format ``ending``."""
        if self.missing is not None and self.caption.no_data is not None:
            put_back(translation, self.missing, self.caption.no_data)
        if self.transparency is None or ending not in SEEN_THROUGH:
            return translation
        return np.concatenate([translation, self.transparency], axis=-1)


def beside(
    file: BinaryIO, picture: Pixels, source: PixelFormat, target: PixelFormat, size: int | None
) -> Beside:
    """What of a picture's file its translation gets; of one scaled to ``size`` hardly any.

    ``picture`` is what was read of it. Raises DamagedPictureError for a file that cannot be read.
    """
    told, alpha = read_caption(file), None
    eight = source.is_image and target.is_image
    if told.transparent and eight and not told.channels:  # (TIFF: only as a channel)
        with one_reason():
            alpha = read_transparency(file)
        alpha = None if alpha is None else scaled(alpha, size)
    no_data = told.no_data
    places = missing(picture, no_data)
    caption = told
    if size is not None:
        caption = Caption(transparent=told.transparent)
    elif places is None or no_data is None or not can_hold(target.dtype, no_data):
        caption = replace(told, no_data=None)
    return Beside(told, caption, places, alpha)
