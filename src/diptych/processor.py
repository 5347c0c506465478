"""What this machine's processor is good at."""

from __future__ import annotations

from functools import cache
from pathlib import Path


@cache
def has_quick_bf16_vectors(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether AVX-512's instructions for bf16 do twice as much as those for float32.

    AMD's do, since Zen 4. Intel's do as much, which Winograd's convolutions in float32 make up for;
    its matrix units (AMX) do seven times as much. Without any of them bf16 is emulated.
    """
    try:
        processor = cpuinfo.read_text()
    except OSError:  # (Linux alone tells)
        return False
    return "AuthenticAMD" in processor and "avx512_bf16" in processor
