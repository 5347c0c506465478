"""Files and folders in, translated files out."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from threading import BoundedSemaphore
from typing import Literal, TypeVar

import torch

from diptych.config import DomainConfig
from diptych.data.decode import SUFFIXES, read_picture
from diptych.data.folder import find_pictures
from diptych.data.opening import DamagedPictureError, TooLargeError
from diptych.data.pixels import DIM, PixelFormat, Pixels
from diptych.data.size import pixels_of
from diptych.errors import DiptychError, UsageError
from diptych.files import lies_in
from diptych.memory import freed_memory_kept
from diptych.model_file import Side
from diptych.translation.clip_files import ENDINGS as CLIP_ENDINGS
from diptych.translation.clip_files import UNPLAYED, check_clip_name, clip_ending, is_clip
from diptych.translation.scaling import scaled
from diptych.translation.shelf import NoRoomError
from diptych.translation.translator import Translator
from diptych.translation.writing import check_format, check_sides, format_of, write_picture

PIXELS_AT_ONCE = 2**21  # of all pictures in a batch: large ones go one by one
PIXELS_ON_CPU = 2**16  # there a batch saves little, and what is larger leaves the cache
# Up to so many pixels, each core has a picture of its own, and none waits.
SIDE_BY_SIDE = 2**18
ON_A_GPU = 2  # batches at once: one is computed, while the other goes there or comes back
PIXELS_WAITING = 2**25  # read and not yet translated, or translated and not yet written
T = TypeVar("T")
Existing = Literal["refuse", "replace", "skip"]  # what to do where a translation would lie


@dataclass(frozen=True)
class Job:
    """One picture or video to translate."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Outcome:
    """What became of a job; ``problem`` is None when its target was written.

    ``remark``: what a person should know of a picture that could be translated.
    """

    job: Job
    problem: str | None
    remark: str | None = None


def plan(inputs: Sequence[Path], out: Path, ending: str) -> list[Job]:
    """Where each picture and video goes: folders keep their structure below ``out``.

    What is given twice goes there once. Raises DiptychError for an input that is missing, and
    UsageError where an output would lie in a folder of inputs.
    """
    pairs: list[tuple[Path, Path]] = []
    for given in inputs:
        if given.is_dir():
            if lies_in(out, given):
                raise UsageError(
                    f"the translations would lie among the pictures of {given}: choose another "
                    "output folder"
                )
            found = find_pictures(given, SUFFIXES | CLIP_ENDINGS)
            pairs += [(path, path.relative_to(given)) for path in found]
        elif given.exists():
            pairs.append((given, Path(given.name)))
        else:
            raise DiptychError(f"there is no picture {given}: check the name")
    pairs = list(dict.fromkeys(pairs))
    # (A picture x.jpg may lie beside a folder that is called x.png.)
    taken = {_as_one(out / folder) for _, below in pairs for folder in below.parents}

    def suffix_of(source: Path) -> str:
        return clip_ending(source) if is_clip(source) else f".{ending}"

    unlike = {(_as_one(below.with_suffix(suffix_of(source))), below) for source, below in pairs}
    asked = Counter(target for target, _ in unlike)
    jobs = []
    numbers: dict[str, int] = {}  # that the next of the same name may have
    for source, below in pairs:
        suffix = suffix_of(source)
        target = out / below.with_suffix(suffix)
        # horse.jpg beside horse.png: both, since another time one may be there alone
        if _as_one(target) in taken or asked[_as_one(below.with_suffix(suffix))] > 1:
            target = out / below.with_name(f"{below.name.replace('.', '-')}{suffix}")
        wanted = _as_one(target)
        while _as_one(target) in taken:  # the same name from two folders
            numbers[wanted] = number = numbers.get(wanted, 1) + 1
            target = out / below.with_name(f"{below.stem}-{number}{suffix}")
        taken.add(_as_one(target))
        jobs.append(Job(source, target))
    return jobs


