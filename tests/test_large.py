"""Pictures in strips: every generator gives what it gives for the whole picture, in less memory."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from command import LONGEST
from conftest import SHARED, Command
from measured import run_measured
from PIL import Image
from torch import Tensor, nn

from diptych.data.pixels import RGB, PixelFormat
from diptych.errors import DiptychError
from diptych.host import memory
from diptych.model_file import GeneratorPair, ModelInfo, save_model
from diptych.network_config import GeneratorConfig
from diptych.networks import make_generator
from diptych.translation import large
from diptych.translation.feature_store import FeatureStore, in_file, in_memory
from diptych.translation.files import translate_files
from diptych.translation.jobs import Job
from diptych.translation.large import how_to_cut, padded_picture
from diptych.translation.rows import Rows
from diptych.translation.strips import Keep, effort, translate_by_strips
from diptych.translation.translator import Translator, load

KINDS: list[dict[str, Any]] = [
    *({"norm": norm, "upsample": up, "downsample": down, "output": output}
      for norm in ("instance", "group", "pixel", "batch", "none")
      for up, down, output in (("transpose", "stride", "picture"),
                               ("resize", "antialias", "retouch"),
                               ("antialias", "stride", "picture"))),
    {"norm": "pixel", "output": "retouch", "least_change": 0.3, "strength": 1.3},
    *({"norm": norm, "upsample": "resize", "halvings": halvings}
      for norm in ("group", "pixel") for halvings in (1, 3)),
    *({"architecture": "unet", "norm": norm, "upsample": up, "levels": 4, "dropout": 0.5}
      for norm in ("instance", "group", "batch", "none") for up in ("transpose", "resize")),
    *({"architecture": "mobile", "norm": norm} for norm in ("instance", "group", "batch")),
    {"architecture": "mobile", "upsample": "resize", "widths": (5, 6, 16, 7, 16, 3, 4)},
]  # fmt: skip


def generator(config: GeneratorConfig) -> nn.Module:
    """Random weights; batch norm has statistics of its own, scales and shifts are not 1 and 0."""
    torch.manual_seed(0)
    G = make_generator(config, 3, 3)
    for module in G.modules():
        if isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    with torch.no_grad():
        G(torch.rand(4, 3, 64, 64) * 2 - 1)
    return G.eval()


def picture(height: int, width: int) -> Tensor:
    """A different place looks different: statistics of one strip are not those of another."""
    torch.manual_seed(1)
    x = torch.rand(1, 3, height, width) * 2 - 1
    x[:, :, : height // 3] *= 0.1
    return x * torch.linspace(0.2, 1, width)


@torch.inference_mode()
def by_strips(G: nn.Module, x: Tensor, multiple: int, rows: int, keep: Keep) -> Tensor:
    height, width = x.shape[2:]
    padded = [-(-n // multiple) * multiple for n in (height, width)]
    source = padded_picture(
        lambda places: x[:, :, places], 3, (height, width), (padded[0], padded[1]), x.device
    )
    y = torch.full((1, 3, *padded), torch.nan)
    done = []

    def write(top: int, strip: Tensor) -> None:
        y[:, :, top : top + strip.shape[2]] = strip

    translate_by_strips(G, source, rows, keep, write, done.append)
    assert sum(done) == pytest.approx(effort(G, source).work)  # the bar ends at its end
    return y


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind.values())))
def test_strips_give_what_the_whole_picture_gives(kind: dict[str, Any]) -> None:
    config = GeneratorConfig.model_validate({"width": 4, "blocks": 2, **kind})
    G = generator(config)
    multiple = config.size_multiple
    x = picture(6 * multiple, 5 * multiple)
    with torch.inference_mode():
        whole = G(x)
    assert float(whole.std()) > 0.02
    for rows, keep in ((4, in_file), (20, in_memory), (6 * multiple, in_memory)):
        torch.testing.assert_close(by_strips(G, x, multiple, rows, keep), whole, rtol=0, atol=1e-4)


def test_statistics_of_each_strip_would_show() -> None:
    """The test above would fail if strips were normalised by themselves."""
    G = generator(GeneratorConfig(width=4, blocks=2))
    x = picture(96, 64)
    with torch.inference_mode():
        apart = torch.cat([G(strip) for strip in x.chunk(3, dim=2)], dim=2)
        assert float((apart - G(x)).abs().max()) > 0.05


@pytest.mark.parametrize("size", [(61, 83), (17, 130), (3, 40), (128, 16)])
@pytest.mark.parametrize("tile", [1, 16, 40])
def test_odd_sizes_and_all_that_python_takes(
    trained: Path, size: tuple[int, int], tile: int
) -> None:
    whole, strips = load(trained, "cpu", tile="off"), load(trained, "cpu", tile=tile)
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    fakes = [np.asarray(t.to_b(Image.fromarray(pixels))) for t in (whole, strips)]
    assert fakes[1].shape == (*size, 3)
    assert np.abs(fakes[0].astype(int) - fakes[1]).max() <= 1  # rounding
    x = torch.rand(2, 3, *size) * 2 - 1
    torch.testing.assert_close(strips.to_a(x), whole.to_a(x), rtol=0, atol=1e-4)
    # A batch in strips, from arrays.
    pair = [pixels, pixels[::-1].copy()]
    told: list[float] = []
    made = strips.arrays(pair, "b", told.append)
    for one, other in zip(whole.arrays(pair, "b"), made, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1
    assert told == sorted(told)
    assert told[0] < 0.5 < told[-1] == pytest.approx(1)


def test_strips_may_lie_wholly_in_what_a_network_pads() -> None:
    config = GeneratorConfig(architecture="unet", width=4, levels=6)
    info = ModelInfo(config, RGB, RGB, 64, "crop", "white", 0)
    pair = GeneratorPair(generator(config), None, info)
    whole, strips = (Translator(pair, torch.device("cpu"), tile) for tile in ("off", 16))
    x = picture(70, 66)
    torch.testing.assert_close(strips.to_b(x), whole.to_b(x), rtol=0, atol=1e-4)


def test_deep_pictures_keep_their_values(tmp_path: Path) -> None:
    config = GeneratorConfig(width=4, blocks=1)
    G = make_generator(config, 2, 1).eval()
    deep = PixelFormat(2, "float32", -1000, 3000)
    info = ModelInfo(config, deep, PixelFormat(1, "uint16", 0, 65535), 32, "crop", "white", 0)
    pair = GeneratorPair(G, None, info)
    values = np.random.default_rng(0).uniform(-1000, 3000, (50, 41, 2)).astype(np.float32)
    whole, strips = (Translator(pair, torch.device("cpu"), t).to_b(values) for t in ("off", 16))
    assert strips.dtype == np.uint16
    assert np.abs(whole.astype(int) - strips).max() <= 3  # of 65535


def test_the_command_with_small_strips(trained: Path, tmp_path: Path, diptych: Command) -> None:
    for n, size in enumerate([(70, 50), (50, 70), (33, 90)]):
        pixels = np.random.default_rng(n).integers(0, 256, (*size, 3), dtype=np.uint8)
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "in" / f"{n}.png")
    for tile in ("off", "16"):
        done = diptych("translate", trained, tmp_path / "in", "-o", tmp_path / tile, "--tile", tile)
        assert done.returncode == 0, done.stderr
        assert "100%" in done.stdout
    for n in range(3):
        one, other = (
            np.asarray(Image.open(tmp_path / tile / f"{n}.png")).astype(int)
            for tile in ("off", "16")
        )
        assert np.abs(one - other).max() <= 1


def test_a_tile_that_is_none(trained: Path, tmp_path: Path, diptych: Command) -> None:
    done = diptych("translate", trained, tmp_path, "-o", tmp_path / "out", "--tile", "many")
    assert done.returncode == 2
    assert "--tile 'many': give auto, off, or how many rows" in done.stderr


def test_a_picture_is_cut_only_when_it_must_be(trained: Path) -> None:
    """And a disk without room for its features is known before the work begins."""
    translator = load(trained, "cpu")
    assert not translator.is_too_large(np.zeros((64, 64, 3), np.uint8), "b")
    # 100,000 x 100,000 pixels that take no memory: no machine has 4 TB for their features.
    endless = np.broadcast_to(np.zeros(3, np.uint8), (100_000, 100_000, 3))
    narrow = GeneratorConfig(width=64, blocks=1)
    info = ModelInfo(narrow, RGB, RGB, 256, "crop", "white", 0)
    wide = Translator(GeneratorPair(make_generator(narrow, 3, 3), None, info), torch.device("cpu"))
    with pytest.raises(DiptychError) as error:
        wide.is_too_large(endless, "b")
    assert "needs 1280.0 GB of disk" in str(error.value)
    assert "TMPDIR" in str(error.value)


def endless(side: int) -> Rows:
    """A square picture that nobody reads: for planning."""
    return padded_picture(lambda places: 1 / 0, 3, (side, side), (side, side), torch.device("cpu"))  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("halvings", [1, 2, 3])
@pytest.mark.parametrize("norm", ["instance", "pixel"])
def test_each_block_is_computed_once_and_takes_no_room_of_its_own(norm: str, halvings: int) -> None:
    few, many = (
        effort(
            make_generator(
                GeneratorConfig.model_validate(
                    {"width": 8, "norm": norm, "halvings": halvings, "blocks": blocks}
                ),
                3, 3,
            ),
            endless(512),
        )
        for blocks in (2, 9)
    )  # fmt: skip
    channels, places = 8 * 2**halvings, (512 // 2**halvings) ** 2
    convolutions = 7 * 2 * 9 * channels**2 * places
    assert convolutions < many.work - few.work < 1.2 * convolutions
    assert many.kept == few.kept


def test_a_picture_is_cut_into_strips_that_the_memory_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beside what is kept of it, and what it takes itself; several may fit one by one only."""
    G, cpu = make_generator(GeneratorConfig(width=8, blocks=1), 3, 3), torch.device("cpu")
    needs = effort(G, endless(2048))
    cuts: set[Keep] = set()
    for share in (0.1, 0.35, 0.6):
        for stored in (0.0, 0.3 * share * needs.whole):
            memory = share * needs.whole
            monkeypatch.setattr(large, "memory_at_hand", lambda _, memory=memory: memory)
            cut = how_to_cut(needs, "auto", cpu, 1, stored)
            assert cut is not None
            kept = needs.kept if cut.keep is in_memory else 0
            assert cut.rows * needs.room + kept + stored <= large.TO_USE * memory
            cuts.add(cut.keep)
    assert cuts == {in_memory, in_file}
    monkeypatch.setattr(large, "memory_at_hand", lambda _: 2 * needs.whole / large.TO_USE)
    fits = [how_to_cut(needs, "auto", cpu, count, 0) is None for count in (1, 2, 3)]
    assert fits == [True, True, False]


