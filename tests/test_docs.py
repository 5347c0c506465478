"""The documentation's links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from command import LONGEST

ROOT = Path(__file__).parents[1]
PAGES = [page for place in (".", "docs", "benchmarks") for page in (ROOT / place).glob("*.md")]


def test_links_to_lines_are_right() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "link_lines.py", "--check"],
        capture_output=True, text=True, timeout=LONGEST,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def headings(page: Path) -> set[str]:
    """What a link to a heading of ``page`` ends in, as forges make it of the heading."""
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    found = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text(encoding="utf-8"))
    missing = []
    for link, heading in links:
        target = page.parent / link if link else page
        if "://" in link:
            continue
        on_page = heading and target.suffix == ".md"
        if not target.exists() or (on_page and heading not in headings(target)):
            missing.append((link, heading))
    assert not missing
