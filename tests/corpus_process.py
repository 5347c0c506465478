"""What ``diptych data check --json`` says of the corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def reasons(report: dict[str, Any], kind: str) -> dict[str, str]:
    """The files of one kind of finding by their names, with what is said about them."""
    return {
        Path(case["files"][0]).name: case["about"]
        for finding in report["findings"]
        if finding["kind"] == kind
        for case in finding["cases"]
    }
