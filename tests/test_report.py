"""The report: one file, no network, and it works in a real browser."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import LONGEST
from conftest import TINY, Command
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import diptych as package
from diptych.data.pixels import RGB, PixelFormat
from diptych.evaluation.distances import Interval
from diptych.evaluation.pairs import Likeness
from diptych.evaluation.results import DirectionScores, Distances, Evaluation, SetScores
from diptych.model_file import GeneratorPair, ModelInfo, load_model
from diptych.network_config import GeneratorConfig
from diptych.networks import make_generator
from diptych.report.chart import line_chart
from diptych.report.compare_page import make_grid
from diptych.report.compare_tables import score_comparison
from diptych.report.curves import loss_charts, score_charts
from diptych.report.page import (
    _best_and_worst,
    _rows,
    _sheets,
    picture_url,
    true_translations,
    write_report,
)
from diptych.settings import merge
from diptych.sides import Side
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
        capture_output=True, text=True, timeout=LONGEST,
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
    seconds = RunFolder(trained).read_metrics()[-1]["seconds"]
    assert f"<b>{12 / seconds:.2f}</b>steps per second" in text
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
    rows = _rows(pair, run.config(), to, paths, 3, true_translations(to, None, data))
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
    direction = DirectionScores("b", 4, 4, distances, None, None, None, None)
    found = Evaluation(12, 32, "inception", "FID", "", direction, None)
    monkeypatch.setattr("diptych.report.page.MOST_RANKED", 1)
    shown = [
        (section.title.split(" by ")[0], [row.name for row in section.rows])
        for section in _best_and_worst(found, pair, run.config(), data, {"b": {}})
    ]
    assert shown == [
        ("A to B: the best", [Path(ranked[0]).name]), ("A to B: the worst", [Path(ranked[-1]).name])
    ]  # fmt: skip


@pytest.fixture(scope="module")
def mixed(towns: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run between colour pictures and 16-bit heights."""
    place = tmp_path_factory.mktemp("mixed")
    (place / "heights").mkdir()
    for i in range(4):
        heights = np.random.default_rng(i).integers(0, 4096, (32, 32, 1), np.uint16)
        np.save(place / "heights" / f"{i}.npy", heights)
    settings = merge(TINY, {"b": {"depth": "native"}, "training": {"steps": 1}})
    package.train(towns / "trainA", place / "heights", run=place / "run", settings=settings)
    return RunFolder(place / "run")


@pytest.mark.parametrize("to", ["b", "a"])
def test_each_domain_is_read_and_shown_in_its_own_way(mixed: RunFolder, to: Side) -> None:
    translator, data = package.load(mixed.path, "cpu"), mixed.data()
    own, other = translator.formats(to)
    (path,) = data["a" if to == "b" else "b"]["heldout"]
    picture = translator.read(Path(path), to)
    fake = translator.arrays([picture], to)[0]
    views = [picture_url(picture, own), picture_url(fake, other)]
    (row,) = _rows(translator.pair, mixed.config(), to, [path], 3, {})
    assert [row.picture, row.fake] == views
    grid = make_grid([(mixed, translator)], to, 3, {})
    assert (grid.made_by, grid.rows) == ([str(mixed.path)], [(Path(path).name, views)])


def test_only_what_no_run_has_learned_from_is_compared(trained: Path, tmp_path: Path) -> None:
    runs = [RunFolder(tmp_path / name) for name in ("all", "few", "all-too")]
    held = RunFolder(trained).data()["a"]["heldout"]
    for run in runs:
        shutil.copytree(trained, run.path)
    data = json.loads((runs[1].path / "data.json").read_text())
    data["a"]["heldout"] = held[2:]
    (runs[1].path / "data.json").write_text(json.dumps(data))
    rows = make_grid([(run, package.load(run.path, "cpu")) for run in runs], "b", 8, {}).rows
    assert [name for name, _ in rows] == [Path(path).name for path in held[2:]]


