"""The documentation's links lead somewhere, and its Python runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from command import LONGEST
from PIL import Image

import diptych as package
from diptych.data import town

ROOT = Path(__file__).parents[1]
PAGES = [page for place in (".", "docs", "benchmarks") for page in (ROOT / place).glob("*.md")]


@pytest.mark.parametrize("script", ["link_lines.py", "settings_table.py"])
def test_what_is_made_of_the_code_is_as_the_code(script: str) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / script, "--check"],
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


def test_the_python_page_runs(tmp_path: Path) -> None:
    town.write_towns(tmp_path / "towns", train=30, test=1, size=32)
    (tmp_path / "towns" / "trainA").rename(tmp_path / "horses")
    (tmp_path / "towns" / "trainB").rename(tmp_path / "zebras")
    Image.new("RGB", (40, 36), "brown").save(tmp_path / "horse.png")
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    for given, quick in (
        ("200", "2"),
        ("400", "4"),
        ("% 100", "% 2"),
        ('"size": 64', '"size": 32'),
    ):
        assert given in code
        code = code.replace(given, quick)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=LONGEST
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("True {")
    assert "100% " in done.stdout
    assert "uint8" in done.stdout
    assert (tmp_path / "zebra.png").is_file()
    assert package.load(tmp_path / "mine.safetensors").info.step == 2
