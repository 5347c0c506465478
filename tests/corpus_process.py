"""The real command on the corpus, and what its JSON says."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


def run_measured(*arguments: str | Path) -> tuple[int, str, str, float]:
    """The real command: its exit code, stdout, stderr, and the most memory it held, in MiB."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "diptych", *map(str, arguments)], stdout=out, stderr=err
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        return process.returncode, out.read(), err.read(), usage.ru_maxrss / 1024


def reasons(report: dict[str, Any], kind: str) -> dict[str, str]:
    """The files of one kind of finding by their names, with what is said about them."""
    return {
        Path(case["files"][0]).name: case["about"]
        for finding in report["findings"]
        if finding["kind"] == kind
        for case in finding["cases"]
    }