def test_pictures_in_folders_of_each_runs_own_are_compared(trained: Path, tmp_path: Path) -> None:
    runs = [RunFolder(trained), RunFolder(tmp_path / "elsewhere")]
    shutil.copytree(trained, runs[1].path)
    data = json.loads(runs[1].data_record.read_text())
    held = [Path(path) for path in data["a"]["heldout"]]
    copies = [tmp_path / "copies" / path.name for path in held]
    copies[0].parent.mkdir()
    for path, copy in zip(held, copies, strict=True):
        shutil.copy(path, copy)
    copies[0].write_bytes(copies[1].read_bytes())  # another picture of the same name
    data["a"]["heldout"] = [str(path) for path in reversed(copies)]
    runs[1].data_record.write_text(json.dumps(data))
    rows = make_grid([(run, package.load(run.path, "cpu")) for run in runs], "b", 8, {}).rows
    assert [name for name, _ in rows] == [path.name for path in held[1:]]
    for _, (picture, first, second) in rows:
        assert picture
        assert first == second  # (the same networks, and the same picture)


def test_runs_are_compared_by_their_own_scores(trained: Path, tmp_path: Path) -> None:
    def direction(to: Side, n: int) -> DirectionScores:
        kid = Interval(n / 1000, (n + 1) / 1000, (n + 2) / 1000)
        scores, none = (SetScores(at, n + 3, (n + 4) / 100, (n + 5) / 100, None)
                        for at in (kid, Interval(9, 9, 9)))  # fmt: skip
        cycle, paired = (Likeness((n + i) / 100, n + i, (n + i) / 10) for i in (6, 7))
        return DirectionScores(
            to, 8, 8, Distances(scores, none, none, []), cycle, None, paired, None
        )

    runs = [RunFolder(tmp_path / minutes) for minutes in ("1.5", "100")]
    for run, seconds in zip(runs, (90, 6000), strict=True):
        run.path.mkdir()
        run.metrics.write_text(json.dumps({"step": 12, "seconds": seconds}) + "\n")
        shutil.copy(trained / "config.yaml", run.path)
    found = [
        Evaluation(12, 32, "inception", "FID", "", direction("b", n), direction("a", n + 10))
        for n in (10, 30)
    ]
    tables = score_comparison(runs, found)
    assert tables[0].columns == [
        "run", "steps", "minutes", "px", "KID x 1000", "95 % interval", "FID", "precision",
        "recall", "cycle L1", "L1 to the truth", "PSNR (dB)", "SSIM",
    ]  # fmt: skip
    nothing = ["(untouched)", "", "", "32", "9000.0", "9000.0 to 9000.0"]
    expected = [
        [*([str(run.path), "12", run.path.name, "32",
            f"{n}.0", f"{n + 1}.0 to {n + 2}.0", f"{n + 3}.0", f"0.{n + 4}", f"0.{n + 5}",
            f"0.{n + 6}00", f"0.{n + 7}00", f"{n + 7}.0", f"{(n + 7) / 10:.3f}"]
           for run, n in zip(runs, (first, second), strict=True)),
         [*nothing, f"{first + 3}.0", f"0.{first + 4}", f"0.{first + 5}", "", "", "", ""]]
        for first, second in ((10, 30), (20, 40))
    ]  # fmt: skip
    assert [(table.title, table.rows) for table in tables] == [
        ("A to B", expected[0]), ("B to A", expected[1])
    ]  # fmt: skip


def test_runs_scored_on_other_pictures_are_compared_with_care(trained: Path) -> None:
    direction = DirectionScores("b", 8, 8, None, None, None, None, None)
    one, other = (Evaluation(12, 32, "inception", "FID", of, direction, None) for of in "xy")
    large = replace(other, size=64)  # (of sizes the note speaks anyway)
    run = RunFolder(trained)
    for others, care in (
        ([one], False),
        ([other], True),
        ([large], False),
        ([other, large], True),
        ([large, large], False),
    ):
        (table,) = score_comparison([run] * (1 + len(others)), [one, *others])
        assert ("compare with care" in table.note) is care


