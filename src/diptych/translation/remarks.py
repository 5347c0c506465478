"""What a person should know of a picture that is translated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from diptych.data.decode import is_deeper
from diptych.data.opening import is_animated
from diptych.data.pixels import DIM, PixelFormat, Pixels
from diptych.data.tiff import has_more_pages
from diptych.translation.clip_names import UNPLAYED
from diptych.translation.extras import SEEN_THROUGH, Extras
from diptych.translation.jobs import Job
from diptych.translation.writing import format_of

About = Literal[
    "values", "darkness", "georeference", "no data", "pages", "frames",
    "frames that FFmpeg does not play", "transparency",
]  # fmt: skip


@dataclass(frozen=True)
class Remark:
    """``about`` names what many pictures of a folder may have in common."""

    about: About
    said: str


def remarks(
    job: Job,
    picture: Pixels,
    extras: Extras,
    source: PixelFormat,
    target: PixelFormat,
    size: int | None,
) -> tuple[Remark, ...]:
    """What a person should know of ``picture``, as it was read from the job's source."""
    found, metadata = list[Remark](), extras.told
    unknown = extras.missing is not None and extras.missing.places.all()
    if said := None if unknown else source.remark(picture):
        found.append(Remark("values", said))
    elif said := _too_dark(job.source, picture, source):
        found.append(Remark("darkness", said))
    if is_animated(job.source):
        unplayed = job.source.suffix.lower() in UNPLAYED
        advice = "" if unplayed else ": for all of it give an -o that ends in .mp4"
        about: About = "frames that FFmpeg does not play" if unplayed else "frames"
        found.append(Remark(about, f"it moves, and its first picture was translated{advice}"))
    elif has_more_pages(job.source):
        found.append(Remark("pages", "it has several pages, and the first was translated"))
    ending = format_of(job.target.suffix)
    if metadata.georeference and size is not None:
        found.append(Remark("georeference", "scaled by --size it loses its georeference"))
    elif metadata.georeference and ending != "tif":
        said = f"{ending} cannot hold its georeference: --format tif keeps it"
        found.append(Remark("georeference", said))
    if extras.transparency is not None and ending not in SEEN_THROUGH:
        said = f"{ending} cannot hold its transparency: what was clear has the background's colour"
        found.append(Remark("transparency", said))
    if extras.missing is not None and extras.to_tell.no_data is None:
        why = f"as {target.dtype}" if size is None else "scaled by --size"
        said = f"{why} it does not say where it has no data ({extras.missing.value:g})"
        found.append(Remark("no data", said))
    return tuple(found)


def _too_dark(path: Path, picture: Pixels, source: PixelFormat) -> str | None:
    """What is to be said of a file of more than 8 bits of which nearly nothing is left in 8."""
    reached = int(picture.max()) if source.dtype == "uint8" else DIM
    if reached >= DIM:
        return None
    said = f"its values reach only {reached} of 255, as where 12 of 16 bits are used"
    return said if is_deeper(path) else None
