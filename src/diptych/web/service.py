"""One picture on its way through the server: admitted, decoded, translated, encoded."""

from __future__ import annotations

import asyncio
import io
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from diptych.data.opening import DamagedPictureError, TooLargeError
from diptych.data.pixels import PixelFormat, Pixels
from diptych.errors import UsageError, out_of_memory
from diptych.sides import Side
from diptych.training.samples import Translated
from diptych.translation.extras import Extras, extras_of
from diptych.translation.reading import read_bytes
from diptych.translation.scaling import scaled, scaled_shape
from diptych.translation.strength import check_strength
from diptych.translation.writing import check_format, default_format, encode_picture
from diptych.web.limits import MOST_SAID, Limits, RefusedError
from diptych.web.metrics import Metrics
from diptych.web.models import ServedModel
from diptych.web.worker import Order, Worker
from diptych.words import nearest

DECODING = 2  # pictures at once: a large one takes a few hundred megabytes
T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """A translation, and what of the picture's file goes to its file."""

    made: Translated
    extras: Extras


class Service:
    """All models of a server behind one line of waiting pictures. Lives on one event loop."""

    def __init__(self, models: dict[str, ServedModel], limits: Limits, metrics: Metrics) -> None:
        self.models = models
        self.limits = limits
        self.metrics = metrics
        self.waiting = 0
        self.pixels = 0  # of pictures that wait for the network or are in it
        self.seconds_each = 0.1  # in the network, lately
        self.worker = Worker(limits.batch, self._watch)
        self.threads = ThreadPoolExecutor(DECODING, "diptych decoding")

    def close(self) -> bool:
        """End all threads; False if one is still busy with pictures that nobody waits for."""
        ended = self.worker.close()
        self.threads.shutdown(cancel_futures=True)
        return ended

    def model(self, name: str | None) -> ServedModel:
        """The model of this name; the first one for None. Raises RefusedError."""
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            said = (
                f"there is no model {name[:MOST_SAID]!r}: {nearest(name[:MOST_SAID], self.models)}"
            )
            raise RefusedError(422, said)
        return self.models[name]

    def busy(self) -> RefusedError:
        """What to answer when there is no room."""
        seconds = self._retry()
        return RefusedError(429, f"the server is busy: try again in {seconds} s", seconds)

    async def translate(
        self, data: bytes, model: ServedModel, to: Side, size: int | None,
        strength: float | None = None, back: bool = False,
    ) -> Answer:  # fmt: skip
        """Translate the picture that ``data``, the content of a file, holds.

        ``size`` first scales the shorter side; by default ``strength`` is the server's; ``back``
        asks for the reconstruction. Raises RefusedError: 413 for too many pixels, 422 for what is
        no picture or asks too much of the model, 429 when too many are waiting, 503 and 504 when it
        takes too long.
        """
        if to not in model.ways:
            raise RefusedError(422, f"the model {model.name!r} translates from A to B only")
        strength = model.strength if strength is None else strength
        try:
            check_strength(strength, model.translator.info)
        except UsageError as error:
            raise RefusedError(422, str(error)) from error
        if self.waiting >= self.limits.waiting:
            raise self.busy()
        ends = time.monotonic() + self.limits.answer_seconds
        self.waiting += 1
        self.metrics.waiting.set(self.waiting)
        try:
            picture, extras = await self._in_thread(
                lambda: self._decode(data, model, to, size), ends
            )
            pixels = picture.shape[0] * picture.shape[1]
            if self.pixels and self.pixels + pixels > self.limits.waiting_pixels:
                raise self.busy()
            self.pixels += pixels
            try:
                order = Order(model.translator, to, back, picture, strength)
                return Answer(await self._network(order, model, ends), extras)
            finally:
                self.pixels -= pixels
        finally:
            self.waiting -= 1
            self.metrics.waiting.set(self.waiting)

    async def encode(self, picture: Pixels, name: str, extras: Extras) -> bytes:
        """The content of a translation's file of the format ``name``. Raises RefusedError."""

        def encode() -> bytes:
            file = io.BytesIO()
            try:
                whole = extras.added_to(picture, name)
                encode_picture(file, name, whole, extras.to_tell)
            except TooLargeError as error:
                raise RefusedError(422, str(error)) from error
            except (OSError, ValueError) as error:
                raise RefusedError(422, f"{name} cannot hold this picture: {error}") from error
            return file.getvalue()

        return await self._in_thread(encode, time.monotonic() + self.limits.answer_seconds)

    def _decode(
        self, data: bytes, model: ServedModel, to: Side, size: int | None
    ) -> tuple[Pixels, Extras]:
        info = model.translator.info
        source, _ = info.formats(to)
        try:
            picture, missing = read_bytes(data, source, info.background, self.limits.pixels)
            extras = extras_of(io.BytesIO(data), missing, info, to, size)
        except TooLargeError as error:
            raise RefusedError(
                413, f"{error} (at most {self.limits.megapixels:g} million)"
            ) from error
        except DamagedPictureError as error:
            raise RefusedError(422, f"cannot read the picture: {error}") from error
        height, width = picture.shape[:2]
        if math.prod(scaled_shape(height, width, size)) > self.limits.pixels:
            raise RefusedError(
                413,
                f"at size={size} the picture would be more than {self.limits.megapixels:g} million "
                "pixels: give a smaller size",
            )

        def taken(size: int | None) -> tuple[int, int]:
            return model.translator.taken(*scaled_shape(height, width, size))

        rows, columns = taken(size)
        most = self.limits.network_pixels
        if rows * columns > most:
            largest = int(min(height, width) * math.sqrt(most / height / width))
            fits = next((n for n in range(largest, 0, -1) if math.prod(taken(n)) <= most), None)
            advice = (
                "cut it into parts" if fits is None
                else f"give size={fits} or less, to scale the shorter side to that"
            )  # fmt: skip
            raise RefusedError(
                413, f"{columns} x {rows} pixels are too many for the network: {advice}"
            )
        try:
            return scaled(picture, size), extras
        except TooLargeError as error:  # (where the limit for the network is very high)
            raise RefusedError(413, str(error)) from error

    async def _network(self, order: Order, model: ServedModel, ends: float) -> Translated:
        future = self.worker.submit(order)
        try:
            made = await asyncio.wait_for(asyncio.wrap_future(future), ends - time.monotonic())
        except asyncio.TimeoutError:
            if future.cancelled():
                raise self._no_turn() from None
            raise RefusedError(504, "translating took too long: try a smaller size") from None
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            raise RefusedError(
                503, "the picture is too large for the memory of the server: try a smaller size"
            ) from error
        finally:
            order.given_up = True
        self.metrics.pictures.labels(model.name, order.to).inc()
        return made

    async def _in_thread(self, work: Callable[[], T], ends: float) -> T:
        running = asyncio.get_running_loop().run_in_executor(self.threads, work)
        try:
            return await asyncio.wait_for(running, ends - time.monotonic())
        except asyncio.TimeoutError:
            raise self._no_turn() from None

    def _no_turn(self) -> RefusedError:
        return RefusedError(503, "the server had no time for it: try again later", self._retry())

    def _retry(self) -> int:
        return max(1, math.ceil(self.waiting * self.seconds_each))

    def _watch(self, pictures: int, seconds: float) -> None:
        self.metrics.batch.observe(pictures)
        self.metrics.network.observe(seconds)
        self.seconds_each += 0.2 * (seconds / pictures - self.seconds_each)


def format_for(name: str | None, target: PixelFormat) -> str:
    """The file format to answer in: ``name``, or one that keeps all values. Raises RefusedError."""
    if name is None:
        return default_format(target)
    try:
        check_format(name, target)
    except UsageError as error:
        raise RefusedError(422, str(error)) from error
    return name
