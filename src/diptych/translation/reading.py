"""Picture files, and what a program holds, as a model takes them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diptych.data.decode import decode_picture, one_reason, read_with_missing, reading_of
from diptych.data.eight_bit import from_image
from diptych.data.missing import MissingPixels, find_missing
from diptych.data.opening import MOST_PIXELS, DamagedPictureError, DeepValuesError
from diptych.data.pixels import PixelFormat, Pixels
from diptych.errors import DiptychError, UsageError
from diptych.host.files import as_path

MOST_IN_TENSORS = 1.5  # resampling goes a little beyond 1; another normalisation reaches 2


Read = tuple[Pixels, MissingPixels | None]  # a picture, and what was filled of it


def read_file(path: Path, source: PixelFormat, background: str) -> Read:
    """Decode a file as training did. Raises DamagedPictureError with the reason."""
    with _saying_what_is_taken(source):
        return _checked(read_with_missing(path, reading_of(source), background), source)


def read_bytes(data: bytes, source: PixelFormat, background: str, most_pixels: int) -> Read:
    """Decode what a file holds, as ``read_file`` does; TooLargeError for more pixels than that."""
    with _saying_what_is_taken(source):
        return _checked(decode_picture(data, reading_of(source), background, most_pixels), source)


def read_pil(image: Image.Image, source: PixelFormat, background: str) -> Pixels:
    """A PIL image as a file of it would be read; ``source`` is of 8 bits.

    Raises DamagedPictureError with the reason, also for modes that Pillow cannot convert.
    """
    with _saying_what_is_taken(source), one_reason():  # (it may be decoded only now)
        return from_image(image, source.channels, background)


def as_stored(picture: Any, source: PixelFormat, background: str) -> Read:
    """A path, a file's bytes, a PIL image or a NumPy array as ``(H, W, C)``, as a model takes it.

    Raises DiptychError for a file that cannot be read, UsageError for all else that does not fit.
    """
    if isinstance(picture, str | os.PathLike):
        try:
            return read_file(as_path(picture), source, background)
        except DamagedPictureError as error:
            raise DiptychError(f"cannot read {picture}: {error}") from error
    read = getattr(picture, "read", None)  # (of a file that is open, of whatever kind)
    if read is not None or isinstance(picture, bytes | bytearray | memoryview):
        try:
            data = read() if read is not None else picture
            if isinstance(data, str):
                raise UsageError("the file is open as text: open it with 'rb'")
            return read_bytes(bytes(data), source, background, MOST_PIXELS)
        except (DamagedPictureError, OSError, TypeError, ValueError) as error:  # (it is closed)
            raise DiptychError(f"cannot read the picture: {error}") from error
    if isinstance(picture, Image.Image):
        if not source.is_image:
            raise UsageError(f"this model takes {source.describe()}: give an array or a path")
        try:
            return read_pil(picture, source, background), None
        except DamagedPictureError as error:
            raise UsageError(f"cannot translate this PIL image: {error}") from error
    if isinstance(picture, np.ndarray):
        array = picture[..., None] if picture.ndim == 2 else picture
        check_array(array, source)
        missing = find_missing(array, None)
        array = array if missing is None else missing.filled(array)
        if not np.isfinite(array).all():
            raise UsageError("the array holds infinity")
        return array, missing
    raise UsageError(f"cannot translate a {type(picture).__name__}: give a path, a PIL image, "
                     "a NumPy array, a tensor, or a list of these")  # fmt: skip


def check_array(array: Any, source: PixelFormat) -> None:
    """Raise UsageError if it is no ``(H, W, C)`` array of pixels such as ``source``'s."""
    if not isinstance(array, np.ndarray):
        raise UsageError(f"a {type(array).__name__} is no NumPy array")
    if array.ndim != 3 or array.shape[2] != source.channels or array.dtype != source.dtype:
        raise UsageError(
            f"the array is {array.dtype} {array.shape}; this model takes (H, W, "
            f"{source.channels}) of {source.dtype}"
        )
    if array.size == 0:
        raise UsageError("cannot translate a picture without pixels")


def as_batch(x: Tensor, source: PixelFormat) -> Tensor:
    """A tensor ``(C, H, W)`` or ``(N, C, H, W)`` of floats in [-1, 1] as a float32 batch.

    Raises UsageError for what is none that a model takes.
    """
    check_tensor(x if x.ndim == 4 else x[None], source)
    if x.is_sparse or x.is_meta:
        raise UsageError("the tensor has no values, or is sparse: give a dense one")
    if not x.isfinite().all():
        raise UsageError("the tensor holds NaN or infinity")
    if x.abs().max() > MOST_IN_TENSORS:
        raise UsageError(
            f"the tensor's values reach from {float(x.min()):g} to {float(x.max()):g}: give "
            "pictures in [-1, 1]"
        )
    return (x if x.ndim == 4 else x[None]).to(torch.float32)


def check_tensor(x: Tensor, source: PixelFormat) -> None:
    """Raise UsageError if it is no ``(N, C, H, W)`` batch of floats with ``source``'s channels."""
    if x.ndim != 4 or x.shape[1] != source.channels:
        raise UsageError(f"the tensor's shape {tuple(x.shape)} is not (N, {source.channels}, H, W)")
    if not x.is_floating_point():
        raise UsageError(
            f"the tensor is {x.dtype}: give one of floats in [-1, 1], or a NumPy array"
        )
    if 0 in x.shape:
        raise UsageError("cannot translate a tensor without pixels")


def _checked(read: Read, source: PixelFormat) -> Read:
    if str(read[0].dtype) != source.dtype:
        raise DamagedPictureError(f"it is {read[0].dtype}, the model takes {source.dtype}")
    return read


@contextmanager
def _saying_what_is_taken(source: PixelFormat) -> Iterator[None]:
    """(What the reader advises is for training.)"""
    try:
        yield
    except DeepValuesError as error:
        raise DamagedPictureError(
            f"it holds {error.values}, the model takes {source.dtype}"
        ) from error
