"""How much memory there is to use."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

import torch


def memory_at_hand(device: torch.device) -> float:
    """Bytes that a process may still take where ``device`` computes."""
    if device.type == "cuda":
        # (What PyTorch has reserved and does not use is free for it, too.)
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + idle
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    return min(_free_memory(), _left_to_the_group())


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


def _left_to_the_group() -> float:
    """What the control group (a container, say) allows beyond what it uses; caches do not count."""
    group = Path("/sys/fs/cgroup")
    try:
        most = float((group / "memory.max").read_text())  # "max", where there is no limit
        used = float((group / "memory.current").read_text())
        caches = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return most - used + float(caches["file"])
    except (OSError, ValueError, KeyError):
        return float("inf")
