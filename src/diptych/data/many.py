"""Work on many picture files: on all cores, in order, and what cannot be read is named."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from diptych.data.opening import NO_MEMORY, DamagedPictureError

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def workers(count: int | None) -> Iterator[ThreadPoolExecutor]:
    """``count`` threads. At an error or a signal they end what they are at, and begin no more."""
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def ahead(
    pool: ThreadPoolExecutor,
    work: Callable[[Item], Result],
    items: Iterable[Item],
    count: int,
    size_of: Callable[[Item], int] = lambda item: 0,
    room: int = 0,
) -> Iterator[Result]:
    """The results of ``work`` in order; up to ``count`` are under way before they are needed.

    Fewer where ``size_of`` says that they are large: as many as have ``room``, but always one.
    """
    waiting: deque[tuple[int, Future[Result]]] = deque()
    for item in items:
        size = size_of(item)
        while len(waiting) >= count or (waiting and size + sum(n for n, _ in waiting) > room):
            yield waiting.popleft()[1].result()
        waiting.append((size, pool.submit(work, item)))
    while waiting:
        yield waiting.popleft()[1].result()


def in_order(
    work: Callable[[Path], Result], files: Sequence[Path]
) -> Iterator[tuple[Path, Result]]:
    """``work`` on threads (decoders release the interpreter), results in the order of files."""
    with workers(os.cpu_count()) as pool:
        yield from zip(files, ahead(pool, work, files, 2 * (os.cpu_count() or 1)), strict=True)


def or_reason(work: Callable[[Path], Result]) -> Callable[[Path], Result | str]:
    """``work`` on a picture file that, where it cannot be done, gives the reason instead."""

    def attempt(path: Path) -> Result | str:
        try:
            return work(path)
        except DamagedPictureError as error:
            return str(error)
        except OSError as error:  # gone since it was decoded
            return error.strerror or "it cannot be read"
        except MemoryError:
            return NO_MEMORY

    return attempt
