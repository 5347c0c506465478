"""Stored values to [-1, 1] and back: nothing is lost on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from diptych.data.pixels import DType, PixelFormat, preview, resize, resize_labels, with_channels
from diptych.model_file import GeneratorPair, ModelInfo, load_model, save_model
from diptych.network_config import DiscriminatorConfig, GeneratorConfig
from diptych.translation.files import translate_files
from diptych.translation.jobs import plan_folder
from diptych.translation.translator import Translator, load
from diptych.translation.writing import write_picture


@given(
    low=st.integers(0, 60_000), span=st.integers(1, 65_535), seed=st.integers(0, 2**32 - 1)
)  # fmt: skip
def test_16_bit_values_survive_the_round_trip(low: int, span: int, seed: int) -> None:
    high = min(65_535, low + span)
    pixel_format = PixelFormat(2, "uint16", low, high)
    rng = np.random.default_rng(seed)
    pictures = rng.integers(low, high, (1, 5, 4, 2), endpoint=True).astype(np.uint16)
    x = pixel_format.to_tensor(pictures)
    assert float(x.min()) >= -1.000001
    assert float(x.max()) <= 1.000001
    np.testing.assert_array_equal(pixel_format.to_pixels(x), pictures)


def test_all_8_bit_and_all_16_bit_values_survive() -> None:
    dtypes: list[tuple[DType, int]] = [("uint8", 255), ("uint16", 65_535)]
    for dtype, high in dtypes:
        values = np.arange(high + 1, dtype=dtype).reshape(1, 1, -1, 1)
        pixel_format = PixelFormat(1, dtype, 0, high)
        np.testing.assert_array_equal(
            pixel_format.to_pixels(pixel_format.to_tensor(values)), values
        )


def test_the_range_maps_to_minus_one_and_one() -> None:
    pixel_format = PixelFormat(1, "float32", -1000, 3000)
    stored = np.array([-1000, 1000, 3000], np.float32).reshape(1, 1, 3, 1)
    assert pixel_format.to_tensor(stored).flatten().tolist() == [-1, 0, 1]


def test_each_channel_may_have_its_range() -> None:
    bands = PixelFormat(3, "uint16", (0, 100, 7), (10, 60_000, 2007))
    ends = np.array([[[0, 100, 7], [10, 60_000, 2007], [5, 30_050, 1007]]], np.uint16)
    x = bands.to_tensor(ends[None])
    for channel in x[0]:
        assert channel.flatten().tolist() == pytest.approx([-1, 1, 0], abs=1e-6)
    rng = np.random.default_rng(0)
    pictures = rng.integers([0, 100, 7], [11, 60_001, 2008], (2, 9, 8, 3)).astype(np.uint16)
    np.testing.assert_array_equal(bands.to_pixels(bands.to_tensor(pictures)), pictures)
    assert bands.to_pixels(torch.full((1, 3, 1, 1), 3.0)).flatten().tolist() == [10, 60_000, 2007]
    moved = ends + np.array([1, 599, 0], np.uint16)
    error = bands.l1(ends[:, 2:], moved[:, 2:])  # of 10, of 59,900
    assert error == pytest.approx(2 * (0.1 + 0.01 + 0) / 3)
    np.testing.assert_array_equal(np.asarray(preview(ends, bands))[0, :, 1], [0, 255, 128])
    assert bands.remark(ends) is None
    said = bands.remark(moved)
    assert said is not None
    assert said.startswith("its values reach from 1 to 11 in channel 1, beyond the model's 0 to 10")
    assert bands.describe() == "3 channels, uint16, 0 to 10, 100 to 60000, 7 to 2007"


def test_values_far_beyond_the_range_are_clipped_for_networks_and_errors() -> None:
    """Metal in a body, a lamp at night: a few such pixels would be all that a loss sees."""
    scan = PixelFormat(1, "uint16", 0, 3000)
    body = np.full((6, 6, 1), 1000, np.uint16)
    metal = body.copy()
    metal[2:4, 2:4] = 30_000
    x = scan.to_tensor(metal[None])
    assert float(x.max()) == 1
    clipped = np.minimum(metal, 3000)
    assert torch.equal(x, scan.to_tensor(clipped[None]))
    assert scan.l1(metal, body) == scan.l1(clipped, body) == pytest.approx(4 / 36 * 2000 / 1500)
    narrow = PixelFormat(3, "uint8", 50, 100)
    dark = narrow.to_tensor(np.zeros((1, 2, 2, 3), np.uint8))
    assert float(dark.min()) == float(dark.max()) == -1


@pytest.mark.parametrize(
    "fields",
    [
        (2, "uint16", (0.0,) * 3, (1.0,) * 3), (2, "uint16", (0.0, 5.0), (1.0, 5.0)),
        (2, "uint16", (0.0, 0.0), (1.0,)), (3, "uint8", (0.0,) * 3, (1.0, 2.0, 3.0)),
    ],
)  # fmt: skip
def test_ranges_that_are_none_are_refused(fields: Any) -> None:
    with pytest.raises(ValueError, match="no pictures are like that"):
        PixelFormat(*fields)


def test_values_beyond_the_range_stay_inside_the_dtype() -> None:
    pixel_format = PixelFormat(1, "uint8", 0, 255)
    x = torch.tensor([-3.0, 3.0]).reshape(1, 1, 1, 2)
    assert pixel_format.to_pixels(x).flatten().tolist() == [0, 255]


def test_deep_pictures_are_shown_over_their_range() -> None:
    deep = PixelFormat(1, "uint16", 1000, 3000)
    picture = np.array([[[1000], [2000], [3000], [4000]]], np.uint16)
    assert np.asarray(preview(picture, deep))[0, :, 0].tolist() == [0, 128, 255, 255]


def test_numbers_that_are_none_stay_inside_the_range() -> None:
    x = torch.full((1, 1, 1, 1), torch.nan)
    for dtype in ("uint8", "uint16"):
        (low_or_more,) = PixelFormat(1, dtype, 10, 200).to_pixels(x).flatten().tolist()
        assert 10 <= low_or_more <= 200


def test_of_many_channels_the_first_three_are_shown() -> None:
    picture = np.arange(20, dtype=np.uint16).reshape(2, 2, 5) * 50
    deep = PixelFormat(5, "uint16", 0, 1000)
    expected = (picture[..., :3] / 1000 * 255).round()
    np.testing.assert_array_equal(np.asarray(preview(picture, deep)), expected)
    of_two = np.asarray(preview(picture[..., :2], PixelFormat(2, "uint16", 0, 1000)))
    np.testing.assert_array_equal(of_two, expected[..., :1].repeat(3, 2))


@pytest.mark.parametrize(("dtype", "step"), [(np.uint8, 1), (np.uint16, 257)])
def test_colours_become_grey_as_pillow_does_it(dtype: type, step: int) -> None:
    colours = np.array([[(200, 10, 30), (10, 200, 30), (30, 10, 200)]], np.uint8)
    expected = np.asarray(Image.fromarray(colours).convert("L")).astype(float)
    grey = with_channels(colours.astype(dtype) * dtype(step), 1)[..., 0]
    assert np.abs(grey / step - expected).max() <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_is_rounded_not_cut(dtype: type) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(dtype)
    exact = colours @ np.array([0.299, 0.587, 0.114])
    assert np.abs(with_channels(colours, 1)[..., 0] - exact).max() <= 0.501


@pytest.mark.parametrize("ending", ["png", "tif", "npy"])
@pytest.mark.parametrize("channels", [1, 3])
def test_identity_network_returns_16_bit_files_bit_for_bit(
    channels: int, ending: str, tmp_path: Path
) -> None:
    """Through the whole of translate: decode, network, encode; a size that needs padding."""
    pixel_format = PixelFormat(channels, "uint16", 37, 51_234)
    rng = np.random.default_rng(0)
    values = rng.integers(37, 51_234, (21, 35, channels), endpoint=True).astype(np.uint16)
    source = tmp_path / "in" / f"scan.{ending}"
    source.parent.mkdir()
    write_picture(source, values)
    info = ModelInfo(GeneratorConfig(), pixel_format, pixel_format, 64, "crop", "white", 0)
    translator = Translator(GeneratorPair(nn.Identity(), nn.Identity(), info), torch.device("cpu"))
    jobs = plan_folder([source], tmp_path / "out", ending)
    (outcome,) = translate_files(translator, jobs, "b")
    assert outcome.problem is None
    np.testing.assert_array_equal(translator.read(outcome.job.target, "b"), values)


def test_the_format_is_kept_in_the_model_file(tmp_path: Path) -> None:
    from diptych.networks import make_generator

    config = GeneratorConfig(width=2, blocks=1)
    a, b = PixelFormat(1, "uint16", 12, 4095), PixelFormat(4, "float32", -5, 7.25)
    pair = GeneratorPair(
        make_generator(config, 1, 4), make_generator(config, 4, 1),
        ModelInfo(config, a, b, 64, "crop", "white", 9),
    )  # fmt: skip
    save_model(tmp_path / "model.safetensors", pair)
    loaded = load(tmp_path / "model.safetensors", "cpu")
    assert loaded.info == pair.info
    out = loaded.to_b(np.full((20, 20), 4095, np.uint16))
    assert out.shape == (20, 20, 4)
    assert out.dtype == np.float32
    assert out.min() >= -5
    assert out.max() <= 7.25


def test_a_model_comes_back_ready_for_use_with_its_discriminators(tmp_path: Path) -> None:
    from diptych.networks import Discriminator, make_generator

    config, judge = GeneratorConfig(width=4, blocks=1, dropout=0.5), DiscriminatorConfig(width=2)
    a, b = PixelFormat(1, "uint8", 0, 255), PixelFormat(3, "uint8", 0, 255)
    pair = GeneratorPair(
        make_generator(config, 1, 3), make_generator(config, 3, 1),
        ModelInfo(config, a, b, 64, "crop", "white", 9, judge),
        Discriminator(judge, 1), Discriminator(judge, 3),
    )  # fmt: skip
    save_model(tmp_path / "model.safetensors", pair)
    loaded = load_model(tmp_path / "model.safetensors", torch.device("cpu"))
    assert loaded.networks.keys() == pair.networks.keys()
    for name, network in loaded.networks.items():
        torch.testing.assert_close(network.state_dict(), pair.networks[name].state_dict())
        assert not any(part.training for part in network.modules())
    x = torch.rand(1, 1, 32, 32)
    assert torch.equal(loaded.G_ab(x), loaded.G_ab(x))


def test_labels_are_those_in_the_middle_of_what_a_pixel_covers() -> None:
    picture = np.arange(54, dtype=np.uint8).reshape(6, 9, 1)
    shrunk = resize_labels(picture, width=3, height=2)
    np.testing.assert_array_equal(shrunk, picture[[1, 4]][:, [1, 4, 7]])


@settings(max_examples=30)
@given(
    dtype=st.sampled_from(["uint8", "uint16", "float32"]), channels=st.integers(1, 5),
    width=st.integers(1, 40), height=st.integers(1, 40),
)  # fmt: skip
def test_resize_keeps_dtype_channels_and_a_flat_picture(
    dtype: str, channels: int, width: int, height: int
) -> None:
    flat = np.full((7, 9, channels), 200, dtype)
    out = resize(flat, width, height)
    assert out.shape == (height, width, channels)
    assert out.dtype == flat.dtype
    np.testing.assert_allclose(out, 200, rtol=1e-6)


def test_values_below_the_range_are_remarked_on_too() -> None:
    known = PixelFormat(1, "uint16", 100, 200)
    for low, high, said in ((50, 150, True), (150, 250, True), (100, 200, False)):
        picture = np.array([[[low], [high]]], np.uint16)
        assert (known.remark(picture) is not None) is said
