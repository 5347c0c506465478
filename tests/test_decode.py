"""Real files of every kind, written by other libraries, read back pixel by pixel."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from corpus import heic
from PIL import Image

from diptych.config import DomainConfig
from diptych.data.decode import SUFFIXES, DamagedPictureError, read_picture
from diptych.data.size import pixels_of
from diptych.data.tiff import has_more_pages, read_tiff_transparency

COLOUR = DomainConfig()
GREY = DomainConfig(channels=1)
NATIVE = DomainConfig(depth="native")


@pytest.fixture
def rgb() -> np.ndarray[Any, Any]:
    """A smooth picture, 20 high and 30 wide, different in all four corners."""
    y, x = np.mgrid[0:20, 0:30]
    return np.stack([x * 8, y * 12, 255 - x * 4 - y * 4], -1).astype(np.uint8)


@pytest.mark.parametrize("preview_first", [True, False])
@pytest.mark.parametrize("small_kind", [1, 4])
def test_a_small_view_or_mask_is_not_the_picture(
    preview_first: bool, small_kind: int, rgb: np.ndarray[Any, Any], tmp_path: Path
) -> None:
    path, small = tmp_path / "scan.tif", rgb[::4, ::4]
    with tifffile.TiffWriter(path) as tiff:
        for array in (small, rgb) if preview_first else (rgb, small):
            if array is rgb:
                tiff.write(array, photometric="rgb")
            elif small_kind == 1:
                tiff.write(array, subfiletype=1, photometric="rgb")
            else:  # (a mask is of two values)
                tiff.write(array[..., 0] > 128, subfiletype=4, photometric="minisblack")
    for reading in (COLOUR, NATIVE):
        np.testing.assert_array_equal(read_picture(path, reading), rgb)
    assert pixels_of(path) == 600
    assert not has_more_pages(path)


def test_pages_of_their_own_sizes_are_more_pages(rgb: np.ndarray[Any, Any], tmp_path: Path) -> None:
    path = tmp_path / "scan.tif"
    with tifffile.TiffWriter(path) as tiff:
        for array in (rgb, rgb[:10]):
            tiff.write(array, photometric="rgb")
    assert has_more_pages(path)
    np.testing.assert_array_equal(read_picture(path, COLOUR), rgb)


@pytest.mark.parametrize("ending", sorted(SUFFIXES - {".npy", ".heic", ".heif", ".hif"}))
def test_every_8bit_format_is_read(ending: str, rgb: np.ndarray[Any, Any], tmp_path: Path) -> None:
    path = tmp_path / f"picture{ending}"
    Image.fromarray(rgb).save(path, **({"quality": 95} if ending != ".png" else {}))
    picture = read_picture(path, COLOUR)
    assert picture.shape == (20, 30, 3)
    assert picture.dtype == np.uint8
    lossless = ending in (".png", ".bmp", ".tif", ".tiff")
    worst = np.abs(picture.astype(int) - rgb).mean()
    assert worst == 0 if lossless else worst < 12


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(
    orientation: int, rgb: np.ndarray[Any, Any], tmp_path: Path
) -> None:
    """The eight orientations, by the definition of where row 0 and column 0 are shown."""
    stored = {
        1: rgb, 2: rgb[:, ::-1], 3: rgb[::-1, ::-1], 4: rgb[::-1],
        5: rgb.swapaxes(0, 1), 6: np.rot90(rgb, 1), 7: rgb[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(rgb, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    for ending in ("png", "tif"):
        path = tmp_path / f"turned.{ending}"
        Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
        np.testing.assert_array_equal(read_picture(path, COLOUR), rgb)
    native = read_picture(tmp_path / "turned.tif", NATIVE)
    np.testing.assert_array_equal(native, rgb)


def test_exif_rotation_of_16_bits_is_applied(tmp_path: Path) -> None:
    upright = np.arange(20 * 24, dtype=np.uint16).reshape(20, 24) * 128
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to show
    turned = np.ascontiguousarray(np.rot90(upright))
    Image.fromarray(turned).save(tmp_path / "turned.png", exif=exif)
    native = read_picture(tmp_path / "turned.png", NATIVE)
    np.testing.assert_array_equal(native[..., 0], upright)
    grey = read_picture(tmp_path / "turned.png", DomainConfig(channels=1))
    np.testing.assert_array_equal(grey[..., 0], upright >> 8)


def test_transparency_goes_onto_the_background(tmp_path: Path) -> None:
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[:2] = (200, 0, 0, 255)
    Image.fromarray(rgba).save(tmp_path / "alpha.png")
    picture = read_picture(tmp_path / "alpha.png", COLOUR)
    assert picture[0, 0].tolist() == [200, 0, 0]
    assert picture[3, 3].tolist() == [255, 255, 255]
    black = read_picture(tmp_path / "alpha.png", COLOUR, background="#102030")
    assert black[3, 3].tolist() == [16, 32, 48]
    palette = Image.fromarray(rgba).convert("P")
    palette.info["transparency"] = palette.getpixel((0, 3))
    palette.save(tmp_path / "palette.gif", transparency=palette.getpixel((0, 3)))
    assert read_picture(tmp_path / "palette.gif", COLOUR)[3, 3].tolist() == [255, 255, 255]


def test_grey_palette_and_cmyk_become_rgb(rgb: np.ndarray[Any, Any], tmp_path: Path) -> None:
    image = Image.fromarray(rgb)
    image.convert("L").save(tmp_path / "grey.png")
    image.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=98)
    image.quantize(200).save(tmp_path / "palette.png")
    grey = read_picture(tmp_path / "grey.png", COLOUR)
    assert (grey[..., 0] == grey[..., 2]).all()
    for name in ("cmyk.jpg", "palette.png"):
        assert np.abs(read_picture(tmp_path / name, COLOUR).astype(int) - rgb).mean() < 8
    assert read_picture(tmp_path / "cmyk.jpg", GREY).shape == (20, 30, 1)


def test_16_bit_grey_read_as_8_bit_keeps_its_tones(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 600).reshape(20, 30).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    picture = read_picture(tmp_path / "deep.png", GREY)
    np.testing.assert_array_equal(picture[..., 0], values >> 8)


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("dtype", ["uint16", "float32", "uint8"])
def test_native_depth_keeps_every_value(channels: int, dtype: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.uniform(0, 60000 if dtype != "uint8" else 255, (9, 11, channels)).astype(dtype)
    one = values[..., 0] if channels == 1 else values
    np.save(tmp_path / "x.npy", one)
    tifffile.imwrite(tmp_path / "x.tif", one, photometric="rgb" if channels == 3 else "minisblack")
    tifffile.imwrite(
        tmp_path / "planes.tiff", np.moveaxis(values, -1, 0), photometric="minisblack",
        metadata={"axes": "CYX"},
    )  # fmt: skip
    names = ["x.npy", "x.tif", "planes.tiff"]
    if channels != 5 and dtype != "float32":
        (tmp_path / "x.png").write_bytes(imagecodecs.png_encode(one))
        names.append("x.png")
    for name in names:
        picture = read_picture(tmp_path / name, DomainConfig(depth="native", channels=channels))
        assert picture.dtype == np.dtype(dtype), name
        np.testing.assert_array_equal(picture, values, err_msg=name)


def test_first_page_of_a_tiff_and_first_frame_of_a_gif(
    rgb: np.ndarray[Any, Any], tmp_path: Path
) -> None:
    first, second = Image.fromarray(rgb), Image.fromarray(255 - rgb)
    for name in ("pages.tif", "frames.gif"):
        first.save(tmp_path / name, save_all=True, append_images=[second])
        assert np.abs(read_picture(tmp_path / name, COLOUR).astype(int) - rgb).mean() < 12
    np.testing.assert_array_equal(read_picture(tmp_path / "pages.tif", NATIVE), rgb)


def test_heic_is_named_where_the_package_for_it_is_missing(
    rgb: np.ndarray[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "phone.jpg").write_bytes(heic(rgb))
    assert read_picture(tmp_path / "phone.jpg", COLOUR).shape == rgb.shape
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    for reading in (COLOUR, NATIVE):
        with pytest.raises(DamagedPictureError, match="it is a HEIC picture: pip install pi-heif"):
            read_picture(tmp_path / "phone.jpg", reading)


def test_what_is_no_picture_is_refused_with_its_reason(
    rgb: np.ndarray[Any, Any], tmp_path: Path
) -> None:
    good = tmp_path / "good.png"
    Image.fromarray(rgb).save(good)
    data = good.read_bytes()
    bad = {
        "empty.png": b"",
        "words.jpg": b"this is not a picture",
        "cut.png": data[: len(data) // 2],
        "words.tif": b"II*\0 and nothing more",
        "words.npy": b"\x93NUMPY nonsense",
    }
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
        for reading in (COLOUR, NATIVE):
            with pytest.raises(DamagedPictureError) as caught:
                read_picture(tmp_path / name, reading)
            assert str(caught.value), name
            assert "\n" not in str(caught.value)


def test_a_jpeg_with_a_second_picture_is_refused_if_its_first_is_cut_short(tmp_path: Path) -> None:
    """Phones write such (MPO); of a file of full length, zeros to its end, Pillow says nothing."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    picture, path = Image.fromarray(noise), tmp_path / "x.jpg"
    picture.save(path, "MPO", save_all=True, append_images=[picture])
    content = path.read_bytes()
    assert read_picture(path, COLOUR).shape == noise.shape
    path.write_bytes(content[: len(content) // 3].ljust(len(content), b"\0"))
    with pytest.raises(DamagedPictureError, match="cut short"):
        read_picture(path, COLOUR)


def test_values_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "nan.npy", np.full((4, 4), np.nan, np.float32))
    with pytest.raises(DamagedPictureError, match="no data in 100% of its pixels"):
        read_picture(tmp_path / "nan.npy", NATIVE)
    np.save(tmp_path / "objects.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(DamagedPictureError):
        read_picture(tmp_path / "objects.npy", NATIVE)
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(DamagedPictureError, match="--depth native"):
        read_picture(tmp_path / "float.tif", COLOUR)


def test_channels_that_are_no_colours_become_no_grey(tmp_path: Path) -> None:
    """Three stains of a microscope, taken for a photograph by a model of one channel."""
    stains = np.random.default_rng(0).integers(0, 4000, (20, 24, 3)).astype(np.uint16)
    first = np.ascontiguousarray(stains.transpose(2, 0, 1))
    np.save(tmp_path / "stains.npy", stains)
    tifffile.imwrite(tmp_path / "stack.tif", first, imagej=True, metadata={"axes": "CYX"})
    tifffile.imwrite(tmp_path / "pages.tif", first, photometric="minisblack")
    for name in ("stains.npy", "stack.tif", "pages.tif"):
        np.testing.assert_array_equal(read_picture(tmp_path / name, NATIVE), stains)
        with pytest.raises(DamagedPictureError, match="3 channels that are no colours, not 1"):
            read_picture(tmp_path / name, DomainConfig(depth="native", channels=1))
    tifffile.imwrite(tmp_path / "photo.tif", stains, photometric="rgb")
    grey = read_picture(tmp_path / "photo.tif", DomainConfig(depth="native", channels=1))
    np.testing.assert_allclose(grey[..., 0], stains @ [0.299, 0.587, 0.114], atol=0.51)


def test_native_tiff_shows_what_the_file_means(tmp_path: Path) -> None:
    places = np.array([[0, 1], [2, 1]], np.uint8)
    palette = np.zeros((3, 256), np.uint16)
    palette[:, :3] = np.array([(10, 20, 30), (200, 50, 10), (0, 255, 7)]).T * 257
    tifffile.imwrite(tmp_path / "p.tif", places, photometric="palette", colormap=palette)
    colours = read_picture(tmp_path / "p.tif", NATIVE)
    np.testing.assert_array_equal(colours[0], [(10, 20, 30), (200, 50, 10)])
    tifffile.imwrite(tmp_path / "w.tif", places * 100, photometric="miniswhite")
    white_is_zero = read_picture(tmp_path / "w.tif", NATIVE)[..., 0]
    np.testing.assert_array_equal(white_is_zero, 255 - places * 100)
    deep = places.astype(np.uint16) * 30_000
    tifffile.imwrite(tmp_path / "w16.tif", deep, photometric="miniswhite")
    white_is_zero = read_picture(tmp_path / "w16.tif", NATIVE)[..., 0]
    np.testing.assert_array_equal(white_is_zero, 65_535 - deep)
    rgba = np.full((2, 2, 4), (200, 0, 0, 0), np.uint8)
    rgba[0, 0, 3] = 255
    tifffile.imwrite(tmp_path / "a.tif", rgba, photometric="rgb", extrasamples=["unassalpha"])
    on_white = read_picture(tmp_path / "a.tif", NATIVE)
    np.testing.assert_array_equal(on_white[0], [(200, 0, 0), (255, 255, 255)])
    four = DomainConfig(depth="native", channels=4)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif", four), rgba)


def test_transparency_beside_ink_and_of_few_bits(tmp_path: Path) -> None:
    """Ink is turned into light, alpha is not; of 12 bits in 16 alpha spans 12."""
    inked = np.zeros((4, 6, 2), np.uint8)
    inked[..., 0] = np.arange(6) * 40
    inked[2:, :, 1] = 255  # to be seen
    tifffile.imwrite(
        tmp_path / "ink.tif", inked, photometric="miniswhite", planarconfig="contig",
        extrasamples=["unassalpha"],
    )  # fmt: skip
    read = read_picture(tmp_path / "ink.tif", NATIVE)[..., 0]
    assert (read[:2] == 255).all()
    np.testing.assert_array_equal(read[2:], 255 - inked[2:, :, 0])
    twelve = np.random.default_rng(0).integers(0, 4096, (20, 24, 4), dtype=np.uint16)
    tifffile.imwrite(
        tmp_path / "12.tif", twelve, photometric="rgb", extrasamples=["unassalpha"],
        bitspersample=12,
    )  # fmt: skip
    alpha = twelve[..., 3:] / 4095
    right = twelve[..., :3] * alpha + 4095 * (1 - alpha)
    assert np.abs(read_picture(tmp_path / "12.tif", NATIVE) - right).max() <= 0.5
    assert np.abs(read_picture(tmp_path / "12.tif", COLOUR) - right / 16).max() <= 1


@pytest.mark.parametrize(
    ("background", "behind"), [("#ffffff00", (255, 255, 255)), ("#ff880080", (255, 136, 0))]
)
def test_a_background_is_never_transparent_itself(
    background: str, behind: tuple[int, ...], tmp_path: Path
) -> None:
    rgba = np.full((2, 2, 4), (10, 20, 30, 128), np.uint8)
    Image.fromarray(rgba).save(tmp_path / "x.png")
    tifffile.imwrite(tmp_path / "x.tif", rgba, photometric="rgb", extrasamples=["unassalpha"])
    right = (np.array([10, 20, 30]) * 128 + np.array(behind) * 127) / 255
    for name in ("x.png", "x.tif"):
        read = read_picture(tmp_path / name, COLOUR, background)
        assert np.abs(read - right).max() <= 1


def test_transparency_is_kept_as_a_channel_where_asked_for(tmp_path: Path) -> None:
    rgba = np.full((3, 5, 4), (200, 50, 10, 128), np.uint8)
    Image.fromarray(rgba).save(tmp_path / "x.png")
    four = DomainConfig(depth="native", channels=4)
    np.testing.assert_array_equal(read_picture(tmp_path / "x.png", four), rgba)
    with pytest.raises(DamagedPictureError, match="5 channels"):
        read_picture(tmp_path / "x.png", DomainConfig(depth="native", channels=5))


def test_a_value_of_16_bits_that_is_seen_through(tmp_path: Path) -> None:
    deep = np.full((20, 24), 30_000, np.uint16)
    deep[5:10] = 1
    deep[10:15] = 2  # the same upper 8 bits, and opaque
    Image.fromarray(deep).save(tmp_path / "x.png", transparency=1)
    for reading, white in ((DomainConfig(), 255), (DomainConfig(depth="native"), 65_535)):
        read = read_picture(tmp_path / "x.png", reading, "white")
        assert read[7, 7, 0] == white
        assert read[0, 0, 0] == (30_000 if white > 255 else 30_000 >> 8)
        assert read[12, 7, 0] == (2 if white > 255 else 0)


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "bmp"])
def test_in_its_own_depth_a_grey_picture_has_one_channel(ending: str, tmp_path: Path) -> None:
    grey = Image.fromarray(np.arange(400, dtype=np.uint8).reshape(20, 20))
    grey.save(tmp_path / f"x.{ending}")
    read = read_picture(tmp_path / f"x.{ending}", DomainConfig(depth="native"))
    assert read.shape[2] == (3 if ending == "webp" else 1)  # (WebP knows no grey)


