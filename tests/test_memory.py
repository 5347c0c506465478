"""Freed memory stays with the process that trains."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

COUNT_FAULTS = """
import resource, torch
from diptych.training.memory import keep_freed_memory
{first}
def steps(n):
    for _ in range(n):
        features = [torch.zeros(2**20) for _ in range(16)]  # 4 MB each
        del features
steps(3)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
steps(10)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="there is nothing to set")
def test_a_step_finds_the_memory_of_the_one_before() -> None:
    faults = {
        first: int(
            subprocess.run(
                [sys.executable, "-c", COUNT_FAULTS.format(first=first)],
                capture_output=True, text=True, check=True,
            ).stdout
        )
        for first in ("", "keep_freed_memory()")
    }  # fmt: skip
    assert faults["keep_freed_memory()"] < 100 < faults[""], faults