@pytest.mark.skipif(sys.platform != "linux", reason="others have other files")
@pytest.mark.parametrize(("of_groups", "left"), [(math.inf, 8e9), (2.5e9, 2.5e9), (17.5e9, 8e9)])
def test_a_container_may_hold_less_than_the_machine(
    of_groups: float, left: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 9999999 kB\nMemAvailable: 7812500 kB\n")
    monkeypatch.setattr(memory, "Path", lambda path: tmp_path / path[1:])
    monkeypatch.setattr(memory, "left_to_groups", lambda: of_groups)
    assert memory.memory_at_hand(torch.device("cpu")) == left


def test_a_strip_is_the_same_part_of_the_picture_on_every_grid() -> None:
    """Coarser features have fewer rows: as many as in the picture would take several times more."""
    taken: list[tuple[int, int]] = []

    def keep(channels: int, height: int, width: int) -> FeatureStore:
        place = in_memory(channels, height, width)

        def write(top: int, rows: Tensor) -> None:
            taken.append((height, rows.shape[2]))
            place.write(top, rows)

        return FeatureStore(channels, height, width, place.read, write)

    by_strips(generator(GeneratorConfig(width=4, blocks=1)), picture(64, 16), 4, 16, keep)
    assert set(taken) == {(16, 4)}


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))  # as a disk that fills up
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from diptych.cli.main import main
import diptych.translation.large as large
large.MOST_MEMORY = large.PROCESS  # so that features go to the disk
main()
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows limits no files")
def test_a_disk_that_fills_up_ends_in_one_line(trained: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1024, 512, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "in.png")
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, "translate", trained, tmp_path / "in.png", "-o",
         tmp_path / "out", "--tile", "64"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True, text=True, timeout=LONGEST,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "cannot keep features of a large picture" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.png"]