def test_an_array_with_its_channels_first_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((3, 40, 50), np.uint16))
    with pytest.raises(DamagedPictureError, match=r"seems to be \(C, H, W\): save it as"):
        read_picture(tmp_path / "x.npy", DomainConfig(depth="native"))


def test_transparent_floats_span_0_to_1(tmp_path: Path) -> None:
    rgba = np.random.default_rng(0).random((6, 8, 4)).astype(np.float32)
    tifffile.imwrite(
        tmp_path / "x.tif", rgba, photometric="rgb", extrasamples=["unassalpha"]
    )  # fmt: skip
    read = read_picture(tmp_path / "x.tif", DomainConfig(depth="native"), "#ff0000")
    alpha, red = rgba[..., 3:], np.array([1.0, 0.0, 0.0])
    np.testing.assert_allclose(read, rgba[..., :3] * alpha + red * (1 - alpha), atol=1e-6)


def test_channels_of_a_tiff_may_come_first_or_last(tmp_path: Path) -> None:
    """As arrays are saved by tifffile alone: neither file says which of the axes they are."""
    array = np.arange(24 * 36 * 5, dtype=np.uint16).reshape(24, 36, 5)
    for name, saved in (("last.tif", array), ("first.tif", np.moveaxis(array, 2, 0))):
        tifffile.imwrite(tmp_path / name, saved, photometric="minisblack")
        read = read_picture(tmp_path / name, DomainConfig(depth="native"))
        np.testing.assert_array_equal(read, array)


def test_turned_tiff_files_are_read_right(tmp_path: Path) -> None:
    values = np.arange(15, dtype=np.uint8).reshape(3, 5)
    tifffile.imwrite(tmp_path / "t.tif", values, extratags=[(0x0112, 3, 1, 6, True)])
    upright = np.rot90(values, -1)  # orientation 6: turn clockwise to show
    for domain in (DomainConfig(channels=1), NATIVE):
        np.testing.assert_array_equal(read_picture(tmp_path / "t.tif", domain)[..., 0], upright)


def test_transparency_of_16_bits_is_read_by_its_upper_ones(tmp_path: Path) -> None:
    values = np.full((4, 4, 4), 30_000, np.uint16)
    path = tmp_path / "soft.tif"
    tifffile.imwrite(path, values, photometric="rgb", extrasamples=["unassalpha"])
    with open(path, "rb") as file:
        alpha = read_tiff_transparency(file)
    assert alpha is not None
    assert set(np.unique(alpha)) == {117}
