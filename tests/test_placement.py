"""Where pictures lie and how large their pixels are survives translating, read by other readers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from conftest import Command
from PIL import Image

from diptych.data.placement import UNKNOWN, placement_of

UTM = (1, 1, 0, 3, 1024, 0, 1, 1, 1026, 34737, 22, 0, 3072, 0, 1, 32633)
LYING = (
    (33550, 12, 3, (10.0, 10.0, 0.0), True),
    (33922, 12, 6, (0.0, 0.0, 0.0, 389_000.0, 5_820_000.0, 0.0), True),
    (34735, 3, len(UTM), UTM, True),
    (34737, 2, 23, "WGS 84 / UTM zone 33N|", True),
)
TURNED = (274, 3, 1, 6, True)


def satellite(path: Path, tags: Any = LYING, **more: Any) -> Path:
    picture = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    tifffile.imwrite(path, picture, photometric="rgb", extratags=tags, **more)
    return path


def tags_of(path: Path) -> dict[int, Any]:
    with tifffile.TiffFile(path) as file:
        return {tag.code: tag.value for tag in file.pages[0].aspage().tags}


def test_a_satellite_picture_still_knows_where_it_lies(
    trained: Path, tmp_path: Path, diptych: Command
) -> None:
    (tmp_path / "in").mkdir()
    source = satellite(tmp_path / "in" / "one.tif", resolution=(40_000, 40_000),
                       resolutionunit="CENTIMETER")  # fmt: skip
    satellite(tmp_path / "in" / "two.tif")
    done = diptych("translate", trained, tmp_path / "in", "-o", tmp_path / "out", "--format", "tif")
    assert done.returncode == 0, done.stderr
    assert "georeference" not in done.stdout
    before, after = tags_of(source), tags_of(tmp_path / "out" / "one.tif")
    assert {code: after[code] for code, *_ in LYING} == {code: before[code] for code, *_ in LYING}
    with tifffile.TiffFile(tmp_path / "out" / "one.tif") as file:
        keys = file.pages[0].aspage().geotiff_tags
        assert int(keys["ProjectedCSTypeGeoKey"]) == 32633
        assert keys["GTCitationGeoKey"] == "WGS 84 / UTM zone 33N"
        assert file.pages[0].aspage().get_resolution("centimeter") == pytest.approx((40_000,) * 2)
    for options, said in (
        ((), "one.tif: png cannot hold its georeference"),
        (
            ("--format", "tif", "--size", "16"),
            "one.tif: scaled by --size it loses its georeference",
        ),
    ):
        out = tmp_path / "-".join(("other", *options))
        done = diptych("translate", trained, tmp_path / "in", "-o", out, *options)
        assert said in done.stdout
        assert "1 more picture: the same" in done.stdout
    assert not {code for code, *_ in LYING} & set(tags_of(out / "one.tif"))


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "tif"])
def test_a_scan_is_printed_in_its_size(
    ending: str, trained: Path, tmp_path: Path, diptych: Command
) -> None:
    for kind in ("png", "jpg", "bmp", "tif"):
        Image.new("RGB", (16, 16), "red").save(tmp_path / f"{kind}.{kind}", dpi=(300, 300))
    done = diptych("translate", trained, *tmp_path.glob("*.*"), "-o", tmp_path / "out",
                   "--format", ending)  # fmt: skip
    assert done.returncode == 0, done.stderr
    for kind in ("png", "jpg", "bmp", "tif"):
        with Image.open(tmp_path / "out" / f"{kind}.{ending}") as made:
            assert made.info["dpi"] == pytest.approx((300, 300), rel=1e-4)


@pytest.mark.parametrize(
    ("tags", "more"),
    [
        ((*LYING, TURNED), {}),  # it is turned when it is read
        ((), {"resolution": ((0, 1), (0, 1)), "resolutionunit": "INCH"}),
        ((), {"resolution": (200, 100), "resolutionunit": "INCH"}),  # a fax
        ((), {"resolution": (72, 72), "resolutionunit": "NONE"}),
        (((33550, 2, 4, "ten", True),), {}),
        (((34735, 12, 1, 0.5, True),), {}),
        (((34737, 2, 5, "Gau\xdf".encode("latin-1"), True),), {}),
    ],
)
def test_what_makes_no_sense_is_not_passed_on(tags: Any, more: Any, tmp_path: Path) -> None:
    assert placement_of(satellite(tmp_path / "odd.tif", tags, **more)) == UNKNOWN


def test_a_resolution_that_a_format_cannot_hold_is_left_out(
    trained: Path, tmp_path: Path, diptych: Command
) -> None:
    source = satellite(tmp_path / "slide.tif", (), resolution=(2e6, 2e6), resolutionunit="INCH")
    done = diptych("translate", trained, source, "-o", tmp_path / "out", "--format", "jpg")
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "out" / "slide.jpg") as made:
        assert "dpi" not in made.info


def test_what_is_no_picture_lies_nowhere(tmp_path: Path) -> None:
    (tmp_path / "no.tif").write_bytes(b"II*\0 no picture")
    np.save(tmp_path / "array.npy", np.zeros((4, 4), np.uint8))
    for name in ("no.tif", "array.npy", "missing.tif"):
        assert placement_of(tmp_path / name) == UNKNOWN