def test_runs_scored_as_pairs_and_not_are_not_compared_silently(trained: Path) -> None:
    scores = SetScores(Interval(0.1, 0.0, 0.2), 1, 1, 1, None)
    none = replace(scores, kid=Interval(9, 9, 9))
    alone = DirectionScores("b", 8, 8, Distances(scores, none, none, []), None, None, None, None)
    unpaired = Evaluation(12, 32, "inception", "FID", "", alone, None)
    paired = replace(unpaired, to_b=replace(alone, paired=Likeness(0.1, 9, 0.9)))
    run = RunFolder(trained)
    for pair in ([unpaired, paired], [paired, unpaired]):
        (table,) = score_comparison([run, run], pair)
        assert "--unpaired" in table.note
        assert [row[0] for row in table.rows] == [str(trained)] * 2  # (no row of one of the two)
    (table,) = score_comparison([run, run], [paired, paired])
    assert "--unpaired" not in table.note
    assert table.rows[-1][0] == "(untouched)"


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


@pytest.mark.parametrize("steps", [[5, 5], [5, 4]])
def test_lines_that_a_person_has_edited_are_drawn(steps: list[int]) -> None:
    assert "<polyline" in line_chart("loss", steps, {"A": [1.0, 2.0]})


def drawn(chart: str) -> dict[str, list[tuple[float, float]]]:
    """The points of each line of a chart, by its name."""
    lines = re.findall(r'<polyline points="([^"]*)".*?class="name">([^<]*)<', chart)
    return {
        name: [(float(x), float(y)) for x, y in (point.split(",") for point in points.split())]
        for points, name in lines
    }


def test_a_chart_shows_the_values() -> None:
    chart = line_chart("loss", [0, 100, 400], {"A": [0.0, 2.0, 1.0]})
    (start, middle, end) = drawn(chart)["A"]
    assert (middle[0] - start[0]) * 3 == pytest.approx(end[0] - middle[0], abs=0.5)
    assert start[1] - end[1] == pytest.approx(end[1] - middle[1], abs=0.2)  # upwards is less
    assert middle[1] < end[1] < start[1]
    ticks = re.findall(r'y="([\d.]+)" text-anchor="end">([^<]+)<', chart)
    height = {float(tick): float(y) - 4 for y, tick in ticks}
    assert height[0] == pytest.approx(start[1], abs=0.2)
    assert height[2] == pytest.approx(middle[1], abs=0.2)
    many = line_chart("loss", range(1003), {"A": [*[0.0] * 1002, 6.0]})
    points = drawn(many)["A"]
    assert len(points) == 144
    assert 'text-anchor="end">3<' in many  # (the last mean is of two, not of seven)


def test_flat_lines_are_flat_at_their_height() -> None:
    for value in (2e-4, 1e-4, 0.0, -3.0):
        for steps in (2, 1000):  # (so many are averaged)
            chart = line_chart("rate", range(steps), {"rate": [value] * steps})
            heights = {y for _, y in drawn(chart)["rate"]}
            assert len(heights) == 1
            ticks = re.findall(r'y="([\d.]+)" text-anchor="end">([^<]+)<', chart)
            assert heights == {float(y) - 4 for y, tick in ticks if float(tick) == value}


@given(
    st.floats(-1e6, 1e6, allow_subnormal=False),
    st.floats(1e-6, 1e6),
)
def test_a_chart_has_some_ticks_and_no_line_leaves_it(low: float, spread: float) -> None:
    chart = line_chart("loss", [1, 2], {"A": [low, low + spread]})
    ticks = re.findall(r'y="([\d.]+)" text-anchor="end">([^<]+)<', chart)
    assert 2 <= len(ticks) <= 9
    heights = [float(y) - 4 for y, _ in ticks]
    assert all(min(heights) <= y <= max(heights) for _, y in drawn(chart)["A"])


