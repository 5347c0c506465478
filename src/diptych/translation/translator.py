"""A trained pair of generators, applied to pictures of any size and kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args, overload

import numpy as np
import torch
from torch import Tensor

from diptych.data.missing import can_hold
from diptych.data.opening import MOST_PIXELS, TooLargeError
from diptych.data.pixels import PixelFormat, Pixels, to_pil
from diptych.errors import DiptychError, UsageError, one_of, unheard
from diptych.host.device import TranslatingPrecision, choose_device, choose_translating_precision
from diptych.host.files import AnyPath, as_path, explain_os_errors
from diptych.host.surroundings import usual_place
from diptych.model_file import (
    IMPORT_ADVICE,
    MODEL,
    GeneratorPair,
    ModelInfo,
    holds_foreign_weights,
    load_model,
)
from diptych.sides import SIDES, Side
from diptych.translation.afar import (
    See,
    arrays_from_afar,
    pixels_seen,
    seen_shape,
    tensor_from_afar,
)
from diptych.translation.large import Tile, parse_tile
from diptych.translation.reading import (
    as_batch,
    as_stored,
    check_array,
    check_tensor,
    read_bytes,
    read_file,
)
from diptych.translation.scaling import allowed_shape, scaled, scaled_tensor
from diptych.translation.strength import strengthen
from diptych.translation.way import Way

PRECISIONS: tuple[TranslatingPrecision, ...] = get_args(TranslatingPrecision)


class Translator:
    """Translates to domain A or B. Made by ``diptych.load``.

    ``tile``: when to translate a picture in strips, which gives the same result in little memory:
    ``auto`` where it does not fit into memory whole, ``off`` never; a number: always, so many rows
    at a time (taken as a multiple of 4, at least 16).

    ``precision``: of convolutions where a picture is taken whole. ``bf16`` is two to three times as
    fast with matrix units (AMX) and on AMD since Zen 4, and on the average less than one of 255
    levels off. ``int8`` is up to twice as fast on CPUs with VNNI (UsageError without), and half a
    level off (2.5 with a generator whose stripes are sharp; with other threads, other roundings).
    Single values are off by more.

    ``see``: the shorter side that the networks are shown larger pictures at; what they change is
    enlarged and added to the picture, which keeps its size and detail. ``auto``: four times the
    size of the training for models that retouch (of the presets ``laptop``
    and ``best``), for others ``own``: as they are.
    """

    def __init__(
        self,
        pair: GeneratorPair,
        device: torch.device,
        tile: Tile = "auto",
        precision: TranslatingPrecision = "float32",
        see: See = "auto",
    ) -> None:
        self.pair = pair
        self.device = device
        self.tile = tile
        self.sees = pixels_seen(pair.info, see)
        self.precision = choose_translating_precision(precision, device)
        self.way_to = {to: Way(pair, to, device, tile, self.precision) for to in pair.ways}

    @property
    def info(self) -> ModelInfo:
        """What the model file says about its networks."""
        return self.pair.info

    @overload
    def to_b(
        self, picture: list[Any] | tuple[Any, ...], *, size: int | None = None
    ) -> list[Any]: ...
    @overload
    def to_b(self, picture: Tensor, *, size: int | None = None) -> Tensor: ...
    @overload
    def to_b(self, picture: Pixels, *, size: int | None = None) -> Pixels: ...
    @overload
    def to_b(self, picture: Any, *, size: int | None = None) -> Any: ...
    def to_b(self, picture: Any, *, size: int | None = None) -> Any:
        """Translate a picture of domain A to domain B, in its own size.

        What comes out is of the kind that went in:

        * a path, what a picture file holds (``bytes``, or a file opened for reading them), or a
          PIL image: a PIL image (an array, if B is not 8-bit with 1 or 3 channels); of one that
          moves the first frame
        * a NumPy array ``(H, W, C)`` (of one channel also ``(H, W)``) of A's dtype: ``(H, W, C)``
          of B's
        * a tensor ``(C, H, W)`` or ``(N, C, H, W)`` in [-1, 1]: the same shape of B, in [-1, 1],
          float32 and without a gradient
        * a list of these: a list

        ``size`` first scales the shorter side to that many pixels. Raises DiptychError for a
        picture that cannot be read or has other channels than A.
        """
        return self._translate_any(picture, "b", size)

    @overload
    def to_a(
        self, picture: list[Any] | tuple[Any, ...], *, size: int | None = None
    ) -> list[Any]: ...
    @overload
    def to_a(self, picture: Tensor, *, size: int | None = None) -> Tensor: ...
    @overload
    def to_a(self, picture: Pixels, *, size: int | None = None) -> Pixels: ...
    @overload
    def to_a(self, picture: Any, *, size: int | None = None) -> Any: ...
    def to_a(self, picture: Any, *, size: int | None = None) -> Any:
        """Translate a picture of domain B to domain A; otherwise as ``to_b``.

        Raises UsageError for a model that was trained one way only (CUT).
        """
        return self._translate_any(picture, "a", size)

    def formats(self, to: Side) -> tuple[PixelFormat, PixelFormat]:
        """The pixel formats of the source and the target domain."""
        return self.info.formats(one_of("to", to, SIDES))

    def read(self, path: Path, to: Side) -> Pixels:
        """Decode a file as training did. Raises DiptychError with the reason."""
        source = self._way(to).source
        return read_file(path, source, self.info.background)[0]

    def decode(self, data: bytes, to: Side, most_pixels: int = MOST_PIXELS) -> Pixels:
        """Decode what a file holds, as ``read`` does. Raises TooLargeError for more pixels."""
        source = self._way(to).source
        return read_bytes(data, source, self.info.background, most_pixels)[0]

    @usual_place()
    @torch.no_grad()  # (a tensor of inference mode could not be used in anybody's training)
    def tensor(self, x: Tensor, to: Side) -> Tensor:
        """Translate an ``(N, C, H, W)`` batch in [-1, 1]; any H and W.

        Raises UsageError for what is no such batch.
        """
        way = self._way(to)
        check_tensor(x, way.source)
        height, width = x.shape[2:]
        seen = seen_shape(height, width, self.sees)
        return way.tensor(x) if seen is None else tensor_from_afar(x, seen, way.tensor)

    @usual_place()
    @torch.inference_mode()
    def arrays(
        self,
        pictures: Sequence[Pixels] | Pixels,
        to: Side,
        progress: Callable[[float], None] = unheard,
    ) -> list[Pixels]:
        """Translate stored ``(H, W, C)`` pictures of one shape in one batch.

        ``progress`` is told the share that is done, 0 to 1, of pictures that are cut into strips,
        or of all where they are seen from afar; what it raises is passed on. Raises UsageError for
        arrays that are no such pictures, or of several shapes.
        """
        way = self._way(to)
        if len(pictures) == 0:  # (they may be one array)
            return []
        for picture in pictures:
            check_array(picture, way.source)
        if (shapes := len({picture.shape for picture in pictures})) != 1:
            raise UsageError(f"pictures of {shapes} shapes are no batch: give those of one")
        height, width = pictures[0].shape[:2]
        seen = seen_shape(height, width, self.sees)
        if seen is None:
            return way.arrays(list(pictures), progress)
        return arrays_from_afar(
            list(pictures), seen, way.source, way.target, way.tensor, self.device, progress
        )

    def is_too_large(self, picture: Pixels, to: Side) -> bool:
        """Whether a stored ``(H, W, C)`` picture must be cut into strips.

        Raises NoRoomError if not even strips fit into memory.
        """
        height, width = picture.shape[:2]
        return not seen_shape(height, width, self.sees) and self._way(to).is_too_large(picture)

    def taken(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of such a picture as the networks take it."""
        way = next(iter(self.way_to.values()))  # (both take the same)
        return way.padded(*(seen_shape(height, width, self.sees) or (height, width)))

    def _way(self, to: Side) -> Way:
        side = one_of("to", to, SIDES)
        self.pair.towards(side)  # (says so if there is none)
        return self.way_to[side]

    def _translate_any(self, picture: Any, to: Side, size: int | None) -> Any:
        if isinstance(picture, list | tuple):
            return [self._one_of(picture, i, to, size) for i in range(len(picture))]
        if isinstance(picture, Tensor):
            return self._translate_tensor(picture, to, size)
        source, target = self.formats(to)
        stored, missing = as_stored(picture, source, self.info.background)
        if stored.size == 0:
            raise UsageError("cannot translate a picture without pixels")
        try:
            result = self.arrays([scaled(stored, size)], to)[0]
        except TooLargeError as error:
            raise UsageError(f"cannot translate this picture: {error}") from error
        if missing is not None and size is None and can_hold(target.dtype, missing.value):
            missing.put_back(result)
        as_array = isinstance(picture, np.ndarray) or not target.is_image
        return result if as_array else to_pil(result)

    def _one_of(self, pictures: Sequence[Any], index: int, to: Side, size: int | None) -> Any:
        """As ``_translate_any``; an error says which of them it is about."""
        try:
            return self._translate_any(pictures[index], to, size)
        except DiptychError as error:
            kind = UsageError if isinstance(error, UsageError) else DiptychError
            raise kind(f"pictures[{index}] of the list: {error}") from error

    def _translate_tensor(self, x: Tensor, to: Side, size: int | None) -> Tensor:
        source, _ = self.formats(to)
        batch = as_batch(x, source)
        if size is not None:
            try:
                shape = allowed_shape(x.shape[-2], x.shape[-1], size)
            except TooLargeError as error:
                raise UsageError(f"cannot translate this tensor: {error}") from error
            batch = scaled_tensor(batch, shape)
        fake = self.tensor(batch, to).contiguous()  # (networks may lay channels last)
        return fake if x.ndim == 4 else fake[0]


def load(
    path: AnyPath,
    device: str | torch.device = "auto",
    tile: Tile = "auto",
    precision: TranslatingPrecision = "float32",
    see: See = "auto",
    strength: float = 1.0,
) -> Translator:
    """Open a run folder or a ``model.safetensors`` for translating.

    ``tile``, ``precision`` and ``see`` as in Translator. A model that retouches (the presets
    ``laptop`` and ``best``) changes pictures ``strength`` times as much as by itself: 0 not at all.
    Raises DiptychError with one line if there is no usable model at ``path``, UsageError for
    options that are none.
    """
    tile, precision = parse_tile(str(tile), "tile"), one_of("precision", str(precision), PRECISIONS)
    place = as_path(path)
    with explain_os_errors(f"read {place}"):
        if place.is_dir():
            if not (place / MODEL).is_file():
                but = f"; {IMPORT_ADVICE}" if holds_foreign_weights(place) else ""
                raise DiptychError(f"there is no model in {place} (yet): looked for {MODEL}{but}")
            place = place / MODEL
    where = choose_device(device)
    pair = load_model(place, where)
    strengthen(pair, strength)
    return Translator(pair, where, tile, precision, see)
