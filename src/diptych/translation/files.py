"""Files in, translated files out: pictures are read, translated and written side by side."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import groupby, islice
from threading import BoundedSemaphore

import torch

from diptych.data.decode import one_reason
from diptych.data.many import ahead, workers
from diptych.data.opening import DamagedPictureError, TooLargeError, opened
from diptych.data.pixels import Pixels
from diptych.data.size import pixels_of
from diptych.errors import unheard
from diptych.host.files import explain_os_errors, make_folder
from diptych.host.memory import freed_memory_kept
from diptych.sides import Side
from diptych.translation.at_once import at_once
from diptych.translation.extras import Extras, extras_of
from diptych.translation.feature_store import NoRoomError
from diptych.translation.helpers import Helpers, Works, helpers_for
from diptych.translation.jobs import Job
from diptych.translation.reading import read_file
from diptych.translation.remarks import Remark, remarks
from diptych.translation.scaling import scaled
from diptych.translation.translator import Translator
from diptych.translation.writing import check_sides, format_of, write_picture

# Up to so many pixels, each core has a picture of its own, and none waits.
SIDE_BY_SIDE = 2**18
BYTES_WAITING = 3 * 2**25  # read and not yet translated, or translated and not yet written
ON_A_GPU = 2  # batches at once: one is computed, while the other goes there or comes back


@dataclass(frozen=True)
class Outcome:
    """What became of a job; ``problem`` is None when its target was written.

    ``remarks``: what a person should know of a picture that could be translated.
    """

    job: Job
    problem: str | None
    remarks: tuple[Remark, ...] = ()


def translate_files(
    translator: Translator,
    jobs: Sequence[Job],
    to: Side,
    size: int | None = None,
    batch: int = 8,
    on_done: Callable[[Outcome], None] = unheard,
    on_part: Callable[[float], None] = unheard,
) -> list[Outcome]:
    """Translate every job; neighbours of equal size share a batch.

    Pictures that cannot be read, that the format cannot hold, or that need more room on the disk
    while they are translated than there is, are reported. ``on_part`` is told how many pictures are
    translated, on the way through large ones too: 2.5, where half of the third is.
    Raises DiptychError if an output cannot be written. An exception of a signal handler ends it
    soon: what other threads are writing is written before it is passed on.
    """
    stages = _Stages(translator, to, size)
    under_way = _UnderWay(on_done)
    device, threads = translator.device, torch.get_num_threads()
    each = max(one.bytes_a_pixel for one in translator.formats(to))
    begun = 0

    def readable(attempts: Iterable[_Read | Outcome]) -> Iterator[_Read]:
        nonlocal begun
        for one in attempts:
            if isinstance(one, Outcome):
                under_way.done(one)
                begun += 1
            else:
                yield one

    with (
        freed_memory_kept(torch.device("cpu")),  # (where pictures lie, whatever computes them)
        helpers_for(len(jobs), device, stages.works) as stages.helpers,
        workers(os.cpu_count()) as pool,
        _core_threads(threads) as cores,
    ):
        sized = ((job, pixels_of(job.source)) for job in jobs)
        read = ahead(
            pool, stages.read_by_helper, sized, 2 * batch, lambda one: one[1] * each, BYTES_WAITING
        )
        for shape, group in groupby(readable(read), lambda one: one.picture.shape):
            pixels = shape[0] * shape[1]
            bytes_of_one = pixels * each
            side_by_side = (
                device.type in ("cpu", "cuda") and pixels <= SIDE_BY_SIDE and len(jobs) > 1
            )
            if torch.get_num_threads() != (1 if side_by_side else threads):
                under_way.finish(most_left=0)
                torch.set_num_threads(1 if side_by_side else threads)
            together = at_once(translator, shape, batch)
            while chunk := list(islice(group, together)):
                count = len(chunk)
                if side_by_side:
                    future = cores.submit(stages.translate_and_write, chunk)
                    under_way.add(bytes_of_one * count, future)
                else:
                    part = _part(on_part, begun, count)
                    for one in stages.translate(chunk, part):
                        under_way.add(bytes_of_one, pool.submit(stages.write, [one]))
                    del one
                del chunk  # large ones are not to meet the next
                begun += count
                under_way.finish(most_left=2 * max(batch, threads))
        under_way.finish(most_left=0)
    return under_way.outcomes


@contextmanager
def _core_threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """``count`` threads to translate in. On leaving, PyTorch has as many for itself again.

    While they are busy the caller sets it to one: it uses so many in each of them.
    """
    try:
        with workers(count) as pool:
            yield pool
    finally:
        torch.set_num_threads(count)


@dataclass(frozen=True)
class _Read:
    """A picture of a job, as it was read or translated."""

    job: Job
    picture: Pixels
    extras: Extras
    remarks: tuple[Remark, ...]


class _Stages:
    """What is done with a picture, stage by stage; each may run in a thread of its own.

    A picture that a stage fails at becomes an Outcome there, which the others pass on.
    """

    def __init__(self, translator: Translator, to: Side, size: int | None) -> None:
        self.translator = translator
        self.to = to
        self.size = size
        self.source_format, self.target_format = translator.formats(to)
        on_cpu = translator.device.type == "cpu"
        self.works: Works = {"read": self.read, "write": self.write}
        self.helpers: Helpers | None = None  # processes that do them
        self.room = nullcontext() if on_cpu else BoundedSemaphore(ON_A_GPU)

    def read(self, job: Job) -> _Read | Outcome:
        info = self.translator.info
        try:
            picture, missing = read_file(job.source, self.source_format, info.background)
            with one_reason(), opened(job.source) as file:
                extras = extras_of(file, missing, info, self.to, self.size)
            said = remarks(job, picture, extras, self.source_format, self.target_format, self.size)
            picture = scaled(picture, self.size)
            check_sides(format_of(job.target.suffix), *picture.shape[:2])
        except DamagedPictureError as error:
            return Outcome(job, str(error))
        return _Read(job, picture, extras, said)

    def translate(
        self, chunk: Sequence[_Read], progress: Callable[[float], None] = unheard
    ) -> list[_Read | Outcome]:
        """Those of one shape."""
        try:
            made = self.translator.arrays([one.picture for one in chunk], self.to, progress)
        except NoRoomError as error:
            return [Outcome(one.job, str(error)) for one in chunk]
        return [replace(one, picture=picture) for one, picture in zip(chunk, made, strict=True)]

    def write(self, chunk: Sequence[_Read | Outcome]) -> list[Outcome]:
        return [one if isinstance(one, Outcome) else _written(one) for one in chunk]

    def read_by_helper(self, sized: tuple[Job, int]) -> _Read | Outcome:
        """``read``, in another process if there are any. (Large pictures are not handed over.)"""
        job, pixels = sized
        if self.helpers is None or pixels > SIDE_BY_SIDE:
            return self.read(job)
        read: _Read | Outcome = self.helpers.do("read", job)
        return read

    def write_by_helper(self, made: Sequence[_Read | Outcome]) -> list[Outcome]:
        if self.helpers is None:
            return self.write(made)
        written: list[Outcome] = self.helpers.do("write", made)
        return written

    def translate_and_write(self, chunk: Sequence[_Read]) -> list[Outcome]:
        with self.room:
            made = self.translate(chunk)
        return self.write_by_helper(made)


class _UnderWay:
    """What other threads are at, and the outcomes of what they have done, in its order."""

    def __init__(self, on_done: Callable[[Outcome], None]) -> None:
        self.outcomes: list[Outcome] = []
        self.on_done = on_done
        self.futures: deque[tuple[int, Future[list[Outcome]]]] = deque()  # with their bytes

    def add(self, size: int, future: Future[list[Outcome]]) -> None:
        self.futures.append((size, future))

    def done(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.on_done(outcome)

    def finish(self, most_left: int) -> None:
        """Take what is done; wait until no more is left than so many, and no more than fits."""
        while self.futures and (
            self.futures[0][1].done()
            or len(self.futures) > most_left
            or sum(size for size, _ in self.futures) > BYTES_WAITING
        ):
            _, future = self.futures.popleft()
            for outcome in future.result():
                self.done(outcome)


def _part(on_part: Callable[[float], None], before: int, count: int) -> Callable[[float], None]:
    """Tells of a share of ``count`` pictures, after those ``before``."""
    return lambda share: on_part(before + share * count)


def _written(made: _Read) -> Outcome:
    """Write a translation, if its format can hold it. Raises DiptychError if the disk fails."""
    job, problem = made.job, None
    make_folder(job.target.parent)
    try:
        picture = made.extras.added_to(made.picture, format_of(job.target.suffix))
        with explain_os_errors(f"write {job.target}"):
            write_picture(job.target, picture, made.extras.to_tell)
    except (TooLargeError, ValueError) as error:
        problem = str(error)
    return Outcome(job, problem, made.remarks)
