"""Memory that a step gave back is the next one's: asking the system for it anew takes time."""

from __future__ import annotations

import ctypes
import platform
from contextlib import AbstractContextManager, nullcontext

import torch

from diptych.surroundings import Shared

# mallopt's parameters (malloc.h of the GNU C library).
TRIM_THRESHOLD = -1
MMAP_THRESHOLD = -3

LARGEST_BLOCK = 32 * 2**20  # bytes: the largest threshold that there may be
USUAL = 128 * 2**10  # bytes, of both


def _keep(on: bool) -> None:
    if platform.libc_ver()[0] != "glibc":
        return
    c = ctypes.CDLL(None)
    c.mallopt(MMAP_THRESHOLD, LARGEST_BLOCK if on else USUAL)  # smaller blocks come from the heap
    c.mallopt(TRIM_THRESHOLD, -1 if on else USUAL)  # -1: it never shrinks
    if not on:
        c.malloc_trim(0)


_kept = Shared(lambda: False, _keep, True)


def freed_memory_kept(device: torch.device) -> AbstractContextManager[None]:
    """Within the block a process that computes on the CPU keeps what it frees (GNU's C library).

    Without it the features of each step are given back to the system and come again page by page.
    """
    return _kept.within() if device.type == "cpu" else nullcontext()
