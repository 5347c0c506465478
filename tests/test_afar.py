"""Large pictures seen from afar: a network sees a small one, its change is brought to the large."""

from __future__ import annotations

import base64
import io
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SHARED, Command
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

import diptych as package
from diptych.api import Run
from diptych.data.pixels import RGB, PixelFormat
from diptych.errors import UsageError
from diptych.model_file import GeneratorPair, ModelInfo, save_model
from diptych.network_config import GeneratorConfig
from diptych.networks import make_generator
from diptych.settings import build_config
from diptych.training.run_folder import RunFolder
from diptych.translation import afar
from diptych.translation.clips import Steady
from diptych.translation.other_size import with_size
from diptych.translation.translator import Translator

RETOUCH = GeneratorConfig(
    width=4, blocks=1, halvings=1, norm="pixel", upsample="resize", output="retouch"
)
CPU = torch.device("cpu")
TRAINED = 4  # pixels a side
SIDE = afar.NEAR * TRAINED  # what is seen of larger pictures


def info(
    config: GeneratorConfig = RETOUCH, preprocess: Any = "resize-crop", b: PixelFormat = RGB
) -> ModelInfo:
    return ModelInfo(config, RGB, b, TRAINED, preprocess, "white", 0)


class Recolour(nn.Module):
    """Any function of single pixels as a generator; it notes what it was shown."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function
        self.seen: list[tuple[int, ...]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(tuple(x.shape))
        y: Tensor = self.function(x)
        return y


def translator(function: Any, **options: Any) -> tuple[Translator, Recolour]:
    G = Recolour(function)
    options = {"tile": "off", **options}  # (strips need to know the layers)
    return Translator(GeneratorPair(G, None, info()), CPU, **options), G


def photograph(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth, with detail, like one."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return (smooth + rng.integers(-9, 10, smooth.shape)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("shape", [(100, 70), (17, 400), (64, 64)])
def test_the_network_sees_the_size_of_its_training_and_the_picture_keeps_its_own(
    shape: tuple[int, int],
) -> None:
    one, G = translator(lambda x: x + 0.25)
    picture = photograph(*shape)
    made = one.to_b(picture)
    assert made.shape == picture.shape
    (seen,) = G.seen
    assert min(seen[2:]) == SIDE
    assert seen[3] / seen[2] == pytest.approx(shape[1] / shape[0], rel=0.1)
    # An even change arrives everywhere, and no detail of the picture is lost.
    expected = (picture.astype(float) + 0.25 * 127.5).clip(0, 255)
    assert np.abs(made - expected).max() <= 0.51


@pytest.mark.parametrize("shape", [(16, 16), (16, 90), (9, 30)])
def test_what_is_no_larger_is_seen_as_it_is(shape: tuple[int, int]) -> None:
    one, G = translator(lambda x: -x)
    picture = photograph(*shape)
    assert np.abs(one.to_b(picture).astype(int) - (255 - picture)).max() <= 1
    assert all(rows >= SIDE or rows >= shape[0] for _, _, rows, _ in G.seen)


def reference(
    x: NDArray[np.float64], change: NDArray[np.float64], small: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Kopf et al. (2007), eq. 3, with a tent for the places and a Gaussian for the looks."""
    (_, height, width), (_, rows, columns) = x.shape, small.shape
    made = np.empty_like(x)
    for i in range(height):
        for j in range(width):
            down = (i + 0.5) * rows / height - 0.5
            across = (j + 0.5) * columns / width - 0.5
            total, weights = np.zeros(len(x)), 0.0
            for p in (int(np.floor(down)), int(np.floor(down)) + 1):
                for q in (int(np.floor(across)), int(np.floor(across)) + 1):
                    row, column = min(max(p, 0), rows - 1), min(max(q, 0), columns - 1)
                    near = (1 - abs(down - p)) * (1 - abs(across - q))
                    unlike = np.square(small[:, row, column] - x[:, i, j]).mean()
                    weight = near * (np.exp(-unlike / (2 * afar.ALIKE**2)) + afar.LEAST)
                    total += weight * change[:, row, column]
                    weights += weight
            made[:, i, j] = x[:, i, j] + total / weights
    return made.clip(-1, 1)


