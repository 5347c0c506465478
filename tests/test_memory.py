"""Freed memory stays with the process that trains."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys

import pytest

# (Blocks larger than any that was freed before: the C library gives such ones back if left alone.)
GIVEN_BACK = """
import torch
from diptych.training.memory import keep_freed_memory
{first}
def resident():
    return int(open("/proc/self/statm").read().split()[1])
features = [torch.zeros(2**22) for _ in range(4)]  # 16 MB each
before = resident()
del features
print(before - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="there is nothing to set")
def test_a_step_finds_the_memory_of_the_one_before() -> None:
    pages = {
        first: int(
            subprocess.run(
                [sys.executable, "-c", GIVEN_BACK.format(first=first)],
                capture_output=True, text=True, check=True,
            ).stdout
        )
        for first in ("", "keep_freed_memory()")
    }  # fmt: skip
    block = 2**24 // resource.getpagesize()
    assert pages[""] > 3 * block
    assert pages["keep_freed_memory()"] < block / 16
