"""What of a picture file goes to the translation besides its pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np

from diptych.data.alpha import off_background
from diptych.data.decode import one_reason
from diptych.data.eight_bit import read_transparency
from diptych.data.metadata import Metadata, read_metadata
from diptych.data.missing import MissingPixels, can_hold
from diptych.data.opening import kind_of
from diptych.data.pixels import Pixels
from diptych.data.tiff import read_tiff_transparency
from diptych.model_file import ModelInfo
from diptych.sides import Side
from diptych.translation.scaling import scaled

SEEN_THROUGH = ("png", "webp", "tif")  # formats that hold transparency


@dataclass(frozen=True)
class Extras:
    """What goes from a picture's file to its translation's."""

    told: Metadata  # by the picture's file
    to_tell: Metadata  # by the translation's
    missing: MissingPixels | None  # what was filled of the picture
    transparency: Pixels | None  # as a last channel of 8 bits
    background: str  # that the network saw behind it

    def added_to(self, translation: Pixels, ending: str) -> Pixels:
        """What is to be written to a file of the format ``ending``."""
        alpha = self.transparency if ending in SEEN_THROUGH else None
        if alpha is not None:
            translation = off_background(translation, alpha, self.background)
        if self.missing is not None and self.to_tell.no_data is not None:
            translation = translation.copy()
            self.missing.put_back(translation)
        return translation if alpha is None else np.concatenate([translation, alpha], axis=-1)


def extras_of(
    file: BinaryIO, missing: MissingPixels | None, info: ModelInfo, to: Side, size: int | None
) -> Extras:
    """What of a picture's file its translation gets; of one scaled to ``size`` hardly any.

    ``missing``: what was filled when it was read. Raises DamagedPictureError for a file that cannot
    be read.
    """
    source, target = info.formats(to)
    told, alpha = read_metadata(file), None
    if told.transparent and source.is_image and target.is_image:
        with one_reason():
            in_tiff = kind_of(file) == "tiff"
            alpha = read_tiff_transparency(file) if in_tiff else read_transparency(file)
        alpha = None if alpha is None else scaled(alpha, size)
    if size is not None:
        metadata = Metadata(transparent=told.transparent)
    else:
        held = missing is not None and can_hold(target.dtype, missing.value)
        metadata = replace(told, no_data=missing.value if missing is not None and held else None)
    return Extras(told, metadata, missing, alpha, info.background)
