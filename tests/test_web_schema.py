"""The API does what its OpenAPI description says, whatever is sent to it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="the extra [web] is not installed")

from retouching import RETOUCH, saved
from web import Server, running

SCHEMATHESIS = shutil.which("schemathesis", path=Path(sys.executable).parent)
# A valid request may ask for more than the network may take: 413.
CONFIG = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 413]
"""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One model that can do all that the description offers."""
    folder = tmp_path_factory.mktemp("plain")
    with running(folder / "notes", [saved(folder / "model.safetensors", RETOUCH)]) as server:
        yield server


@pytest.mark.skipif(SCHEMATHESIS is None, reason="schemathesis is not installed")
@pytest.mark.parametrize("examples", [20, pytest.param(1000, marks=pytest.mark.slow)])
def test_as_described(plain: Server, tmp_path: Path, examples: int) -> None:
    (tmp_path / "config.toml").write_text(CONFIG)
    assert SCHEMATHESIS is not None
    done = subprocess.run(
        [SCHEMATHESIS, "--config-file", tmp_path / "config.toml", "run",
         f"{plain.address}/openapi.json", "--max-examples", str(examples), "--no-color",
         "--request-timeout", "60", "--seed", "1"],
        env={**os.environ, "SCHEMATHESIS_HOOKS": "schema_hooks",
             "PYTHONPATH": str(Path(__file__).parent)},
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Tested: 4" in done.stdout
