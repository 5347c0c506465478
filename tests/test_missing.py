"""Where a picture says that nothing is known: networks see what lies next to it instead."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from conftest import TINY_OPTIONS, Command
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from web import running

from diptych.config import DomainConfig
from diptych.data.decode import read_picture
from diptych.data.metadata import NOTHING, Metadata, metadata_of
from diptych.data.missing import MissingPixels, can_hold, find_missing
from diptych.data.opening import DamagedPictureError
from diptych.data.pixels import DType, Pixels
from diptych.errors import UsageError
from diptych.translation.extras import Extras
from diptych.translation.translator import load

NATIVE = DomainConfig(depth="native")
MISSING = np.s_[5:20, 22:]  # of a tile: a fifth of it


def tile(path: Path, seed: int, no_data: float | None, text: str | None) -> Path:
    """Heights in metres, 32 x 36; ``text`` is what the header calls no data."""
    values = np.random.default_rng(seed).uniform(200, 900, (32, 36)).astype(np.float32)
    if no_data is not None:
        values[MISSING] = no_data
    tags = () if text is None else ((42113, 2, 0, text, True),)
    tifffile.imwrite(path, values, extratags=tags)
    return path


@pytest.fixture(scope="module")
def heights(tmp_path_factory: pytest.TempPathFactory, diptych: Command) -> Path:
    """A run on tiles that lack pixels in all ways, beside it."""
    place = tmp_path_factory.mktemp("heights")
    lowest = float(np.finfo(np.float32).min)
    kinds = [(np.nan, None), (np.nan, "nan"), (-9999, "-9999"), (lowest, "-3.40282346638529e+38"),
             (None, None)]  # fmt: skip
    for domain, name in enumerate("ab"):
        (place / name).mkdir()
        for i, kind in enumerate(kinds):
            tile(place / name / f"{i}.tif", 10 * domain + i, *kind)
        tifffile.imwrite(place / name / "most.tif", np.full((32, 36), np.nan, np.float32))
    done = diptych("train", place / "a", place / "b", "--run", place / "run", "--depth", "native",
                   *TINY_OPTIONS, "--steps", "1")  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "left out 1 picture" in said
    assert "it has no data in 100% of its pixels" in said
    assert "tif has no data in 18% of its pixels; they are filled" in said
    return place / "run"


def test_no_data_is_what_the_file_holds_not_what_is_seen_of_it(tmp_path: Path) -> None:
    """Ink (0 is white) becomes light, few bits become eight, places in a palette become colours."""
    inks = np.full((24, 24), 7, np.uint8)
    inks[3:6, 4:9], inks[20, 20] = 0, 255
    tags = ((42113, 2, 0, "0", True),)
    tifffile.imwrite(tmp_path / "ink.tif", inks, photometric="miniswhite", extratags=tags)
    seen = read_picture(tmp_path / "ink.tif", DomainConfig(channels=1), "white")
    assert (seen[3:6, 4:9] == 248).all()
    assert seen[20, 20] == 0
    assert metadata_of(tmp_path / "ink.tif").no_data == 255
    palette = np.zeros((3, 256), np.uint16)
    palette[:, 7] = 65535
    tifffile.imwrite(
        tmp_path / "palette.tif", inks, photometric="palette", colormap=palette, extratags=tags
    )
    seen = read_picture(tmp_path / "palette.tif", DomainConfig(), "white")
    assert (seen[3:6, 4:9] == 0).all()  # (the colour of place 0)
    colours = (320, "H", 6, (0, 65535) * 3, True)
    tifffile.imwrite(tmp_path / "bit.tif", inks > 0, photometric=0, extratags=[colours, *tags])
    with tifffile.TiffFile(tmp_path / "bit.tif", mode="r+b") as tiff:
        tiff.pages[0].tags[262].overwrite(3)  # (a palette, which tifffile writes of 8 bits only)
    seen = read_picture(tmp_path / "bit.tif", DomainConfig(), "white")
    np.testing.assert_array_equal(seen[..., 1] > 0, inks > 0)
    sizes = {"PhysicalSizeX": 0, "PhysicalSizeY": 0}  # (which makes no sense)
    tifffile.imwrite(tmp_path / "x.ome.tif", inks, metadata=sizes, extratags=tags)
    found = metadata_of(tmp_path / "x.ome.tif")
    assert (found.no_data, found.per_inch) == (0, None)


def test_what_is_unknown_does_not_count_in_the_range(heights: Path) -> None:
    for stored in load(heights).formats("b"):
        assert 200 <= stored.low < 210
        assert 890 < stored.high <= 900


@pytest.mark.parametrize(
    ("name", "value"), [("0", np.nan), ("1", np.nan), ("2", -9999), ("3", np.finfo(np.float32).min)]
)
def test_missing_pixels_are_filled_for_the_network_and_put_back(
    name: str, value: float, heights: Path, tmp_path: Path, diptych: Command
) -> None:
    source = heights.parent / "a" / f"{name}.tif"
    done = diptych("translate", heights, source, "-o", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "no data" not in done.stdout
    filled = read_picture(source, NATIVE)
    assert 200 <= filled.min() < filled.max() <= 900
    expected = load(heights).to_b(filled)[..., 0]
    expected[MISSING] = value
    made = tifffile.imread(tmp_path / f"{name}.tif")
    np.testing.assert_array_equal(made, expected)
    np.testing.assert_equal(metadata_of(tmp_path / f"{name}.tif").no_data, value)
    np.testing.assert_array_equal(load(heights).to_b(source)[..., 0], expected)
    with running(tmp_path / "notes", [heights]) as server:
        answer = server.translate(source.read_bytes(), "image/tiff")
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(answer.content)), expected)


def test_an_array_may_lack_pixels_too(heights: Path) -> None:
    translator = load(heights)
    array = np.random.default_rng(0).uniform(200, 900, (24, 24, 1)).astype(np.float32)
    array[3, 4] = np.nan
    made = translator.to_b(array)
    np.testing.assert_array_equal(np.argwhere(np.isnan(made)), [[3, 4, 0]])
    assert np.isnan(array[3, 4, 0])
    assert np.isfinite(translator.to_b(array, size=16)).all()
    array[5, 6] = np.inf
    with pytest.raises(UsageError, match="infinity"):
        translator.to_b(array)


def test_a_tile_that_is_all_unknown_stays_so(
    heights: Path, tmp_path: Path, diptych: Command
) -> None:
    source = heights.parent / "a" / "most.tif"
    done = diptych("translate", heights, source, "-o", tmp_path)
    assert done.returncode == 0, done.stderr
    assert np.isnan(tifffile.imread(tmp_path / "most.tif")).all()
    assert "its values" not in done.stdout


def test_infinite_values_are_not_missing(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.full((9, 9), np.inf, np.float32))
    with pytest.raises(DamagedPictureError, match="infinite values"):
        read_picture(tmp_path / "x.npy", NATIVE)


def test_nothing_that_is_known_says_otherwise_where_a_picture_is_transparent() -> None:
    """Taking the background out makes dark pixels darker, down to the value for no data."""
    alpha = np.full((6, 7, 1), 60, np.uint8)
    places = np.zeros((6, 7), bool)
    places[2, 3] = True
    extras = Extras(NOTHING, Metadata(no_data=0.0), MissingPixels(places, 0.0), alpha, "white")
    made = extras.added_to(np.full((6, 7, 3), 190, np.uint8), "tif")
    np.testing.assert_array_equal((made[..., :3] == 0).all(-1), places)
    np.testing.assert_array_equal(made[..., 3:], alpha)


def test_dark_pixels_of_16_bits_are_not_missing_in_8(tmp_path: Path) -> None:
    """Read as 8 bits, all below 256 is 0, which here means no data."""
    values = np.full((20, 20, 3), 200, np.uint16)
    values[:12] = 60_000
    tags = ((42113, 2, 0, "0", True),)
    tifffile.imwrite(tmp_path / "x.tif", values, photometric="rgb", extratags=tags)
    read = read_picture(tmp_path / "x.tif", DomainConfig())
    assert (read[12:] == 0).all()
    assert (read[:12] > 200).all()


places = st.integers(1, 9).flatmap(
    lambda height: st.integers(1, 9).flatmap(
        lambda width: st.lists(
            st.lists(st.booleans(), min_size=width, max_size=width),
            min_size=height, max_size=height,
        )
    )
)  # fmt: skip


@given(places)
def test_a_missing_pixel_is_like_the_nearest_known_pixel(rows: list[list[bool]]) -> None:
    unknown = np.array(rows)
    height, width = unknown.shape
    picture = np.arange(height * width, dtype=np.float32).reshape(height, width, 1) + 1
    before = np.where(unknown[..., None], np.nan, picture)
    missing = find_missing(before, None)
    if not unknown.any():
        assert missing is None
        return
    assert missing is not None
    np.testing.assert_array_equal(missing.places, unknown)
    filled = missing.filled(before)[..., 0]
    if unknown.all():
        assert (filled == 0).all()
        return
    known = np.argwhere(~unknown)
    rows_known = np.unique(known[:, 0])
    for y, x in np.argwhere(unknown):
        near = np.abs(rows_known - y)
        wanted = [
            picture[row, column, 0]
            for row in rows_known[near == near.min()]
            for column in nearest_in(known[known[:, 0] == row, 1], x)
        ]
        assert filled[y, x] in wanted
    np.testing.assert_array_equal(filled[~unknown], picture[~unknown, 0])
    missing.put_back(filled[..., None])
    np.testing.assert_array_equal(np.isnan(filled), unknown)


def nearest_in(columns: NDArray[Any], x: int) -> NDArray[Any]:
    """All that are equally near."""
    away = np.abs(columns - x)
    return columns[away == away.min()]


@pytest.mark.parametrize("no_data", [0.0, 7.0, 255.0, 65535.0, -9999.0, 0.1])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_only_what_had_no_data_says_so(dtype: DType, no_data: float) -> None:
    picture: Pixels = np.full((4, 5, 2), 3, dtype)
    if not can_hold(dtype, no_data):
        assert dtype != "float32"
        assert not (no_data.is_integer() and 0 <= no_data <= 65535) or dtype == "uint8"
        assert find_missing(picture, no_data) is None
        return
    picture[1:] = no_data
    places = np.zeros((4, 5), bool)
    places[1, 2] = True
    MissingPixels(places, no_data).put_back(picture)
    np.testing.assert_array_equal((picture == picture.dtype.type(no_data)).all(-1), places)
    assert (picture[0] == 3).all()
    assert np.abs(picture.astype(float) - no_data)[1:].max() <= 1
    found = find_missing(picture, no_data)
    assert found is not None
    np.testing.assert_array_equal(found.places, places)
