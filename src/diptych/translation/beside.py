"""What belongs to a picture beside its pixels, and what a person should know of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from diptych.config import DomainConfig
from diptych.data.caption import (
    Caption,
    Places,
    can_hold,
    caption_of,
    missing,
    put_back,
    read_caption,
)
from diptych.data.decode import one_reason, read_picture
from diptych.data.eight_bit import read_transparency
from diptych.data.opening import DamagedPictureError, is_animated
from diptych.data.pixels import DIM, PixelFormat, Pixels
from diptych.data.tiff import has_more_pages
from diptych.translation.clip_names import UNPLAYED
from diptych.translation.jobs import Job
from diptych.translation.scaling import scaled
from diptych.translation.writing import format_of

SEEN_THROUGH = ("png", "webp", "tif")  # formats that hold transparency


@dataclass(frozen=True)
class Remark:
    """``about`` names what many pictures of a folder may have in common."""

    about: Literal[
        "values", "darkness", "georeference", "no data", "pages", "frames", "transparency"
    ]
    said: str


@dataclass(frozen=True)
class Beside:
    """What goes from a picture's file to its translation's."""

    caption: Caption
    missing: Places | None = None  # pixels of which nothing is known
    transparency: Pixels | None = None  # as a last channel of 8 bits

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
    caption, alpha = read_caption(file), None
    eight = source.is_image and target.is_image
    if caption.transparent and eight and not caption.channels:  # (TIFF: only as a channel)
        with one_reason():
            alpha = read_transparency(file)
        alpha = None if alpha is None else scaled(alpha, size)
    if size is not None:
        return Beside(Caption(transparent=caption.transparent), None, alpha)
    no_data = caption.no_data
    if no_data is None or not can_hold(target.dtype, no_data):
        return Beside(replace(caption, no_data=None), None, alpha)
    places = missing(picture, no_data)
    return Beside(replace(caption, no_data=None if places is None else no_data), places, alpha)


def remarks(
    job: Job,
    picture: Pixels,
    own: Beside,
    source: PixelFormat,
    target: PixelFormat,
    size: int | None,
) -> tuple[Remark, ...]:
    """What a person should know of ``picture``, as it was read from the job's source."""
    found, caption = list[Remark](), caption_of(job.source)
    places = missing(picture, caption.no_data)
    known = picture if places is None or places.all() else picture[~places]
    if said := source.remark(known):
        found.append(Remark("values", said))
    elif said := _too_dark(job.source, picture, source):
        found.append(Remark("darkness", said))
    if is_animated(job.source):
        unplayed = job.source.suffix.lower() in UNPLAYED
        advice = "" if unplayed else ": for all of it give an -o that ends in .mp4"
        found.append(Remark("frames", f"it moves, and its first picture was translated{advice}"))
    elif has_more_pages(job.source):
        found.append(Remark("pages", "it has several pages, and the first was translated"))
    ending = format_of(job.target.suffix)
    if caption.georeference and size is not None:
        found.append(Remark("georeference", "scaled by --size it loses its georeference"))
    elif caption.georeference and ending != "tif":
        said = f"{ending} cannot hold its georeference: --format tif keeps it"
        found.append(Remark("georeference", said))
    if own.transparency is not None and ending not in SEEN_THROUGH:
        said = f"{ending} cannot hold its transparency: what was clear has the background's colour"
        found.append(Remark("transparency", said))
    if places is not None and own.missing is None:
        why = f"as {target.dtype}" if size is None else "scaled by --size"
        said = f"{why} it does not say where it has no data ({caption.no_data:g})"
        found.append(Remark("no data", said))
    return tuple(found)


def _too_dark(path: Path, picture: Pixels, source: PixelFormat) -> str | None:
    """What is to be said of a file of more than 8 bits of which nearly nothing is left in 8."""
    reached = int(picture.max()) if source.dtype == "uint8" else DIM
    if reached >= DIM:
        return None
    try:
        is_deep = read_picture(path, DomainConfig(depth="native")).dtype != "uint8"
    except DamagedPictureError:  # (as 8 bits it could be read)
        return None
    said = f"its values reach only {reached} of 255, as where 12 of 16 bits are used"
    return said if is_deep else None