@settings(max_examples=20, deadline=None)
@given(
    st.tuples(*[st.integers(2, 6)] * 2), st.tuples(*[st.integers(7, 20)] * 2),
    st.integers(1, 7), st.integers(0, 99),
)  # fmt: skip
def test_the_change_is_enlarged_as_the_formula_says_in_bands_of_any_height(
    little: tuple[int, int], large: tuple[int, int], rows: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x, small, change = (rng.uniform(-1, 1, (3, *shape)) for shape in (large, little, little))
    expected = reference(x, change, small)
    whole, by, look = (torch.from_numpy(values)[None] for values in (x, change, small))
    parts = [
        afar.changed(whole[:, :, top : top + rows], by, look, top, large[0])
        for top in range(0, large[0], rows)
    ]
    assert np.abs(torch.cat(parts, dim=2)[0].numpy() - expected).max() < 1e-5


def test_bands_cover_every_row_once() -> None:
    for height, width in [(1, 1), (7, afar.BAND), (3000, 4000), (5, 3 * afar.BAND)]:
        parts = list(afar.bands(height, width))
        assert parts[0][0] == 0
        assert parts[-1][1] == height
        assert all(one[1] == other[0] for one, other in pairwise(parts))


def test_a_change_ends_where_what_was_changed_ends() -> None:
    """Half a picture is dark, and brightened; its border lies within a place that is seen."""
    one, _ = translator(lambda x: torch.where(x < 0, x + 0.5, x))
    picture = np.full((128, 128, 3), 230, np.uint8)
    picture[:, :61] = 20
    made = one.to_b(picture).astype(int)
    assert np.abs(made[:, 61:] - 230).max() <= 1
    assert np.abs(made[:, :56] - (20 + 64)).max() <= 2
    even = (
        0.5 * 127.5 * (64 - np.arange(56, 61)) / 8
    )  # what bilinear interpolation alone would give
    assert (made[64, 56:61, 0] - 20 > even).all()


def test_arrays_tensors_and_lists_agree() -> None:
    pair = GeneratorPair(make_generator(RETOUCH, 3, 3), None, info())
    one = Translator(pair, CPU)
    pictures = [photograph(90, 120, seed) for seed in range(3)]
    alone = [one.to_b(picture).astype(int) for picture in pictures]
    together = one.arrays(pictures, "b")
    x = RGB.to_tensor(np.stack(pictures))
    as_tensors = RGB.to_pixels(one.to_b(x)).astype(int)
    for first, second, third in zip(alone, together, as_tensors, strict=True):
        assert np.abs(first - second).max() <= 1
        assert np.abs(first - third).mean() < 1  # (Pillow shrinks bytes to bytes)


def test_arrays_may_lie_in_any_order_and_be_read_only(recwarn: pytest.WarningsRecorder) -> None:
    one = Translator(GeneratorPair(make_generator(RETOUCH, 3, 3), None, info()), CPU)
    picture = photograph(90, 120)
    backwards = picture[::-1, :, ::-1]
    np.testing.assert_array_equal(one.to_b(backwards), one.to_b(backwards.copy()))
    picture.flags.writeable = False
    one.to_b(picture)
    one.to_b(Image.fromarray(picture), size=80)
    assert not recwarn.list


def test_what_is_seen_stays_within_the_range() -> None:
    """Bicubic scaling overshoots at edges."""
    seen: list[float] = []
    one, _ = translator(lambda x: (seen.extend((float(x.min()), float(x.max()))), x)[1])
    x = torch.where(torch.arange(90) % 11 < 5, 1.0, -1.0).expand(1, 3, 60, 90)
    one.to_b(x)
    one.to_b(RGB.to_pixels(x)[0])
    assert -1 <= min(seen) < max(seen) <= 1


def test_what_comes_out_has_the_values_of_the_other_domain() -> None:
    deep = PixelFormat(3, "uint16", 0, 1000)
    pair = GeneratorPair(Recolour(lambda x: x + 0.25), None, info(b=deep))
    picture = photograph(60, 80)
    made = Translator(pair, CPU, tile="off").to_b(picture)
    assert made.dtype == np.uint16
    expected = ((picture / 127.5 - 1 + 0.25).clip(-1, 1) + 1) * 500
    assert np.abs(made - expected).max() <= 0.51


def test_the_share_that_is_done_grows_over_all_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(afar, "BAND", 80 * 20)
    one, _ = translator(lambda x: x)
    told: list[float] = []
    one.arrays([photograph(60, 80)] * 2, "b", told.append)
    assert told == pytest.approx([0, 1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6, 1])


def test_who_sees_what() -> None:
    grey = PixelFormat(1, "uint8", 0, 255)
    picture_made_anew = GeneratorConfig(width=4, blocks=1)
    auto = {
        "retouches": info(), "squeezed": info(preprocess="resize"),
        "crops of large pictures": info(preprocess="crop"), "all sizes": info(preprocess="none"),
        "paints anew": info(picture_made_anew), "has other channels": info(b=grey),
    }  # fmt: skip
    sides = {name: afar.pixels_seen(known, "auto") for name, known in auto.items()}
    assert sides == {**dict.fromkeys(auto), "retouches": SIDE, "squeezed": SIDE}
    assert afar.pixels_seen(info(), "own") is None
    assert afar.pixels_seen(info(picture_made_anew), 40) == 40
    with pytest.raises(UsageError, match="see '7': give auto, own, or 16"):
        afar.pixels_seen(info(), 7)
    with pytest.raises(UsageError, match="see 40: A has 3 channels and B 1"):
        afar.pixels_seen(auto["has other channels"], 40)


def test_four_times_the_training_and_no_fewer_pixels_than_networks_take() -> None:
    assert afar.pixels_seen(info(), "auto") == 4 * TRAINED
    assert afar.parse_see("16") == 16
    with pytest.raises(UsageError, match="--see '15': give auto, own, or 16"):
        afar.parse_see("15")


def test_what_is_read_at_another_size_is_as_close_as_in_training() -> None:
    config = build_config({"data": {"size": 64, "load_size": 80}})
    data = with_size(config, 128).data
    assert (data.size, data.load_size) == (128, 160)
    assert with_size(build_config({"data": {"size": 64}}), 128).data.load_size is None


def test_large_pictures_need_no_strips_and_count_as_what_is_seen() -> None:
    pair = GeneratorPair(make_generator(RETOUCH, 3, 3), None, info())
    one, own = Translator(pair, CPU, tile=16), Translator(pair, CPU, tile=16, see="own")
    assert not one.is_too_large(photograph(64, 64), "b")
    assert one.taken(3000, 4000) == (16, 22)
    assert own.is_too_large(photograph(64, 64), "b")
    assert own.taken(3000, 4000) == (3000, 4000)


def test_frames_are_smoothed_as_they_are_seen() -> None:
    one = Translator(GeneratorPair(make_generator(RETOUCH, 3, 3), None, info()), CPU)
    assert Steady(one, "b", 0.5).translator.sees == SIDE


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    G_ab, G_ba = make_generator(RETOUCH, 3, 3), make_generator(RETOUCH, 3, 3)
    path = tmp_path_factory.mktemp("afar") / "model.safetensors"
    save_model(path, GeneratorPair(G_ab, G_ba, info()))
    return path


def test_translate_see(model: Path, tmp_path: Path, diptych: Command) -> None:
    Image.fromarray(photograph(90, 120)).save(tmp_path / "photo.png")
    made = {}
    for see in ("auto", "16", "own", "24"):
        out = tmp_path / f"{see}.png"
        done = diptych("translate", model, tmp_path / "photo.png", "-o", out, "--see", see)
        assert done.returncode == 0, done.stderr
        made[see] = np.asarray(Image.open(out))
        expected = package.load(model, "cpu", see=see).to_b(tmp_path / "photo.png")  # type: ignore[arg-type]
        np.testing.assert_array_equal(made[see], np.asarray(expected))
    np.testing.assert_array_equal(made["auto"], made["16"])
    assert (made["own"] != made["auto"]).any()
    assert (made["24"] != made["auto"]).any()


@pytest.mark.parametrize("see", ["0", "-4", "all", "1.5", "15", "\uff16\uff14"])
def test_translate_says_what_see_takes(
    model: Path, tmp_path: Path, see: str, diptych: Command
) -> None:
    done = diptych("translate", model, tmp_path, "-o", tmp_path / "out", "--see", see)
    assert done.returncode == 2
    expected = f"--see {see!r}: give auto, own, or 16 or more pixels of the shorter side"
    assert done.stderr == f"diptych: {expected}\n"


def test_a_real_photograph_keeps_its_detail(model: Path) -> None:
    folder = SHARED / "data" / "horse2zebra" / "testA"
    if not folder.is_dir():
        pytest.skip("no horses here")
    path = sorted(folder.iterdir())[0]
    photo = np.asarray(Image.open(path).convert("RGB")).astype(float)
    made = np.asarray(package.load(model, "cpu").to_b(path)).astype(float)

    def fine(picture: NDArray[np.float64]) -> NDArray[np.float64]:
        grey = picture.mean(2)
        inner = grey[1:-1, 1:-1]
        return 4 * inner - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]

    inside = (made.min(2) > 0) & (made.max(2) < 255)  # (nothing was cut off there)
    inside = inside[1:-1, 1:-1]
    like = np.corrcoef(fine(photo)[inside], fine(made)[inside])[0, 1]
    assert like > 0.9


