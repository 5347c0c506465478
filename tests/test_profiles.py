"""Colour profiles of phones and cameras: what is read shows the colours that a viewer shows."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from conftest import Command
from corpus import heic
from PIL import Image, ImageCms

import diptych as package
from diptych.config import DomainConfig
from diptych.data.decode import read_picture

Array = np.ndarray[Any, Any]
# XYZ (D50) of red, green and blue: Display P3, Adobe RGB (1998), and sRGB.
P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
GAMMA = 563 / 256  # of Adobe RGB, and here of all


def profile(primaries: tuple[tuple[float, ...], ...]) -> bytes:
    """An ICC profile of version 2: a matrix and a gamma."""

    def number(x: float) -> bytes:
        return struct.pack(">i", round(x * 65536))

    def xyz(values: tuple[float, ...]) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(map(number, values))

    white, curve = (0.9642, 1.0, 0.8249), b"curv\0\0\0\0" + struct.pack(">IHH", 1, 563, 0)
    name = b"test\0"
    text = b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + bytes(79)
    text += bytes(-len(text) % 4)
    tags = {b"desc": text, b"wtpt": xyz(white)}
    for letter, primary in zip(b"rgb", primaries, strict=True):
        tags[bytes([letter]) + b"XYZ"] = xyz(primary)
        tags[bytes([letter]) + b"TRC"] = curve
    place, table, data = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for tag, content in tags.items():
        table += tag + struct.pack(">II", place + len(data), len(content))
        data += content
    size = 128 + len(table) + len(data)
    head = struct.pack(">IIII", size, 0, 0x02400000, 0x6D6E7472) + b"RGB XYZ " + bytes(12)
    head += b"acsp" + bytes(28) + b"".join(map(number, white))
    return head.ljust(128, b"\0") + table + data


def shown(picture: Array, primaries: tuple[tuple[float, ...], ...]) -> Array:
    """In sRGB, by the formula, in float64: what a screen of 8 bits shows."""
    xyz = (picture / 255) ** GAMMA @ np.array(primaries)
    linear = (xyz @ np.linalg.inv(np.array(SRGB))).clip(0, 1)
    curve = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return 255 * curve


@pytest.fixture
def soft() -> Array:
    """Colours that sRGB has too: none is cut off."""
    y, x = np.mgrid[0:40, 0:60]
    return np.stack([90 + x, 90 + 2 * y, 200 - x - y], -1).astype(np.uint8)


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tif"])
@pytest.mark.parametrize("primaries", [P3, ADOBE], ids=["P3", "Adobe RGB"])
def test_colours_are_those_of_srgb(
    ending: str, primaries: tuple[tuple[float, ...], ...], soft: Array, tmp_path: Path
) -> None:
    path = tmp_path / f"photo.{ending}"
    exact = {"quality": 100, "subsampling": 0} if ending == "jpg" else {}
    exact = {"lossless": True} if ending == "webp" else exact
    Image.fromarray(soft).save(path, icc_profile=profile(primaries), **exact)
    right = shown(soft, primaries)
    assert np.abs(right - soft).mean() > 3  # (it matters)
    read = read_picture(path, DomainConfig())
    assert np.abs(read - right).max() <= (30 if ending == "jpg" else 1.2)
    assert np.abs(read - right).mean() < 1
    stored = read_picture(path, DomainConfig(depth="native", channels=3))
    assert np.abs(stored.astype(int) - soft).mean() <= (1 if ending == "jpg" else 0)


def test_pictures_of_phones(soft: Array, tmp_path: Path) -> None:
    """HEIC in Display P3."""
    path = tmp_path / "IMG_0001.HEIC"
    path.write_bytes(heic(soft, quality=-1, chroma=444, icc_profile=profile(P3)))
    right = shown(soft, P3)
    read = read_picture(path, DomainConfig())
    assert np.abs(right - soft).mean() > 3
    assert np.abs(read - right).mean() < 1
    assert np.abs(read - right).max() < 5  # (lossless, but for what YCbCr rounds)


def test_transparent_pictures_palettes_and_deep_ones_too(soft: Array, tmp_path: Path) -> None:
    icc, right = profile(ADOBE), shown(soft, ADOBE)
    clear = np.dstack([soft, np.full(soft.shape[:2], 255, np.uint8)])
    clear[:5, :, 3] = 0
    Image.fromarray(clear).save(tmp_path / "clear.png", icc_profile=icc)
    read = read_picture(tmp_path / "clear.png", DomainConfig(), "#102030")
    assert (read[:5] == (16, 32, 48)).all()  # (the background is of sRGB)
    assert np.abs(read[5:] - right[5:]).max() <= 1.2
    few = Image.fromarray(soft).quantize(16)
    few.save(tmp_path / "few.png", icc_profile=icc)
    of_few = shown(np.asarray(few.convert("RGB")), ADOBE)
    assert np.abs(read_picture(tmp_path / "few.png", DomainConfig()) - of_few).max() <= 1.2
    deep = soft.astype(np.uint16) << 8
    tifffile.imwrite(tmp_path / "deep.tif", deep, photometric="rgb", iccprofile=icc)
    assert np.abs(read_picture(tmp_path / "deep.tif", DomainConfig()) - right).max() <= 1.2


def test_a_profile_that_is_srgb_by_name_alone_is_heeded(soft: Array, tmp_path: Path) -> None:
    """There are some with sRGB's primaries and linear light."""
    name, other = b"sRGB\0", b"test\0"
    for icc, most in ((profile(SRGB).replace(other, name), 1.2), (profile(P3), 1.2)):
        Image.fromarray(soft).save(tmp_path / "x.png", icc_profile=icc)
        right = shown(soft, SRGB if icc != profile(P3) else P3)
        assert np.abs(read_picture(tmp_path / "x.png", DomainConfig()) - right).max() <= most
    linear = (
        profile(SRGB)
        .replace(other, name)
        .replace(
            b"curv\0\0\0\0" + struct.pack(">IHH", 1, 563, 0),
            b"curv\0\0\0\0" + struct.pack(">IHH", 1, 256, 0),
        )
    )
    Image.fromarray(np.full((8, 8, 3), 55, np.uint8)).save(tmp_path / "y.png", icc_profile=linear)
    light = 55 / 255
    expected = 255 * (1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(read_picture(tmp_path / "y.png", DomainConfig()) - expected).max() <= 1.2


def inks_profile(painted: dict[tuple[int, ...], tuple[int, int, int]]) -> bytes:
    """A profile for CMYK: the 8-bit Lab colour of each corner, (0, 0, 0, 0) to (1, 1, 1, 1)."""
    corners = np.full((2, 2, 2, 2, 3), 128, np.uint8)
    for corner, lab in painted.items():
        corners[corner] = lab
    straight = bytes(range(256))
    matrix = struct.pack(">9i", *(65536 * n for n in (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + 4 * straight
    table += corners.tobytes() + 3 * straight
    named = b"desc" + bytes(4) + struct.pack(">I", 5) + b"inks\0" + bytes(12 + 67)
    tags = {b"desc": named, b"A2B0": table}
    content, listed = b"", struct.pack(">I", len(tags))
    for name, data in tags.items():
        listed += name + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(content), len(data))
        content += data + bytes(-len(data) % 4)
    size = 128 + len(listed) + len(content)
    head = struct.pack(">I4xI4s4s4s12x4s", size, 0x02100000, b"prtr", b"CMYK", b"Lab ", b"acsp")
    head = head.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)  # (D50)
    return head.ljust(128, b"\0") + listed + content


@pytest.mark.parametrize("ending", ["jpg", "tif"])
def test_inks_are_shown_as_their_profile_says(ending: str, tmp_path: Path) -> None:
    """A profile of an odd press, whose cyan is red."""
    icc = inks_profile({(0, 0, 0, 0): (255, 128, 128), (1, 0, 0, 0): (128, 190, 170)})
    image = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    image.save(tmp_path / f"inks.{ending}", icc_profile=icc)
    red, green, blue = read_picture(tmp_path / f"inks.{ending}", DomainConfig())[8, 8].tolist()
    assert red > 150 > 100 > max(green, blue)


def test_programs_and_commands_read_alike(
    trained: Path, soft: Array, tmp_path: Path, diptych: Command
) -> None:
    icc = profile(P3)
    Image.fromarray(soft).save(tmp_path / "p3.png", icc_profile=icc)
    same = ImageCms.profileToProfile(
        Image.fromarray(soft), ImageCms.ImageCmsProfile(io.BytesIO(icc)),
        ImageCms.createProfile("sRGB"),
    )  # fmt: skip
    assert same is not None
    translator = package.load(trained, "cpu")
    expected = np.asarray(translator.to_b(same))
    np.testing.assert_array_equal(translator.to_b(Image.open(tmp_path / "p3.png")), expected)
    done = diptych("translate", trained, tmp_path / "p3.png", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "out" / "p3.png") as made:
        np.testing.assert_array_equal(made, expected)
