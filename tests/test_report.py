"""The report: one file, no network, and it works in a real browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from PIL import Image

from diptych.report.chart import line_chart

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def page(trained: Path, tmp_path_factory: pytest.TempPathFactory, diptych: Command) -> Path:
    target = tmp_path_factory.mktemp("report") / "report.html"
    done = diptych("report", trained, "-o", target)
    assert done.returncode == 0, done.stderr
    return target


def browse(page: Path, *options: str) -> str:
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    # Whatever the page wanted from the network could not be found.
    offline = ["--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=3000"]
    profile = f"--user-data-dir={page.parent / 'profile'}"
    done = subprocess.run(
        [*command, *offline, profile, *options, page.as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


class Addresses(HTMLParser):
    """Collects everything that a browser would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attributes if name in ("src", "href")]


def test_the_page_needs_nothing_else(page: Path) -> None:
    text = page.read_text()
    addresses = Addresses()
    addresses.feed(text)
    assert len(addresses.found) > 20
    assert all(address.startswith("data:image/") for address in addresses.found)
    assert not re.search(r"@import|url\(", text)


def test_the_page_tells_of_the_run(page: Path, trained: Path) -> None:
    text = page.read_text()
    for word in ("12</b>steps", "32 px", "cycle loss (L1)", "learning rate", "config.yaml"):
        assert word in text
    assert text.count('class="sheet"') == len(list((trained / "samples").iterdir())) == 2
    assert text.count("<figure") == 8  # four held-out pictures of each domain
    assert text.count("true A") == text.count("true B") == 8  # the towns are drawn both ways


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
def test_the_slider_works_in_a_browser(page: Path, tmp_path: Path) -> None:
    probe = tmp_path / "probe.html"
    script = """<script>
      const slider = document.getElementById("when");
      const images = [...document.querySelectorAll(".sheet")];
      const shown = () => images.map((sheet) => sheet.offsetHeight > 0).join();
      const seen = [shown()];
      slider.value = 0;
      slider.dispatchEvent(new Event("input"));
      seen.push(shown(), document.getElementById("step").value);
      const broken = [...document.images].filter((i) => i.complete && !i.naturalWidth).length;
      document.title = `${seen.join(" then ")}, broken: ${broken}`;
    </script>"""
    probe.write_text(page.read_text().replace("</body>", script + "</body>"))
    title = re.search("<title>(.*)</title>", browse(probe, "--dump-dom"))
    assert title is not None
    assert title[1] == "false,true then true,false then 6, broken: 0"


def test_one_point_is_seen() -> None:
    assert "<circle" in line_chart("KID", [5], {"to B": [3.0]})
    assert "<circle" not in line_chart("KID", [5, 6], {"to B": [3.0, 4.0]})


def test_a_sheet_of_many_samples(trained: Path, tmp_path: Path, diptych: Command) -> None:
    """WebP, in which sheets are on the page, takes no such height."""
    shutil.copytree(trained, tmp_path / "run")
    Image.new("RGB", (40, 17_000)).save(tmp_path / "run" / "samples" / "step-00000012.png")
    done = diptych("report", tmp_path / "run")
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
@pytest.mark.parametrize("width", [380, 1200])
def test_the_page_fits_its_window(page: Path, tmp_path: Path, width: int) -> None:
    probe = tmp_path / "probe.html"
    script = f"""<script>
      document.body.style.width = "{width}px";
      document.title = document.documentElement.scrollWidth;
    </script>"""
    probe.write_text(page.read_text().replace("</body>", script + "</body>"))
    dom = browse(probe, "--dump-dom", f"--window-size={width},800")
    title = re.search("<title>(.*)</title>", dom)
    assert title is not None
    # Headless windows may be wider than asked for, never narrower than 500 px.
    assert int(title[1]) <= max(width, 500)


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
def test_the_page_shows_pictures(page: Path, tmp_path: Path) -> None:
    browse(page, f"--screenshot={tmp_path / 'page.png'}", "--window-size=1100,1600")
    with Image.open(tmp_path / "page.png") as screenshot:
        pixels = np.asarray(screenshot.convert("RGB")).reshape(-1, 3)
    assert len(np.unique(pixels, axis=0)) > 2000
