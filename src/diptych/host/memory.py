"""How much memory there is to use, and keeping what was freed: to ask for it anew takes time."""

from __future__ import annotations

import ctypes
import math
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import torch

from diptych.host.surroundings import shared

# mallopt's parameters (malloc.h of the GNU C library).
TRIM_THRESHOLD = -1
MMAP_THRESHOLD = -3

LARGEST_BLOCK = 32 * 2**20  # bytes: the largest threshold that there may be


def memory_at_hand(device: torch.device) -> float:
    """Bytes that a process may still take where ``device`` computes."""
    if device.type == "cuda":
        # (What PyTorch has reserved and does not use is free for it, too.)
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + idle
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    return min(_free_memory(), left_to_groups())


def _free_memory() -> float:
    if sys.platform == "linux":
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * float(line.split()[1])
    if sys.platform == "win32":
        status = (ctypes.c_uint64 * 8)()  # MEMORYSTATUSEX: two 32-bit values, then 64-bit ones
        status[0] = ctypes.sizeof(status)
        ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
        return float(status[2])  # ullAvailPhys
    # Elsewhere only the whole is easy to know: half of it.
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2


def left_to_groups(
    own: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")
) -> float:
    """Bytes that control groups (a container's, a cluster's) leave to this process.

    A group may use no more than those above it, either. Infinite where there is no limit.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:  # (Linux alone has them)
        return math.inf
    left = math.inf
    for line in lines:
        _, kinds, name = line.split(":", 2)
        if kinds == "":  # version 2: one tree for all kinds
            root, most, used = mounted, "memory.max", "memory.current"
        elif "memory" in kinds.split(","):
            root, most, used = (
                mounted / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
            )  # fmt: skip
        else:
            continue
        group = root / name.lstrip("/")
        for place in (group, *group.parents):
            if place.is_relative_to(root):
                left = min(left, _left_to(place, most, used))
    return left


def _left_to(group: Path, most: str, used: str) -> float:
    try:
        limit = float((group / most).read_text())  # "max", where there is none
        lines = (group / "memory.stat").read_text().splitlines()
        counts = {name: float(count) for name, count in map(str.split, lines)}
        # What is cached of files can be taken back. (Files in memory count as such, and cannot.)
        cached = sum(
            counts.get(f"total_{name}", counts.get(name, 0.0))
            for name in ("active_file", "inactive_file")
        )
        return limit - float((group / used).read_text()) + cached
    except (OSError, ValueError):
        return math.inf


def _keep(on: bool) -> None:
    if platform.libc_ver()[0] != "glibc":
        return
    c = ctypes.CDLL(None)
    c.mallopt(MMAP_THRESHOLD, LARGEST_BLOCK)  # smaller blocks come from the heap
    # (MMAP_THRESHOLD cannot be lowered again. TRIM_THRESHOLD ends as twice that, as the library
    # itself would set it.)
    c.mallopt(TRIM_THRESHOLD, -1 if on else 2 * LARGEST_BLOCK)
    if not on:
        c.malloc_trim(0)


@shared
@contextmanager
def _kept() -> Iterator[None]:
    _keep(True)
    try:
        yield
    finally:
        _keep(False)


def freed_memory_kept(device: torch.device) -> AbstractContextManager[None]:
    """Within the block a process that computes on the CPU keeps what it frees (GNU's C library).

    Without it the features of each step, or of each picture that is translated, are given back to
    the system and come again page by page, for which threads wait for one another.
    """
    return _kept() if device.type == "cpu" else nullcontext()
