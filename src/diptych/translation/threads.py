"""Threads that read, translate and write side by side, and end soon when something fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from diptych.data.size import pixels_of
from diptych.translation.jobs import Job

PIXELS_WAITING = 2**25  # read and not yet translated, or translated and not yet written
T = TypeVar("T")


@contextmanager
def workers(count: int | None) -> Iterator[ThreadPoolExecutor]:
    """``count`` threads. At an error or a signal they end what they are at, and begin no more."""
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def core_threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """``count`` threads to translate in. On leaving, PyTorch has as many for itself again.

    While they are busy the caller sets it to one: it uses so many in each of them.
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
