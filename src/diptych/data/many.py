"""Work on many picture files: on all cores, in order, and what cannot be read is named."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from diptych.data.opening import DamagedPictureError

Result = TypeVar("Result")


def in_order(
    work: Callable[[Path], Result], files: Sequence[Path]
) -> Iterator[tuple[Path, Result]]:
    """``work`` on threads (decoders release the interpreter), results in the order of files."""
    ahead = 2 * (os.cpu_count() or 1)  # bounds how many decoded pictures wait in memory
    waiting: deque[tuple[Path, Future[Result]]] = deque()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for path in files:
            waiting.append((path, pool.submit(work, path)))
            if len(waiting) >= ahead:
                first, future = waiting.popleft()
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()


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
            return "too large for this machine's memory"

    return attempt
