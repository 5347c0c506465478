"""What belongs to a picture beside its pixels, and what a person should know of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from diptych.config import DomainConfig
from diptych.data.caption import Caption, Places, can_hold, missing, put_back
from diptych.data.decode import read_picture
from diptych.data.opening import DamagedPictureError, is_animated
from diptych.data.pixels import DIM, PixelFormat, Pixels
from diptych.data.tiff import has_more_pages
from diptych.translation.clip_names import UNPLAYED
from diptych.translation.jobs import Job
from diptych.translation.writing import format_of


@dataclass(frozen=True)
class Remark:
    """``about`` names what many pictures of a folder may have in common."""

    about: Literal["values", "darkness", "georeference", "no data", "pages", "frames"]
    said: str


@dataclass(frozen=True)
class Beside:
    """What goes from a picture's file to its translation's."""

    caption: Caption
    missing: Places | None  # pixels of which nothing is known

    def put_on(self, translation: Pixels) -> None:
        """Where nothing was known, it says so again."""
        if self.missing is not None and self.caption.no_data is not None:
            put_back(translation, self.missing, self.caption.no_data)


def beside(caption: Caption, picture: Pixels, target: PixelFormat, size: int | None) -> Beside:
    """What of a picture's caption its translation gets; of one scaled to ``size`` hardly any."""
    if size is not None:
        return Beside(Caption(transparent=caption.transparent), None)
    no_data = caption.no_data
    if no_data is None or not can_hold(target.dtype, no_data):
        return Beside(replace(caption, no_data=None), None)
    places = missing(picture, no_data)
    return Beside(replace(caption, no_data=None if places is None else no_data), places)


def remarks(
    job: Job,
    picture: Pixels,
    caption: Caption,
    source: PixelFormat,
    target: PixelFormat,
    size: int | None,
) -> tuple[Remark, ...]:
    """What a person should know of ``picture``, as it was read from the job's source."""
    found = list[Remark]()
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
    if places is not None and beside(caption, picture, target, size).missing is None:
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
