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
from contextlib import nullcontext
from diptych.memory import freed_memory_kept
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