def test_no_room_for_one_picture_leaves_it_out(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large, "MOST_MEMORY", large.PROCESS)  # so that features go to the disk
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10**6))
    for name, side in (("a", 40), ("m", 400), ("z", 44)):
        Image.new("RGB", (side, side)).save(tmp_path / f"{name}.png")
    jobs = [Job(tmp_path / f"{name}.png", tmp_path / "out" / f"{name}.png") for name in "amz"]
    outcomes = translate_files(load(trained, "cpu", tile=64), jobs, "b")
    problems = {outcome.job.source.stem: outcome.problem for outcome in outcomes}
    assert (problems["a"], problems["z"]) == (None, None)
    assert "this picture needs" in (problems["m"] or "")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "z.png"]


def test_a_program_may_compute_in_double_precision(trained: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    expected = load(trained, "cpu", tile=16).to_b(pixels)
    torch.set_default_dtype(torch.float64)
    try:
        np.testing.assert_array_equal(load(trained, "cpu", tile=16).to_b(pixels), expected)
    finally:
        torch.set_default_dtype(torch.float32)


def model(path: Path, **kind: Any) -> Path:
    """A model file with random weights."""
    config = GeneratorConfig.model_validate(kind)
    torch.manual_seed(0)
    G = make_generator(config, 3, 3)
    info = ModelInfo(config, RGB, RGB, 256, "crop", "white", 0)
    save_model(path, GeneratorPair(G, None, info))
    return path


def photograph(side: int) -> Image.Image:
    """Sixteen photographs of horses, side by side, ``side`` pixels in all."""
    horses = sorted((SHARED / "data" / "horse2zebra" / "testA").iterdir())[:16]
    whole, each = Image.new("RGB", (side, side)), side // 4
    for n, horse in enumerate(horses):
        with Image.open(horse) as picture:
            whole.paste(picture.convert("RGB").resize((each, each)), (n % 4 * each, n // 4 * each))
    return whole


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason="horse2zebra is not here")
@pytest.mark.parametrize("upsample", ["resize", "transpose"])
def test_2048_pixels_differ_by_rounding_only(tmp_path: Path, upsample: str) -> None:
    path = model(tmp_path / "m.safetensors", width=32, blocks=6, upsample=upsample)
    pixels = np.asarray(photograph(2048))
    whole = load(path, "cpu", tile="off").to_b(pixels)
    strips = load(path, "cpu", tile=128).to_b(pixels)
    assert np.abs(whole.astype(int) - strips).max() <= 1


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason="horse2zebra is not here")
def test_4096_pixels_take_little_memory(tmp_path: Path) -> None:
    """Whole they would take more than 12 GB."""
    path = model(tmp_path / "m.safetensors", width=32, blocks=6, upsample="resize")
    photograph(4096).save(tmp_path / "in.png")
    code, _, err, peak = run_measured(
        "translate", path, tmp_path / "in.png", "-o", tmp_path / "out", "--tile", "128"
    )
    assert code == 0, err
    assert Image.open(tmp_path / "out" / "in.png").size == (4096, 4096)
    assert 0.5e9 < peak * 2**20 < 2.5e9
