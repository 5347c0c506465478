"""Held-out pictures, read to be looked at and scored: as in training, but without chance."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from diptych.config import Config, DomainConfig
from diptych.data.decode import read_picture
from diptych.data.geometry import Resize, fit_for_looking
from diptych.data.opening import DamagedPictureError
from diptych.data.pixels import PixelFormat, Pixels, resize


def read_for_looking(
    paths: Iterable[Path],
    reading: DomainConfig,
    expected: PixelFormat,
    config: Config,
    most: int | None = None,
    resize: Resize = resize,
) -> list[tuple[Path, Pixels]]:
    """The first ``most`` readable pictures, brought to the training size without chance.

    Damaged ones, and those of other channels or depth than ``expected``, are passed over.
    """
    multiple = config.generator.size_multiple
    pictures: list[tuple[Path, Pixels]] = []
    for path in paths:
        if len(pictures) == most:
            break
        try:
            picture = read_picture(path, reading, config.data.background)
        except DamagedPictureError:
            continue
        if (picture.shape[2], str(picture.dtype)) == (expected.channels, expected.dtype):
            pictures.append((path, fit_for_looking(picture, config.data, multiple, resize)))
    return pictures
