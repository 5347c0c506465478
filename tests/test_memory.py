"""Freed memory stays with the process that trains."""

from __future__ import annotations

import math
import platform
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from diptych.host.memory import left_to_groups

# (Blocks larger than any that was freed before: the C library gives such ones back if left alone.)
GIVEN_BACK = """
import torch
from contextlib import nullcontext
from diptych.host.memory import freed_memory_kept
block = {block}(torch.device("cpu"))
block.__enter__()
def resident():
    return int(open("/proc/self/statm").read().split()[1])
features = [torch.zeros(2**22) for _ in range(4)]  # 16 MB each
before = resident()
del features
print(before - resident())
block.__exit__(None, None, None)
print(before - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="there is nothing to set")
def test_a_step_finds_the_memory_of_the_one_before() -> None:
    """And the program around the training has it back afterwards."""

    def given_back(block: str) -> list[int]:
        done = subprocess.run(
            [sys.executable, "-c", GIVEN_BACK.format(block=block)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return [int(pages) for pages in done.stdout.split()]

    size = 2**24 // resource.getpagesize()
    assert given_back("nullcontext")[0] > 3 * size
    within, after = given_back("freed_memory_kept")
    assert within < size / 16
    assert after > 3 * size


def group(place: Path, names: tuple[str, str], limit: str, used: int, *cached: str) -> None:
    place.mkdir(parents=True)
    for name, text in zip(
        (*names, "memory.stat"), (limit, str(used), "\n".join(cached)), strict=True
    ):
        (place / name).write_text(text)


def test_control_groups_hold_those_below_them(tmp_path: Path) -> None:
    """Of both versions: the job of a cluster, the container that is its own root."""
    own = tmp_path / "own"
    two = ("memory.max", "memory.current")
    group(tmp_path / "2" / "jobs", two, "5000", 1000, "inactive_file 300", "active_file 200")
    group(tmp_path / "2" / "jobs" / "7", two, "max", 900, "file 100", "inactive_file 1")
    own.write_text("0::/jobs/7\n")
    assert left_to_groups(own, tmp_path / "2") == 5000 - 1000 + 500
    one = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    stat = ("active_file 1", "total_active_file 20", "total_inactive_file 30")
    group(tmp_path / "1" / "memory", one, "700", 100, *stat)
    own.write_text("9:name=systemd:/x\n4:cpu,memory:/docker/not-seen-from-inside\n0::/\n")
    assert left_to_groups(own, tmp_path / "1") == 700 - 100 + 50
    own.write_text("4:memory:/\n0::/\n")
    (tmp_path / "1" / "memory" / one[0]).write_text("nonsense")
    assert left_to_groups(own, tmp_path / "1") == math.inf
    assert left_to_groups(tmp_path / "nowhere", tmp_path) == math.inf
