"""What of a picture file goes to the translation beside its pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np

from diptych.data.alpha import off_background
from diptych.data.caption import Caption, read_caption
from diptych.data.decode import one_reason
from diptych.data.eight_bit import read_transparency
from diptych.data.gaps import Gaps, can_hold
from diptych.data.pixels import Pixels
from diptych.data.tiff import read_tiff_transparency
from diptych.model_file import ModelInfo, Side
from diptych.translation.scaling import scaled

SEEN_THROUGH = ("png", "webp", "tif")  # formats that hold transparency


@dataclass(frozen=True)
class Beside:
    """What goes from a picture's file to its translation's."""

    told: Caption  # what the picture's file says
    caption: Caption  # what the translation's will say
    gaps: Gaps | None  # what was filled of the picture
    transparency: Pixels | None  # as a last channel of 8 bits
    background: str  # that the network saw behind it

    def around(self, translation: Pixels, ending: str) -> Pixels:
        """What is to be written to a file of the format ``ending``."""
        alpha = self.transparency if ending in SEEN_THROUGH else None
        if alpha is not None:
            translation = off_background(translation, alpha, self.background)
        if self.gaps is not None and self.caption.no_data is not None:
            translation = translation.copy()
            self.gaps.put_back(translation)
        return translation if alpha is None else np.concatenate([translation, alpha], axis=-1)


def beside(
    file: BinaryIO, gaps: Gaps | None, info: ModelInfo, to: Side, size: int | None
) -> Beside:
    """What of a picture's file its translation gets; of one scaled to ``size`` hardly any.

    ``gaps``: what was filled when it was read. Raises DamagedPictureError for a file that cannot
    be read.
    """
    source, target = info.formats(to)
    told, alpha = read_caption(file), None
    if told.transparent and source.is_image and target.is_image:
        with one_reason():
            in_tiff = bool(told.channels)
            alpha = read_tiff_transparency(file) if in_tiff else read_transparency(file)
        alpha = None if alpha is None else scaled(alpha, size)
    if size is not None:
        caption = Caption(transparent=told.transparent)
    else:
        held = gaps is not None and can_hold(target.dtype, gaps.value)
        caption = replace(told, no_data=gaps.value if gaps is not None and held else None)
    return Beside(told, caption, gaps, alpha, info.background)