@pytest.fixture(scope="module")
def run(towns: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A training on 16 px that knows to retouch, and hardly anything else."""
    settings = {
        "data": {"size": 16}, "training": {"steps": 2, "samples": 2},
        "generator": {"width": 4, "blocks": 0},
        "discriminator": {"width": 4, "layers": 1, "sees": None, "texture": False},
    }  # fmt: skip
    return package.train(
        towns / "trainA", towns / "trainB", run=tmp_path_factory.mktemp("afar") / "run",
        preset="laptop", settings=settings,
    )  # fmt: skip


def shown(run: Run, side: str, size: int) -> list[NDArray[np.uint8]]:
    """Its held-out pictures at that size."""
    paths = RunFolder(run.path).data()[side]["heldout"]  # type: ignore[literal-required]
    found = []
    for path in paths:
        with Image.open(path) as image:
            found.append(np.asarray(image.convert("RGB").resize((size, size))))
    return found


def test_scores_at_another_size_are_of_what_translate_makes(run: Run, diptych: Command) -> None:
    found = package.evaluate(run.path, features="efficientnet-lite0", size=96, device="cpu")
    assert found.size == 96
    assert not (run.path / "evaluation.json").exists()  # (the report's are of 16 px)
    translator = run.load("cpu")
    pictures = [RGB.to_tensor(picture[None]) for picture in shown(run, "b", 96)]
    errors = [float((translator.to_b(y) - y).abs().mean()) for y in pictures]
    assert found.to_b.identity_l1 == pytest.approx(np.mean(errors), rel=1e-3)
    done = diptych("evaluate", run.path, "--size", "7")
    assert done.returncode == 2
    assert done.stderr == "diptych: size 7: give a number of pixels, 16 to 13,377\n"


def test_the_report_shows_large_pictures(run: Run, diptych: Command) -> None:
    done = diptych("report", run.path)
    assert done.returncode == 0, done.stderr
    page = (run.path / "report.html").read_text()
    assert "The networks were trained on 16 px; these pictures are shown at 256 px." in page
    addresses = re.findall(r'<img src="data:image/webp;base64,([^"]*)" alt="translated to B"', page)
    made = [Image.open(io.BytesIO(base64.b64decode(address))) for address in addresses]
    expected = [run.load("cpu").to_b(picture) for picture in shown(run, "a", 256)]
    assert len(made) == len(expected) > 0
    for one, other in zip(made, expected, strict=True):
        assert np.abs(np.asarray(one).astype(int) - other).mean() < 4  # (it is packed for the page)
