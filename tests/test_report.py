"""The report: one file, no network, and it works in a real browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command
from PIL import Image

from diptych.config import GeneratorConfig
from diptych.data.pixels import RGB
from diptych.evaluation.distances import Interval
from diptych.evaluation.scores import Direction, Distances, Evaluation, SetScores
from diptych.model_file import GeneratorPair, ModelInfo, Side, load_model
from diptych.networks import make_generator
from diptych.report.chart import line_chart
from diptych.report.page import _best_and_worst, _rows, picture_url
from diptych.training.run_folder import RunFolder
from diptych.training.samples import (
    Translated,
    sample_sheet,
    translate_samples,
    translate_there_and_back,
)

CPU = torch.device("cpu")

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


@pytest.mark.parametrize(("to", "truths"), [("b", "testB"), ("a", "testA")])
def test_rows_hold_picture_translation_way_back_and_truth(
    trained: Path, towns: Path, to: Side, truths: str
) -> None:
    run = RunFolder(trained)
    pair, data = load_model(run.model, CPU), run.data()
    paths = data["b" if to == "a" else "a"]["heldout"]
    rows = _rows(pair, run.config(), data, to, paths, 3, paired=True)
    assert len(rows) == 3
    for row, path in zip(rows, map(Path, paths), strict=False):
        picture, truth = (
            np.asarray(Image.open(place).convert("RGB"))
            for place in (path, towns / truths / path.name)
        )
        made = translate_there_and_back(pair, to, picture, CPU)
        assert made.rec is not None
        shown = [picture_url(one, RGB) for one in (picture, made.fake, made.rec, truth)]
        assert [row.picture, row.fake, row.rec, row.truth] == shown
        l1 = np.abs(made.rec.astype(float) - picture).mean() / 127.5
        assert row.cycle_l1 == pytest.approx(l1)


def test_the_best_are_the_first_of_the_ranking_and_the_worst_its_last(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(trained)
    data, pair = run.data(), load_model(run.model, CPU)
    ranked = data["a"]["heldout"][::-1]
    scores = SetScores(Interval(0, 0, 0), 0, 0, 0, None)
    distances = Distances(scores, scores, scores, ranked)
    direction = Direction("b", 4, 4, distances, None, None, None, None)
    found = Evaluation(12, 32, "inception", "FID", direction, None)
    monkeypatch.setattr("diptych.report.page.MOST_RANKED", 1)
    shown = [
        (section.title.split(" by ")[0], [row.name for row in section.rows])
        for section in _best_and_worst(found, pair, run.config(), data)
    ]
    assert shown == [
        ("A to B: the best", [Path(ranked[0]).name]), ("A to B: the worst", [Path(ranked[-1]).name])
    ]  # fmt: skip


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


def test_a_sheet_shows_picture_translation_and_way_back() -> None:
    values = range(0, 240, 40)
    plain = [np.full((8, 8, 3), value, np.uint8) for value in values]
    info = ModelInfo(GeneratorConfig(), RGB, RGB, 8, "crop", "white", 0)
    sheet = sample_sheet({"b": [Translated(*plain[:3])], "a": [Translated(*plain[3:])]}, info)
    assert sheet is not None
    middles = [4, 16, 28, 48, 60, 72]  # 4 pixels between pictures, 8 more between the ways
    assert np.asarray(sheet)[4, middles, 0].tolist() == list(values)


def test_samples_are_made_without_dropout_and_training_goes_on_with_it() -> None:
    config = GeneratorConfig(width=4, blocks=1, dropout=0.5)
    info = ModelInfo(config, RGB, RGB, 32, "crop", "white", 0)
    pair = GeneratorPair(*(make_generator(config, 3, 3) for _ in "ab"), info)
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    first, second = (translate_samples(pair, [picture], [picture], CPU) for _ in range(2))
    for to in pair.ways:
        np.testing.assert_array_equal(first[to][0].fake, second[to][0].fake)
    assert all(network.training for network in pair.networks)


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
