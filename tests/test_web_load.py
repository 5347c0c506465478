"""Sixteen clients at once: no errors of the server, and no growth."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="the extra [web] is not installed")

LOAD = Path(__file__).parents[1] / "benchmarks" / "load.py"


@pytest.mark.parametrize("seconds", [5, pytest.param(60, marks=pytest.mark.slow)])
def test_sixteen_clients(seconds: int) -> None:
    done = subprocess.run(
        [sys.executable, LOAD, "--clients", "16", "--seconds", str(seconds)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found["statuses"]) == {"200"}
    assert min(found["answers"].values()) >= 8  # each client got at least one
    assert found["exit"] == 0
    if seconds == 60:
        early, late = found["memory"]
        assert late < 1.05 * early