def plan_file(inputs: Sequence[Path], out: Path, target: PixelFormat) -> list[Job]:
    """One picture or video to a file of a given name.

    Raises as ``plan``, and UsageError where such a file cannot hold it.
    """
    if len(inputs) > 1 or inputs[0].is_dir():
        what = "video" if is_clip(out) else "picture"
        raise UsageError(f"{out} is one {what}: for several inputs name a folder")
    if not inputs[0].exists():
        raise DiptychError(f"there is no file {inputs[0]}: check the name")
    if is_clip(out) and inputs[0].suffix.lower() in UNPLAYED:
        raise UsageError(f"FFmpeg plays no WebP and AVIF: make a GIF or a video of {inputs[0]}")
    if is_clip(out) or is_clip(inputs[0]):
        check_clip_name(out)
    else:
        check_format(format_of(out.suffix), target)
    return [Job(inputs[0], out)]


def left_to_do(jobs: Sequence[Job], existing: Existing) -> list[Job]:
    """The jobs without those to skip, whose files exist.

    Raises UsageError where an output would overwrite an input or, unless it is to be replaced, any
    other file; DiptychError where it cannot be looked for.
    """
    sources, left = set(), []
    for job in jobs:
        with suppress(OSError):  # what is wrong with it shows when it is read
            sources.add(_identity(job.source))
    for job in jobs:
        try:
            there = _identity(job.target)
        except (FileNotFoundError, NotADirectoryError):
            left.append(job)
            continue
        except OSError as error:
            raise DiptychError(f"cannot write {job.target}: {error.strerror}") from error
        if there in sources:
            raise UsageError(f"{job.target} is one of the inputs: choose another output folder")
        if existing == "refuse":
            raise UsageError(
                f"{job.target} exists: choose another output folder, --overwrite or --skip-existing"
            )
        if existing == "replace":
            left.append(job)
    return left


def _as_one(path: Path) -> str:
    """The same for names that some disks take for one: other capitals, or é as two letters."""
    return unicodedata.normalize("NFC", str(path)).casefold()


def _identity(path: Path) -> tuple[int, int]:
    """The same for all names of one file: links of both kinds, and other capitals on some disks."""
    status = path.stat()
    return status.st_dev, status.st_ino


