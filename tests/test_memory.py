"""Freed memory stays with the process that trains."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# Left alone, the C library maps every block that is larger than all that it has given back so far,
# up to 32 MB; so these 16 MB ones grow.
COUNT_FAULTS = """
import resource, torch
from diptych.training.memory import keep_freed_memory
{first}
features = [torch.zeros(2**22) for _ in range(4)]
del features
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for step in range(1, 11):
    torch.zeros(2**22 + step * 2**14)
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
    assert faults[""] > 10 * 4096  # pages: all of each block, anew
    assert faults["keep_freed_memory()"] < faults[""] / 4