def test_an_interval_is_drawn_around_its_line() -> None:
    lines = [{"step": 1.0, "kid/to_b": 0.02, "kid/to_b/low": 0.01, "kid/to_b/high": 0.04}]
    lines += [{"step": 3.0, "kid/to_b": 0.01, "kid/to_b/low": 0.0, "kid/to_b/high": 0.02}]
    (chart,) = score_charts(lines, "inception")
    (outline,) = re.findall(r'<polygon points="([^"]*)"', chart)
    corners = [tuple(map(float, point.split(","))) for point in outline.split()]
    (first, last) = drawn(chart)["to B"]
    assert [x for x, _ in corners] == [first[0], last[0], last[0], first[0]]
    per_unit = (last[1] - first[1]) / -10  # (KID fell by 10 thousandths)
    high, low = corners[0][1], corners[3][1]
    assert high - first[1] == pytest.approx(20 * per_unit, abs=0.3)
    assert low - first[1] == pytest.approx(-10 * per_unit, abs=0.3)


def test_each_line_of_a_chart_has_its_own_name() -> None:
    first = dict.fromkeys(("cycle_a", "contrast_a", "G_ab/adversarial", "D_a"), 1.0)
    first |= dict.fromkeys(("identity_a", "plain_a", "kid/to_b", "rate"), 1.0)
    second = dict.fromkeys(("cycle_b", "contrast_b", "G_ba/adversarial", "D_b"), 2.0)
    second |= dict.fromkeys(("identity_b", "plain_b", "kid/to_a"), 2.0)
    lines = [{"step": step, **first, **second} for step in (1.0, 2.0)]
    charts = [*score_charts(lines, "inception"), *loss_charts(lines)]
    assert len(charts) == 8
    for chart in charts[:-1]:
        (one, lower), (other, upper) = drawn(chart).items()
        assert (one, other) in {("A", "B"), ("G_ab", "G_ba"), ("D_a", "D_b"), ("to B", "to A")}
        assert lower[0][1] > upper[0][1]


