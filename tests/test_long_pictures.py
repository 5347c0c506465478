"""Very long and thin pictures take a bounded room; all others keep their every pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.data.geometry import fit_for_looking, fit_for_training, kept_size, stored_size
from diptych.settings import build_config

CROPS = st.sampled_from(["resize-crop", "crop", "scale-width-crop"])


def data(preprocess: str, size: int) -> Any:
    return build_config({"data": {"size": size, "preprocess": preprocess}}).data


@given(
    preprocess=CROPS, size=st.sampled_from([24, 64, 256]), width=st.integers(1, 100_000),
    height=st.integers(1, 100_000),
)  # fmt: skip
def test_what_is_stored_is_bounded(preprocess: str, size: int, width: int, height: int) -> None:
    settings = data(preprocess, size)
    kept = kept_size(settings, width, height)
    w, h = stored_size(settings, *kept, 4)
    assert min(w, h) >= size
    assert kept[0] <= width
    assert kept[1] <= height
    assert min(kept) == min(width, height)  # only the longer side is cut
    short = min(w, h)
    # (Rounded up to whole pixels on both sides.)
    assert w * h <= 1.1 * max(width * height, 16.2 * short**2, min(4 * width * height, 2**24))


@given(
    preprocess=CROPS, size=st.sampled_from([24, 64, 256]), width=st.integers(1, 4000),
    height=st.integers(1, 4000),
)  # fmt: skip
def test_usual_pictures_are_kept_whole(preprocess: str, size: int, width: int, height: int) -> None:
    settings = data(preprocess, size)
    enlarged = 286 / 256 * size / min(width, height)
    if max(width, height) <= 16 * min(width, height) or enlarged <= 1:
        assert kept_size(settings, width, height) == (width, height)


def test_spectrograms_are_kept_whole() -> None:
    """128 values high, thousands long, a little enlarged for the crop: no end may be lost."""
    assert kept_size(data("resize-crop", 128), 10_000, 128) == (10_000, 128)


@pytest.mark.parametrize("upright", [False, True])
def test_the_middle_of_a_thread_is_kept(upright: bool) -> None:
    thread = np.zeros((1, 5000, 3), np.uint8)
    thread[:, 2480:2520] = 200
    picture = thread.swapaxes(0, 1) if upright else thread
    settings = data("resize-crop", 256)
    stored = fit_for_training(picture, settings, 4)
    assert stored.shape == ((16 * 286, 286, 3) if upright else (286, 16 * 286, 3))
    assert (stored == 200).all()
    shown = fit_for_looking(picture, settings, 4)
    assert shown.shape == (256, 256, 3)
    assert (shown == 200).all()
