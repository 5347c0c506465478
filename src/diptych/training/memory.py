"""Memory that a step gave back is the next one's: asking the system for it anew takes time."""

from __future__ import annotations

import ctypes
import platform

# mallopt's parameters (malloc.h of the GNU C library).
TRIM_THRESHOLD = -1
MMAP_THRESHOLD = -3

LARGEST_BLOCK = 32 * 2**20  # bytes: the largest threshold that there may be


def keep_freed_memory() -> None:
    """Let this process keep what it frees, where the C library is GNU's; elsewhere do nothing.

    Without it the features of each step are given back to the system and come again page by page.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    c = ctypes.CDLL(None)
    c.mallopt(MMAP_THRESHOLD, LARGEST_BLOCK)  # smaller blocks come from the heap
    c.mallopt(TRIM_THRESHOLD, -1)  # which never shrinks
