"""PNG files that other libraries read."""

from __future__ import annotations

import io
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from diptych.data.pixels import Pixels
from diptych.translation import png
from diptych.translation.png import write_png


def packed(picture: Pixels, per_inch: tuple[float, float] | None = None) -> bytes:
    file = io.BytesIO()
    write_png(file, picture, per_inch)
    return file.getvalue()


@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 2, 3, 4])),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    spread=st.sampled_from([1, 3, 200, 65_535]),
    seed=st.integers(0, 99),
    at_once=st.sampled_from([1, 100, 2**18]),
)
def test_every_value_is_read_back(
    shape: tuple[int, int, int], dtype: Any, spread: int, seed: int, at_once: int
) -> None:
    """By libpng, which checks the sums of the chunks and that they end where they should."""
    numbers = np.random.default_rng(seed).integers(0, spread, shape, endpoint=True)
    picture = (numbers + 250).astype(dtype)  # (goes round, where that has 8 bits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(png, "AT_ONCE", at_once)
        content = packed(picture)
    read = imagecodecs.png_decode(content)
    assert read.dtype == dtype
    np.testing.assert_array_equal(read.reshape(shape), picture)
    if dtype == np.uint8:
        with Image.open(io.BytesIO(content)) as image:
            np.testing.assert_array_equal(np.asarray(image).reshape(shape), picture)


def test_a_large_picture_of_which_only_a_part_is_given() -> None:
    """Neither all at once nor one row after the other in memory."""
    whole = np.random.default_rng(0).integers(0, 256, (900, 700, 5), np.uint8)
    for picture in (whole[..., 1:4], whole[::-1, ::2, :3], whole.astype(">u2")[..., :1]):
        read = imagecodecs.png_decode(packed(picture))
        np.testing.assert_array_equal(read.reshape(picture.shape), picture)


def test_pictures_become_as_small_as_by_all_filters() -> None:
    """Slopes across and down, and steps, each of which another neighbour foretells."""
    y, x = np.mgrid[0:256, 0:256]
    across, down = (128 + 100 * np.sin(one / 40) for one in (x, y))
    for shape in (across, down, np.where(x < 128, across, down), (x // 32 + y // 32) * 16):
        noise = np.random.default_rng(0).normal(0, 2, (256, 256, 3))
        picture = (shape[..., None] + noise).clip(0, 255).astype(np.uint8)
        usual = io.BytesIO()
        Image.fromarray(picture).save(usual, "PNG")
        assert len(packed(picture)) <= 1.05 * len(usual.getvalue())


@pytest.mark.parametrize("per_inch", [(300.0, 150.0), (0.5, 5e7)])
def test_pixels_per_inch(per_inch: tuple[float, float]) -> None:
    with Image.open(io.BytesIO(packed(np.zeros((2, 3, 3), np.uint8), per_inch))) as image:
        assert image.info["dpi"] == pytest.approx(per_inch, abs=0.0254)


def test_pixels_larger_than_a_metre_are_not_told() -> None:
    with Image.open(io.BytesIO(packed(np.zeros((2, 3, 3), np.uint8), (1e-3, 300)))) as image:
        assert "dpi" not in image.info
