"""Pixels of which a picture says that nothing is known: NaN, or GDAL's value for no data.

Networks are shown what lies next to them. With instance norm a strip of a tenth of the picture
changes the translation of all the rest: by 60 of 255 levels if it lies far below the range, as
-9999 does, by 8 at the lowest value of the range, by 1 if it is filled (``paper`` recipe,
horse2zebra at 128 px, mean of 24 pictures).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diptych.data.pixels import Pixels


@dataclass(frozen=True)
class MissingPixels:
    """``places``: ``(H, W)``, where nothing is known; ``value``: what the picture says it by."""

    places: NDArray[np.bool_]
    value: float

    @property
    def share(self) -> float:
        """Of all pixels, 0 to 1."""
        return float(self.places.mean())

    def filled(self, picture: Pixels) -> Pixels:
        """A copy whose missing pixels are like the nearest known pixel of their row.

        A row without any is like the nearest one that has some; a picture without any is 0.
        """
        if self.places.all():
            return np.zeros_like(picture)
        whole: Pixels = picture.copy()
        for y in np.flatnonzero(self.places.any(axis=1)):
            whole[y] = picture[y, _nearest(~self.places[y])]
        known_rows = ~np.asarray(self.places.all(axis=1))
        if not known_rows.all():
            whole = whole[_nearest(known_rows)]
        return whole

    def put_back(self, picture: Pixels) -> None:
        """Make ``picture`` say that nothing is known there, and of no other place.

        What had this value by chance gets the next one, as GDAL's warper does it.
        """
        value = picture.dtype.type(self.value)
        if picture.dtype == np.float32:
            following = np.nextafter(value, np.float32(np.inf if value < 0 else -np.inf))
        else:
            following = value + 1 if value < np.iinfo(picture.dtype).max else value - 1
        picture[picture == value] = following
        picture[self.places] = value


def find_missing(picture: Pixels, no_data: float | None) -> MissingPixels | None:
    """Where any channel of ``(H, W, C)`` is NaN, or all have the value for no data.

    None if nothing is missing.
    """
    places = np.zeros(picture.shape[:2], bool)
    if picture.dtype == np.float32 and picture.size and math.isnan(picture.min()):
        places |= np.isnan(picture).any(axis=-1)
    if no_data is not None and can_hold(str(picture.dtype), no_data):
        places |= (picture == picture.dtype.type(no_data)).all(axis=-1)
    if not places.any():
        return None
    return MissingPixels(places, math.nan if no_data is None else no_data)


def can_hold(dtype: str, no_data: float) -> bool:
    """Whether values of this dtype can say so."""
    if dtype == "float32":
        with np.errstate(over="ignore"):
            return not np.isinf(np.float32(no_data))  # (GDAL rounds its lowest number to 15 digits)
    return no_data.is_integer() and 0 <= no_data <= int(np.iinfo(dtype).max)


def _nearest(known: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each place the nearest that is known; all where none is."""
    places = np.arange(len(known))
    there = places[known] if known.any() else places
    after = np.searchsorted(there, places).clip(max=len(there) - 1)
    before = (after - 1).clip(min=0)
    nearer = np.abs(places - there[before]) < np.abs(places - there[after])
    nearest: NDArray[np.int64] = np.where(nearer, there[before], there[after])
    return nearest
