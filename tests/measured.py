"""A process, what it said, and the most memory it held.

What the system reports of a child counts its parent's memory from before the exec, and so depends
on the tests that ran before; the high-water mark of the process itself does not.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

LOOK_EVERY = 0.02  # seconds


def run_measured(*arguments: str | Path) -> tuple[int, str, str, float]:
    """The real command: its exit code, stdout, stderr, and the most memory it held, in MiB."""
    return measure([sys.executable, "-m", "diptych", *map(str, arguments)])


def measure(
    command: Sequence[str], cwd: Path | None = None, timeout: float = 3600
) -> tuple[int, str, str, float]:
    """The same of any command."""
    if not Path("/proc/self/status").exists():
        pytest.skip("only Linux says how much memory another process has held")
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, cwd=cwd)
        end = time.monotonic() + timeout
        peak = 0
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text()
            found = re.search(r"VmHWM:\s+(\d+) kB", status)  # (not there once it has ended)
            peak = int(found[1]) if found else peak
            if time.monotonic() > end:
                process.kill()
                process.wait()
                pytest.fail(f"not done after {timeout} s: {command}")
            time.sleep(LOOK_EVERY)
        out.seek(0)
        err.seek(0)
        return process.returncode, out.read(), err.read(), peak / 1024
