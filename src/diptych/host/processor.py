"""What this machine's processor is good at, and how much of it there is to use."""

from __future__ import annotations

import math
import os
from functools import cache
from pathlib import Path


@cache
def has_quick_bf16_vectors(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether AVX-512's instructions for bf16 do twice as much as those for float32.

    AMD's do, since Zen 4. Intel's do as much, which Winograd's convolutions in float32 make up for;
    its matrix units (AMX) do seven times as much. Without any of them bf16 is emulated.
    """
    processor = _told(cpuinfo)
    return "AuthenticAMD" in processor and "avx512_bf16" in processor


@cache
def multiplies_bytes(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether there are instructions for products of 8-bit numbers, four at a time (VNNI).

    Without them sums of two products are cut off at 16 bits.
    """
    return not {"avx512_vnni", "avx_vnni"}.isdisjoint(_told(cpuinfo).split())


def _told(cpuinfo: Path) -> str:
    """What Linux tells of the processor; nothing elsewhere."""
    try:
        return cpuinfo.read_text()
    except OSError:
        return ""


def cores_allowed(groups: Path = Path("/sys/fs/cgroup")) -> float:
    """The CPU quota of the container, in cores; those of the machine where it has none.

    (PyTorch's own number of threads follows from the machine's alone.)
    """
    cores = float(os.cpu_count() or 1)
    for names in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):  # (version 2, 1)
        try:
            quota, period = " ".join((groups / name).read_text() for name in names).split()
            limit = float(quota) / float(period) if quota not in ("max", "-1") else math.inf
            return min(cores, max(limit, 1.0))
        except (OSError, ValueError, ZeroDivisionError):  # (not Linux, or not a container)
            continue
    return cores