def translate_files(
    translator: Translator,
    jobs: Sequence[Job],
    to: Side,
    size: int | None = None,
    batch: int = 8,
    on_done: Callable[[Outcome], None] | None = None,
    on_part: Callable[[float], None] | None = None,
) -> list[Outcome]:
    """Translate every job; neighbours of equal size share a batch.

    Pictures that cannot be read, that the format cannot hold, or that need more room on the disk
    while they are translated than there is, are reported. ``on_part`` is told how many pictures are
    translated, on the way through large ones too: 2.5, where half of the third is.
    Raises DiptychError if an output cannot be written. An exception of a signal handler ends it
    soon: what other threads are writing is written before it is passed on.
    """
    own_format, target_format = translator.formats(to)
    remarks: dict[Job, str] = {}

    def read(job: Job) -> tuple[Job, Pixels | str]:
        try:
            picture = translator.read(job.source, to)
            if remark := own_format.remark(picture) or _too_dark(job.source, picture, own_format):
                remarks[job] = remark
            picture = scaled(picture, size)
            check_sides(format_of(job.target.suffix), *picture.shape[:2])
            return job, picture
        except DamagedPictureError as error:
            return job, str(error)

    def write(chunk: Sequence[tuple[Job, Pixels | str]]) -> list[Outcome]:
        return [
            Outcome(
                job,
                made if isinstance(made, str) else _problem(job, made, target_format),
                remarks.pop(job, None),
            )
            for job, made in chunk
        ]

    outcomes: list[Outcome] = []

    def done(outcome: Outcome) -> None:
        outcomes.append(outcome)
        if on_done is not None:
            on_done(outcome)

    def translate(
        chunk: Sequence[tuple[Job, Pixels]], progress: Callable[[float], None] | None = None
    ) -> list[tuple[Job, Pixels | str]]:
        try:
            translated = translator.arrays([picture for _, picture in chunk], to, progress)
        except NoRoomError as error:
            return [(job, str(error)) for job, _ in chunk]
        return [(job, picture) for (job, _), picture in zip(chunk, translated, strict=True)]

    on_cpu = translator.device.type == "cpu"
    room = nullcontext() if on_cpu else BoundedSemaphore(ON_A_GPU)

    def translate_and_write(chunk: Sequence[tuple[Job, Pixels]]) -> list[Outcome]:
        with room:
            made = translate(chunk)
        return write(made)

    def part(before: int, count: int) -> Callable[[float], None] | None:
        return None if on_part is None else lambda share: on_part(before + share * count)

    under_way: list[tuple[int, Future[list[Outcome]]]] = []  # (with the number of pixels)

    def finish(most_under_way: int) -> None:
        while under_way and (
            under_way[0][1].done()
            or len(under_way) > most_under_way
            or sum(n for n, _ in under_way) > PIXELS_WAITING
        ):
            _, future = under_way.pop(0)
            for outcome in future.result():
                done(outcome)

    threads = torch.get_num_threads()
    begun = 0
    in_threads = translator.device.type in ("cpu", "cuda")
    with (
        freed_memory_kept(translator.device), workers(os.cpu_count()) as pool,
        one_thread_each(threads) as cores,
    ):  # fmt: skip
        results = ahead(pool, read, jobs, 2 * batch)
        for shape, group in groupby(
            results, lambda r: r[1].shape if not isinstance(r[1], str) else None
        ):
            if shape is None:
                for job, reason in group:
                    done(Outcome(job, str(reason)))
                    begun += 1
                continue
            pixels = shape[0] * shape[1]
            side_by_side = in_threads and pixels <= SIDE_BY_SIDE and len(jobs) > 1
            if torch.get_num_threads() != (1 if side_by_side else threads):
                finish(most_under_way=0)
                torch.set_num_threads(1 if side_by_side else threads)
            at_once = max(1, min(batch, (PIXELS_ON_CPU if on_cpu else PIXELS_AT_ONCE) // pixels))
            while some := list(islice(group, at_once)):
                chunk = [(job, picture) for job, picture in some if not isinstance(picture, str)]
                if side_by_side:
                    future = cores.submit(translate_and_write, chunk)
                    under_way.append((pixels * len(chunk), future))
                else:
                    for one in translate(chunk, part(begun, len(chunk))):
                        under_way.append((pixels, pool.submit(write, [one])))
                    del one
                begun += len(some)
                del some, chunk  # large ones are not to meet the next
                finish(most_under_way=2 * max(batch, threads))
        finish(most_under_way=0)
    return outcomes


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


@contextmanager
def workers(count: int | None) -> Iterator[ThreadPoolExecutor]:
    """``count`` threads. At an error or a signal they end what they are at, and begin no more."""
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def one_thread_each(count: int) -> Iterator[ThreadPoolExecutor]:
    """``count`` threads to translate in, while PyTorch is told to use one in each.

    The caller tells it; afterwards it has ``count`` for itself again.
    """
    try:
        with workers(count) as pool:
            yield pool
    finally:
        torch.set_num_threads(count)


def ahead(
    pool: ThreadPoolExecutor, work: Callable[[Job], T], jobs: Iterable[Job], count: int
) -> Iterator[T]:
    """The results of ``work`` in order; up to ``count`` are under way before they are needed.

    Fewer of large pictures: as many as ``PIXELS_WAITING`` allows.
    """
    waiting: list[tuple[int, Future[T]]] = []
    for job in jobs:
        pixels = pixels_of(job.source)
        while len(waiting) >= count or (
            waiting and pixels + sum(n for n, _ in waiting) > PIXELS_WAITING
        ):
            yield waiting.pop(0)[1].result()
        waiting.append((pixels, pool.submit(work, job)))
    while waiting:
        yield waiting.pop(0)[1].result()


def _problem(job: Job, picture: Pixels, pixel_format: PixelFormat) -> str | None:
    """Write a translation; why its format cannot hold it, if so. DiptychError if the disk fails."""
    try:
        job.target.parent.mkdir(parents=True, exist_ok=True)
        write_picture(job.target, picture, pixel_format)
    except (TooLargeError, ValueError) as error:
        return str(error)
    except OSError as error:
        raise DiptychError(f"cannot write {job.target}: {error.strerror or error}") from error
    return None