def test_scores_through_time_are_in_thousandths(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    lines = [{"step": step, "kid/to_b": 0.02 * step, "kid/to_a": 0.04} for step in (1, 2)]
    run.evaluations.write_text("".join(json.dumps(line) + "\n" for line in lines))
    chart = write_report(run).read_text().partition("KID x 1000")[2].partition("</svg>")[0]
    assert 'text-anchor="end">40<' in chart


def test_of_many_sheets_the_first_and_the_last_are_shown(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.samples.mkdir()
    for step in range(0, 1000, 10):
        Image.new("RGB", (20, 20)).save(run.samples / f"step-{step:08}.png")
    steps = [step for step, _ in _sheets(run)]
    assert (len(steps), steps[0], steps[-1]) == (24, 0, 990)
    assert set(np.diff(steps)) <= {40, 50}


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
    assert all(network.training for network in pair.generators)


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


def from_url(url: str) -> tuple[str, Any]:
    """The kind and the pixels of a picture on a page."""
    match = re.fullmatch("data:image/(png|webp);base64,(.*)", url)
    assert match is not None
    return match[1], np.asarray(Image.open(io.BytesIO(base64.b64decode(match[2]))).convert("RGB"))


def test_the_page_says_what_the_run_has_written_down(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    lines[-1] |= {"seconds": 3725.0, "step": 7450}
    run.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    run.warnings.write_text(json.dumps({"step": 9, "text": "what <was> wrong"}) + "\n")
    data = json.loads(run.data_record.read_text())
    gone = str(tmp_path / "gone.png")
    data["a"] |= {"training_pictures": 7, "heldout": [*data["a"]["heldout"], gone]}
    data["b"] |= {"training_pictures": 9, "skipped": [{"name": "odd.png", "reason": "cut short"}]}
    run.data_record.write_text(json.dumps(data))
    text = write_report(run).read_text()
    page = " ".join(text.split())
    for words in (
        "<b>1:02:05</b>hours of training", "<b>2.00</b>steps per second",
        "<b>7 + 9</b>pictures of A + of B", "At step 9: what &lt;was&gt; wrong",
        f"1 held-out pictures are not where they were, the first of them {gone}",
        "Left out of B: 1", "odd.png: cut short",
        "Left: A, translated to B, and back. Right: B, translated to A, and back.",
    ):  # fmt: skip
        assert words in page, words
    assert "Left out of A" not in page


def test_pictures_on_the_page_are_whole_and_cycle_losses_are_theirs(
    trained: Path, tmp_path: Path
) -> None:
    page = write_report(RunFolder(trained), tmp_path / "page.html").read_text()
    figures = re.findall(r"<figure.*?</figure>", page, re.DOTALL)
    assert len(figures) == 8
    held = RunFolder(trained).data()
    for figure, path in zip(figures, held["a"]["heldout"] + held["b"]["heldout"], strict=True):
        urls = re.findall(r'<img src="([^"]*)" alt="([^"]*)"', figure)
        shown = {alt.partition(":")[0]: from_url(url) for url, alt in urls}
        source = next(shown[side] for side in "AB" if side in shown)
        assert {kind for kind, _ in shown.values()} == {"png"}
        np.testing.assert_array_equal(source[1], np.asarray(Image.open(path).convert("RGB")))
        back = shown["reconstruction"][1].astype(float)
        said = re.search(r"cycle L1 ([\d.]+)", figure)
        assert said is not None
        assert float(said[1]) == pytest.approx(np.abs(back - source[1]).mean() / 127.5, abs=6e-4)
    assert from_url(picture_url(np.zeros((200, 90, 3), np.uint8), RGB))[0] == "webp"


def test_samples_are_shown_in_the_range_of_their_own_domain() -> None:
    deep = PixelFormat(1, "uint16", 0, 1000)
    info = ModelInfo(GeneratorConfig(), deep, RGB, 8, "crop", "white", 0)
    half = np.full((8, 8, 1), 500, np.uint16)
    made = Translated(half, np.full((8, 8, 3), 30, np.uint8), half)
    sheet = sample_sheet({"b": [made]}, info)
    assert sheet is not None
    assert np.asarray(sheet)[4, [4, 16, 28], 0].tolist() == [128, 30, 128]


def test_the_way_back_begins_at_the_translation_and_not_at_its_rounded_values(
    trained: Path,
) -> None:
    coarse = PixelFormat(3, "uint8", 0, 3)
    pair = load_model(RunFolder(trained).model, CPU)
    pair = replace(pair, info=replace(pair.info, b=coarse))
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    with torch.no_grad():
        fake = pair.G_ab(RGB.to_tensor(picture[None]))
        back = pair.towards("a")(fake)
    made = translate_there_and_back(pair, "b", picture, CPU)
    np.testing.assert_array_equal(made.fake, coarse.to_pixels(fake)[0])
    np.testing.assert_array_equal(made.rec, RGB.to_pixels(back)[0])


def test_axes_are_labelled_where_their_values_are() -> None:
    chart = line_chart("loss", [20_000, 30_000, 40_000], {"A": [0.9, 1.0, 0.95], "B": [1, 1, 1]})
    labels = re.findall(r'<text x="([\d.]+)" y="200" text-anchor="middle">([^<]*)<', chart)
    assert [label for _, label in labels] == ["20k", "25k", "30k", "35k", "40k"]
    (left, _, right) = (x for x, _ in drawn(chart)["A"])
    assert [float(x) for x, _ in labels] == pytest.approx(np.linspace(left, right, 5), abs=0.1)
    assert [name for name, _ in drawn(chart).items()] == ["A", "B"]
    kinds = re.findall(r'<polyline points="[^"]*" class="([^"]*)"', chart)
    assert kinds == ["line-0", "line-0", "line-1", "line-1"]  # each with that of its name
    ticks = re.findall(r'text-anchor="end">([\d.]+)<', chart)
    assert min(map(float, ticks)) == 0.9
    assert 'text-anchor="end">0<' in line_chart("loss", [1, 2], {"A": [0.1, 1.0]})
    style = (Path(package.__file__).parent / "report" / "style.html.j2").read_text()
    for kind in ("line-0", "line-1"):
        assert f"polyline.{kind} {{ stroke: var(--{kind})" in style
        assert style.count(f"--{kind}: #") == 2  # by day and by night
